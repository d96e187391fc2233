"""The small HTTP client for servers on this machine, against raw sockets that say whatever they like."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.gateway.conftest import until
from workbench.upstream.http import loopback_client
from workbench.upstream.http.loopback_client import (
    BrokenConnectionError,
    LoopbackAddress,
    LoopbackClient,
    LoopbackResponse,
)
from workbench.upstream.request_headers import PreparedHeaders, RequestHeaders

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


class Raw:
    """A server that answers each request with bytes of ours; keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[list[bytes]] = []
        self.requests: list[bytes] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.closed = 0
        self.hang_up = False
        self.address = LoopbackAddress("127.0.0.1", 1, "/mcp")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                for part in self.answers.pop(0) if self.answers else []:
                    writer.write(part)
                    await writer.drain()
                if self.hang_up:
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.closed += 1
            writer.close()


@pytest.fixture
async def raw() -> AsyncIterator[Raw]:
    found = Raw()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    address = LoopbackAddress.of(f"http://127.0.0.1:{port}/mcp")
    assert address is not None
    found.address = address
    yield found
    server.close()
    await server.wait_closed()
    for writer in found.writers:
        writer.close()
    await until(lambda: found.closed == found.connections)
    for writer in found.writers:
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.fixture
async def client() -> AsyncIterator[LoopbackClient]:
    found = LoopbackClient()
    yield found
    found.close()
    await asyncio.sleep(0)  # an aborted connection is closed in the next turn of the loop


async def whole(response: LoopbackResponse) -> bytes:
    data = b""
    async with asyncio.timeout(10):
        while chunk := await response.readany():
            data += chunk
    return data


Post = Callable[..., Awaitable[LoopbackResponse]]


@pytest.fixture
def post(client: LoopbackClient, raw: Raw) -> Post:
    async def one(data: bytes = b"{}", **headers: str) -> LoopbackResponse:
        async with asyncio.timeout(10):
            return await client.post(raw.address, data, headers)

    return one


