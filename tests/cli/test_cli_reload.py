"""A running platform starts what `workbench add` adds and ends what `workbench remove` removes."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import workbench
from tests.platforms import up
from workbench.cli import cli
from workbench.client.embedded import EmbeddedBackend
from workbench.events import MisuseError
from workbench.registry import ReloadResult

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] == "initialize":
        answer["result"] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                            "serverInfo": {"name": "greeter", "version": "1"}}
    elif asked["method"] == "tools/list":
        answer["result"] = {"tools": [{"name": "greet", "description": "Greets.", "inputSchema": {"type": "object"},
                                       "annotations": {"readOnlyHint": True}}]}
    elif asked["method"] == "tools/call":
        answer["result"] = {"content": [{"type": "text", "text": "hello from " + sys.argv[1]}]}
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def server(tmp_path: Path) -> Path:
    path = tmp_path / "greeter.py"
    path.write_text(SERVER)
    return path


def entry(server: Path, word: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(server), word], **more}


def said(bench: workbench.Workbench, tool: str) -> str:
    found: str = bench.call(tool).outcome.result["content"][0]["text"]
    return found


def test_the_running_platform_starts_what_is_added_and_ends_what_is_removed(server: Path, tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "client.json"

    def run(*arguments: str) -> Result:
        command = ["--home", str(home), *arguments]
        return CliRunner().invoke(cli, command, standalone_mode=False, catch_exceptions=False)

    needs = entry(server, "x", env={"KEY": "${NOWHERE_SET}"})
    file.write_text(json.dumps({"mcpServers": {"greeter": entry(server, "one"), "needs": needs}}))
    with up(home, "--servers", ""), workbench.open(home=home, attach=True) as bench:
        assert bench.tools() == []
        told = run("add", str(file), "--yes").output
        assert "greeter started: ready, 1 tool." in told
        assert "needs invalid." in told
        assert "the variable NOWHERE_SET is not set" in told
        assert said(bench, "greeter.greet") == "hello from one"
        file.write_text(json.dumps({"mcpServers": {"greeter": entry(server, "two")}}))
        assert "greeter started anew: ready" in run("add", str(file), "--yes").output
        assert said(bench, "greeter.greet") == "hello from two"
        assert "greeter was ended." in run("remove", "greeter").output
        assert [state.id for state in bench.servers()] == ["needs"]
        assert "needs invalid." in run("servers", "reload").output
        assert json.loads(run("servers", "reload", "--json").stdout) == {"added": [], "removed": [], "replaced": []}


def test_without_a_running_platform_the_command_that_starts_them_is_named(server: Path, tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text(json.dumps({"mcpServers": {"greeter": entry(server, "one")}}))
    arguments = ["--home", str(tmp_path / "home"), "add", str(tmp_path / "client.json"), "--yes"]
    assert "up starts them" in CliRunner().invoke(cli, arguments, standalone_mode=False, catch_exceptions=False).output


# --- within one process


@pytest.fixture
def config(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The `mcp.json` of the settings, with one server."""
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": {"greeter": entry(server, "one")}}))
    monkeypatch.setenv("WORKBENCH_MCP_CONFIG", str(path))
    monkeypatch.setenv("WORKBENCH_SERVERS", "calendar")
    return path


@pytest.fixture
def bench(config: Path, tmp_path: Path) -> Iterator[workbench.Workbench]:
    with workbench.open(home=tmp_path / "home", attach=False) as opened:
        yield opened


def test_what_did_not_change_runs_on(bench: workbench.Workbench, config: Path, server: Path) -> None:
    before = {state.id: state.pid for state in bench.servers()}
    assert bench.reload_servers() == ReloadResult()
    entries = {"second": entry(server, "two"), "greeter": entry(server, "one")}
    config.write_text(json.dumps({"mcpServers": entries}))
    assert bench.reload_servers() == ReloadResult(added=("second",))
    after = {state.id: state.pid for state in bench.servers()}
    assert list(after) == ["calendar", "second", "greeter"], "another order than the next start would have"
    assert {id: after[id] for id in before} == before
    assert said(bench, "second.greet") == "hello from two"


def test_a_configuration_that_cannot_be_read_changes_nothing(bench: workbench.Workbench, config: Path) -> None:
    config.write_text('{"mcpServers": {"greeter": ')
    with pytest.raises(MisuseError, match=r"mcp\.json"):
        bench.reload_servers()
    assert said(bench, "greeter.greet") == "hello from one"
    assert [state.status for state in bench.servers()] == ["ready", "ready"]


def test_a_limit_of_an_entry_goes_with_it(bench: workbench.Workbench, config: Path, server: Path) -> None:
    assert isinstance(bench._backend, EmbeddedBackend)
    registry = bench._backend.platform.registry
    config.write_text(json.dumps({"mcpServers": {"greeter": entry(server, "one", timeout=7)}}))
    assert bench.reload_servers() == ReloadResult(replaced=("greeter",))
    assert registry.call_timeouts == {"greeter": 7.0}
    config.write_text(json.dumps({"mcpServers": {}}))
    assert bench.reload_servers() == ReloadResult(removed=("greeter",))
    assert registry.call_timeouts == {}


def test_what_was_started_and_ended_is_on_the_record(bench: workbench.Workbench, config: Path) -> None:
    config.write_text(json.dumps({"mcpServers": {}}))
    bench.reload_servers()
    events = "event in ('removed', 'added') or event like '%reload%'"
    found = bench.sql(f"select server, event from registry_events where {events} order by ts")
    assert list(zip(found["server"], found["event"], strict=True)) == [
        ("platform", "configuration reload requested"),
        ("greeter", "removed"),
    ]
