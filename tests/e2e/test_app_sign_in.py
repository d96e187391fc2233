"""The app beside a running platform: on loopback whatever `host` says, behind its sign-in on every path."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil
import pytest

from tests.platforms import start, stop, up
from tests.waiting import soon
from workbench.access.app_sessions import AppSessions

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def other_addresses() -> list[str]:
    """Addresses of this machine that others can reach."""
    found = [each.address for card in psutil.net_if_addrs().values() for each in card if each.family == socket.AF_INET]
    return [address for address in found if not address.startswith("127.")]


def test_where_the_gateway_listens_for_all_the_app_does_not(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with up(home, "--servers", "", "--app", "--app-port", "auto", "--host", "0.0.0.0") as (running, _):
        port = urlsplit(running.app_url).port
        assert running.app_url == f"http://127.0.0.1:{port}"
        for address in other_addresses():
            with pytest.raises(OSError, match="refused"):
                socket.create_connection((address, port), timeout=5)
        soon(lambda: "Ctrl-C stops" in (tmp_path / "up.log").read_text())
        printed = (tmp_path / "up.log").read_text()
        assert "on this machine only: whoever is signed in to the app acts as the owner" in printed
        link = re.search(r"http://127\.0\.0\.1:\d+/sign-in\?token=\S+", printed)
        assert link is not None
        with httpx2.Client(base_url=running.app_url) as browser:
            for path in ("/", "/_stcore/health", "/_stcore/host-config", "/static/index.html", "/media/x"):
                assert browser.get(path).status_code == 401, path
            assert browser.get(link[0]).status_code == 200
            assert browser.get("/_stcore/health").text == "ok"
            assert running.token not in (home / "app.log").read_text()
            AppSessions(home).clear()
            assert browser.get("/").status_code == 401


def test_the_app_is_bound_nowhere_else_and_says_why(tmp_path: Path) -> None:
    process = start(tmp_path / "home", ["--app", "--servers", ""], {"WORKBENCH_APP_HOST": "0.0.0.0"})
    try:
        assert process.wait(60) == 2
    finally:
        stop(process)
    assert "whoever uses the app acts as the owner" in (tmp_path / "up.log").read_text()
