"""The front door against clients that send slowly, read slowly, or send headers without end."""

from __future__ import annotations

import asyncio
import gc
import resource
from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from tests.asgi import listening
from workbench.endpoint.http.http_request import PORTION, EndpointRequest
from workbench.endpoint.http.responses import EndpointResponse
from workbench.gateway.backpressure import UNREAD
from workbench.serve import http_front
from workbench.serve.serve import MAX_OPEN_FILES, raise_open_files, spare_collector

HUGE = 8 << 20


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers `/huge` with much and everything else with little."""
    request = EndpointRequest(scope, receive, send, {}, "", "")
    await request.reply(EndpointResponse(200, [], b"x" * HUGE if scope["path"] == "/huge" else b"small"))


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with listening(app, http=http_front.Front, log_level="critical") as server:
        yield server.port


async def ends(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the server closes or resets the connection."""
    async with asyncio.timeout(15):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.slow
async def test_hundreds_of_slow_senders_are_let_go_and_hinder_nobody(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_front, "HEADER_TIMEOUT_S", 1.0)
    slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(400)]
    for _, writer in slow:
        writer.write(b"GET / HTTP/1.1\r\nhost: here\r\nx-part")

    async def drip() -> None:
        while True:
            for _, writer in slow:
                writer.write(b"a")
            await asyncio.sleep(0.1)

    dripping = asyncio.create_task(drip())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    writer.close()
    assert set(await asyncio.gather(*(ends(reader) for reader, _ in slow))) == {b""}
    dripping.cancel()
    for _, writer in slow:
        writer.close()


async def test_the_headers_of_a_later_request_are_bounded_too(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_front, "HEADER_TIMEOUT_S", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n")
    assert await reader.readuntil(b"small")
    writer.write(b"GET / HTTP/1.1\r\nho")
    assert await ends(reader) == b""
    writer.close()


async def test_a_connection_that_says_nothing_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_front, "HEADER_TIMEOUT_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert await ends(reader) == b""
    writer.close()


@pytest.mark.parametrize("line", [b"x-a: " + b"y" * 1000 + b"\r\n", b"y" * 1000])
async def test_headers_without_end_are_refused(port: int, line: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: here\r\n" + (b"" if line.endswith(b"\n") else b"x-long: "))
    for _ in range(80):
        writer.write(line)
    assert (await ends(reader)).startswith(b"HTTP/1.1 431")
    writer.close()


async def go_on(writer: asyncio.StreamWriter) -> None:
    """Send for ever."""
    while True:
        writer.write(b"y" * 1000)
        await writer.drain()
        await asyncio.sleep(0.01)


async def test_who_goes_on_after_the_refusal_hears_it_and_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_front, "LINGER_TIMEOUT_S", 0.5)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nhost: here\r\nx-long: " + b"y" * http_front.MAX_HEADER_BYTES * 2)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 431")
    with pytest.raises(ConnectionError):
        await asyncio.wait_for(go_on(writer), 10)
    writer.close()


async def test_who_does_not_read_costs_little_and_is_let_go(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_front, "HEADER_TIMEOUT_S", 1.0)  # so often it is looked
    before = psutil.Process().memory_info().rss
    slow = []
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /huge HTTP/1.1\r\nhost: here\r\n\r\n")
        slow.append((reader, writer))
    async with asyncio.timeout(10):
        while UNREAD.bytes < 20 * HUGE:  # noqa: ASYNC110 - the server is another task of this loop
            await asyncio.sleep(0.01)
        # the body itself is one object for all here, so what grows is what is buffered for each
        assert psutil.Process().memory_info().rss - before < 20 * HUGE // 4 + 20 * HUGE
        monkeypatch.setattr(http_front, "UNREAD_TIMEOUT_S", 0.0)
        while UNREAD.bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    for _, writer in slow:
        writer.close()


@pytest.mark.parametrize("size", [2, 200_000])
async def test_who_is_answered_before_the_body_is_whole_gets_the_answer_and_the_end(
    port: int, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(http_front, "LINGER_TIMEOUT_S", 60.0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size)
    await writer.drain()
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
    for _ in range(10):  # sent after the answer, so that a closed socket would reset the connection
        writer.write(b"x" * (size // 10))
        await writer.drain()
    assert (await ends(reader)).endswith(b"small")
    writer.close()


async def test_who_goes_on_sending_after_the_end_of_the_answer_is_let_go(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_front, "LINGER_TIMEOUT_S", 0.1)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 99999999\r\n\r\n")
    assert (await ends(reader)).endswith(b"small")

    async def send_on() -> None:
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(send_on(), 30)
    writer.close()


async def test_a_huge_answer_arrives_whole_in_portions(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /huge HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    answer = await ends(reader)
    assert f"content-length: {HUGE}".encode() in answer
    assert answer.endswith(b"x" * PORTION)
    assert len(answer.partition(b"\r\n\r\n")[2]) == HUGE
    writer.close()
    assert UNREAD.bytes == 0


class Wire(asyncio.Transport):
    """Keeps what would be sent, one entry for each system call."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent.append(bytes(data))

    def writelines(self, parts: Any) -> None:
        self.sent.append(b"".join(parts))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.mark.parametrize("size", [0, 10, http_front.SMALL + 1])
async def test_head_and_body_leave_together(size: int) -> None:
    wire = Wire()
    joined = http_front.JoinedTransport(wire, asyncio.get_running_loop())
    joined.write(b"HTTP/1.1 200 OK\r\n\r\n")
    joined.write(b"x" * size)
    joined.write(b"more")
    await asyncio.sleep(0)
    assert wire.sent == [b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size, b"more"]


async def test_a_head_that_nothing_follows_leaves_by_itself() -> None:
    wire = Wire()
    joined = http_front.JoinedTransport(wire, asyncio.get_running_loop())
    joined.write(b"HTTP/1.1 200 OK\r\n\r\n")
    assert wire.sent == []
    await asyncio.sleep(0)
    assert wire.sent == [b"HTTP/1.1 200 OK\r\n\r\n"]


async def test_closing_sends_what_was_kept_and_then_nothing_more() -> None:
    wire = Wire()
    joined = http_front.JoinedTransport(wire, asyncio.get_running_loop())
    joined.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    joined.close()
    await asyncio.sleep(0)
    assert wire.sent == [b"HTTP/1.1 204 No Content\r\n\r\n"]
    assert wire.closed
    joined.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.sleep(0)
    assert len(wire.sent) == 1


def test_a_low_limit_of_open_files_is_raised_as_far_as_it_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = 512
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (low, before[1]))
        raise_open_files()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert hard == before[1]
        assert soft == (MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_what_lives_as_long_as_the_platform_is_not_searched_for_cycles_again() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    gc.set_threshold(700, 10, 10)  # whichever test was before
    try:
        spare_collector()
        assert gc.get_freeze_count() > frozen
        assert gc.isenabled()
        assert gc.get_threshold()[0] > 700
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)
