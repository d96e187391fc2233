"""What a screen says when there is nothing to show, or when something does not work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import streamlit as st

import workbench
from parts.formatting import prose


def problem(error: workbench.WorkbenchError) -> None:
    """Something the person can mend: what happened, and what to do."""
    hint = error.hint or "If it stays so, look at the platform's own output in the terminal."
    st.error(prose(hint), title=prose(error.args[0]), icon=":material/error:")


@contextlib.contextmanager
def shown() -> Iterator[None]:
    """Show a failure inside the block in its place, and go on with the rest of the screen."""
    try:
        yield
    except workbench.WorkbenchError as e:
        problem(e)


def nothing(title: str, text: str, icon: str = ":material/inbox:") -> None:
    """An empty place: what will appear here, and how."""
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(f"{icon} **{title}**", text_alignment="center")
        st.caption(text, text_alignment="center")


def offline(error: workbench.WorkbenchError) -> None:
    """No platform answers: say how to start it, and look again every two seconds."""
    st.title("The platform is not running")
    st.markdown("The app shows a running platform; it holds nothing of its own. Start it in a terminal:")
    st.code("workbench up", language="bash")
    st.caption(f"{prose(str(error))} This page looks again every two seconds and goes on by itself.")
    _look_again()


@st.fragment(run_every="2s")
def _look_again() -> None:
    from parts.connection import connect

    with contextlib.suppress(workbench.WorkbenchError):
        connect()
        st.rerun()
