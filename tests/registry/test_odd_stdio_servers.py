"""Servers over stdio that misbehave in one way each: they run, or the one call fails at once with the true reason."""

from __future__ import annotations

import asyncio
import dataclasses
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
from workbench.events import JSON, UnreachableError
from workbench.registry import Registry, ServerSpec, ServerState, health, managed_server
from workbench.registry.connection import RpcError
from workbench.registry.processes import failed_starts, startup, stderr_lines
from workbench.upstream import duplex, stdio, upstream_connection

SERVER = str(Path(__file__).with_name("odd_stdio_server.py"))
Launch = Callable[..., Awaitable[Registry]]


@pytest.fixture
async def launch(settings: Settings, log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launch]:
    """`await launch("banner", …)` starts a server of each mode under the name of the mode, or of what precedes `=`."""
    monkeypatch.setattr(duplex, "PROBE_TIMEOUT_S", 0.5)
    opened: list[Registry] = []

    async def start(*modes: str, **more: Any) -> Registry:
        specs = [
            ServerSpec(
                id=mode.partition("=")[0].partition(" ")[0].replace("_", "-"), kind="command", stdio=True,
                command=(sys.executable, SERVER, *mode.split(" ")), source="test.json",
            )
            for mode in modes
        ]  # fmt: skip
        changed = dataclasses.replace(settings, **{"health_interval": 60.0, **more})
        registry = Registry(changed, log, upstream_connection, specs=specs)
        opened.append(registry)
        await registry.start()
        return registry

    yield start
    for registry in opened:
        await registry.stop()


def state(registry: Registry) -> ServerState:
    (found,) = registry.servers()
    return found


async def call(registry: Registry, tool: str, timeout: float = 20.0, **arguments: Any) -> JSON:
    connection = registry.connection(state(registry).id)
    return await connection.request("tools/call", {"name": tool, "arguments": arguments}, timeout=timeout)


STARTS = (
    "plain", "initialize_first", "initialize_first_slowly", "ignores", "no_ping", "loads", "banner", "prompt",
    "json_logs", "progress_bar", "asks_first", "no_id_in_errors", "twice", "slow_list", "utf16", "utf16be", "crlf",
    "bom", "indented", "text_ids", "echo", "holder", "daemon", "deaf", "null_capabilities", "no_version", "batch",
    "stderr_first", "latin1", 'revision="2024-10-07"', 'revision="1.0"', 'revision="DRAFT-2026-v1"',
    'revision="2027-01-01"', "revision=null",
)  # fmt: skip


@pytest.mark.parametrize("mode", STARTS)
async def test_a_server_that_starts_oddly_runs(launch: Launch, mode: str) -> None:
    registry = await launch(mode)
    assert state(registry).status == "ready", state(registry).last_error
    assert state(registry).restarts == 0
    assert (await call(registry, "echo"))["content"][0]["text"].startswith("echo ")


@pytest.mark.parametrize(("mode", "noticed"), [("loads", False), ("loads_modern", False), ("ignores", True)])
async def test_a_slow_start_is_not_taken_for_an_older_revision(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, mode: str, noticed: bool
) -> None:
    monkeypatch.setattr(duplex, "PROBE_TIMEOUT_S", 0.3)
    registry = await launch(mode)
    found = state(registry)
    assert found.era == ("2026-07-28" if mode == "loads_modern" else "2025-06-18")
    assert any("nothing before `initialize`" in notice for notice in found.notices) is noticed


CALLS: dict[str, Any] = {
    "nan": {"structuredContent": {"mean": None, "most": [None]}},
    "large_nan": {"structuredContent": {"mean": None}},
    "surrogate": {"content": [{"type": "text", "text": "a\ufffdb"}]},
    "latin1": {"content": [{"type": "text", "text": "café"}]},
    "two_values": {"content": []},
    "over_lines": {"content": []},
    "text_id": {"content": []},
    "bare_text": {"content": [{"type": "text", "text": "done"}]},
    "content_null": {"content": []},
    "logs": {"content": []},
    "flood": {"content": []},
    "progress": {"content": []},
}


@pytest.mark.parametrize("tool", CALLS)
async def test_an_odd_answer_is_read(launch: Launch, tool: str) -> None:
    registry = await launch("plain")
    result = await call(registry, tool)
    assert {key: result[key] for key in CALLS[tool]} == CALLS[tool]
    assert state(registry).restarts == 0


FAILURES = {
    "broken": "answered with broken JSON",
    "large_broken": "answered with broken JSON",
    "never_ends": "did not go on",
    "error_text": "no such table",
    "unknown_id": "Parse error: depth",
}