async def test_one_connection_serves_one_request_after_the_other(raw: Raw, post: Post, client: LoopbackClient) -> None:
    raw.answers = [[OK + b"content-length: 2\r\n\r\n{}"] for _ in range(3)]
    for _ in range(3):
        response = await post(b"[1]", Accept="x/y")
        assert response.status == 200
        assert response.headers.get("CONTENT-Type") == "application/json"
        assert await whole(response) == b"{}"
        assert response.content.at_eof()
    assert raw.connections == 1
    assert raw.requests[0].startswith(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nAccept: x/y\r\n" in raw.requests[0]
    assert raw.requests[0].endswith(b"Content-Length: 3\r\n\r\n[1]")
    assert client.idle == 1


@pytest.mark.parametrize(
    "parts",
    [
        [OK + b"transfer-encoding: chunked\r\n\r\n3\r\n{\"a\r\n", b"4\r\n\":1}\r\n0\r\n\r\n"],
        [OK + b"content-length: 7\r\n\r\n{\"a", b"\":1}"],
        [b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 7\r\n\r\n{\"a\":1}"],
        [OK + b"connection: close\r\n\r\n{\"a\":1}"],
        [bytes([byte]) for byte in OK + b"content-length: 7\r\n\r\n{\"a\":1}"],
    ],
    ids=["chunked", "with length", "after a continue", "until closed", "byte by byte"],
)  # fmt: skip
async def test_content_comes_whole_however_it_is_framed(raw: Raw, post: Post, parts: list[bytes]) -> None:
    raw.answers, raw.hang_up = [parts], b"connection: close" in parts[0]
    assert await whole(await post()) == b'{"a":1}'


@pytest.mark.parametrize(
    "parts",
    [
        [OK + b"content-length: 9\r\n\r\n{"],
        [OK + b"transfer-encoding: chunked\r\n\r\n5\r\n{"],
        [OK + b"transfer-encoding: chunked\r\n\r\nnonsense\r\n"],
    ],
)
async def test_content_that_is_cut_off_is_an_error_and_not_an_answer(raw: Raw, post: Post, parts: list[bytes]) -> None:
    raw.answers, raw.hang_up = [parts], True
    with pytest.raises(BrokenConnectionError):
        await whole(await post())


@pytest.mark.parametrize(
    "parts", [[], [b"SMTP ready\r\n\r\n"], [OK], [OK + b"x: " + b"y" * 70_000]],
    ids=["nothing", "no HTTP", "half of the headers", "headers without end"],
)  # fmt: skip
async def test_without_headers_there_is_no_response(raw: Raw, post: Post, parts: list[bytes]) -> None:
    raw.answers, raw.hang_up = [parts], True
    with pytest.raises(OSError):
        await post()


async def test_nobody_listening_is_an_error(client: LoopbackClient) -> None:
    with pytest.raises(OSError):
        await client.post(LoopbackAddress("127.0.0.1", 1, "/"), b"", {})


async def test_giving_up_closes_the_connection_so_that_the_server_notices(raw: Raw, client: LoopbackClient) -> None:
    tasks = [asyncio.create_task(client.post(raw.address, b"{}", {})) for _ in range(100)]
    await until(lambda: len(raw.requests) == 100)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await until(lambda: raw.closed == 100)
    assert client.idle == 0


async def test_a_response_that_is_closed_early_is_not_used_again(raw: Raw, post: Post, client: LoopbackClient) -> None:
    raw.answers = [[OK + b"content-length: 9\r\n\r\n{"], [OK + b"content-length: 2\r\n\r\n{}"]]
    (await post()).close()
    await until(lambda: raw.closed == 1)
    assert await whole(await post()) == b"{}"
    assert raw.connections == 2


async def test_a_connection_that_the_server_has_closed_or_that_is_old_is_not_used(
    raw: Raw, post: Post, client: LoopbackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.answers = [[OK + b"content-length: 2\r\n\r\n{}"] for _ in range(3)]
    raw.hang_up = True
    await whole(await post())
    await until(lambda: client.idle == 0)
    raw.hang_up = False
    await whole(await post())
    monkeypatch.setattr(loopback_client, "IDLE_TIMEOUT_S", 0.0)
    await whole(await post())
    assert raw.connections == 3


async def test_idle_connections_are_closed_after_a_while(
    raw: Raw, post: Post, client: LoopbackClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loopback_client, "IDLE_TIMEOUT_S", 0.05)
    raw.answers = [[OK + b"content-length: 2\r\n\r\n{}"]]
    await whole(await post())
    await until(lambda: client.idle == 0)
    await until(lambda: raw.closed == 1)


async def test_what_nobody_asked_for_ends_the_connection(raw: Raw, post: Post, client: LoopbackClient) -> None:
    raw.answers = [
        [OK + b"content-length: 2\r\n\r\n{}", OK + b"content-length: 2\r\n\r\n[]"],
        [OK + b"content-length: 2\r\n\r\n{}"],
    ]
    await whole(await post())
    assert await whole(await post()) == b"{}"


async def test_a_server_that_sends_faster_than_is_read_has_to_wait(raw: Raw, post: Post) -> None:
    size = 64 << 20
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(OK + f"content-length: {size}\r\n\r\n".encode())
        while sent < size:
            writer.write(b"x" * (1 << 20))
            await writer.drain()
            sent += 1 << 20
        writer.close()

    raw.serve = serve  # type: ignore[method-assign]
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    raw.address = LoopbackAddress("127.0.0.1", server.sockets[0].getsockname()[1], "/")
    response = await post()
    before = -1
    while sent != before:
        before = sent
        for _ in range(200):
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
    assert sent < size // 2  # the rest waits in the server
    assert response._size < 4 << 20
    received = 0
    async with asyncio.timeout(30):
        while chunk := await response.readany():
            received += len(chunk)
    assert received == size
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1:1/mcp", "http://localhost:1/mcp", "http://127.0.0.1.evil.example/", "http://10.0.0.1/mcp",
        "http://user@127.0.0.1/", "http://127.0.0.1:1/a b", "http://127.0.0.1:1/mcp#x", "http://127.0.0.1/a\r\nb",
    ],
)  # fmt: skip
def test_only_literal_addresses_of_this_machine_are_served(url: str) -> None:
    assert LoopbackAddress.of(url) is None


@pytest.mark.parametrize(
    ("url", "origin"),
    [("http://127.0.0.1/", ("127.0.0.1", 80)), ("http://[::1]:81", ("::1", 81)), ("http://127.0.0.1:1?a", None)],
)
def test_addresses_are_read(url: str, origin: Any) -> None:
    found = LoopbackAddress.of(url)
    assert (found.origin if found else None) == origin


@given(st.text(alphabet="ab\r\n", max_size=8))
def test_a_header_value_cannot_bring_further_headers(value: str) -> None:
    async def attempt() -> None:
        client = LoopbackClient()
        with pytest.raises(OSError) as refused:
            await client.post(LoopbackAddress("127.0.0.1", 1, "/"), b"", {"X": value})
        assert isinstance(refused.value, BrokenConnectionError) is bool({"\r", "\n"} & set(value))

    asyncio.run(attempt())


async def test_headers_that_do_not_change_are_written_out_once(raw: Raw) -> None:
    headers = RequestHeaders({"X-Static": "yes"}).of("tools/call", {"name": "add"})
    assert isinstance(headers, PreparedHeaders)
    for _ in range(2):
        raw.answers.append([OK + b"content-length: 2\r\n\r\n{}"])
        response = await LoopbackClient.shared().post(raw.address, b"{}", headers)
        assert await response.content.readany() == b"{}"
    first, second = (request.lower() for request in raw.requests)
    assert first == second
    assert b"x-static: yes\r\nmcp-method: tools/call\r\nmcp-name: add\r\n" in first
    assert headers.lines is not None


async def test_headers_with_a_line_break_are_refused_however_often_they_are_sent(raw: Raw) -> None:
    headers = PreparedHeaders({"X-Static": "a\r\nX-Other: b"})
    for _ in range(2):
        with pytest.raises(BrokenConnectionError, match="line break"):
            await LoopbackClient.shared().post(raw.address, b"{}", headers)
    assert raw.requests == []
