"""A call that waits for a person: what it would do, and the two buttons."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import streamlit as st

import workbench
from parts import notice
from parts.connection import bench
from parts.formatting import age, moment, plain

Then = Callable[[bool], None]


def decide(
    approval: str,
    approve: bool,
    note: str = "",
    arguments: dict[str, Any] | None = None,
    seen: str = "",
    standing: dict[str, Any] | None = None,
) -> bool:
    """Say yes or no; False, with the reason on the screen, when that is no longer possible.

    Args:
        approval: its id.
        approve: yes or no.
        note: for the record.
        arguments: with a yes, what shall run instead.
        seen: hash of the arguments that are on the screen.
        standing: with a yes, on which terms its caller may repeat the call.
    """
    try:
        if not approve:
            bench().deny(approval, note=note)
            word = "Denied."
        else:
            decided = bench().approve(approval, note=note, arguments=arguments, args_hash=seen, standing=standing)
            word = "Approved." if decided.status == "approved" else "Noted: somebody else has to agree, too."
    except workbench.WorkbenchError as e:
        notice.problem(e)
        return False
    st.toast(word, icon=":material/check:" if approve else ":material/block:")
    return True


def changed(text: str) -> dict[str, Any] | None:
    """The arguments that somebody wrote; None, with the reason on the screen, when they are no JSON object."""
    try:
        found = json.loads(text)
    except ValueError as e:
        st.error(f"That is no JSON: {plain(str(e))}")
        return None
    if not isinstance(found, dict):
        st.error("Arguments are one JSON object.")
        return None
    return found


@st.dialog("Approve this call?")
def ask_in_dialog(approval: str, tool: str, arguments: dict[str, Any], then: Then) -> None:
    """Name the tool and its arguments, and let a person decide; `then` is told how, before the page is redrawn."""
    st.markdown(f"**{plain(tool)}** may change or delete something. It would be called once, with exactly this:")
    st.json(arguments, expanded=True)
    note = st.text_input("Note for the record", placeholder="optional", max_chars=2000)
    with st.container(horizontal=True, horizontal_alignment="right"):
        denied = st.button("Deny", icon=":material/block:")
        approved = st.button("Approve and run", type="primary", icon=":material/check:")
    if (approved or denied) and decide(approval, approved, note or ""):
        then(approved)
        st.rerun()


def draw_inline(event: workbench.ApprovalWaiting, asked: workbench.ToolAsked | None, *, key: str) -> None:
    """A waiting step of a run; the run goes on by itself when it is decided."""
    with st.container(border=True):
        left = f" · denied by itself in {_left(event.expires_us)}" if event.expires_us else ""
        st.markdown(f":orange[:material/front_hand:] **{plain(event.tool)}** waits for your approval{left}")
        st.json(asked.arguments if asked else {}, expanded=True)
        with st.container(horizontal=True):
            for word, yes in (("Approve", True), ("Deny", False)):
                st.button(
                    word, key=f"{key}.{word}", on_click=_decide_at_once, args=(event.approval, yes),
                    type="primary" if yes else "secondary",
                )  # fmt: skip


def draw_card(waiting: workbench.Approval, rule: str) -> None:
    """One waiting approval on its own screen.

    Args:
        waiting: the approval.
        rule: which rule asks for a person, as Markdown.
    """
    with st.container(border=True):
        head, clock = st.columns([3, 2])
        head.markdown(f"**{plain(waiting.tool)}**")
        waited = (datetime.now(UTC) - moment(waiting.created_us)).total_seconds()
        clock.markdown(
            f"waiting {age(waited)} · denied by itself in :orange[{_left(waiting.expires_us)}]", text_alignment="right"
        )
        st.caption(f"{plain(waiting.subject)} asks, through {plain(waiting.source)}" + (f" · {rule}" if rule else ""))
        st.json(waiting.arguments, expanded=True)
        if waiting.params:
            st.caption("Beside its arguments, the tool would get this, as it is recorded:")
            st.json(waiting.params, expanded=1)
        if waiting.edited_by:
            st.caption(f":material/edit: {plain(waiting.edited_by)} has changed the arguments")
        if waiting.approvers > 1:
            agreed = ", ".join(plain(vote.by) for vote in waiting.votes) or "nobody yet"
            st.caption(f":material/group: {len(waiting.votes)} of {waiting.approvers} have agreed: {agreed}")
        if waiting.roles:
            st.caption(f":material/badge: decided by {plain(' or '.join(waiting.roles))}")
        note = st.text_input("Note for the record", placeholder="optional", max_chars=2000, key=f"note.{waiting.id}")
        with st.container(horizontal=True):
            if st.button("Approve", type="primary", icon=":material/check:", key=f"approve.{waiting.id}"):
                decide(waiting.id, True, note or "", seen=waiting.args_hash) and st.rerun()
            if st.button("Deny", icon=":material/block:", key=f"deny.{waiting.id}"):
                decide(waiting.id, False, note or "") and st.rerun()
        draw_repeats(waiting, note or "")
        with st.expander("Change the arguments", icon=":material/edit:"):
            written = st.text_area(
                "Arguments", json.dumps(waiting.arguments, indent=1, ensure_ascii=False), key=f"edit.{waiting.id}"
            )
            if st.button("Approve with these", icon=":material/check:", key=f"edited.{waiting.id}"):
                found = changed(written or "")
                if found is not None and decide(waiting.id, True, note or "", found, waiting.args_hash):
                    st.rerun()


def draw_repeats(waiting: workbench.Approval, note: str) -> None:
    """Let the caller repeat a call without asking again; folded, because it is the exception."""
    with st.expander("Let it be repeated without asking", icon=":material/repeat:"):
        st.caption(
            "Only for this caller, this tool as it is defined now, and these arguments. It shows below and on the "
            "record of each call, and can be ended at once. The setting `standing_approvals` has to be on."
        )
        with st.container(horizontal=True):
            uses = st.number_input("Further calls", 1, None, 10, key=f"uses.{waiting.id}")
            minutes = st.number_input("Minutes", 1, None, 60, key=f"minutes.{waiting.id}")
        written = st.text_area(
            "Other arguments to allow, as JSON", "{}", key=f"patterns.{waiting.id}",
            help='JSON pointer and pattern, e.g. `{"/amount": {"range": [0, 100]}}`; `enum` and `prefix` work, too.',
        )  # fmt: skip
        if st.button("Approve, and let it be repeated", icon=":material/repeat:", key=f"repeat.{waiting.id}"):
            patterns = changed(written or "")
            terms = {"uses": uses, "seconds": minutes * 60, "patterns": patterns}
            if patterns is not None and decide(waiting.id, True, note, seen=waiting.args_hash, standing=terms):
                st.rerun()


def draw_standing() -> None:
    """Calls that may be repeated without asking, each with a button that ends it."""
    found = bench().standing_approvals()
    if found:
        st.subheader("May be repeated without asking")
    for each in found:
        with st.container(border=True):
            left = f"{each.left:,} of {each.uses:,} calls left"
            if each.status == "pending":
                left = f"{len(each.votes):,} of {each.approvers:,} people have agreed"
            elif each.until_us:
                left += f", for {_left(each.until_us)}"
            st.markdown(f"**{plain(each.tool)}** by {plain(each.subject)} · {left}")
            st.caption(f"given by {plain(each.by)}")
            st.json({"arguments": each.arguments, "patterns": each.patterns}, expanded=1)
            if st.button("Ask again from now on", icon=":material/block:", key=f"revoke.{each.id}"):
                with notice.shown():
                    bench().revoke_standing_approval(each.id)
                    st.rerun()


def _decide_at_once(approval: str, approve: bool) -> None:
    """The callback of a button, which returns nothing."""
    decide(approval, approve)


def _left(expires_us: int) -> str:
    return age((moment(expires_us) - datetime.now(UTC)).total_seconds())
