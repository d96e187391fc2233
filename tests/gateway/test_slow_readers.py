"""What a client that does not read costs: one copy of what is answered to it, on every transport."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.asgi import listening
from tests.gateway.conftest import MODERN, House, until
from workbench.endpoint.http.outbox import MAX_UNREAD, PORTION, Outbox
from workbench.gateway.backpressure import UNREAD
from workbench.serve.http_front import Front

LARGE = 7 << 20
READERS = 3
PER_CONNECTION = 8 << 20
TEXT = "x" * LARGE


@pytest.fixture
def measured() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


class Archive:
    """A connection to a server whose one tool reports progress and then answers with 7 MiB."""

    transport = "memory"
    era, server_info, instructions, on_notification, alive = "2025-11-25", {}, "", None, True
    capabilities: Any = {"tools": {}}

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def request(self, method: str, params: Any, *, meta: Any = None, notify: Any = None, **_: Any) -> Any:
        if method != "tools/call":
            return {"tools": [{"name": "large", "inputSchema": {"type": "object"}}]}
        if notify is not None:
            progress = {"progressToken": meta["progressToken"], "progress": 1}
            await notify({"method": "notifications/progress", "params": progress})
        return {"content": [{"type": "text", "text": TEXT}], "isError": False}


@pytest.fixture
async def house(furnish: Any) -> House:
    found: House = await furnish(servers={"archive": Archive()})
    return found


@pytest.fixture
async def address(house: House) -> AsyncIterator[tuple[str, int]]:
    """Where a gateway listens."""
    async with listening(house.endpoint, http=Front) as server:
        yield "127.0.0.1", server.port


class Reader:
    """An HTTP connection on which nothing is read before somebody asks for it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str) -> None:
        self.reader = reader
        self.writer = writer
        self.token = token

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        data = b"" if body is None else json.dumps(body).encode()
        found = {
            "Host": "localhost",
            "Authorization": f"Bearer {self.token}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **headers,
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in found.items())
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + data)

    async def until(self, end: bytes) -> bytes:
        """What comes up to `end`; in pieces, so that the reader itself keeps little."""
        found = b""
        async with asyncio.timeout(30):
            while end not in found[-len(end) - 200 :]:
                piece = await self.reader.read(PORTION)
                assert piece, found[-200:]
                found = found[-400:] + piece
        return found


@pytest.fixture
async def connect(address: tuple[str, int], house: House) -> AsyncIterator[Callable[[], Any]]:
    @asynccontextmanager
    async def connected() -> AsyncIterator[Reader]:
        dialled = socket.socket()
        dialled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        dialled.setblocking(False)
        await asyncio.get_running_loop().sock_connect(dialled, address)
        reader, writer = await asyncio.open_connection(sock=dialled, limit=32 << 10)
        try:
            yield Reader(reader, writer, house.access.local_key())
        finally:
            writer.transport.abort()

    return connected


def call(id: int, **meta: Any) -> Any:
    params = {"name": "archive.large", "arguments": {}, "_meta": {"progressToken": id, **meta}}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.slow
@pytest.mark.parametrize("transport", ["older, as a document", "older, as events", "2026, as events", "HTTP+SSE"])
async def test_a_slow_reader_costs_one_copy_of_its_answer(
    connect: Callable[[], Any], house: House, measured: None, transport: str
) -> None:
    before = held()
    async with connect() as one, connect() as two, connect() as three:
        readers = [one, two, three]
        for reader in readers:
            await ask(connect, reader, transport)
        await until(lambda: UNREAD.bytes >= READERS * (LARGE - MAX_UNREAD), 60)
        await until(lambda: not house.gateway._recording)
        tracemalloc.reset_peak()
        assert held() - before <= READERS * PER_CONNECTION
        for reader in readers:
            await reader.until(b"isError")  # it stands after the text
        peak = tracemalloc.get_traced_memory()[1]
        assert peak - before <= READERS * PER_CONNECTION
        await until(lambda: not UNREAD.bytes)


async def ask(connect: Callable[[], Any], reader: Reader, transport: str) -> None:
    if transport == "HTTP+SSE":
        reader.send("GET", "/sse")
        opened = await reader.until(b"\n\n")
        path = opened.split(b"data: ")[1].split(b"\n")[0].decode()
        hello = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {}}
        for body in ({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}, call(1)):
            async with connect() as second:
                second.send("POST", path, body)
                await second.until(b"Accepted")
    elif transport.startswith("2026"):
        meta = {"protocolVersion": MODERN, "clientCapabilities": {}}
        body = call(1, **{f"io.modelcontextprotocol/{key}": value for key, value in meta.items()})
        headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "archive.large"}
        reader.send("POST", "/mcp", body, **headers)
    else:
        kinds = {"Accept": "application/json"} if transport.endswith("document") else {}
        reader.send("POST", "/mcp", call(1), **kinds)


# --- the queue itself ----------------------------------------------------------------------------


class Client:
    """Takes what is written when it is told to."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ended = False
        self.reads = asyncio.Event()
        self.held = 0
        self.outbox = Outbox(self.begin, self.write, self.hold)

    async def begin(self) -> None: ...

    async def write(self, data: bytes, *, last: bool = False) -> None:
        await self.reads.wait()
        assert not self.ended
        self.got.append(data)
        self.ended = last

    def hold(self, size: int) -> None:
        self.held += size


async def test_who_adds_more_than_is_bearable_waits_and_the_order_stands() -> None:
    client = Client()
    size = MAX_UNREAD // 4
    adding = [asyncio.create_task(client.outbox.put(bytes([n]) * size)) for n in range(6)]
    room = asyncio.create_task(client.outbox.room())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in adding] == [True] * 4 + [False] * 2
    assert (client.held, client.outbox.full) == (6 * size, True)
    adding[5].cancel()
    await asyncio.wait({adding[5]})
    assert client.held == 5 * size  # who gives up takes its event along
    client.reads.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*adding[:5], room)
        await client.outbox.end(b"last")
    assert b"".join(client.got) == b"".join(bytes([n]) * size for n in range(5)) + b"last"
    assert (client.held, client.outbox.unread, client.ended) == (0, 0, True)
    await client.outbox.put(b"too late")
    assert client.held == 0


async def test_a_large_event_is_written_in_portions_and_counted_until_it_is_read() -> None:
    client = Client()
    client.reads.set()
    await client.outbox.put(b"<", b"x" * (3 * PORTION), b">")
    await client.outbox.end(b"y" * (2 * PORTION))
    assert max(map(len, client.got)) == PORTION
    assert b"".join(client.got) == b"<" + b"x" * (3 * PORTION) + b">" + b"y" * (2 * PORTION)
    assert client.ended
    assert client.held == 0


async def test_nobody_waits_for_a_client_that_was_given_up() -> None:
    client = Client()
    adding = asyncio.create_task(client.outbox.put(b"x" * (MAX_UNREAD + 1)))
    await asyncio.sleep(0)
    assert not adding.done()
    client.outbox.abandon()
    async with asyncio.timeout(5):
        await adding
    await client.outbox.put(b"more")
    assert client.held == 0
