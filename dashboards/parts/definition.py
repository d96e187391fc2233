"""Tools that may not be called because their definition changed: what differs, and the button that accepts it."""

from __future__ import annotations

import streamlit as st

import workbench
from parts import foreign, notice
from parts.connection import bench
from parts.formatting import plain


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


def draw_held(tool: str) -> bool:
    """The page of a tool that is quarantined; whether `tool` is one.

    It is in no list of tools that can be called, so its page says what it is, why it is held, and what to do.
    """
    try:
        held = next((each for each in bench().changed_definitions() if each.tool == tool), None)
    except workbench.WorkbenchError:  # who may not look at definitions sees that there is no such tool
        return False
    if held is None:
        return False
    st.subheader(plain(tool))
    st.badge("quarantined", icon=":material/block:", color="red")
    parts = ", ".join(plain(part) for part in held.changes)
    st.warning(
        f"Its server now describes it otherwise than when it was first seen or last accepted: {parts or 'all'} "
        "changed. A changed description can lead a model astray, so nobody may call it, and no list shows it.",
        title="This tool may not be called",
    )
    described = held.changes.get("description", {}).get("listed")
    if isinstance(described, str) and described.strip():
        st.caption("It now says of itself:")
        foreign.draw(described)
    st.caption(
        "What differs. Accept it when you know why it changed, e.g. after an update of the server; otherwise leave it, "
        "or remove the server. In a terminal: `workbench servers changes`, `workbench servers accept`."
    )
    _draw(held)
    return True


def _draw(change: workbench.ChangedDefinition) -> None:
    with st.container(border=True):
        st.markdown(f"**{plain(change.tool)}**")
        st.caption(plain(change.reason))
        if change.diff:
            st.code(change.diff, language="diff", wrap_lines=True)
        with st.container(horizontal=True):
            once = st.button(
                "Accept this definition", icon=":material/check:", key=f"accept.{change.tool}.{change.hash}"
            )
            ever = bool(change.varying) and st.button(
                "Accept with what varies", icon=":material/edit_note:", key=f"vary.{change.tool}.{change.hash}",
                help="Later versions, too, that differ only in the holes below. Anything else is quarantined as now.",
            )  # fmt: skip
        if change.varying:
            places = [f"{each['where']}: {each['template']}" for each in change.varying]
            st.code("\n".join(places), language=None, wrap_lines=True)
        if once or ever:
            try:
                bench().accept_definition(change.tool, change.hash, varying=ever)
            except workbench.WorkbenchError as e:
                notice.problem(e)
            else:
                st.toast(f"{plain(change.tool)} can be called again.", icon=":material/check:")
                st.rerun()
