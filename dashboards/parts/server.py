"""One server on the home screen."""

from __future__ import annotations

import streamlit as st

import workbench
from parts import notice
from parts.connection import bench
from parts.formatting import count, duration, moment, plain, since

COLOURS = {
    "ready": "green", "starting": "orange", "down": "red", "stopped": "gray", "failed": "red", "disabled": "gray",
    "invalid": "red",
}  # fmt: skip


def draw_card(state: workbench.ServerState) -> None:
    """Name, health and the last error of a server, and a button that restarts it."""
    with st.container(border=True, key=f"server-{state.id}"):
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            st.markdown(f"**{plain(state.title or state.id)}**", width="content")
            colour = COLOURS.get(state.status, "gray")
            st.markdown(f":{colour}[●] {plain(state.status)}", width="content")
        what = [
            state.id if state.title and state.title.lower() != state.id else "",
            count(state.tools, "tool"),
            f"v{state.version}" if state.version else "",
            count(state.restarts, "restart") if state.restarts else "",
        ]
        how = [
            state.transport,
            f"MCP {state.era}".replace("-", "\N{NON-BREAKING HYPHEN}") if state.era else "",
            f"health {duration(state.health_us)}" if state.health_us else "",
        ]
        st.caption("  \n".join(plain(" · ".join(f for f in facts if f)) for facts in (what, how)))
        with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
            lasting = since(moment(state.since_us), state.status + " for {}")
            st.html(f'<small style="opacity:.7">{lasting}</small>', width="content")
            if st.button(
                "Restart", key=f"restart.{state.id}", type="tertiary", icon=":material/refresh:",
                disabled=state.kind == "url" or state.status in ("disabled", "invalid"),
                help="It runs elsewhere." if state.kind == "url" else None,
            ):  # fmt: skip
                _restart(state.id)
        for text in state.notices:
            st.caption(plain(text))
        if state.status in ("disabled", "invalid"):
            st.caption(plain(state.last_error))
        elif state.last_error:
            with st.expander("Last error", type="compact", key=f"error.{state.id}"):
                st.code(state.last_error, language=None, wrap_lines=True)


def _restart(server: str) -> None:
    with notice.shown():
        bench().restart(server)
        st.toast(f"{plain(server)} restarts.", icon=":material/refresh:")
