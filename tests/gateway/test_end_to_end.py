"""Real clients over real sockets: the SDK in both eras, through uvicorn, to real servers behind the gateway."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from workbench.events import Call
from workbench.upstream.http.client_pool import HttpClientPool
from workbench.upstream.http.loopback_client import LoopbackClient

CHILD = Path(__file__).parent / "stdio_child.py"


@asynccontextmanager
async def client(url: str, token: str, mode: Any, **options: Any) -> Any:
    """An SDK client of the gateway; `mode` is `legacy` or a revision."""
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, **options) as connected:
            yield connected


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_client_lists_calls_and_hears_progress(furnish: Any, serve: Any, calc: Any, mode: str) -> None:
    house = await furnish(servers={"remote": await serve(calc.mcp.streamable_http_app()) + "/mcp"})
    url = await serve(house.endpoint)
    heard: list[Any] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        heard.append((progress, message))

    async with client(f"{url}/mcp", house.access.local_key(), mode) as connected:
        tools = (await connected.list_tools()).tools
        assert {"calc__add", "remote__add"} <= {tool.name for tool in tools}
        answer = await connected.call_tool("remote__add", {"a": 2, "b": 3})
        assert answer.structured_content == {"total": 5}
        await connected.call_tool("remote.steps", {}, progress_callback=on_progress)
        assert heard == [(1, "half"), (2, "whole")]
        failed = await connected.call_tool("remote.fail", {})
        assert failed.is_error
        with pytest.raises(MCPError, match="There is no tool"):
            await connected.call_tool("remote.nope", {})
        mirrored = await connected.call_tool("remote__region", {"region": "Zürich"})
        assert mirrored.content[0].text == "Zürich"
    async with client(f"{url}/servers/remote/mcp", house.access.local_key(), mode) as connected:
        assert "add" in {tool.name for tool in (await connected.list_tools()).tools}
        assert (await connected.call_tool("add", {"a": 2, "b": 3})).structured_content == {"total": 5}
    protocols = {record["protocol"] for record in house.recorded()}
    assert protocols == {"2026-07-28" if mode == "auto" else "2025-11-25"}
    assert house.outcomes() == ["ok", "ok", "tool_error", "not_found", "ok", "ok"]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_giving_up_in_the_client_cancels_on_the_server(furnish: Any, serve: Any, calc: Any, mode: str) -> None:
    house = await furnish(servers={"remote": await serve(calc.mcp.streamable_http_app()) + "/mcp"})
    url = await serve(house.endpoint)
    async with client(f"{url}/mcp", house.access.local_key(), mode) as connected:
        await connected.list_tools()
        asked = asyncio.create_task(connected.call_tool("remote.hang", {}))
        async with asyncio.timeout(10):
            await calc.started.wait()
            asked.cancel()
            await calc.cancelled.wait()
            while not house.outcomes():  # noqa: ASYNC110 - the record is written by another thread
                await asyncio.sleep(0.005)
    assert house.outcomes() == ["cancelled"]


@pytest.mark.slow
async def test_a_server_killed_in_the_middle_of_a_call_is_an_outcome(furnish: Any, serve: Any, browse: Any) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), "sdk", "--http", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert child.stdout is not None
    async with asyncio.timeout(30):
        port = int(await child.stdout.readline())
    house = await furnish(servers={"remote": f"http://127.0.0.1:{port}/mcp"}, health_interval=1.0)
    browser = browse(house)
    asked = asyncio.create_task(browser.modern("tools/call", {"name": "remote.hang", "arguments": {}}))
    async with asyncio.timeout(30):
        assert await child.stdout.readline() == b"hanging\n"
        child.kill()
        response = await asked
        await child.stdout.read()
        await child.wait()
    result = response.json["result"]
    assert result["_meta"]["workbench/outcome"]["kind"] == "unavailable"
    assert "remote" in result["content"][0]["text"]
    again = await browser.modern("tools/call", {"name": "remote.echo", "arguments": {"text": "x"}})
    assert again.json["result"]["_meta"]["workbench/outcome"]["kind"] == "unavailable"
    async with asyncio.timeout(30):
        while True:
            listed = (await browser.modern("tools/list")).json["result"]
            if listed["_meta"]["workbench/servers"]["remote"]["status"] != "ready":
                break
            await asyncio.sleep(0.01)
    assert listed["_meta"]["workbench/servers"]["calc"]["status"] == "ready"
    assert "calc__add" in [tool["name"] for tool in listed["tools"]]
    assert house.outcomes() == ["unavailable", "unavailable"]


def sockets_to(port: int) -> list[Any]:
    """Our connections to a server on this machine."""
    return [c for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == port]


async def test_a_hundred_cancelled_calls_leave_nothing_behind(furnish: Any, serve: Any, calc: Any) -> None:
    house = await furnish(servers={"remote": await serve(calc.mcp.streamable_http_app()) + "/mcp"})
    pool = HttpClientPool.shared()
    tasks = [asyncio.create_task(house.gateway.call(Call(caller=house.owner, tool="remote.hang"))) for _ in range(100)]
    async with asyncio.timeout(20):
        while calc.calls.count("hang") < 100:  # noqa: ASYNC110 - the server is another task of this loop
            await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        while calc.cancellations < 100:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    assert house.gateway.dispatch.under_way == house.registry.state("remote").under_way == 0
    port = int(house.registry.state("remote").url.split(":")[2].split("/")[0])
    async with asyncio.timeout(10):
        # what is left: kept connections for later calls, and the stream on which the server announces changes
        while len(sockets_to(port)) > LoopbackClient.shared().idle + 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    connector = pool._session.connector if pool._session else None
    assert connector is not None
    assert len(connector._acquired) <= 1  # the stream on which the server announces changes
    await house.audit.close()
    assert house.outcomes() == ["cancelled"] * 100
