"""Upstream servers that are children of ours, and servers in the same process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.events import JSON, MisuseError, UnreachableError
from workbench.registry.connection import LaunchContext, RpcError
from workbench.registry.server import ServerSpec
from workbench.upstream import duplex, upstream_connection
from workbench.upstream.http.streamable_http import HttpConnection
from workbench.upstream.in_memory import MemoryConnection
from workbench.upstream.stdio import StdioConnection

CHILD = Path(__file__).parent / "stdio_child.py"
Launch = Callable[..., Awaitable[StdioConnection]]


@pytest.fixture
async def launch(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Launch]:
    """`await launch("old")` starts the child of that kind; it is gone when the test ends."""
    children: list[tuple[asyncio.subprocess.Process, StdioConnection]] = []

    async def start(kind: str, **options: Any) -> StdioConnection:
        if kind == "old":  # it does not answer the probe at all
            monkeypatch.setattr(duplex, "PROBE_TIMEOUT_S", 0.4)
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), kind, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdin is not None
        assert child.stdout is not None
        connection = StdioConnection(child.stdin, child.stdout, name=kind, **options)
        children.append((child, connection))
        return connection

    yield start
    for child, connection in children:
        await connection.close()
        if child.returncode is None:
            child.kill()
        assert child.stdout is not None
        await child.stdout.read()
        await child.wait()


async def test_a_dual_era_child_is_spoken_to_in_the_modern_way(launch: Launch) -> None:
    connection = await launch("sdk")
    await connection.open()
    assert connection.era == "2026-07-28"
    assert connection.server_info["name"] == "child"
    assert connection.alive
    texts = [f"{n} ü\n\u2028" for n in range(20)]
    answers = await asyncio.gather(
        *(connection.request("tools/call", {"name": "echo", "arguments": {"text": t}}, timeout=5) for t in texts)
    )
    assert [a["content"][0]["text"] for a in answers] == texts
    heard: list[JSON] = []

    async def notify(message: JSON) -> None:
        heard.append(message)

    await connection.request("tools/call", {"name": "steps"}, timeout=5, notify=notify, meta={"progressToken": 7})
    assert [m["params"]["progressToken"] for m in heard] == [7]
    with pytest.raises(RpcError) as caught:
        await connection.request("no/such", {}, timeout=5)
    assert caught.value.code == -32601


async def test_an_old_child_gets_a_handshake_and_hears_of_cancellation(launch: Launch) -> None:
    connection = await launch("old")
    heard: list[JSON] = []
    connection.on_notification = heard.append
    await connection.open()
    assert connection.era == "2025-03-26"
    with pytest.raises(TimeoutError):
        await connection.request("tools/call", {"name": "hang"}, timeout=0.2)
    # what the server asked of us was refused; the banner on its stdout disturbed nobody
    expected = {-32601, "hang", "notifications/cancelled"}
    async with asyncio.timeout(5):
        while set((await connection.request("tools/call", {"name": "tell"}, timeout=5))["heard"]) != expected:
            pass
    assert heard == [{"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}]


async def test_the_death_of_a_child_ends_every_request_under_way(launch: Launch) -> None:
    connection = await launch("old")
    await connection.open()
    hanging = asyncio.create_task(connection.request("tools/call", {"name": "hang"}, timeout=30))
    dying = asyncio.create_task(connection.request("tools/call", {"name": "die"}, timeout=30))
    async with asyncio.timeout(5):
        for task in (hanging, dying):
            with pytest.raises(UnreachableError, match="ended"):
                await task
    assert not connection.alive
    with pytest.raises(UnreachableError, match="ended"):
        await connection.request("tools/list", {}, timeout=1)


async def test_long_lines_pass_and_endless_ones_end_the_connection(launch: Launch) -> None:
    connection = await launch("old", max_bytes=3 << 20)
    await connection.open()
    answer = await connection.request("tools/call", {"name": "big", "arguments": {"size": 2 << 20}}, timeout=10)
    assert len(answer["text"]) == 2 << 20
    with pytest.raises(UnreachableError, match="more than 3,145,728 bytes"):
        await connection.request("tools/call", {"name": "big", "arguments": {"size": 5 << 20}}, timeout=10)


async def test_a_child_that_never_answers_is_unreachable(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplex, "PROBE_TIMEOUT_S", 0.1)
    monkeypatch.setattr(duplex, "HANDSHAKE_TIMEOUT_S", 0.1)
    connection = await launch("rude")
    with pytest.raises(UnreachableError, match="in time"):
        await connection.open()
    assert not connection.alive


async def test_a_server_in_this_process_is_called_without_a_transport(calc: Any) -> None:
    connection = MemoryConnection(calc.mcp, name="calc")
    await connection.open()
    assert connection.era == "2026-07-28"
    answer = await connection.request("tools/call", {"name": "add", "arguments": {"a": 2, "b": 2}}, timeout=5)
    assert answer["structuredContent"] == {"total": 4}
    with pytest.raises(TimeoutError):
        await connection.request("tools/call", {"name": "hang", "arguments": {}}, timeout=0.1)
    async with asyncio.timeout(5):
        await calc.cancelled.wait()
    await connection.close()
    assert not connection.alive
    with pytest.raises(UnreachableError):
        await connection.request("tools/list", {}, timeout=1)


async def test_what_was_launched_decides_the_transport(launch: Launch) -> None:
    spec = ServerSpec(id="s", kind="url")
    over_http = upstream_connection(spec, LaunchContext(url="http://127.0.0.1:1/mcp"))
    assert isinstance(over_http, HttpConnection)
    piped = await launch("rude")
    over_pipes = upstream_connection(spec, LaunchContext(stdin=piped._stdin, stdout=piped._stdout))
    assert isinstance(over_pipes, StdioConnection)
    with pytest.raises(MisuseError, match="neither"):
        upstream_connection(spec, LaunchContext())
