"""Thousands of odd messages over every transport: nobody gets a 500, a secret, or another one's answer."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
import uvicorn

from tests.fuzz.protocol_client import Fuzzer
from tests.gateway.conftest import House, StartedServer, make_calc
from tests.interop.defense_adapter import opened
from workbench.audit.verification.verifier import verify
from workbench.endpoint.websocket import WebSocketDoor
from workbench.serve.http_front import Front

MAX_GROWTH = 48 << 20
"""Bytes that the process may have grown by, once the first messages were answered: caches have bounds, and fill up."""


@asynccontextmanager
async def listening(house: House, endpoint: Any = None) -> AsyncIterator[int]:
    """The gateway, or `endpoint` around it, behind the server that `workbench up` has; the value is its port."""
    door = WebSocketDoor(house.endpoint, house.registry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (door if scope["type"] == "websocket" else endpoint or house.endpoint)(scope, receive, send)

    with socket.create_server(("127.0.0.1", 0), backlog=256) as bound:
        config = uvicorn.Config(
            app, http=Front, ws="websockets-sansio", ws_max_size=1 << 20, ws_per_message_deflate=False,
            log_level="warning", log_config=None, lifespan="off", timeout_graceful_shutdown=1,
        )  # fmt: skip
        server = StartedServer(config)
        task = asyncio.create_task(server._serve([bound]))
        await server.listening.wait()
        yield bound.getsockname()[1]
        server.should_exit = True
        await task


async def fuzzed(number: int, caplog: pytest.LogCaptureFixture, seed: int = 42) -> Fuzzer:
    """Send so many messages, and check everything that has to hold meanwhile and afterwards."""
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    many = 10_000_000
    async with opened(
        {"calc": make_calc().mcp}, rate_per_minute=many, failed_credentials_per_minute=many, record_bytes_per_hour=0
    ) as house:
        keys = [house.key("owner", subject=name) for name in ("ann", "bea", "cyd")]
        keys.append(house.key("caller", subject="dan"))
        secrets = [key.encode() for key in keys] + [house.access.local_key().encode()]
        async with listening(house) as port:
            fuzzer = Fuzzer(port, keys, secrets, seed)
            stop = asyncio.Event()
            beside = asyncio.create_task(fuzzer.behave(stop))
            first = min(number // 2, 1_000)
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


@pytest.mark.interop
@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_ten_thousand_odd_messages_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    await fuzzed(10_000, caplog)
