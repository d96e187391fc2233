"""Home lists the endpoints of profiles, where there are any."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

import workbench
from workbench.platform.run_file import RunningPlatform

pytestmark = pytest.mark.slow


def test_home_shows_the_endpoint_of_each_profile(
    screen: Callable[..., AppTest], platform: workbench.Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = RunningPlatform(url="http://127.0.0.1:8800", app_url="", pid=os.getpid(), started=time.time(), token="t")
    monkeypatch.setattr(workbench.Workbench, "running", property(lambda _: running))
    assert not [frame for frame in screen().dataframe if "endpoint" in frame.value.columns]
    found = {
        "name": "desk",
        "title": "Desk",
        "description": "For support.",
        "tools": ["crm.a"],
        "path": "/profiles/desk/mcp",
    }
    monkeypatch.setattr(platform, "profiles", lambda: {"profiles": [found], "problems": []})
    (shown,) = (frame.value for frame in screen().dataframe if "endpoint" in frame.value.columns)
    assert shown.to_dict("records") == [
        {
            "profile": "Desk", "tools": 1, "endpoint": "http://127.0.0.1:8800/profiles/desk/mcp",
            "what it is": "For support.",
        }
    ]  # fmt: skip
