"""Connections are bounded, in all and for each address; behind a proxy the address that it states counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import pytest

from tests.asgi import listening
from tests.bench.test_front import ends
from tests.waiting import until
from workbench.access.client_address import ClientAddresses
from workbench.platform.connection_limits import ConnectionCounts
from workbench.serve.http_front import Front

Serve = Callable[..., Any]
GET = b"GET / HTTP/1.1\r\nhost: here\r\n\r\n"


class App:
    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await receive()
            return
        if scope["path"] == "/wait":
            await self.go.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


@asynccontextmanager
async def served(app: Any, counts: ConnectionCounts) -> AsyncIterator[int]:
    http = partial(Front, counts=counts)
    async with listening(app, http=http, ws="websockets-sansio", log_level="critical") as server:
        yield server.port


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    async with AsyncExitStack() as stack:

        async def start(counts: ConnectionCounts, app: Any = None) -> int:
            return await stack.enter_async_context(served(app or App(), counts))

        yield start


async def status(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(10):
        return (await reader.readline())[9:12]


@pytest.mark.parametrize(("most", "of_one"), [(3, 100), (100, 3)])
async def test_one_connection_too_many_is_told_so_and_a_place_is_free_again(
    serve: Serve, most: int, of_one: int
) -> None:
    counts = ConnectionCounts(most, of_one, ClientAddresses(()))
    port = await serve(counts)
    held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    for reader, writer in held:
        writer.write(GET)
        assert await status(reader) == b"200"
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    assert (await ends(reader))[:12] in (b"HTTP/1.1 503", b"")
    writer.close()
    assert (counts.total, counts.refused) == (3, 1)
    held[0][1].close()

    async def free() -> bool:
        return counts.total == 2

    await until(free)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    assert await status(reader) == b"200"
    for each in (writer, *(writer for _, writer in held)):
        each.close()

    async def none() -> bool:
        return counts.total == 0 and not counts._held

    await until(none)


async def test_behind_a_trusted_proxy_the_stated_address_is_bounded(serve: Serve) -> None:
    app, counts = App(), ConnectionCounts(100, 2, ClientAddresses(["127.0.0.1"]))
    port = await serve(counts, app)

    async def ask(address: str, path: str = "/wait") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: here\r\nx-forwarded-for: {address}\r\n\r\n".encode())
        return reader, writer

    waiting = [await ask("198.51.100.1") for _ in range(2)]

    async def counted() -> bool:
        return counts._held.get("198.51.100.1") == 2

    await until(counted)
    third = await ask("198.51.100.1")
    assert await status(third[0]) == b"503"
    other = await ask("198.51.100.2", "/")
    assert await status(other[0]) == b"200"
    app.go.set()
    for reader, _ in waiting:
        assert await status(reader) == b"200"
    again = await ask("198.51.100.1")
    assert await status(again[0]) == b"200"
    for _, writer in (*waiting, third, other, again):
        writer.close()

    async def none() -> bool:
        return counts.total == 0 and not counts._held

    await until(none)


async def test_a_socket_stays_counted_until_it_is_closed(serve: Serve) -> None:
    from websockets.asyncio.client import connect

    counts = ConnectionCounts(100, 1, ClientAddresses(()))
    port = await serve(counts)
    async with connect(f"ws://127.0.0.1:{port}/", proxy=None):
        assert counts.total == 1
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await ends(reader))[:12] == b"HTTP/1.1 503"
        writer.close()

    async def none() -> bool:
        return counts.total == 0

    await until(none)
