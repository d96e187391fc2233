"""Approvals: calls that wait for a person, the oldest first."""

from __future__ import annotations

import streamlit as st
from parts import approval, definition, notice
from parts.connection import bench
from parts.formatting import code, plain

st.title("Approvals")
st.caption("A call that may destroy something runs only after a person has said yes to exactly this call, once.")


def rule(waiting: str) -> str:
    """Which rule asked for a person, as the record has it."""
    found = bench().sql(
        "select policy_rule, policy_reason from tool_calls where approval_id = $id order by ts limit 1", {"id": waiting}
    )
    if found.empty or not found.iloc[0]["policy_rule"]:
        return ""
    reason = found.iloc[0]["policy_reason"]
    return f"rule {code(found.iloc[0]['policy_rule'])}" + (f": {plain(str(reason))}" if reason else "")


@st.fragment(run_every="2s")
def inbox() -> None:
    with notice.shown():
        waiting = bench().approvals()
        for each in waiting:
            approval.draw_card(each, rule(each.id))
        if not waiting:
            notice.nothing(
                "Nothing waits for you",
                "Calls of tools that their server marks as destructive appear here, whoever makes them. What nobody "
                "decides within 15 minutes is denied.",
                ":material/front_hand:",
            )
    with notice.shown():
        approval.draw_standing()
    with notice.shown():
        definition.draw_changed()


inbox()
