"""Audit: every call that was made, SQL over all of it, and the proof that nothing was changed."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st
from parts import calls, integrity, sql

head, switch = st.columns([3, 2], vertical_alignment="center")
head.title("Audit")
with switch, st.container(horizontal=True, horizontal_alignment="right"):
    view = st.segmented_control(
        "View", ["Calls", "SQL", "Integrity"], key="view", bind="query-params", default="Calls", required=True,
        label_visibility="collapsed",
    )  # fmt: skip

if view == "SQL":
    sql.draw_box()
elif view == "Integrity":
    integrity.draw_check()
else:
    until = st.session_state.setdefault("audit_until", datetime.now(UTC))
    calls.draw_explorer(until)
