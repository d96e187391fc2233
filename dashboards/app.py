"""The app of a running platform: start it with `workbench up`, which opens it beside the gateway."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from parts import notice, sign_in
from parts.connection import bench, connect

import workbench

# a picture of our own, before any page is named: their icons would be fetched from a network for the tab
st.set_page_config("MCP Workbench", page_icon=Path(__file__).with_name("icon.png"))
if not sign_in.signed_in():
    sign_in.draw_refusal()
    st.stop()


def waiting() -> int:
    """How many calls wait for a person."""
    try:
        return len(bench().approvals())
    except workbench.WorkbenchError:
        return 0


try:
    connect()
    lost: workbench.WorkbenchError | None = None
    count = waiting()
except workbench.WorkbenchError as e:
    lost, count = e, 0

page = st.navigation(
    [
        st.Page("screens/home.py", title="Home", icon=":material/home:", url_path="home", default=True,
                help="Servers and their health, how to connect, and questions to try."),
        st.Page("screens/tools.py", title="Tools", icon=":material/build:", url_path="tools",
                help="Find a tool, fill in its form, run it, and see what it answered."),
        st.Page("screens/ask.py", title="Ask", icon=":material/forum:", url_path="ask",
                help="Ask a question and watch which tools answer it."),
        st.Page("screens/audit.py", title="Audit", icon=":material/receipt_long:", url_path="audit",
                help="Every call that was made, by whom, and what policy said; SQL over all of it."),
        st.Page("screens/approvals.py", title=f"Approvals ({count})" if count else "Approvals",
                icon=":material/front_hand:", url_path="approvals",
                help="Calls that wait for a person's yes or no."),
    ],
    position="top",
)  # fmt: skip
st.set_page_config(layout="centered" if page.url_path in ("ask", "approvals") else "wide")


@st.fragment(run_every="4s")
def pulse() -> None:
    """Keep the number in the navigation right, and notice when the platform goes away."""
    try:
        bench().status()
        changed = waiting() != count
    except workbench.WorkbenchError:
        changed = True
    if changed:
        st.rerun()


if lost is not None:
    notice.offline(lost)
else:
    try:
        page.run()
    except workbench.WorkbenchError as e:
        notice.problem(e)
    pulse()