@pytest.mark.parametrize("tool", FAILURES)
async def test_an_answer_that_cannot_be_read_fails_that_call_alone(
    launch: Launch, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    monkeypatch.setattr(stdio, "INCOMPLETE_TIMEOUT_S", 0.1)
    registry = await launch("plain")
    async with asyncio.timeout(5):
        with pytest.raises((UnreachableError, RpcError), match=FAILURES[tool]):
            await call(registry, tool)
    await call(registry, "echo")
    assert state(registry).restarts == 0


ENDS = {
    "exit0": "The process exited with status 0.",
    "exit0_held": "The process exited with status 0.",
    "crash": "The process exited with status 3.\nModuleNotFoundError: No module named 'postgres_driver'",
    "segfault": "The process exited with status 139, as shells report SIGSEGV.",
    "killed": "The process ended by SIGKILL.",
    "cut_off": "broken JSON: the output ended within it. The process exited with status 4",
    "closes_output": "The process closed its standard output but runs on.",
}


@pytest.mark.parametrize("tool", ENDS)
async def test_the_end_of_a_server_in_a_call_is_told_as_it_was_and_it_comes_back(launch: Launch, tool: str) -> None:
    registry = await launch("plain")
    async with asyncio.timeout(5):
        with pytest.raises(UnreachableError) as caught:
            await call(registry, tool)
    assert ENDS[tool] in str(caught.value)
    await until(lambda: state(registry).restarts == 1 and state(registry).status == "ready")
    await call(registry, "echo")


async def test_what_a_killed_server_wrote_long_before_is_not_told_as_the_reason(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stderr_lines, "RECENT_S", 0.0)
    registry = await launch("plain")
    await call(registry, "logs_error")
    id = state(registry).id
    await until(lambda: "ValueError: bad invoice" in registry.output(id))
    os.kill(state(registry).pid, signal.SIGKILL)
    await until(lambda: state(registry).status != "ready" or state(registry).restarts > 0)
    await until(lambda: "SIGKILL" in state(registry).last_error)
    ended, heading, written = state(registry).last_error.split("\n")[:3]
    assert ended.endswith("The process ended by SIGKILL.")
    assert heading.startswith("(Earlier, ")
    assert written == "ValueError: bad invoice"


async def test_a_server_that_dies_of_the_first_question_is_not_asked_it_again(
    launch: Launch, settings: Settings, log: AuditLog
) -> None:
    registry = await launch("initialize_first")
    with pytest.raises(UnreachableError):
        await call(registry, "exit0")
    await until(lambda: state(registry).restarts == 1 and state(registry).status == "ready")
    await flushed(log)
    events = [r["outcome"] for r in recorded(settings.home)]
    assert events.count("started_again") == 1
    assert events.count("ready") == 2


# --- how long a start may take


async def test_a_start_is_not_cut_while_the_process_works(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(managed_server.START_TIMEOUT, "command", 0.5)
    registry = await launch("works 2.0")
    assert state(registry).status == "ready", state(registry).last_error
    assert state(registry).restarts == 0


async def test_a_start_that_works_for_ever_ends_at_the_setting(launch: Launch) -> None:
    registry = await launch("works 60", start_timeout=0.6)
    assert state(registry).status == "failed"
    assert "still not ready after 0.6 s" in state(registry).last_error
    assert "start_timeout" in state(registry).last_error


async def test_a_process_that_does_nothing_is_given_up_sooner_with_what_to_do(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(managed_server.START_TIMEOUT, "command", 0.5)
    registry = await launch("silent")
    assert state(registry).status == "failed"
    assert "did nothing for 0.5 s" in state(registry).last_error
    assert "starts an MCP server over stdio" in state(registry).last_error


async def test_a_program_that_waits_for_an_answer_is_shown_with_its_question(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(managed_server.START_TIMEOUT, "command", 0.5)
    registry = await launch("asks")
    assert "wrote 'Enter your API key:' to its standard output" in state(registry).last_error


async def test_what_a_program_says_on_its_output_before_it_ends_is_shown(launch: Launch) -> None:
    registry = await launch("says_why_on_stdout")
    assert state(registry).last_error == "The process exited with status 1.\nError: no such folder: /nowhere"


async def test_a_launcher_that_starts_itself_without_end_is_ended(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "MAX_START_PROCESSES", 8)
    monkeypatch.setattr(startup, "POLL_INTERVAL_S", 0.05)
    registry = await launch("multiplies")
    assert state(registry).status == "failed"
    assert "more than the 8 that are allowed" in state(registry).last_error
    assert "starts itself instead" in state(registry).last_error


async def test_while_it_starts_it_is_said_how_that_goes(
    settings: Settings, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(startup, "REPORT_INTERVAL_S", 0.05)
    monkeypatch.setattr(startup, "POLL_INTERVAL_S", 0.05)
    spec = ServerSpec(id="silent", kind="command", stdio=True, command=(sys.executable, SERVER, "silent"))
    registry = Registry(settings, log, upstream_connection, specs=[spec])
    starting = asyncio.create_task(registry.start())
    await until(lambda: registry.servers() and "has been starting for" in state(registry).last_error)
    assert state(registry).status == "starting"
    await registry.stop()
    await starting


# --- failures that last


async def test_a_failure_that_lasts_is_counted_and_said_with_its_remedy(
    launch: Launch, settings: Settings, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_starts, "MAX_PERMANENT_RETRY_S", 0.05)
    registry = await launch("needs_key")
    await until(lambda: "for the same reason" in state(registry).last_error)
    found = state(registry)
    assert found.status == "failed"
    assert found.failures >= 3
    assert found.retry_us > 0
    assert found.last_error.startswith(
        "The process exited with status 1.\nError: API_KEY environment variable is required\nThis was failure "
    )
    assert "workbench servers restart needs-key" in found.last_error


async def test_a_missing_program_is_a_failure_that_lasts(settings: Settings, log: AuditLog) -> None:
    spec = ServerSpec(id="absent", kind="command", stdio=True, command=("no-such-program-here",))
    registry = Registry(settings, log, upstream_connection, specs=[spec])
    await registry.start()
    try:
        await until(lambda: "for the same reason" in state(registry).last_error)
        assert "Install it, or give its full path" in state(registry).last_error
    finally:
        await registry.stop()


# --- signs of life


async def test_a_server_that_is_busy_with_a_call_is_neither_down_nor_replaced(
    launch: Launch, settings: Settings, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "RECHECK_INTERVAL_S", 0.02)
    registry = await launch("plain", health_interval=0.02, call_timeout=60.0)
    pulse = registry._entries["plain"].first._pulse
    monkeypatch.setattr(pulse, "_patience", 0.05)
    pid = state(registry).pid
    calling = asyncio.create_task(call(registry, "busy", seconds=1.0))
    await until(lambda: pulse._excused)  # checks have gone unanswered
    assert state(registry).status == "ready"
    await calling
    await flushed(log)
    assert state(registry).pid == pid
    assert [r for r in recorded(settings.home) if r["outcome"] == "down"] == []
    assert {r["outcome"] for r in recorded(settings.home, "health_check")} == {"ok"}


async def test_a_process_that_works_on_is_not_replaced_though_its_call_was_given_up(
    launch: Launch, settings: Settings, log: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "RECHECK_INTERVAL_S", 0.02)
    registry = await launch("plain", health_interval=0.02, call_timeout=0.2)
    monkeypatch.setattr(registry._entries["plain"].first._pulse, "_patience", 0.05)
    monkeypatch.setattr(registry._entries["plain"].first._pulse, "_silence", 1.0)
    pid = state(registry).pid
    with pytest.raises(TimeoutError):
        await call(registry, "spin", timeout=0.2, seconds=2.0)
    await until(lambda: state(registry).status == "down")
    assert "may still be busy with a call that was given up" in state(registry).last_error
    await until(lambda: state(registry).status == "ready")
    assert state(registry).pid == pid


async def test_a_server_that_falls_silent_without_a_call_is_replaced_before_the_longest_call_would_be_over(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "RECHECK_INTERVAL_S", 0.02)
    monkeypatch.setattr(health, "SILENCE_TIMEOUT_S", 0.2)
    registry = await launch("plain", health_interval=0.02, call_timeout=3600.0)
    monkeypatch.setattr(registry._entries["plain"].first._pulse, "_patience", 0.05)
    pid = state(registry).pid
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: state(registry).status == "ready" and state(registry).pid not in (0, pid))


async def test_a_server_that_never_answers_ping_is_asked_something_else(
    launch: Launch, settings: Settings, log: AuditLog
) -> None:
    registry = await launch("no_ping", health_interval=0.05)
    replica = registry._entries["no-ping"].first
    replica._pulse._patience = 0.2
    await until(lambda: replica._pulse._deaf is not None)
    checked = state(registry).health_us
    await until(lambda: state(registry).health_us not in (0, checked))
    assert state(registry).status == "ready"
    assert state(registry).restarts == 0
