"""Requests whose headers two programs could read differently, as bytes on a real connection: none gets a call done."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.asgi import listening
from workbench.serve import http_front

BODY = json.dumps(
    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "calc.fail", "arguments": {}}}
).encode()
MODERN_BODY = json.dumps(
    {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {
            "name": "calc.fail", "arguments": {},
            "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28",
                      "io.modelcontextprotocol/clientCapabilities": {}},
        },
    }
).encode()  # fmt: skip


@pytest.fixture
async def port(house: Any) -> AsyncIterator[int]:
    """The endpoint behind the front door that a platform has."""
    async with listening(house.endpoint, http=http_front.Front, log_level="critical") as server:
        yield server.port


def head(token: str, *more: bytes, length: int | None = len(BODY)) -> bytes:
    """The head of an ordinary call, with further lines in it."""
    lines = {
        "host": b"Host: 127.0.0.1",
        "authorization": b"Authorization: Bearer " + token.encode(),
        "content_type": b"Content-Type: application/json",
        "accept": b"Accept: application/json, text/event-stream",
        "connection": b"Connection: close",
        "length": b"" if length is None else b"Content-Length: %d" % length,
    }
    kept = [line for line in lines.values() if line]
    return b"\r\n".join([b"POST /mcp HTTP/1.1", *kept, *more, b"", b""])


async def statuses(port: int, data: bytes) -> list[int]:
    """The status of every answer on one connection that sends `data` and then nothing more.

    A server that waits for more than a second is told that there is nothing more.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    reading = asyncio.create_task(reader.read())
    await asyncio.wait([reading], timeout=1)
    if not reading.done():
        writer.write_eof()
    async with asyncio.timeout(15):
        try:
            answer = await reading
        except ConnectionError:
            answer = b""
    writer.close()
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def modern(
    *more: bytes, version: bytes = b"2026-07-28", method: bytes = b"tools/call", name: bytes = b"calc.fail"
) -> tuple[bytes, ...]:
    return (b"MCP-Protocol-Version: " + version, b"Mcp-Method: " + method, b"Mcp-Name: " + name, *more)


async def test_the_ordinary_request_is_answered(port: int, house: Any) -> None:
    key = house.access.local_key()
    assert await statuses(port, head(key) + BODY) == [200]
    assert await statuses(port, head(key, *modern(), length=len(MODERN_BODY)) + MODERN_BODY) == [200]
    assert house.outcomes() == ["tool_error", "tool_error"]


LINES: dict[str, tuple[bytes, ...]] = {
    "two lengths": (b"Content-Length: 5",),
    "two equal lengths": (b"Content-Length: %d" % len(BODY),),
    "a list of lengths": (b"Content-Length: 5, 5",),
    "chunked and a length": (b"Transfer-Encoding: chunked",),
    "chunked, spelt oddly": (b"Transfer-Encoding: xchunked",),
    "chunked twice": (b"Transfer-Encoding: chunked, chunked",),
    "identity": (b"Transfer-Encoding: chunked, identity",),
    "a blank before the colon": (b"X-A : b",),
    "a line that goes on": (b"X-A: b", b" Authorization: Bearer x"),
    "a first line that goes on": (b"X-A:", b"\tb"),
    "a line without a colon": (b"X-A",),
    "a line that is only a colon": (b": b",),
    "NUL": (b"X-A: a\0b",),
    "a bare carriage return": (b"X-A: a\rX-B: b",),
    "a bare line feed": (b"X-A: a\nContent-Length: 0",),
    "a name with a blank": (b"X A: b",),
    "a name in other letters": ("X-Ä: b".encode(),),
    "two hosts": (b"Host: 127.0.0.1",),
    "a host of somebody else": (b"Host: evil.example",),
    "two credentials": (b"Authorization: Bearer x",),
    "two credentials in other case": (b"AUTHORIZATION: Bearer x",),
    "two types": (b"Content-Type: text/plain",),
    "two origins": (b"Origin: http://localhost", b"Origin: https://evil.example"),
    "a foreign origin": (b"Origin: https://evil.example",),
    "an origin that is none": (b"Origin: null",),
    "a body that is packed": (b"Content-Encoding: gzip",),
    "a body that is packed twice": (b"Content-Encoding: identity, gzip",),
    "a revision twice": (b"MCP-Protocol-Version: 2025-11-25", b"MCP-Protocol-Version: 2025-06-18"),
    "a revision that there is not": (b"MCP-Protocol-Version: 2031-01-01",),
    "a session twice": (b"Mcp-Session-Id: a", b"Mcp-Session-Id: b"),
    "a parameter twice": (b"Mcp-Param-Region: EU", b"mcp-param-region: US"),
}


@pytest.mark.parametrize("lines", LINES.values(), ids=LINES)
async def test_a_head_that_can_be_read_in_two_ways_gets_nothing_done(
    port: int, house: Any, lines: tuple[bytes, ...]
) -> None:
    found = await statuses(port, head(house.access.local_key(), *lines) + BODY)
    assert all(400 <= status < 500 for status in found), found
    assert set(house.outcomes()) <= {"invalid"}, "a refusal may be on the record"


