"""HTTP+SSE at the front: the transport of 2024-11-05, with the SDK's own client and with one that behaves badly."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.conftest import House, until
from workbench.endpoint import http_sse

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


class Visitor:
    """A client that does nothing by itself: reads the stream as it likes, posts what it is told."""

    def __init__(self, http: aiohttp.ClientSession, base: str, stream: aiohttp.ClientResponse) -> None:
        self.http = http
        self.base = base
        self.stream = stream
        self.address = ""

    async def event(self) -> tuple[str, str]:
        """Name and data of the next event; comments are skipped."""
        found: dict[str, str] = {}
        async with asyncio.timeout(10):
            while line := (await self.stream.content.readline()).decode():
                if line == "\n" and found:
                    return found["event"], found["data"]
                name, _, value = line.rstrip("\n").partition(": ")
                if name:
                    found[name] = value
        return "", ""

    async def hear(self) -> Any:
        return json.loads((await self.event())[1])

    async def say(self, body: Any, **headers: str) -> int:
        async with self.http.post(self.base + self.address, json=body, headers=headers) as response:
            await response.read()
            return response.status

    async def ask(self, method: str, params: Any = None, *, id: Any = 1) -> int:
        return await self.say({"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}})

    async def shake_hands(self, revision: str = "2024-11-05", **capabilities: Any) -> Any:
        hello = {"protocolVersion": revision, "capabilities": capabilities, "clientInfo": {"name": "t", "version": "1"}}
        assert await self.ask("initialize", hello, id=0) == 202
        answer = await self.hear()
        assert await self.say({"jsonrpc": "2.0", "method": "notifications/initialized"}) == 202
        return answer["result"]


Visit = Callable[..., Any]


@pytest.fixture
async def visit(house: House, serve: Any) -> Visit:
    """`visit(path, token=…)` opens a stream of that house."""
    return await visits(house, serve)


async def visits(house: House, serve: Any) -> Visit:
    base = await serve(house.endpoint)

    @asynccontextmanager
    async def opened(path: str = "/sse", *, token: str = "", **more: Any) -> AsyncIterator[Visitor]:
        headers = {"Authorization": f"Bearer {token or house.access.local_key()}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(base + path, headers={"Accept": "text/event-stream"}, **more) as stream,
        ):
            visitor = Visitor(http, base, stream)
            assert stream.status == 200, await stream.text()
            name, visitor.address = await visitor.event()
            assert name == "endpoint"
            yield visitor

    opened.base = base  # type: ignore[attr-defined]
    return opened


@pytest.mark.parametrize(("path", "tool"), [("/sse", "calc__steps"), ("/servers/calc/sse", "steps")])
async def test_the_sdks_client_lists_calls_and_hears_progress(house: House, serve: Any, path: str, tool: str) -> None:
    url, heard = await serve(house.endpoint) + path, []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    transport = sse_client(url, headers={"Authorization": f"Bearer {house.access.local_key()}"})
    async with asyncio.timeout(20), Client(transport) as client:
        assert client.protocol_version == "2025-11-25"  # the newest that has a handshake; 2026-07-28 has no such stream
        assert tool in [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool(tool, {}, progress_callback=progress)
        assert result.content[0].text == "done"  # type: ignore[union-attr]
    assert heard == ["half", "whole"]
    await until(lambda: not house.endpoint._channels._open)
    (record,) = house.recorded()
    assert (record["outcome"], record["protocol"], record["source"]) == ("ok", "2025-11-25", "mcp")
    assert record["session_id"]


async def test_the_revision_of_this_transport_is_agreed_on_and_recorded(visit: Visit, house: House) -> None:
    async with visit() as visitor:
        assert (await visitor.shake_hands("2024-11-05"))["protocolVersion"] == "2024-11-05"
        await visitor.ask("tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}}, id="x")
        answer = await visitor.hear()
        assert (answer["id"], answer["result"]["structuredContent"]) == ("x", {"total": 3})
        await visitor.ask("server/discover", id=2)
        assert (await visitor.hear())["error"]["code"] == -32601
        assert await visitor.say([{"jsonrpc": "2.0", "id": 3, "method": "ping"}]) == 202
        assert (await visitor.hear())["error"]["code"] == -32600  # batches came later
    (record,) = house.recorded()
    assert record["protocol"] == "2024-11-05"


async def test_nothing_is_called_before_the_handshake(visit: Visit, house: House) -> None:
    async with visit() as visitor:
        await visitor.ask("tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}})
        assert "initialize" in (await visitor.hear())["error"]["message"]
        await visitor.ask("ping")
        assert (await visitor.hear())["result"] == {}
    assert house.outcomes() == []


async def test_a_question_of_a_server_is_asked_on_the_stream(furnish: Any, serve: Any) -> None:
    mcp = MCPServer("asks")

    @mcp.tool()
    async def greet(ctx: Context) -> str:
        answer = await ctx.session.elicit_form("name?", FORM, related_request_id=ctx.request_id)
        return f"Hello {(answer.content or {})['name']}"

    from tests.gateway.test_crossings import Older

    house = await furnish(servers={"asks": f"{await serve(Older(mcp.streamable_http_app()))}/mcp"})
    async with (await visits(house, serve))() as visitor:
        await visitor.shake_hands("2025-06-18", elicitation={})
        await visitor.ask("tools/call", {"name": "asks.greet", "arguments": {}}, id=5)
        question = await visitor.hear()
        assert question["method"] == "elicitation/create"
        answer = {"action": "accept", "content": {"name": "Ada"}}
        assert await visitor.say({"jsonrpc": "2.0", "id": question["id"], "result": answer}) == 202
        assert (await visitor.hear())["result"]["content"][0]["text"] == "Hello Ada"


async def test_changes_and_watched_resources_are_announced_on_the_stream(furnish: Any, serve: Any) -> None:
    mcp = MCPServer("notes")
    mcp.resource("note://one", name="one")(lambda: "text")

    @mcp.tool()
    async def touch(ctx: Context) -> str:
        await ctx.notify_resource_updated("note://one")
        return "touched"

    house = await furnish(servers={"notes": mcp})
    async with (await visits(house, serve))() as visitor:
        await visitor.shake_hands()
        for heard in house.registry.on_message:
            heard("notes", {"method": "notifications/prompts/list_changed"})
        assert (await visitor.hear())["method"] == "notifications/prompts/list_changed"
        await visitor.ask("resources/subscribe", {"uri": "note://one"})
        assert (await visitor.hear())["result"] == {}
        watches = house.endpoint._channels._legacy._wishes._watches
        assert watches._watchers
        for heard in house.registry.on_message:
            heard("notes", {"method": "notifications/resources/updated", "params": {"uri": "note://one"}})
        assert (await visitor.hear())["params"] == {"uri": "note://one"}
    await until(lambda: not watches._watchers)  # the stream is gone, and with it what it wanted


async def test_leaving_cancels_what_is_under_way_and_leaves_nothing_behind(visit: Visit, house: House) -> None:
    async with visit() as visitor:
        await visitor.shake_hands()
        await visitor.ask("tools/call", {"name": "calc.hang", "arguments": {}})
        async with asyncio.timeout(10):
            await house.calc.started.wait()
    async with asyncio.timeout(10):
        await house.calc.cancelled.wait()
    opened = house.endpoint._channels
    await until(lambda: not opened._open and not opened._callers and not house.endpoint._legacy._under_way)
    await house.audit.close()
    assert house.outcomes() == ["cancelled"]


async def test_what_waited_for_its_turn_is_not_done_once_the_stream_has_ended(
    visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_sse, "MAX_CONCURRENT", 1)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {house.access.local_key()}"}) as http:
        async with visit() as visitor:
            await visitor.shake_hands()
            await visitor.ask("tools/call", {"name": "calc.hang", "arguments": {}}, id=7)
            async with asyncio.timeout(10):
                await house.calc.started.wait()
            call = {"jsonrpc": "2.0", "id": 8, "method": "tools/call"}
            call["params"] = {"name": "calc.add", "arguments": {"a": 1, "b": 2}}
            posting = asyncio.create_task(http.post(visitor.base + visitor.address, json=call))
            (channel,) = house.endpoint._channels._open.values()
            await until(lambda: channel.waiting == 1)
        async with asyncio.timeout(10):
            assert (await posting).status == 404
    await house.audit.close()
    assert house.outcomes() == ["cancelled"]


async def test_a_notification_cancels(visit: Visit, house: House) -> None:
    async with visit() as visitor:
        await visitor.shake_hands()
        await visitor.ask("tools/call", {"name": "calc.hang", "arguments": {}}, id=7)
        async with asyncio.timeout(10):
            await house.calc.started.wait()
            told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
            assert await visitor.say(told) == 202
            await house.calc.cancelled.wait()


async def test_only_who_opened_a_stream_speaks_on_it_and_at_the_same_endpoint(visit: Visit, house: House) -> None:
    async with visit() as visitor:
        await visitor.shake_hands()
        thief = house.key("owner", subject="mallory")
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert await visitor.say(ping, Authorization=f"Bearer {thief}") == 404
        assert await visitor.say(ping, Authorization="Bearer nonsense") == 401
        own = visitor.address
        for wrong in (f"/servers/calc{own}", own + "x", "/sse", "/sse?session="):
            visitor.address = wrong
            assert await visitor.say(ping) == 404
        visitor.address = own
        assert await visitor.say(ping) == 202
        assert (await visitor.hear())["id"] == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/sse", {"Authorization": ""}, 401),
        ("GET", "/sse", {"Origin": "https://evil.example"}, 403),
        ("GET", "/sse", {"Host": "evil.example"}, 421),
        ("GET", "/sse", {"Accept": "application/json"}, 406),
        ("GET", "/servers/nobody/sse", {}, 404),
        ("DELETE", "/sse", {}, 405),
        ("POST", "/sse?session=x", {"Content-Type": "text/plain"}, 415),
        ("POST", "/sse?session=x", {"Content-Type": "application/json"}, 400),
    ],
)
async def test_a_stream_is_judged_like_every_request(
    visit: Any, house: House, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    found = {"Authorization": f"Bearer {house.access.local_key()}", "Accept": "text/event-stream, application/json"}
    found = {name: value for name, value in {**found, **headers}.items() if value}
    async with (
        aiohttp.ClientSession(skip_auto_headers=["Accept"]) as http,
        http.request(method, visit.base + path, headers=found, data=b"{" if method == "POST" else None) as response,
    ):
        assert response.status == status
        if status == 401:
            assert "/.well-known/oauth-protected-resource/sse" in response.headers["WWW-Authenticate"]


async def test_a_caller_has_only_so_many_streams(visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sse, "MAX_PER_CALLER", 1)
    async with visit():
        with pytest.raises(AssertionError, match="Too many"):
            async with visit():
                pass
        async with visit(token=house.key("owner", subject="bob")):
            pass
    await until(lambda: not house.endpoint._channels._open)
    async with visit():
        pass


async def test_a_stream_ends_with_the_credential(visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.endpoint.subscriptions.KEEP_ALIVE_S", 0.02)
    info, token = house.access.create_key("ann", roles=("owner",))
    async with visit(token=token) as visitor:
        house.access.revoke(info.id)
        assert await visitor.event() == ("", "")


async def test_requests_beyond_the_agreed_number_wait_and_are_turned_away_in_the_end(
    visit: Visit, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_sse, "MAX_CONCURRENT", 1)
    monkeypatch.setattr(http_sse, "SEND_TIMEOUT_S", 0.05)
    async with visit() as visitor:
        await visitor.shake_hands()
        await visitor.ask("tools/call", {"name": "calc.hang", "arguments": {}}, id=7)
        async with asyncio.timeout(10):
            await house.calc.started.wait()
        assert await visitor.ask("ping") == 503
        told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        assert await visitor.say(told) == 202
        assert (await visitor.hear())["error"]["message"] == "The request was cancelled."
        assert await visitor.ask("ping") == 202
