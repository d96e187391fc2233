"""Real child processes: killed, hung, dying at birth, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.registry.conftest import flushed, recorded, until
from workbench.audit import AuditLog
from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry import Registry, ServerDownError, ServerSpec, ServerState, UnknownToolError, managed_server
from workbench.registry.processes import reaper
from workbench.upstream import upstream_connection

CHILD = str(Path(__file__).with_name("child_server.py"))


@pytest.fixture(params=[True, False], ids=["uvloop", "asyncio"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


Launch = Callable[..., Awaitable[Registry]]


def spec(id: str, mode: str = "serve", *, stdio: bool = False, **more: Any) -> ServerSpec:
    kind: Any = "command" if stdio else "bundled"
    return ServerSpec(
        id=id, kind=kind, stdio=stdio, command=(sys.executable, CHILD, mode), **{"source": "test.json", **more}
    )


def alive(pid: int) -> bool:
    """Whether it runs; one that waits to be reaped by its new parent does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def state(registry: Registry, id: str) -> ServerState:
    found = registry.state(id)
    assert found is not None
    return found


@pytest.fixture
async def launch(settings: Settings, log: AuditLog) -> AsyncIterator[Launch]:
    opened: list[Registry] = []

    async def launch_them(*specs: ServerSpec, **more: Any) -> Registry:
        # the end of a process is noticed by itself; only the tests of hanging need health checks
        changed = dataclasses.replace(settings, **{"health_interval": 60.0, **more})
        registry = Registry(changed, log, upstream_connection, specs=specs)
        opened.append(registry)
        await registry.start()
        return registry

    yield launch_them
    for registry in opened:
        await registry.stop()


@pytest.mark.parametrize("stdio", [True, False])
async def test_a_killed_server_is_restarted_and_said_so(
    launch: Launch, settings: Settings, log: AuditLog, stdio: bool
) -> None:
    registry = await launch(spec("crm", stdio=stdio))
    before = state(registry, "crm")
    assert before.status == "ready", before.last_error
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: state(registry, "crm").restarts == 1 and state(registry, "crm").status == "ready")
    after = state(registry, "crm")
    assert after.pid != before.pid
    assert after.url == before.url  # the port is kept
    assert after.last_error == ""  # of a server that is ready nothing bad is said
    assert registry.resolve("crm.who")[0].description == f"pid {after.pid}"
    await flushed(log)
    said = [r["outcome"] for r in recorded(settings.home)]
    assert [e for e in said if e != "tools_changed"] == ["ready", "down", "restarting", "ready"]
    (down,) = [r for r in recorded(settings.home) if r["outcome"] == "down"]
    assert "ended by SIGKILL" in down["data"]["why"]


async def test_a_crash_is_noticed_although_a_grandchild_holds_the_pipes(launch: Launch) -> None:
    registry = await launch(spec("nested", "nest", stdio=True))
    os.kill(state(registry, "nested").pid, signal.SIGKILL)
    await until(lambda: "ended by SIGKILL" in state(registry, "nested").last_error, 3)
    await until(lambda: state(registry, "nested").restarts == 1, 3)