STARTS: dict[str, bytes] = {
    "another version": b"POST /mcp HTTP/9.9",
    "a tab": b"POST\t/mcp\tHTTP/1.1",
    "a method in small letters": b"post /mcp HTTP/1.1",
    "a NUL": b"POST /mcp\0 HTTP/1.1",
    "a path that climbs": b"POST /mcp/../mcp HTTP/1.1",
    "two slashes": b"POST //mcp HTTP/1.1",
    "two slashes behind": b"POST /mcp// HTTP/1.1",
    "other case": b"POST /MCP HTTP/1.1",
    "a path of parts": b"POST /mcp;x=1 HTTP/1.1",
    "an encoded slash": b"POST /servers/calc%2f..%2fcalc/mcp HTTP/1.1",
    "an encoded NUL": b"POST /mcp%00 HTTP/1.1",
    "an encoded line": b"POST /mcp%0d%0aX:%20y HTTP/1.1",
    "a place elsewhere": b"CONNECT 127.0.0.1:22 HTTP/1.1",
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
async def test_a_first_line_that_is_not_exactly_ours_gets_nothing_done(port: int, house: Any, start: bytes) -> None:
    ordinary = head(house.access.local_key())
    found = await statuses(port, start + ordinary[ordinary.index(b"\r\n") :] + BODY)
    assert all(400 <= status < 500 for status in found), found
    assert house.outcomes() == []


CHUNKS: dict[str, bytes] = {
    "a size that is none": b"zz\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size below zero": b"-5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size beyond all": b"f" * 17 + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size with a sign of its base": b"0x%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    "a size that is too small": b"%x\r\n" % (len(BODY) - 3) + BODY + b"\r\n0\r\n\r\n",
    "no end": b"%x\r\n" % len(BODY) + BODY + b"\r\n",
    "ends of line that are none": b"%x\n" % len(BODY) + BODY + b"\n0\n\n",
}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
async def test_pieces_that_do_not_add_up_get_nothing_done(port: int, house: Any, chunks: bytes) -> None:
    key = house.access.local_key()
    found = await statuses(port, head(key, b"Transfer-Encoding: chunked", length=None) + chunks)
    assert all(400 <= status < 500 for status in found), found
    assert house.outcomes() == []


@pytest.mark.parametrize("lines", [(b"Transfer-Encoding: chunked",), (b"Transfer-Encoding: \x0bchunked",),
                                   (b"Transfer-encoding: identity", b"Transfer-Encoding: chunked")])  # fmt: skip
async def test_no_second_request_is_smuggled_in_a_body(port: int, house: Any, lines: tuple[bytes, ...]) -> None:
    inner = head(house.access.local_key()) + BODY
    data = head(house.access.local_key(), *lines, length=len(inner) + 5) + b"0\r\n\r\n" + inner
    found = await statuses(port, data)
    assert all(400 <= status < 500 for status in found), found
    assert house.outcomes() == []


MISMATCHED: dict[str, tuple[bytes, ...]] = {
    "no revision": modern()[1:],
    "an older revision": modern(version=b"2025-11-25"),
    "another method": modern(method=b"tools/list"),
    "a method in other case": modern(method=b"Tools/Call"),
    "no method": (modern()[0], modern()[2]),
    "another tool": modern(name=b"calc.add"),
    "a tool in other case": modern(name=b"calc.Fail"),
    "no tool": modern()[:2],
    "two tools": (*modern(), b"Mcp-Name: calc.add"),
    "a tool twice": (*modern(), b"Mcp-Name: calc.fail"),
    "a list of tools": modern(name=b"calc.fail, calc.add"),
    "a tool in base64 of another": modern(name=b"=?base64?Y2FsYy5hZGQ=?="),
    "a tool in broken base64": modern(name=b"=?base64?%%%?="),
    "a tool with more behind": modern(name=b"calc.fail\tx"),
    "nothing at all": (),
}


@pytest.mark.parametrize("lines", MISMATCHED.values(), ids=MISMATCHED)
async def test_headers_that_contradict_the_body_get_nothing_done(
    port: int, house: Any, lines: tuple[bytes, ...]
) -> None:
    found = await statuses(port, head(house.access.local_key(), *lines, length=len(MODERN_BODY)) + MODERN_BODY)
    assert found == [400]
    assert set(house.outcomes()) <= {"invalid"}


async def test_what_a_client_sends_never_becomes_a_line_of_a_head(port: int, house: Any) -> None:
    for name in ("calc.no\r\nSet-Cookie: a=b", "no\n\nHTTP/1.1 200 OK", "x\u2028y"):
        asked = {"jsonrpc": "2.0", "id": "a\r\nX: y", "method": "tools/call", "params": {"name": name, "arguments": {}}}
        body = json.dumps(asked, ensure_ascii=False).encode().replace(b"\r", b"\\r").replace(b"\n", b"\\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head(house.access.local_key(), length=len(body)) + body)
        async with asyncio.timeout(10):
            answered = await reader.readuntil(b"\r\n\r\n")
        writer.close()
        assert b"set-cookie" not in answered.lower()
        assert answered.count(b"HTTP/1.1") == 1
        assert b"\n" not in answered.replace(b"\r\n", b"")
