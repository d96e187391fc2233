"""`workbench app`: a fresh link for the owner of the state folder, and the end of all sessions."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner, Result

from workbench.access.app_sessions import AppSessions
from workbench.cli import cli
from workbench.events import MisuseError
from workbench.platform.run_file import RunningPlatform, announce, process_started

Command = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def command(home: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("WORKBENCH_URL", raising=False)

    def invoke(*options: str) -> Result:
        return CliRunner().invoke(cli, ["--home", str(home), "app", *options], standalone_mode=False)

    return invoke


def announced(home: Path, app_url: str) -> None:
    started = process_started(os.getpid())
    assert started is not None
    announce(home, RunningPlatform(url="http://127.0.0.1:8800", app_url=app_url, pid=os.getpid(), started=started))


def test_every_call_prints_a_link_of_its_own(home: Path, command: Command) -> None:
    announced(home, "http://127.0.0.1:8501")
    first, second = command().stdout.strip(), json.loads(command("--json").stdout)
    assert first != second["url"]
    for link in (first, second["url"]):
        assert link.startswith("http://127.0.0.1:8501/sign-in?")
        assert AppSessions(home).redeem(parse_qs(urlsplit(link).query)["token"][0]) is not None


def test_all_browsers_are_signed_out_at_once(home: Path, command: Command) -> None:
    sessions = AppSessions(home)
    session, link = sessions.redeem(sessions.new_link()), sessions.new_link()
    assert session is not None
    assert json.loads(command("--sign-out", "--json").stdout) == {"signed_out": True}
    assert command("--sign-out").stdout == "Every browser is signed out.\n"
    assert sessions.expires(session) is None
    assert sessions.redeem(link) is None


@pytest.mark.parametrize(("app_url", "said"), [(None, "No platform runs"), ("", "without its app")])
def test_without_an_app_it_says_how_to_start_one(home: Path, command: Command, app_url: str | None, said: str) -> None:
    if app_url is not None:
        announced(home, app_url)
    failed = command().exception
    assert isinstance(failed, MisuseError)
    assert said in str(failed)
    assert re.search(r"workbench( --home \S+)? up`", failed.hint)


def test_an_app_on_another_machine_has_its_links_there(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_URL", "https://tools.example")
    monkeypatch.chdir("/")
    failed = CliRunner().invoke(cli, ["app"], standalone_mode=False).exception
    assert isinstance(failed, MisuseError)
    assert "tunnel" in failed.hint
