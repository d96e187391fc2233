"""Audit: every call that was made, SQL over all of it, and the proof that nothing was changed."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st
from parts import calls, integrity, sql

VIEWS = {"calls": "Calls", "sql": "SQL", "integrity": "Integrity"}

head, switch = st.columns([3, 2], vertical_alignment="center")
head.title("Audit")
with switch, st.container(horizontal=True, horizontal_alignment="right"):
    view = st.segmented_control(
        "View", list(VIEWS), key="view", bind="query-params", default="calls", required=True,
        format_func=VIEWS.__getitem__, label_visibility="collapsed",
    )  # fmt: skip

if view == "sql":
    sql.draw_box()
elif view == "integrity":
    integrity.draw_check()
else:
    until = st.session_state.setdefault("audit_until", datetime.now(UTC))
    calls.draw_explorer(until)
