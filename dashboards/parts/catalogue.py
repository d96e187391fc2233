"""The list of tools, by server or by how well they match."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Literal

import streamlit as st

import workbench
from parts import notice
from parts.formatting import plain


def draw_list(tools: Sequence[workbench.Tool], chosen: workbench.Tool | None, *, grouped: bool) -> None:
    """One button per tool; pressing it puts the tool into the address of the page.

    Args:
        grouped: by server, folded; otherwise in the given order, all visible.
    """
    if not tools:
        notice.nothing("No tool fits", "Try other words, or clear the search to see all.", ":material/search_off:")
    elif not grouped:
        with st.container(gap=None):
            for tool in tools:
                _draw(tool, tool.qualified, chosen)
    else:
        for server, members in groupby(sorted(tools, key=lambda t: t.server), key=lambda t: t.server):
            of_server = list(members)
            inside = chosen is not None and chosen.server == server
            with (
                st.expander(
                    f"{plain(server)} :gray[{len(of_server)}]", expanded=inside, key=f"group.{server}.{inside}"
                ),
                st.container(gap=None),
            ):
                for tool in of_server:
                    _draw(tool, tool.name, chosen)


def draw_badges(tool: workbench.Tool) -> None:
    """What the server says a call does, and what it takes to call."""
    with st.container(horizontal=True, gap="small"):
        icon, word, colour, about = effect(tool)
        st.badge(word, icon=icon, color=colour, help=about)
        if tool.idempotent and not tool.read_only:
            st.badge("idempotent", color="gray", help="Calling twice is the same as calling once.")
        for scope in tool.scopes:
            st.badge(plain(scope), icon=":material/key:", color="gray", help="A scope that is needed to call it.")


def effect(tool: workbench.Tool) -> tuple[str, str, Literal["green", "orange", "red"], str]:
    """Icon, word, colour and explanation of what a call does to the world."""
    if tool.read_only:
        return ":material/visibility:", "read-only", "green", "The server says that a call changes nothing."
    if tool.destructive:
        return ":material/warning:", "destructive", "red", "A call may destroy something: a person has to approve it."
    return ":material/edit:", "writes", "orange", "A call may change something."


def _draw(tool: workbench.Tool, label: str, chosen: workbench.Tool | None) -> None:
    here = chosen is not None and chosen.qualified == tool.qualified
    icon, word, _, _ = effect(tool)
    st.button(
        f"**{plain(label)}**" if here else plain(label), key=f"tool.{tool.qualified}", icon=icon, type="tertiary",
        help=plain(f"{word}. {tool.description.strip().split(chr(10))[0]}"), on_click=_choose, args=(tool.qualified,),
    )  # fmt: skip


def _choose(tool: str) -> None:
    st.query_params["tool"] = tool
    st.query_params.pop("args", None)
