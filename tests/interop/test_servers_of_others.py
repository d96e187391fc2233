"""Servers that nobody here wrote run beside ours from an `mcp.json`: one of each era, and an HTTP entry."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import workbench
from workbench.client import Workbench

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


def environment(folder: Path, *packages: str) -> Path:
    """A virtual environment with packages of the package index; returns its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin/python"), "-m", "pip", "install", "-q", *packages], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def wb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    folder = tmp_path_factory.mktemp("foreign")
    modern = environment(folder / "modern", "mcp-server-time==2026.10.19")
    older = environment(folder / "older", "mcp-server-sqlite==2025.4.25", "mcp<2")
    config = folder / "mcp.json"
    servers = {
        "time": {"command": str(modern / "mcp-server-time"), "args": ["--local-timezone", "Europe/Berlin"]},
        "sqlite": {"command": str(older / "mcp-server-sqlite"), "args": ["--db-path", str(folder / "test.db")]},
    }
    config.write_text(json.dumps({"mcpServers": servers}))
    with workbench.open(home=folder / "home", config=config, servers=(), attach=False) as opened:
        yield opened


def test_both_eras_run_beside_each_other(wb: Workbench) -> None:
    states = {s.id: s for s in wb.servers()}
    assert states["time"].status == "ready", states["time"].last_error
    assert states["sqlite"].status == "ready", states["sqlite"].last_error
    assert states["time"].era == "2026-07-28"
    assert states["sqlite"].era < "2026"


def test_a_modern_server_answers(wb: Workbench) -> None:
    result = wb.call("time.convert_time", source_timezone="Asia/Tokyo", time="12:00", target_timezone="Europe/Berlin")
    assert result.ok, result.message
    assert "Asia/Tokyo" in json.dumps(result.data)


def test_an_older_server_answers_and_keeps_what_it_was_told(wb: Workbench) -> None:
    assert wb.call("sqlite.create_table", query="create table t (a integer)").ok
    assert wb.call("sqlite.write_query", query="insert into t values (41), (42)").ok
    assert "42" in str(wb.call("sqlite.read_query", query="select max(a) as m from t").data)


def test_every_call_to_them_is_on_the_record(wb: Workbench) -> None:
    found = wb.sql("select distinct server from tool_calls where outcome = 'ok'")
    assert set(found["server"]) >= {"time", "sqlite"}


def test_the_planner_uses_a_server_it_has_never_seen(wb: Workbench) -> None:
    run = wb.ask("What time is it in Tokyo right now? The timezone is Asia/Tokyo.", provider="planner")
    called = [c.tool for c in run.calls if c.ok]
    assert called.count("time.get_current_time") == 1
    assert len(called) <= 2, "one look at what tables there are is fair, more is not"
    assert "Asia/Tokyo" in run.answer
