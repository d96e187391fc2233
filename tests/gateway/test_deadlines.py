"""How long a request may take: messages about it extend its deadline, up to a bound; silence does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.crossing_server import make
from tests.gateway.upstreams import UPSTREAMS, upstream
from workbench.config import Settings
from workbench.events import JSON, Call
from workbench.registry.connection import Connection, LaunchContext
from workbench.registry.server import ServerSpec
from workbench.upstream import upstream_connection
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.deadline import renewal
from workbench.upstream.request_attribution import CallsInFlight

SERVER = Path(__file__).with_name("crossing_server.py")

Advance = Callable[[float], None]


@pytest.fixture
async def advance(monkeypatch: pytest.MonkeyPatch) -> Advance:
    """`advance(20)` lets twenty seconds pass by the clock of the loop, on which deadlines are."""
    loop, offset = asyncio.get_running_loop(), 0.0
    real = loop.time

    def later(seconds: float) -> None:
        nonlocal offset
        offset += seconds

    monkeypatch.setattr(loop, "time", lambda: real() + offset)
    return later


@pytest.fixture(params=UPSTREAMS)
async def connection(request: Any, advance: Advance, serve: Any) -> AsyncIterator[Connection]:
    async with upstream(request.param, serve, make, SERVER) as found:
        if isinstance(found, str):
            found = upstream_connection(ServerSpec(id="x", kind="url"), LaunchContext(url=found))
        await found.open()
        yield found
        await found.close()


async def worked(connection: Connection, advance: Advance, steps: int, **limits: Any) -> tuple[str, list[float]]:
    """What `work` says when each of its steps takes twenty seconds, and the progress that was heard of it."""
    heard: list[float] = []
    told: set[asyncio.Task[JSON]] = set()

    async def notify(message: JSON) -> None:
        heard.append(message["params"]["progress"])
        advance(20.0)
        told.add(asyncio.create_task(connection.request("tools/call", {"name": "go_on"}, timeout=3600)))

    params = {"name": "work", "arguments": {"steps": steps}}
    try:
        result = await connection.request("tools/call", params, notify=notify, meta={"progressToken": "t"}, **limits)
        return result["content"][0]["text"], heard
    except TimeoutError:
        return "timeout", heard
    finally:
        for task in told:
            task.cancel()
        await asyncio.gather(*told, return_exceptions=True)


async def test_what_reports_progress_may_take_longer(connection: Connection, advance: Advance) -> None:
    assert await worked(connection, advance, 5, timeout=30.0, longest=200.0) == ("done", [1, 2, 3, 4, 5])


async def test_progress_without_end_is_cut_at_the_bound(connection: Connection, advance: Advance) -> None:
    outcome, heard = await worked(connection, advance, 1000, timeout=30.0, longest=130.0)
    assert outcome == "timeout"
    assert heard[-1] in (6, 7)  # 120 or 140 seconds have passed


async def test_without_a_longer_bound_progress_extends_nothing(connection: Connection, advance: Advance) -> None:
    outcome, heard = await worked(connection, advance, 1000, timeout=30.0)
    assert outcome == "timeout"
    assert heard[-1] in (1, 2)


async def test_silence_after_progress_is_cut(connection: Connection, advance: Advance) -> None:
    begun = asyncio.Event()

    async def notify(message: JSON) -> None:
        begun.set()

    hang = connection.request(
        "tools/call", {"name": "hang"}, timeout=30.0, longest=3600.0, notify=notify, meta={"progressToken": "t"}
    )
    waiting = asyncio.ensure_future(hang)
    await begun.wait()
    advance(30.0)
    with pytest.raises(TimeoutError):
        await waiting


async def test_a_log_line_is_a_sign_of_life_of_a_call_that_is_alone_on_its_channel() -> None:
    """Over one channel for all calls nothing says whose line it is; of several, one may hang while another logs."""
    renewed: list[str] = []

    async def nobody(request: JSON) -> JSON:
        raise AssertionError

    callers = CallsInFlight()
    line: JSON = {"method": "notifications/message", "params": {"level": "info", "data": "working"}}
    first = await callers.enter(ClientResponder({}, "5:local ann", nobody))
    first.renew = lambda: renewed.append("first")
    callers.log(line)
    second = await callers.enter(ClientResponder({}, "5:local ann", nobody))
    second.renew = lambda: renewed.append("second")
    callers.log(line)
    callers.leave(first, answered=True)
    callers.log(line)
    assert renewed == ["first", "second"]


async def test_a_question_to_a_person_is_not_cut_short_by_progress() -> None:
    async with asyncio.timeout(300.0) as timer:
        renew = renewal(timer, 5.0, 3600.0)
        assert renew is not None
        until = timer.when()
        renew()
        assert timer.when() == until
        await asyncio.sleep(0)


async def test_a_tool_that_reports_progress_for_ever_ends_at_the_bound_and_the_caller_is_told_why(furnish: Any) -> None:
    mcp = MCPServer("chatter")

    @mcp.tool()
    async def chatter(ctx: Context) -> str:
        step = 0
        while True:
            await ctx.report_progress(step := step + 1)
            await asyncio.sleep(0.02)

    house = await furnish(servers={"x": mcp}, call_timeout=1.0, call_timeout_with_progress=2.0)
    told: list[tuple[str, str]] = []

    async def notify(message: JSON) -> None: ...

    for own in (None, 0.3):
        call = Call(
            caller=house.owner, tool="x.chatter", arguments={}, source="python", timeout_s=own,
            meta={"_meta": {"progressToken": "mine"}},
        )  # fmt: skip
        outcome = await house.gateway.call(call, notify=notify)
        told.append((outcome.kind, outcome.message))
    assert told == [
        ("timeout", "x.chatter reported progress but no result within 2 s and was cancelled."),
        ("timeout", "x.chatter did not answer within 0.3 s and was cancelled."),
    ]


async def test_by_default_a_stdio_server_may_be_busy_for_a_minute_in_its_only_thread() -> None:
    assert Settings().call_timeout > 60
    assert Settings().call_timeout_with_progress > Settings().call_timeout
