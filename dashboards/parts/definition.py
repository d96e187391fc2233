"""Tools that may not be called because their definition changed: what differs, and the button that accepts it."""

from __future__ import annotations

from typing import Any

import streamlit as st

import workbench
from parts import notice
from parts.connection import bench
from parts.words import plain


def draw_changed() -> bool:
    """Every changed definition with its difference; whether there is one."""
    changed = bench().changed_definitions()
    if changed:
        st.subheader("Definitions that changed")
        st.caption(
            "These tools may not be called: they say something else than when they were first seen or last accepted, "
            "hide text, or imitate another tool. A model reads these texts: accept them only when you know why."
        )
    for each in changed:
        _draw(each)
    return bool(changed)


def _draw(change: Any) -> None:
    with st.container(border=True):
        st.markdown(f"**{plain(change.tool)}**")
        st.caption(plain(change.reason))
        if change.diff:
            st.code(change.diff, language="diff", wrap_lines=True)
        if st.button("Accept this definition", icon=":material/check:", key=f"accept.{change.tool}.{change.hash}"):
            try:
                bench().accept_definition(change.tool, change.hash)
            except workbench.WorkbenchError as e:
                notice.problem(e)
            else:
                st.toast(f"{plain(change.tool)} can be called again.", icon=":material/check:")
                st.rerun()