async def test_a_call_during_the_restart_waits_instead_of_being_refused(launch: Launch) -> None:
    registry = await launch(spec("crm"), restart_backoff=0.2)
    _, connection = registry.resolve("crm.who")
    os.kill(state(registry, "crm").pid, signal.SIGKILL)
    await until(lambda: state(registry, "crm").status == "down")
    import socket

    port = int(state(registry, "crm").url.split(":")[2].split("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        await until(lambda: state(registry, "crm").status == "ready")
    assert connection.alive


async def test_a_server_that_dies_at_birth_shows_why_and_stops_no_other(launch: Launch) -> None:
    registry = await launch(spec("sick", "die"), spec("pipe", "die", stdio=True), spec("well", stdio=True))
    assert [t.qualified for t in registry.tools()] == ["well.who"]
    for id in ("sick", "pipe"):
        assert state(registry, id).status == "failed"
        assert state(registry, id).last_error.startswith(
            "The process exited with status 3.\nno such database: /nowhere"
        )
        assert set(registry.output(id)) == {"no such database: /nowhere"}


async def test_a_program_that_is_missing_is_named(launch: Launch, tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("no program")
    registry = await launch(
        program("absent", command=("no-such-program-here",)),
        program("plain", command=(str(plain),)),
        program("adrift", command=(sys.executable,), cwd=str(tmp_path / "nowhere")),
    )
    assert "'no-such-program-here' is not on the PATH" in state(registry, "absent").last_error
    assert "cannot be started" in state(registry, "plain").last_error
    assert "working directory" in state(registry, "adrift").last_error


async def test_a_program_that_ends_at_once_without_an_error_gets_a_hint(launch: Launch) -> None:
    registry = await launch(program("brief", command=(sys.executable, "-c", "pass")))
    assert state(registry, "brief").status == "failed"
    assert "exited with status 0. A server runs until it is ended" in state(registry, "brief").last_error
    assert "test.json" in state(registry, "brief").last_error


async def test_a_program_that_talks_but_not_in_mcp_fails_soon_with_what_it_said(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(managed_server.START_TIMEOUT, "command", 0.4)
    registry = await launch(program("chatty", command=("sh", "-c", "echo hello; exec sleep 100")))
    assert state(registry, "chatty").status == "failed"
    assert "wrote 'hello'" in state(registry, "chatty").last_error


def program(id: str, **more: Any) -> ServerSpec:
    return ServerSpec(id=id, kind="command", stdio=True, source="test.json", **more)


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("stdio", [True, False])
async def test_a_hanging_server_is_noticed_and_replaced(launch: Launch, stdio: bool) -> None:
    registry = await launch(spec("crm", stdio=stdio), health_interval=0.05, call_timeout=0.5)
    before = state(registry, "crm")
    os.kill(before.pid, signal.SIGSTOP)
    await until(lambda: state(registry, "crm").status == "down", 60)
    assert "does not answer" in state(registry, "crm").last_error
    await until(lambda: state(registry, "crm").status == "ready", 60)
    assert state(registry, "crm").pid != before.pid
    assert not alive(before.pid)


async def test_servers_of_a_configuration_file_are_launched(settings: Settings, log: AuditLog, tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(json.dumps({"mcpServers": {"mine": {"command": sys.executable, "args": [CHILD]}}}))
    registry = Registry(dataclasses.replace(settings, servers=(), mcp_config=file), log, upstream_connection)
    await registry.start()
    try:
        assert state(registry, "mine").status == "ready", state(registry, "mine").last_error
        assert state(registry, "mine").transport == "stdio"
        assert registry.connection("mine") is registry.resolve("mine.who")[1]
    finally:
        await registry.stop()


async def test_nothing_is_launched_when_the_configuration_cannot_be_read(
    settings: Settings, log: AuditLog, tmp_path: Path
) -> None:
    file = tmp_path / "mcp.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}')
    registry = Registry(dataclasses.replace(settings, mcp_config=file), log, upstream_connection)
    with pytest.raises(MisuseError, match="line 1, column 38"):
        await registry.start()
    assert registry.servers() == []
    await registry.stop()


async def test_a_server_that_cannot_be_used_is_kept_in_sight_beside_those_that_run(
    settings: Settings, log: AuditLog, tmp_path: Path
) -> None:
    file = tmp_path / "mcp.json"
    mine = {"command": sys.executable, "args": [CHILD], "disabledTools": ["who"], "timeout": 77}
    others = {"a": {"comand": "x"}, "off": {"command": "x", "disabled": True}}
    file.write_text(json.dumps({"mcpServers": {**others, "mine": mine}}))
    registry = Registry(dataclasses.replace(settings, servers=(), mcp_config=file), log, upstream_connection)
    await registry.start()
    try:
        assert [(s.id, s.status) for s in registry.excluded()] == [("a", "invalid"), ("off", "disabled")]
        with pytest.raises(ServerDownError, match="Did you mean 'command'"):
            registry.resolve("a.anything")
        with pytest.raises(MisuseError, match="'off' is disabled and does not run"):
            await registry.restart("off")
        assert registry.exists("a", "local")
        assert state(registry, "mine").status == "ready"
        assert "These tools are hidden: who." in state(registry, "mine").notices
        assert "mine.who" not in {tool.qualified for tool in registry.tools()}
        with pytest.raises(UnknownToolError):
            registry.resolve("mine.who")
        assert registry.call_timeouts == {"mine": 77.0}
    finally:
        await registry.stop()


async def test_stderr_is_kept_but_not_without_bounds(launch: Launch) -> None:
    registry = await launch(spec("loud", "noisy", stdio=True))
    await until(lambda: registry.output("loud")[-1:] == ["last"])
    kept = registry.output("loud")
    assert len(kept) == 200
    assert max(map(len, kept)) <= 2_000
    assert "line 999" in kept


async def test_stop_ends_everything_also_what_does_not_want_to_end(launch: Launch) -> None:
    registry = await launch(
        spec("nested", "nest", stdio=True), spec("deaf", "deaf", stdio=True), spec("stiff", "deaf"), spec("plain")
    )
    pids = [s.pid for s in registry.servers()]
    pids += map(int, registry.resolve("nested.who")[0].description.split())
    assert all(map(alive, pids))
    async with asyncio.timeout(10):
        await registry.stop()
    await until(lambda: not any(map(alive, pids)), 1)


@pytest.mark.parametrize("cancelled", [False, True], ids=["stopped", "cancelled and stopped"])
@pytest.mark.parametrize("stdio", [True, False])
async def test_nothing_of_a_server_that_is_still_starting_outlives_the_platform(
    settings: Settings, log: AuditLog, tmp_path: Path, stdio: bool, cancelled: bool
) -> None:
    started = tmp_path / "started"
    loading = spec("loading", "loading", stdio=stdio, env={"STARTED": str(started)})
    registry = Registry(dataclasses.replace(settings, health_interval=60.0), log, upstream_connection, specs=[loading])
    starting = asyncio.create_task(registry.start())
    try:
        await until(started.exists)
        pids = [int(word) for word in started.read_text().split()]
        assert len(pids) == 3
        assert all(map(alive, pids))
        assert state(registry, "loading").status == "starting"
        if cancelled:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
    finally:
        await registry.stop()
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    await until(lambda: not any(map(alive, pids)))


async def test_grandchildren_end_with_a_server_that_is_restarted(launch: Launch) -> None:
    registry = await launch(spec("nested", "nest", stdio=True))
    near, _ = map(int, registry.resolve("nested.who")[0].description.split())
    await registry.restart("nested")
    assert not alive(near)


async def test_a_child_sees_only_what_it_was_given(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "WORKBENCH_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    registry = await launch(spec("crm", stdio=True, env={"MINE": "1"}), spec("own"))
    seen = Path(f"/proc/{state(registry, 'crm').pid}/environ").read_bytes().decode()
    names = {line.partition("=")[0] for line in seen.split("\0") if line}
    assert "secret" not in seen
    assert {"PATH", "MINE", reaper.VARIABLE} <= names
    assert "MCP_SERVER_SECRET" not in names


async def test_only_the_gateway_is_answered_by_a_bundled_server(launch: Launch) -> None:
    import http.client

    registry = await launch(spec("crm"))
    host = state(registry, "crm").url.split("/")[2]

    def ask() -> int:
        connection = http.client.HTTPConnection(host, timeout=5)
        connection.request("POST", "/mcp", body=b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
        status = connection.getresponse().status
        connection.close()
        return status

    assert await asyncio.to_thread(ask) == 401


async def test_a_killed_reaper_is_replaced_and_told_everything(launch: Launch) -> None:
    registry = await launch(spec("crm", stdio=True), restart_backoff=60.0)
    supervisor = registry.supervisor
    first = supervisor._reaper
    assert first is not None
    first.kill()
    first.wait()
    await registry.restart("crm")
    second = supervisor._reaper
    assert second is not None
    assert second.pid != first.pid
    pid = state(registry, "crm").pid
    assert alive(pid)
    os.close(supervisor._pipe)  # as if we had died
    supervisor._pipe = os.open(os.devnull, os.O_WRONLY)
    await until(lambda: not alive(pid))
    assert await asyncio.to_thread(second.wait) == 0
