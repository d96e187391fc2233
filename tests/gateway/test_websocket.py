"""The WebSocket transport, with a real client over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.asgi import listening
from tests.gateway.conftest import MODERN, House
from workbench.endpoint.websocket import WebSocketDoor, WebSocketExchange
from workbench.serve.http_front import Front

META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}

Dial = Callable[..., Any]


@pytest.fixture
async def dial(house: House) -> AsyncIterator[Dial]:
    """`dial(path, token=…)` is a socket to a server that ends with the test."""
    door = WebSocketDoor(house.endpoint, house.registry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (door if scope["type"] == "websocket" else house.endpoint)(scope, receive, send)

    @asynccontextmanager
    async def dialled(path: str = "/ws", *, token: str | None = None, **more: Any) -> AsyncIterator[ClientConnection]:
        token = house.access.local_key() if token is None else token
        headers = {"authorization": f"Bearer {token}"} if token else {}
        url = f"ws://127.0.0.1:{server.port}{path}"
        options = {"subprotocols": ["mcp"], "additional_headers": headers, "proxy": None, **more}
        async with connect(url, **options) as opened:
            yield opened

    options = {"http": Front, "ws": "websockets-sansio", "ws_max_size": 1 << 20, "ws_per_message_deflate": False}
    async with listening(app, **options) as server:
        yield dialled


async def tell(client: ClientConnection, method: str, params: Any = None, **more: Any) -> None:
    await client.send(json.dumps({"jsonrpc": "2.0", "method": method, "params": params or {}, **more}))


async def hear(client: ClientConnection) -> Any:
    async with asyncio.timeout(10):
        return json.loads(await client.recv())


async def modern(client: ClientConnection, method: str, params: Any = None, *, id: Any = 1, **meta: Any) -> None:
    await tell(client, method, {**(params or {}), "_meta": {**META, **meta}}, id=id)


async def shake_hands(client: ClientConnection) -> Any:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    await tell(client, "initialize", hello, id=0)
    await tell(client, "notifications/initialized")
    return await hear(client)


async def test_a_client_of_2026_lists_calls_and_hears_progress(house: House, dial: Dial) -> None:
    async with dial() as client:
        assert client.subprotocol == "mcp"
        await modern(client, "tools/list")
        assert "calc__add" in [tool["name"] for tool in (await hear(client))["result"]["tools"]]
        await modern(client, "tools/call", {"name": "calc.steps", "arguments": {}}, id="two", progressToken="p")
        heard = [await hear(client) for _ in range(3)]
        assert [m["params"]["progress"] for m in heard[:2]] == [1, 2]
        assert heard[2]["id"] == "two"
        await modern(client, "tools/call", {"name": "calc.region", "arguments": {"region": "Zürich"}})
        assert (await hear(client))["result"]["content"][0]["text"] == "Zürich"
    async with dial("/servers/calc/ws") as client:
        await modern(client, "tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
        assert (await hear(client))["result"]["structuredContent"] == {"total": 3}
    await house.audit.close()
    assert house.outcomes() == ["ok"] * 3
    assert {record["protocol"] for record in house.recorded()} == {MODERN}


async def test_a_client_of_2025_shakes_hands_and_cancels(house: House, dial: Dial) -> None:
    async with dial() as client:
        assert (await shake_hands(client))["result"]["protocolVersion"] == "2025-11-25"
        await tell(client, "tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}}, id=1)
        assert (await hear(client))["result"]["structuredContent"] == {"total": 3}
        await tell(client, "tools/call", {"name": "calc.hang", "arguments": {}}, id=2)
        await house.calc.started.wait()
        await tell(client, "notifications/cancelled", {"requestId": 2})
        await house.calc.cancelled.wait()
    await house.audit.close()
    assert house.outcomes() == ["ok", "cancelled"]


@pytest.mark.parametrize("leave", [True, False], ids=["closing", "a notification"])
async def test_at_2026_closing_or_a_notification_cancels(house: House, dial: Dial, leave: bool) -> None:
    async with dial() as client:
        await modern(client, "tools/call", {"name": "calc.hang", "arguments": {}}, id=7)
        await house.calc.started.wait()
        if not leave:
            await tell(client, "notifications/cancelled", {"requestId": "7"})  # another id: text is no number
            await modern(client, "tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}}, id=8)
            assert (await hear(client))["id"] == 8
            assert not house.calc.cancelled.is_set()
            await tell(client, "notifications/cancelled", {"requestId": 7})
            await house.calc.cancelled.wait()
    async with asyncio.timeout(10):
        await house.calc.cancelled.wait()
    await house.audit.close()
    assert "cancelled" in house.outcomes()


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        ("/ws", {"token": ""}, 401),
        ("/ws", {"token": "nonsense"}, 401),
        ("/ws", {"origin": "https://evil.example"}, 403),
        ("/ws", {"subprotocols": ["other"]}, 400),
        ("/ws", {"subprotocols": None}, 400),
        ("/servers/nobody/ws", {}, 404),
        ("/nowhere", {}, 404),
    ],
)
async def test_a_handshake_is_judged_like_every_request(dial: Dial, path: str, options: Any, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with dial(path, **options):
            pass
    assert refused.value.response.status_code == status
    if status == 401:
        assert "www-authenticate" in refused.value.response.headers


async def test_messages_are_read_strictly_and_within_bounds(dial: Dial) -> None:
    async with dial() as client:
        await client.send('{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}')
        assert "twice" in (await hear(client))["error"]["message"]
        await client.send("{")
        assert (await hear(client))["error"]["code"] == -32700
        await modern(client, "nothing/here", id=3)
        answer = await hear(client)
        assert (answer["id"], answer["error"]["code"]) == (3, -32601)
        await client.send(b"binary")
        with pytest.raises(ConnectionClosed) as closed:
            await hear(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003
    async with dial() as client:
        await client.send("x" * (1 << 20) + "x")
        with pytest.raises(ConnectionClosed) as closed:
            await hear(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


async def test_a_revoked_key_ends_the_conversation(house: House, dial: Dial) -> None:
    info, token = house.access.create_key("ann", roles=("owner",))
    async with dial(token=token) as client:
        await modern(client, "tools/list")
        assert "result" in await hear(client)
        house.access.revoke(info.id)
        await modern(client, "tools/list", id=9)
        answer = await hear(client)
        assert (answer["id"], answer["error"]["code"]) == (9, 401)
        with pytest.raises(ConnectionClosed) as closed:
            await hear(client)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


async def test_no_more_requests_at_once_than_agreed(house: House, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.endpoint.websocket.MAX_CONCURRENT", 1)
    async with dial() as client:
        await modern(client, "tools/call", {"name": "calc.hang", "arguments": {}}, id=1)
        await house.calc.started.wait()
        await modern(client, "tools/list", id=2)
        assert (await hear(client))["error"]["code"] == 503


async def test_a_large_event_comes_in_parts_and_is_told_whole() -> None:
    told: list[bytes] = []

    async def tell(data: bytes) -> None:
        told.append(data)

    exchange = WebSocketExchange(b"", tell)
    await exchange.send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    text = b"x" * (3 << 20)
    for part in (
        b": comment\n\n",
        b"event: message\ndata: ",
        *(text[at : at + 65536] for at in range(0, len(text), 65536)),
    ):
        await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
    assert told == []
    await exchange.send({"type": "http.response.body", "body": b"\n\n", "more_body": True})
    await exchange.send({"type": "http.response.body", "body": b"event: message\ndata: 2\n\n", "more_body": False})
    assert told == [text, b"2"]
    assert exchange.body == b""
