"""The one workbench that all screens share: attached to the platform, and attached anew when that was restarted."""

from __future__ import annotations

from typing import cast

import streamlit as st

import workbench


def _answers(bench: workbench.Workbench) -> bool:
    try:
        bench.status()
    except workbench.WorkbenchError:
        return False
    return True


def _release(bench: workbench.Workbench) -> None:
    if not bench.embedded:  # an embedded platform belongs to whoever opened it
        bench.close()


@st.cache_resource(show_spinner=False, validate=_answers, on_release=_release)
def _attached() -> workbench.Workbench:
    return workbench.open(attach=True, source="app")


def connect() -> workbench.Workbench:
    """Attach for this run of the script; checks that the platform still answers.

    Raises:
        workbench.WorkbenchError: no platform runs on this state folder, or it does not answer.
    """
    st.session_state["bench"] = _attached()
    return bench()


def platform_url() -> str:
    """Origin of the management API, for snippets."""
    running = bench().running
    return running.url if running else "http://127.0.0.1:8800"


def bench() -> workbench.Workbench:
    """The workbench that `connect` found."""
    return cast("workbench.Workbench", st.session_state["bench"])
