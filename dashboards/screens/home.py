"""Home: which servers there are and how they do, how to connect, and what to ask first."""

from __future__ import annotations

import streamlit as st
from parts import notice, record, server, snippets
from parts.connection import bench
from parts.formatting import code, count, duration, plain

st.title("MCP Workbench")


@st.fragment(run_every="5s")
def health() -> None:
    """The totals of the last hour, and a card for each server."""
    with notice.shown():
        totals = record.totals(bench(), record.Filters("1h"))
        with st.grid(4, min_column_width=150, gap="small"):
            st.metric("Calls, last hour", f"{totals['calls']:,.0f}", border=True)
            st.metric("Errors, last hour", f"{totals['errors']:,.0f}", border=True,
                      help="Tool errors, bad arguments, timeouts and servers that were not there.")  # fmt: skip
            st.metric("Denied, last hour", f"{totals['denied']:,.0f}", border=True,
                      help="Calls that scopes or policy did not allow.")  # fmt: skip
            st.metric("p95, last hour", duration(totals["p95"]), border=True,
                      help="95 of 100 calls were answered within this time, from receipt to answer.")  # fmt: skip
    with notice.shown():
        servers = bench().servers()
        ready = [s for s in servers if s.status == "ready"]
        st.subheader("Servers")
        st.caption(
            f"{len(ready)} of {count(len(servers), 'server')} ready, {count(sum(s.tools for s in ready), 'tool')}"
        )
        if not servers:
            notice.nothing(
                "No servers", "Start the platform with bundled servers, with --data FOLDER or with --config mcp.json."
            )
        with st.grid("auto", min_column_width=270, gap="small"):
            for state in servers:
                server.draw_card(state)
        remarks = bench().configuration()
        for text in remarks.problems:
            st.warning(plain(text), title="A part of the configuration holds no server")
        for text in remarks.notices:
            st.caption(plain(text))


def connect_clients() -> None:
    """The addresses, the token, and what to paste where."""
    st.subheader("Connect")
    running = bench().running
    if running is None:
        st.caption("This platform lives inside one process and has no address. `workbench up` gives it three.")
        return
    with st.grid("auto", min_column_width=300, gap="small"):
        for title, url in (
            ("App", running.app_url or "not started"),
            ("MCP endpoint", running.mcp_url),
            ("Management API", f"{running.url}/docs"),
        ):
            with st.container():
                st.caption(title)
                st.code(url, language=None)
    if found := bench().profiles()["profiles"]:
        st.caption("Profiles: some servers and tools alone, each at an MCP endpoint of its own")
        st.dataframe(
            [
                {
                    "profile": p["title"],
                    "tools": len(p["tools"]),
                    "endpoint": running.url + p["path"],
                    "what it is": p["description"],
                }
                for p in found
            ],
            hide_index=True,
            key="profiles",
            alt=f"{count(len(found), 'profile')} with their endpoints",
        )
    shown = st.toggle("Show the token", help="Whoever holds it acts as you. Every client needs it.")
    if shown:
        st.code(running.token, language=None)
    else:
        st.caption(
            f"Set it where the text says {code(snippets.TOKEN)}, or show it here to copy everything ready to paste."
        )
    clients = snippets.clients(running.mcp_url, running.token if shown else snippets.TOKEN)
    for tab, (where, language, text) in zip(st.tabs(list(clients)), clients.values(), strict=True):
        tab.caption(where)
        tab.code(text, language=language, wrap_lines=True)


def first_questions() -> None:
    """Questions to try; each opens the chat and asks."""
    examples = bench().examples()
    st.subheader("Try a question")
    with st.container(gap="xsmall"):
        for number, question in enumerate(examples):
            if st.button(plain(question), key=f"example.{number}", icon=":material/forum:", width="stretch", wrap=True):
                st.session_state["pending"] = question
                st.switch_page("screens/ask.py")
    if not examples:
        st.caption("Ask whatever your servers can answer.")
        st.page_link("screens/ask.py", label="Open the chat", icon=":material/forum:")


with notice.shown():
    first_questions()
health()
with notice.shown():
    connect_clients()
