"""Thousands of odd messages over every transport: nobody gets a 500, a secret, or another one's answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import psutil
import pytest

from tests.asgi import listening
from tests.fuzz.protocol_client import Fuzzer
from tests.fuzz.rest_client import LEFT_OUT, Route
from tests.fuzz.stdio_client import LINES, over_stdio
from tests.gateway.conftest import House, make_calc
from tests.interop.defense_adapter import opened
from workbench.api import build_api, build_app
from workbench.audit.verification.verifier import verify
from workbench.endpoint.websocket import WebSocketDoor
from workbench.platform.platform import Platform
from workbench.serve.http_front import Front

Door = Literal["mcp", "rest", "stdio"]
MAX_GROWTH = 48 << 20
"""Bytes that the process may have grown by, once the first messages were answered: caches have bounds, and fill up."""


@asynccontextmanager
async def gateway_port(house: House, endpoint: Any = None) -> AsyncIterator[int]:
    """The gateway, or `endpoint` around it, behind the server that `workbench up` has; the value is its port."""
    door = WebSocketDoor(house.endpoint, house.registry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (door if scope["type"] == "websocket" else endpoint or house.endpoint)(scope, receive, send)

    options = {"http": Front, "ws": "websockets-sansio", "ws_max_size": 1 << 20, "ws_per_message_deflate": False}
    async with listening(app, log_level="warning", log_config=None, **options) as server:
        yield server.port


async def fuzzed(number: int, caplog: pytest.LogCaptureFixture, seed: int = 42, door: Door = "mcp") -> Fuzzer:
    """Send so many messages to one door, and check everything that has to hold meanwhile and afterwards."""
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    many = 10_000_000
    async with opened(
        {"calc": make_calc().mcp}, rate_per_minute=many, failed_credentials_per_minute=many, record_bytes_per_hour=0
    ) as house:
        keys = [house.key("owner", subject=name) for name in ("ann", "bea", "cyd")]
        keys.append(house.key("caller", subject="dan"))
        secrets = [key.encode() for key in keys] + [house.access.local_key().encode()]
        async with AsyncExitStack() as stack:
            endpoint, routes = None, []
            if door == "rest":
                platform = Platform(
                    house.settings, house.audit, house.access, house.policy, house.registry, house.gateway
                )
                stack.push_async_callback(platform.sql.close)
                endpoint, routes = build_app(platform), documented(platform)
            port = await stack.enter_async_context(gateway_port(house, endpoint))
            fuzzer = Fuzzer(port, keys, secrets, seed, routes=routes)
            stop = asyncio.Event()
            beside = asyncio.create_task(fuzzer.behave(stop))
            first = min(number // 2, 1_000)
            if door == "stdio":
                await bridged(fuzzer, number, house)
                number = first = 0
            await fuzzer.run(first)
            level = await _level()
            await fuzzer.run(number - first, first)
            after = await _level()
            stop.set()
            fuzzer.counts["right answers beside"] = await beside
        home = house.settings.home
        assert not fuzzer.findings, "\n".join(fuzzer.findings)
        assert unhandled == []
        # the SDK of the server behind the gateway logs what it refuses
        ours = [record for record in caplog.records if not record.name.startswith("mcp.")]
        assert [record.getMessage() for record in ours if record.levelno >= logging.ERROR or record.exc_info] == []
        assert after[0] <= level[0] + 16, "open files"
        assert after[1] <= level[1] + MAX_GROWTH, "memory"
        assert fuzzer.counts["right answers beside"] > 5
        await house.audit.close()
        found = verify(home, deep=True)
        assert found.ok, found
        print(number, "messages:", dict(fuzzer.counts), "growth:", after[1] - level[1], file=sys.__stderr__)
    return fuzzer


def documented(platform: Platform) -> list[Route]:
    """All routes of the management API but those that are left out."""
    paths = build_api(platform).openapi()["paths"]
    return [(method, path) for path, methods in paths.items() if path not in LEFT_OUT for method in methods]


async def bridged(fuzzer: Fuzzer, number: int, house: House) -> None:
    """Write so many messages to `workbench connect`, a part to each process; six at once, since they mostly wait."""
    waiting = iter(range(-(-number // LINES)))

    async def work() -> None:
        for n in waiting:
            token = fuzzer.tokens[1 + n % (len(fuzzer.tokens) - 1)]
            home = house.settings.home
            seed, lines = f"{fuzzer.seed}-stdio-{n}", min(LINES, number - n * LINES)
            findings, counts = await over_stdio(fuzzer.port, token, home, fuzzer.secrets, seed, lines)
            fuzzer.findings += findings
            fuzzer.counts += counts

    await asyncio.gather(*(work() for _ in range(6)))


async def _level() -> tuple[int, int]:
    """Open files and bytes of this process, once what has ended is gone."""
    for _ in range(50):
        await asyncio.sleep(0)
    gc.collect()
    return len(os.listdir("/proc/self/fd")), psutil.Process().memory_info().rss


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_three_hundred_odd_messages_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    fuzzer = await fuzzed(300, caplog)
    assert fuzzer.counts["200"] > 5, "some of it was understood"
    assert min(fuzzer.counts[way] for way in ("over_http", "over_websocket", "over_sse")) > 5


@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_three_hundred_odd_requests_of_the_management_api_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    fuzzer = await fuzzed(300, caplog, door="rest")
    assert fuzzer.counts["rest 200"] > 20, "some of it was understood"


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_hundred_odd_lines_to_the_bridge_of_stdio_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    fuzzer = await fuzzed(100, caplog, door="stdio")
    assert fuzzer.counts["answers"] > 20


@pytest.mark.interop
@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("door", ["mcp", "rest", "stdio"])
async def test_ten_thousand_odd_messages_harm_nobody(caplog: pytest.LogCaptureFixture, door: Door) -> None:
    await fuzzed(10_000, caplog, door=door)
