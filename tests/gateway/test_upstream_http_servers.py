"""Servers behind HTTP as they are found: what can be read is read, what cannot be used says why."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
import zstandard
from aiohttp import ServerTimeoutError

from tests.gateway.odd_http_server import Handle, Reply, Sent, answer, odd_server, plain
from workbench.events import UnreachableError
from workbench.registry.connection import LaunchContext
from workbench.registry.server import ServerSpec
from workbench.upstream import upstream_connection
from workbench.upstream.autodetect import UrlConnection
from workbench.upstream.http import cold_start
from workbench.upstream.http.failure import unreachable
from workbench.upstream.http.streamable_http import HttpConnection
from workbench.upstream.negotiation import IncompleteAnswerError, NotMcpError

JSON_TYPE = {"Content-Type": "application/json"}
PROBLEM = {"Content-Type": "application/problem+json"}
HTML_TYPE = {"Content-Type": "text/html"}
EVENTS = {"Content-Type": "text/event-stream"}

Render = Callable[[dict[str, Any]], Reply]


def text(message: Any) -> bytes:
    return json.dumps(message).encode()


def typed(kind: str) -> Render:
    return lambda message: Reply(200, text(message), {"Content-Type": kind} if kind else {})


def coded(coding: str, encode: Callable[[bytes], bytes], kind: str = "application/json") -> Render:
    return lambda message: Reply(200, encode(text(message)), {"Content-Type": kind, "Content-Encoding": coding})


def raw_deflate(data: bytes) -> bytes:
    packing = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packing.compress(data) + packing.flush()


def streamed(form: str, **more: Any) -> Render:
    """An event stream in this form, in which DATA stands for the message."""
    return lambda message: Reply(200, form.encode().replace(b"DATA", text(message)), {**EVENTS, **more})


def in_lines(message: dict[str, Any]) -> Reply:
    lines = "".join(f"data: {line}\n" for line in json.dumps(message, indent=2).splitlines())
    return Reply(200, f"event: message\n{lines}\n".encode(), EVENTS)


def gzip_in_members(data: bytes) -> bytes:
    return gzip.compress(data[:20]) + gzip.compress(data[20:])


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def quick_brotli(data: bytes) -> bytes:
    return brotli.compress(data, quality=1)


READ: dict[str, Render] = {
    "application/json": typed("application/json"),
    "upper case": typed("Application/JSON"),
    "charset": typed("application/json; charset=utf-8"),
    "charset in quotes": typed('application/json;charset="UTF-8"'),
    "charset that is unknown": typed("application/json; charset=nonsense"),
    "application/json-rpc": typed("application/json-rpc"),
    "application/vnd.api+json": typed("application/vnd.api+json"),
    "text/json": typed("text/json"),
    "text/plain": typed("text/plain; charset=UTF-8"),
    "text/html": typed("text/html; charset=utf-8"),
    "application/octet-stream": typed("application/octet-stream"),
    "no content type": typed(""),
    "201": lambda message: Reply(201, text(message), JSON_TYPE),
    "202 with an answer": lambda message: Reply(202, text(message), JSON_TYPE),
    "203": lambda message: Reply(203, text(message), JSON_TYPE),
    "byte order mark": lambda message: Reply(200, b"\xef\xbb\xbf" + text(message), JSON_TYPE),
    "UTF-16": lambda message: Reply(200, json.dumps(message).encode("utf-16"), JSON_TYPE),
    "UTF-16 by its charset": lambda message: Reply(
        200, json.dumps(message).encode("utf-16-le"), {"Content-Type": "application/json; charset=utf-16le"}
    ),
    "blank lines around": lambda message: Reply(200, b"\r\n  " + text(message) + b"\n\n", JSON_TYPE),
    "indented": lambda message: Reply(200, json.dumps(message, indent=4).encode(), JSON_TYPE),
    "array of one": lambda message: Reply(200, text([message]), JSON_TYPE),
    "array with a notification": lambda message: Reply(
        200, text([{"jsonrpc": "2.0", "method": "notifications/message", "params": {}}, message]), JSON_TYPE
    ),
    "id as text": lambda message: Reply(200, text({**message, "id": str(message["id"])}), JSON_TYPE),
    "no id": lambda message: Reply(200, text({k: v for k, v in message.items() if k != "id"}), JSON_TYPE),
    "null beside the result": lambda message: Reply(200, text({"error": None, **message}), JSON_TYPE),
    "a message in each line": lambda message: Reply(
        200,
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}\n' + text(message) + b"\n",
        {"Content-Type": "application/x-ndjson"},
    ),
    "an id with a point": lambda message: Reply(200, text({**message, "id": float(message["id"])}), JSON_TYPE),
    "a body that is called events": lambda message: Reply(200, text(message), EVENTS),
    "not a number": lambda message: Reply(200, text({**message, "x": float("nan")}), JSON_TYPE),
    "Latin-1": lambda message: Reply(200, text(message)[:-1] + ', "x": "caf\u00e9"}'.encode("latin-1"), JSON_TYPE),
    "chunks": lambda message: Reply(200, [text(message)[:9], text(message)[9:]], JSON_TYPE),
    "length untold": lambda message: Reply(200, text(message), JSON_TYPE, framed=False),
    "connection closed": lambda message: Reply(200, text(message), {**JSON_TYPE, "Connection": "close"}),
    "gzip": coded("gzip", gzip.compress),
    "GZIP": coded("GZIP", gzip.compress),
    "x-gzip": coded("x-gzip", gzip.compress),
    "gzip of several members": coded("gzip", gzip_in_members),
    "deflate": coded("deflate", zlib.compress),
    "deflate without zlib": coded("deflate", raw_deflate),
    "br": coded("br", brotli.compress),
    "zstd": coded("zstd", zstd),
    "two codings": coded("gzip, br", lambda data: brotli.compress(gzip.compress(data))),
    "identity": coded("identity", bytes),
    "compressed text/plain": coded("gzip", gzip.compress, "text/plain"),
    "compressed events": coded("gzip", lambda data: gzip.compress(b"data: " + data + b"\n\n"), "text/event-stream"),
    "events": streamed("event: message\ndata: DATA\n\n"),
    "events of any name": streamed("event: response\ndata: DATA\n\n"),
    "events with CRLF": streamed(": hello\r\n\r\nevent: message\r\ndata: DATA\r\n\r\n"),
    "events with CR": streamed(": hello\r\revent: message\rdata: DATA\r\r"),
    "events over many lines": in_lines,
    "events after pings": streamed(": ping\n\nevent: ping\ndata: {}\n\nevent: ping\ndata: now\n\ndata: DATA\n\n"),
    "events after talk": streamed("data: ok\n\ndata: [DONE]\n\nevent: heartbeat\ndata: {broken\n\ndata: DATA\n\n"),
    "events without a last line": streamed("data: DATA\n"),
    "events that just end": streamed("data: DATA"),
    "events with a byte order mark": streamed("\ufeffdata: DATA\n\n"),
    "events without a blank after the colon": streamed("data:DATA\n\n"),
    "events of an array": streamed("data: [DATA]\n\n"),
    "events with a charset": streamed("data: DATA\n\n", **{"Content-Type": "Text/Event-Stream; charset=utf-8"}),
    "events as text/plain": streamed("event: message\ndata: DATA\n\n", **{"Content-Type": "text/plain"}),
    "events as JSON's neighbour": streamed("data: DATA\n\n", **{"Content-Type": "application/octet-stream"}),
}


def rendered(render: Render) -> Handle:
    def handle(sent: Sent) -> Reply:
        if sent.method != "POST" or "id" not in sent.message or sent.rpc == "server/discover":
            return plain(sent)
        return render(answer(sent.message))

    return handle


async def called(connection: HttpConnection) -> str:
    """The text that the tool of a server answers with."""
    result = await connection.request("tools/call", {"name": "echo", "arguments": {}}, timeout=10)
    return str(result["content"][0]["text"])


async def opened(url: str, **options: Any) -> UrlConnection:
    connection = UrlConnection(url, name="odd", **options)
    await connection.open()
    return connection


@pytest.mark.parametrize("kind", READ)
async def test_an_answer_is_read_however_it_is_labelled_framed_and_encoded(kind: str) -> None:
    async with odd_server(rendered(READ[kind])) as server:
        connection = await opened(f"{server.url}/mcp")
        listed = await connection.request("tools/list", {}, timeout=10)
        assert [tool["name"] for tool in listed["tools"]] == ["echo"]
        assert await called(connection) == "hi"
        await connection.close()


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_a_notification_is_taken_with_any_success(status: int) -> None:
    def handle(sent: Sent) -> Reply:
        return Reply(status) if sent.method == "POST" and "id" not in sent.message else plain(sent)

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp")
        await connection.notify("notifications/roots/list_changed", {}, timeout=10)
        assert len(server.of("notifications/roots/list_changed")) == 1
        await connection.close()


def bomb(coding: str, encode: Callable[[bytes], bytes]) -> Reply:
    return Reply(200, encode(b"[" + b" " * (64 << 20) + b"]"), {**JSON_TYPE, "Content-Encoding": coding})


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("br", lambda d: brotli.compress(d, quality=1)),
        ("zstd", zstd),
    ],
)
async def test_a_small_answer_that_unpacks_to_a_large_one_is_refused(coding: str, encode: Any) -> None:
    packed = bomb(coding, encode)

    def handle(sent: Sent) -> Reply:
        return packed if sent.rpc == "tools/call" else plain(sent)

    async with odd_server(handle) as server:
        connection = HttpConnection(f"{server.url}/mcp", name="odd", max_bytes=1 << 20)
        await connection.open()
        with pytest.raises(NotMcpError, match="more than 1,048,576 bytes"):
            await called(connection)
        await connection.close()


# --- sessions


def rpc(code: int, message: str, id: Any = None) -> bytes:
    return text({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})


LOST: dict[str, tuple[int, str, bytes]] = {
    "404": (404, "", b""),
    "404 with an error": (404, "application/json", rpc(-32001, "Session not found")),
    "404 in Java": (
        404,
        "application/json",
        text({"jsonRpcError": {"code": -32603, "message": "Session not found: 7"}}),
    ),
    "404 in Python": (404, "application/json", rpc(-32600, "Session has been terminated", "server-error")),
    "400 in TypeScript": (400, "application/json", rpc(-32000, "Bad Request: No valid session ID provided")),
    "400 not initialized": (400, "application/json", rpc(-32000, "Bad Request: Server not initialized")),
    "400 missing": (400, "application/json", rpc(-32600, "Bad Request: Missing session ID")),
    "400 as text": (400, "text/plain", b"Invalid or missing session ID"),
    "400 of Go": (400, "text/plain", b"Invalid session ID\n"),
    "400 of a framework": (400, "application/json", text({"detail": "No transport found for sessionId"})),
    "400 of a header": (400, "application/json", text({"error": "Mcp-Session-Id header is required"})),
    "400 expired": (400, "application/json", text({"error": {"message": "Session expired, please reconnect"}})),
    "401 of Rust": (401, "text/plain", b"Unauthorized: Session not found"),
    "422 of Rust": (422, "text/plain", b"Unexpected message, expect initialize request"),
    "410": (410, "text/plain", b"gone"),
    "200 with an error": (200, "application/json", rpc(-32001, "Session not found")),
    "200 not initialized": (200, "application/json", rpc(-32000, "Server not initialized")),
}


class Forgetful:
    """A server that has sessions, and can forget them all."""

    def __init__(self, refusal: tuple[int, str, bytes], *, for_ever: bool = False) -> None:
        self.refusal = refusal
        self.for_ever = for_ever
        self.known: set[str] = set()
        self.begun = 0
        self.executed = 0

    def __call__(self, sent: Sent) -> Reply:
        if sent.rpc == "initialize":
            self.begun += 1
            session = f"s{self.begun}"
            if not self.for_ever or self.begun == 1:
                self.known.add(session)
            reply = plain(sent)
            reply.headers["Mcp-Session-Id"] = session
            return reply
        if sent.method == "POST" and sent.headers.get("mcp-session-id") not in self.known:
            status, kind, body = self.refusal
            return Reply(status, body, {"Content-Type": kind} if kind else {})
        self.executed += sent.rpc == "tools/call"
        return plain(sent)


@pytest.mark.parametrize("kind", LOST)
async def test_a_session_that_the_server_forgot_is_begun_again_and_the_call_executed_once(kind: str) -> None:
    forgetful = Forgetful(LOST[kind])
    async with odd_server(forgetful) as server:
        connection = await opened(f"{server.url}/mcp")
        assert await called(connection) == "hi"
        forgetful.known.clear()
        assert await called(connection) == "hi"
        assert (forgetful.begun, forgetful.executed) == (2, 2)
        assert server.of("tools/call")[-1].headers["mcp-session-id"] == "s2"
        await connection.close()


async def test_a_server_that_knows_none_of_its_sessions_is_asked_twice_and_not_for_ever() -> None:
    forgetful = Forgetful(LOST["400 in TypeScript"], for_ever=True)
    async with odd_server(forgetful) as server:
        connection = await opened(f"{server.url}/mcp")
        forgetful.known.clear()
        with pytest.raises(UnreachableError, match="gives no new one"):
            await called(connection)
        assert (forgetful.begun, forgetful.executed) == (2, 0)
        await connection.close()


async def test_changes_are_heard_after_a_session_was_begun_again() -> None:
    forgetful = Forgetful(LOST["400 in TypeScript"])

    def handle(sent: Sent) -> Reply:
        if sent.method == "GET":
            known = sent.headers.get("mcp-session-id") in forgetful.known
            changed = b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'
            return Reply(200, changed, EVENTS) if known and forgetful.begun > 1 else Reply(404)
        reply = forgetful(sent)
        if sent.rpc == "initialize":
            reply.body = bytes(reply.body).replace(b'"tools": {}', b'"tools": {"listChanged": true}')
        return reply

    heard = asyncio.Event()
    async with odd_server(handle) as server:
        connection = UrlConnection(f"{server.url}/mcp", name="odd")
        connection.on_notification = lambda message: heard.set()
        await connection.open()
        forgetful.known.clear()
        assert await called(connection) == "hi"
        async with asyncio.timeout(10):
            await heard.wait()
        await connection.close()


NOT_LOST: dict[str, Reply] = {
    "the error of a tool": Reply(200, rpc(-32603, "Browser session not found"), JSON_TYPE),
    "a tool that is not there": Reply(404, rpc(-32601, "Method not found", 3), JSON_TYPE),
    "a server that failed": Reply(500, b"session store crashed: unknown session", {"Content-Type": "text/plain"}),
    "a conflict": Reply(400, rpc(-32602, "Invalid arguments for tool echo"), JSON_TYPE),
}


@pytest.mark.parametrize("kind", NOT_LOST)
async def test_a_call_that_may_have_been_executed_is_not_sent_again(kind: str) -> None:
    def handle(sent: Sent) -> Reply:
        reply = NOT_LOST[kind] if sent.rpc == "tools/call" else plain(sent)
        if sent.rpc == "initialize":
            reply.headers["Mcp-Session-Id"] = "s"
        return reply

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp")
        with pytest.raises(Exception, match=r"session|Method|arguments"):
            await called(connection)
        assert (len(server.of("initialize")), len(server.of("tools/call"))) == (1, 1)
        await connection.close()


# --- revisions


SPOKEN = "supported versions: 2025-03-26, 2024-11-05"

REVISIONS: dict[str, tuple[str, bytes]] = {
    "data": (
        "application/json",
        text(
            {
                "jsonrpc": "2.0",
                "id": None,
                "error": {
                    "code": -32602,
                    "message": "Unsupported protocol version",
                    "data": {"supported": ["2025-03-26", "2024-11-05"], "requested": "2025-11-25"},
                },
            }
        ),
    ),
    "text": ("application/json", rpc(-32000, f"Bad Request: Unsupported protocol version: 2025-11-25 ({SPOKEN})")),
    "no JSON": ("text/plain", f"Unsupported protocol version. {SPOKEN}".encode()),
}  # fmt: skip


@pytest.mark.parametrize("kind", REVISIONS)
async def test_one_of_the_revisions_that_a_server_names_is_chosen_at_the_handshake(kind: str) -> None:
    content_type, body = REVISIONS[kind]

    def handle(sent: Sent) -> Reply:
        if sent.rpc == "initialize" and sent.message["params"]["protocolVersion"] > "2025-03-26":
            return Reply(400, body, {"Content-Type": content_type})
        return plain(sent, revision="2025-03-26")

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp")
        assert connection.era == "2025-03-26"
        assert await called(connection) == "hi"
        await connection.close()


@pytest.mark.parametrize("named", [True, False])
async def test_a_revision_that_is_agreed_on_and_then_refused_is_not_sent_again(named: bool) -> None:
    told = " (supported versions: 2025-03-26)" if named else ""

    def handle(sent: Sent) -> Reply:
        if sent.rpc == "tools/call" and sent.headers.get("mcp-protocol-version", "") > "2025-03-26":
            return Reply(400, rpc(-32000, f"Bad Request: Unsupported protocol version{told}"), JSON_TYPE)
        return plain(sent)

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp")
        assert [await called(connection), await called(connection)] == ["hi", "hi"]
        stated = [sent.headers.get("mcp-protocol-version") for sent in server.of("tools/call")]
        assert stated == ["2025-06-18", *["2025-03-26" if named else None] * 2]
        await connection.close()


# --- redirects


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("where", ["/mcp/", "HOST/other?a=1", "mcp/", "//AUTHORITY/mcp/"])
async def test_a_redirect_within_the_origin_is_followed_and_remembered(status: int, where: str) -> None:
    def handle(sent: Sent) -> Reply:
        if sent.path == "/mcp":
            host = sent.headers["host"]
            return Reply(status, b"", {"Location": where.replace("HOST", f"http://{host}").replace("AUTHORITY", host)})
        return plain(sent)

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp", headers={"Authorization": "Bearer ours"})
        assert await called(connection) == "hi"
        assert [sent.path for sent in server.sent].count("/mcp") == 1
        assert server.of("tools/call")[0].headers["authorization"] == "Bearer ours"
        await connection.close()


@pytest.mark.parametrize(
    ("status", "where", "words"),
    [
        (307, "https://elsewhere.example/mcp", "'https://elsewhere.example/mcp' .*another origin"),
        (308, "http://127.0.0.1:1/mcp", "another origin"),
        (307, "http://localhost/mcp", "another origin"),
        (302, "https://login.example/oauth/authorize?x=1", "signing in"),
        (301, "/mcp/", "does not apply to a POST.*Configure that address"),
        (302, "/elsewhere", "does not apply to a POST"),
        (303, "/elsewhere", "does not apply to a POST"),
        (307, "", "no address"),
        (307, "file:///etc/passwd", "no address"),
        (307, "/mcp", "redirects more than 3 times"),
    ],
)
async def test_a_redirect_that_is_not_followed_says_where_it_leads(status: int, where: str, words: str) -> None:
    async with odd_server(lambda sent: Reply(status, b"", {"Location": where} if where else {})) as server:
        with pytest.raises(NotMcpError, match=words):
            await opened(f"{server.url}/mcp")


# --- failures in words

FAILURES: dict[str, tuple[Reply, str]] = {
    "JSON": (Reply(403, text({"message": "Not in your plan."}), JSON_TYPE), "HTTP 403.*: Not in your plan"),
    "OAuth": (
        Reply(400, text({"error": "invalid_request", "error_description": "The tenant is paused"}), JSON_TYPE),
        "The tenant is paused – invalid_request",
    ),
    "problem": (
        Reply(
            422, text({"title": "Out of credit", "detail": "Your balance is 30."}), PROBLEM
        ),
        "Your balance is 30. – Out of credit",
    ),
    "FastAPI": (
        Reply(422, text({"detail": [{"loc": ["body"], "msg": "field required"}]}), JSON_TYPE),
        "HTTP 422: field required",
    ),
    "nested": (Reply(500, text({"error": {"errors": [{"reason": "x"}], "message": "No quota"}}), JSON_TYPE), "quota"),
    "plain": (Reply(500, b"Internal Server Error: KeyError 'user'", {"Content-Type": "text/plain"}), "KeyError 'user'"),
    "no type": (Reply(500, b"it broke"), "HTTP 500: it broke"),
    "nothing": (Reply(500), "HTTP 500 and no MCP message"),
    "HTML": (
        Reply(500, b"<!DOCTYPE html><html><head><title>Worker &amp; threw</title></head></html>", HTML_TYPE),
        "HTTP 500: Worker & threw",
    ),
    "HTML without title": (Reply(500, b"<html><body><h1>Down</h1>x</body></html>"), "HTTP 500: Down"),
    "XML": (Reply(403, b"<?xml version='1.0'?><Error><Message>Access Denied</Message></Error>"), "Access Denied"),
    "compressed": (Reply(500, gzip.compress(b"packed words"), {"Content-Encoding": "gzip"}), "HTTP 500: packed words"),
    "hidden characters": (Reply(500, "a\u202eb\x1b[31mc\u200b".encode()), r"HTTP 500: a b \[31mc"),
    "long": (Reply(500, b"x" * 100_000), "x{200,299}…"),
    "seconds to wait": (Reply(429, b"slow down", {"Retry-After": "7"}), "HTTP 429.*slow down. Try again in 7 s"),
    "no seconds to wait": (Reply(429, rpc(-32000, "Rate limit"), JSON_TYPE), "HTTP 429.*Rate limit. Try again later"),
    "a date to wait for": (Reply(429, b"", {"Retry-After": "Fri, 31 Dec 2999 23:59:59 GMT"}), "Try again in 3600 s"),
    "another header to wait by": (Reply(429, b"", {"RateLimit-Reset": "30"}), "Try again in 30 s"),
    "a time to wait for": (Reply(429, b"", {"X-RateLimit-Reset": "32503680000"}), "Try again in 3600 s"),
    "unavailable for some seconds": (Reply(503, b"", {"Retry-After": "12"}), "Try again in 12 s"),
    "an error of another protocol": (
        Reply(200, text({"status": "fail", "message": "Not logged in"}), JSON_TYPE),
        "no response to the request: Not logged in",
    ),
    "unpaid": (Reply(402, text({"error": "No funds"}), JSON_TYPE), "No funds. It wants to be paid"),
    "a login page": (Reply(200, b"<html><title>Sign in</title></html>", HTML_TYPE), "titled 'Sign in'"),
    "an unknown coding": (Reply(200, b"x", {"Content-Encoding": "compress"}), "coding 'compress'"),
    "a false coding": (Reply(200, b"plain", {"Content-Encoding": "gzip"}), "not in the coding gzip"),
    "a cut coding": (Reply(200, gzip.compress(b"{}")[:-9], {"Content-Encoding": "gzip"}), "not in the coding gzip"),
    "no words at all": (Reply(202), "HTTP 202 and no MCP message"),
}  # fmt: skip


@pytest.mark.parametrize("kind", FAILURES)
async def test_what_a_server_says_outside_of_mcp_reaches_the_caller(kind: str) -> None:
    reply, words = FAILURES[kind]

    async with odd_server(lambda sent: reply if sent.rpc == "tools/call" else plain(sent)) as server:
        connection = await opened(f"{server.url}/mcp")
        with pytest.raises(IncompleteAnswerError, match=words) as caught:
            await called(connection)
        assert len(str(caught.value)) < 600
        assert len(server.of("tools/call")) == 1
        assert await connection.request("ping", {}, timeout=5) == {}
        await connection.close()


@pytest.mark.parametrize(
    ("challenge", "words"),
    [
        ('Bearer resource_metadata="https://a.example/x", scope="read:all"', "OAuth .*a.example/x, .*'read:all'"),
        ('Bearer error="invalid_token"', r"bearer token \(invalid_token\)"),
        ("Bearer", "wants a bearer token"),
        ('Basic realm="x"', "the scheme 'Basic'"),
        ("ApiKey", "the scheme 'ApiKey'"),
        ("", "Check the headers"),
    ],
)  # fmt: skip
async def test_a_server_that_wants_a_sign_in_says_which(challenge: str, words: str) -> None:
    headers = {"WWW-Authenticate": challenge, **JSON_TYPE}
    async with odd_server(lambda sent: Reply(401, rpc(-32000, "Unauthorized"), headers)) as server:
        with pytest.raises(NotMcpError, match=f"refused our credentials.*Unauthorized.*{words}"):
            await opened(f"{server.url}/mcp")
        assert len(server.sent) == 1


async def test_a_refused_request_is_no_sign_that_its_server_is_ill(furnish: Any, browse: Any) -> None:
    reply = Reply(403, text({"message": "Your plan does not include this tool"}), JSON_TYPE)
    async with odd_server(lambda sent: reply if sent.rpc == "tools/call" else plain(sent)) as server:
        house = await furnish(servers={"odd": f"{server.url}/mcp"})
        browser = browse(house)
        for _ in range(8):
            answered = await browser.modern("tools/call", {"name": "odd.echo", "arguments": {}})
            assert "Your plan does not include this tool" in answered.json["result"]["content"][0]["text"]
        assert house.registry.state("odd").breaker == "closed"
        assert house.outcomes().count("failed") == 8
        reply = Reply(429, b"slow down", {"Retry-After": "7"})
        answered = await browser.modern("tools/call", {"name": "odd.echo", "arguments": {}})
        assert answered.json["result"]["_meta"]["workbench/outcome"]["retry_after"] == 7


async def test_a_server_that_takes_no_post_is_asked_for_a_stream_however_it_says_so() -> None:
    body = rpc(-32000, "Method not allowed.")
    async with odd_server(lambda sent: Reply(405, body if sent.method == "POST" else b"", JSON_TYPE)) as server:
        with pytest.raises(UnreachableError, match=r"Method not allowed.*Neither Streamable HTTP nor HTTP\+SSE"):
            await opened(f"{server.url}/mcp")
        assert server.sent[-1].method == "GET"


# --- servers that are not there

NOT_THERE = {
    "refused": (
        "http://user:hunter2@127.0.0.1:{port}/mcp/hunter2?key=hunter2",
        "connection refused. Nothing listens there: start the server",
    ),
    "no such host": ("http://nowhere.invalid:{port}/mcp/hunter2", "check the host"),
    "no TLS": ("https://127.0.0.1:{plain}/mcp/hunter2", "`tls.ca`"),
}


@pytest.mark.parametrize("stream_first", [False, True], ids=["http", "sse"])
@pytest.mark.parametrize("kind", NOT_THERE)
async def test_a_server_that_cannot_be_reached_is_told_with_its_address_and_a_remedy(
    kind: str, stream_first: bool
) -> None:
    url, remedy = NOT_THERE[kind]

    async def without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(without_tls, "127.0.0.1", 0) as server:
        with socket.socket() as taken:  # bound, but not listening: nobody else gets the port meanwhile
            taken.bind(("127.0.0.1", 0))
            url = url.format(port=taken.getsockname()[1], plain=server.sockets[0].getsockname()[1])
            with pytest.raises(UnreachableError) as raised:
                await UrlConnection(url, name="odd", stream_first=stream_first).open()
    told = str(raised.value)
    origin = url.partition("/mcp")[0].replace("user:hunter2@", "")
    assert told.startswith(f"Server 'odd' cannot be reached at {origin}: "), told
    assert remedy in told
    assert "configuration" in told
    assert "hunter2" not in told, "what of an address may be a secret is not told"


def test_an_address_in_the_words_of_an_error_is_cut_as_well() -> None:
    error = ServerTimeoutError("Connection timeout to host https://odd.example/mcp/hunter2?key=hunter2")
    told = str(unreachable("odd", "https://odd.example/mcp/hunter2?key=hunter2", error))
    assert "at https://odd.example: Connection timeout to host https://odd.example." in told
    assert "hunter2" not in told
    assert "whether it runs" in told
    assert "in time" in str(unreachable("odd", "https://[::1]:8/mcp", TimeoutError(), silent="no word in time"))
    assert "at https://[::1]:8: " in str(unreachable("odd", "https://[::1]:8/mcp", TimeoutError()))


async def test_a_launched_server_that_cannot_be_reached_has_no_address_to_correct() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        spec = ServerSpec(id="crm", kind="bundled", trust="bundled")
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnreachableError, match=f"cannot be reached at {url}: ") as raised:
            await upstream_connection(spec, LaunchContext(url=f"{url}/mcp")).open()
    assert raised.value.hint == ""


# --- servers that have to wake up


async def test_a_server_that_wakes_up_is_waited_for_and_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "FIRST_PAUSE_S", 0.01)
    asleep = [Reply(502, b"<html><title>502 Bad Gateway</title>"), Reply(503), Reply(504), Reply(503, b"loading")]
    heard: list[str] = []

    async with odd_server(lambda sent: asleep.pop(0) if asleep else plain(sent)) as server:
        connection = UrlConnection(f"{server.url}/mcp", name="odd")
        connection.on_waiting = heard.append
        await connection.open()
        assert await called(connection) == "hi"
        await connection.close()
    assert len(heard) == 2
    assert "HTTP 503" in heard[0]
    assert "HTTP 503" in heard[1]
    assert "loading" in heard[1]


async def test_a_server_that_answers_nothing_until_it_is_awake_gets_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.upstream.http.streamable_http.HANDSHAKE_TIMEOUT_S", 0.05)
    awake = asyncio.Event()

    async def handle(sent: Sent) -> Reply:
        if sent.rpc == "server/discover":
            await awake.wait()
        if sent.rpc == "initialize":
            asyncio.get_running_loop().call_later(0.2, awake.set)
            await awake.wait()
        return plain(sent)

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp")
        assert await called(connection) == "hi"
        await connection.close()


MODERN_RESULT = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}


def of_both_eras(sent: Sent) -> Reply:
    """A server of both eras, with sessions in the older one."""
    if sent.rpc == "server/discover":
        found = {"jsonrpc": "2.0", "id": sent.message["id"], "result": MODERN_RESULT}
        return Reply(200, text(found), JSON_TYPE)
    reply = plain(sent)
    return Reply(reply.status, reply.body, {**reply.headers, "Mcp-Session-Id": "s1"} if reply.status == 200 else {})


async def test_a_modern_server_that_was_slow_at_first_is_not_taken_for_an_older_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.upstream.http.streamable_http.HANDSHAKE_TIMEOUT_S", 0.05)
    slow = [True]

    async def handle(sent: Sent) -> Reply:
        if sent.rpc == "server/discover" and slow:
            slow.pop()
            await asyncio.Event().wait()
        if sent.rpc == "initialize":
            monkeypatch.setattr("workbench.upstream.http.streamable_http.HANDSHAKE_TIMEOUT_S", 10.0)
        return of_both_eras(sent)

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp")
        assert connection.era == "2026-07-28"
        assert connection.notices == ()
        assert await called(connection) == "hi"
        await connection.close()
    first, handshake, second, ended, call = server.sent
    assert [first.rpc, handshake.rpc, second.rpc, call.rpc] == [
        "server/discover", "initialize", "server/discover", "tools/call",
    ]  # fmt: skip
    assert (ended.method, ended.headers["mcp-session-id"]) == ("DELETE", "s1")
    assert "mcp-session-id" not in second.headers
    assert "mcp-session-id" not in call.headers


async def test_a_server_that_is_silent_about_its_revisions_keeps_its_session_and_is_said_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.upstream.http.streamable_http.HANDSHAKE_TIMEOUT_S", 0.05)

    async def handle(sent: Sent) -> Reply:
        if sent.rpc == "server/discover":
            await asyncio.Event().wait()
        return of_both_eras(sent)

    async with odd_server(handle) as server:
        connection = await opened(f"{server.url}/mcp")
        assert connection.era == "2025-06-18"
        (notice,) = connection.notices
        assert "no answer in time" in notice
        assert "2025-06-18" in notice
        assert await called(connection) == "hi"
        await connection.close()
    assert [sent.headers.get("mcp-session-id") for sent in server.sent if sent.rpc == "tools/call"] == ["s1"]


async def test_a_bundled_server_that_is_slow_is_waited_for_and_never_spoken_to_as_an_older_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("workbench.upstream.http.streamable_http.HANDSHAKE_TIMEOUT_S", 0.05)

    async def handle(sent: Sent) -> Reply:
        if sent.rpc == "server/discover":
            loaded = asyncio.Event()
            asyncio.get_running_loop().call_later(0.3, loaded.set)  # longer than others get
            await loaded.wait()
        return of_both_eras(sent)

    async with odd_server(handle) as server:
        spec = ServerSpec(id="crm", kind="bundled", trust="bundled")
        connection = upstream_connection(spec, LaunchContext(url=f"{server.url}/mcp"))
        await connection.open()
        assert connection.era == "2026-07-28"
        await connection.close()
        monkeypatch.setattr("workbench.upstream.http.streamable_http.WAKE_TIMEOUT_S", 0.05)
        silent = upstream_connection(spec, LaunchContext(url=f"{server.url}/mcp"))
        with pytest.raises(UnreachableError, match="did not answer"):
            await silent.open()
    assert {sent.rpc for sent in server.sent} == {"server/discover"}


async def test_the_state_of_a_server_that_wakes_up_says_so(furnish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    awake = asyncio.Event()

    async with odd_server(lambda sent: plain(sent) if awake.is_set() else Reply(503, b"starting up")) as server:
        house = await furnish(servers={"odd": f"{server.url}/mcp"})
        state = house.registry.state("odd")
        assert state.status == "starting"
        assert "starting up" in state.last_error
        awake.set()
        async with asyncio.timeout(10):
            while house.registry.state("odd").status != "ready":  # noqa: ASYNC110 - what changes is of the registry
                await asyncio.sleep(0.01)
