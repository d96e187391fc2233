"""Upstream servers over Streamable HTTP: both eras, streams, cancellation, and servers that misbehave."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp.server.mcpserver import Context

from workbench.events import JSON, MisuseError, UnreachableError
from workbench.registry.connection import LaunchContext, RpcError
from workbench.registry.server import ServerSpec
from workbench.upstream import upstream_connection
from workbench.upstream.http.client_pool import GuardedResolver, HttpClientPool
from workbench.upstream.http.streamable_http import HttpConnection
from workbench.upstream.negotiation import IncompleteAnswerError, NotMcpError

Handler = Callable[[dict[str, str], Any], Awaitable[tuple[int, dict[str, str], bytes]]]


def raw(handle: Handler, seen: list[tuple[str, dict[str, str], Any]] | None = None, get: Handler | None = None) -> Any:
    """An ASGI app that answers each POST with what `handle` says, and each GET with what `get` does."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {k.decode(): v.decode() for k, v in scope["headers"]}
        message = json.loads(body) if body else None
        if seen is not None:
            seen.append((scope["method"], headers, message))
        if scope["method"] == "GET" and get is not None:
            status, extra, out = await get(headers, None)
        elif scope["method"] != "POST":
            status, extra, out = 405, {}, b""
        else:
            status, extra, out = await handle(headers, message)
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(k.encode(), v.encode()) for k, v in extra.items()],
            }
        )
        await send({"type": "http.response.body", "body": out})

    return app


AS_JSON = {"content-type": "application/json"}
AS_EVENTS = {"content-type": "text/event-stream"}


def result(message: Any, value: JSON) -> tuple[int, dict[str, str], bytes]:
    return 200, AS_JSON, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": value}).encode()


def discovered(message: Any, **more: Any) -> tuple[int, dict[str, str], bytes]:
    return result(message, {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **more})


async def opened(url: str, **options: Any) -> HttpConnection:
    connection = HttpConnection(url + "/mcp", name="calc", **options)
    await connection.open()
    return connection


async def test_a_dual_era_server_is_spoken_to_in_the_modern_way(calc: Any, serve: Any) -> None:
    connection = await opened(await serve(calc.mcp.streamable_http_app()))
    assert connection.era == "2026-07-28"
    assert connection.instructions == "Adds numbers."
    assert connection.server_info["name"] == "calc"
    assert connection.alive
    listed = await connection.request("tools/list", {}, timeout=5)
    assert "add" in [tool["name"] for tool in listed["tools"]]
    answer = await connection.request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}, timeout=5)
    assert answer["structuredContent"] == {"total": 3}
    await connection.close()
    assert not connection.alive


async def test_arguments_are_mirrored_in_headers_once_the_tools_were_listed(calc: Any, serve: Any) -> None:
    connection = await opened(await serve(calc.mcp.streamable_http_app()))
    await connection.request("tools/list", {}, timeout=5)
    # the SDK refuses a call whose Mcp-Param-Region is missing or differs
    answer = await connection.request("tools/call", {"name": "region", "arguments": {"region": "Zürich "}}, timeout=5)
    assert answer["content"][0]["text"] == "Zürich "
    await connection.close()


async def test_progress_reaches_the_caller_with_the_callers_own_token(calc: Any, serve: Any) -> None:
    connection = await opened(await serve(calc.mcp.streamable_http_app()))
    heard: list[JSON] = []

    async def notify(message: JSON) -> None:
        heard.append(message)

    await connection.request(
        "tools/call", {"name": "steps", "arguments": {}}, timeout=5, notify=notify, meta={"progressToken": "mine"}
    )
    assert [(m["params"]["progressToken"], m["params"]["message"]) for m in heard] == [
        ("mine", "half"),
        ("mine", "whole"),
    ]
    await connection.close()


async def test_a_call_that_takes_too_long_times_out_and_is_cancelled_upstream(calc: Any, serve: Any) -> None:
    connection = await opened(await serve(calc.mcp.streamable_http_app()))
    with pytest.raises(TimeoutError):
        await connection.request("tools/call", {"name": "hang", "arguments": {}}, timeout=0.3)
    async with asyncio.timeout(5):
        await calc.cancelled.wait()
    await connection.close()


async def test_cancelling_the_task_reaches_the_server(calc: Any, serve: Any) -> None:
    connection = await opened(await serve(calc.mcp.streamable_http_app()))
    task = asyncio.create_task(connection.request("tools/call", {"name": "hang", "arguments": {}}, timeout=30))
    async with asyncio.timeout(5):
        await calc.started.wait()
        task.cancel()
        await calc.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
    await connection.close()


def legacy_server(seen: list[Any], *, forget_after: int = 1000) -> Any:
    """A server of 2025-11-25 with sessions, that forgets each session after some calls."""
    sessions: dict[str, int] = {}
    numbers = itertools.count(1)

    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        method = message.get("method")
        if method == "initialize":
            session = f"s{next(numbers)}"
            sessions[session] = 0
            info = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "old"}}
            status, extra, out = result(message, info)
            return status, {**extra, "mcp-session-id": session}, out
        session = headers.get("mcp-session-id", "")
        if session not in sessions:
            # an id on a refusal must not be believed
            return (404 if session else 400), {"mcp-session-id": "bogus", "content-type": "text/plain"}, b"no session"
        if "id" not in message:
            return 202, {}, b""
        sessions[session] += 1
        if sessions[session] > forget_after:
            del sessions[session]
            return 404, {}, b""
        return result(message, {"content": [{"type": "text", "text": session}]})

    return raw(handle, seen)


async def test_an_old_server_gets_a_handshake_and_its_session_id_back(serve: Any) -> None:
    seen: list[Any] = []
    connection = await opened(await serve(legacy_server(seen)))
    assert connection.era == "2025-11-25"
    answer = await connection.request("tools/call", {"name": "x", "arguments": {}}, timeout=5, meta={"a/b": 1})
    assert answer["content"][0]["text"] == "s1"
    await connection.close()
    methods = [(m, b and b.get("method")) for m, _, b in seen]
    assert methods == [
        ("POST", "server/discover"),
        ("POST", "initialize"),
        ("POST", "notifications/initialized"),
        ("POST", "tools/call"),
        ("DELETE", None),
    ]
    assert seen[1][1].get("mcp-session-id") is None
    assert seen[3][1]["mcp-protocol-version"] == "2025-11-25"
    assert seen[3][2]["params"]["_meta"] == {"a/b": 1}


async def test_a_forgotten_session_is_renewed_once_for_all_who_find_it_gone(serve: Any) -> None:
    seen: list[Any] = []
    connection = await opened(await serve(legacy_server(seen, forget_after=3)))
    answers = await asyncio.gather(
        *(connection.request("tools/call", {"name": "x", "arguments": {}}, timeout=5) for _ in range(5))
    )
    assert sorted(a["content"][0]["text"] for a in answers) == ["s1", "s1", "s1", "s2", "s2"]
    assert [b["method"] for _, _, b in seen].count("initialize") == 2
    await connection.close()


async def test_a_cancelled_call_is_told_to_an_old_server(serve: Any) -> None:
    told = asyncio.Event()
    called = asyncio.Event()

    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        if message["method"] == "initialize":
            return result(message, {"protocolVersion": "2025-06-18", "capabilities": {}})
        if message["method"] == "notifications/cancelled":
            assert message["params"]["requestId"] == handle.id  # type: ignore[attr-defined]
            told.set()
        if message["method"] == "tools/call":
            handle.id = message["id"]  # type: ignore[attr-defined]
            called.set()
            await told.wait()
        return 202 if "id" not in message else 400, {}, b""

    connection = await opened(await serve(raw(handle)))
    assert connection.era == "2025-06-18"
    task = asyncio.create_task(connection.request("tools/call", {"name": "x"}, timeout=30))
    async with asyncio.timeout(5):
        await called.wait()
        task.cancel()
        await told.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
    await connection.close()


async def test_requests_of_an_old_server_are_answered_with_an_error_and_ping_with_a_result(serve: Any) -> None:
    answers: dict[Any, Any] = {}
    both = asyncio.Event()

    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        if message.get("method") == "initialize":
            return result(message, {"protocolVersion": "2025-03-26", "capabilities": {}})
        if "method" not in message:
            answers[message["id"]] = message
            if len(answers) == 2:
                both.set()
            return 202, {}, b""
        if message["method"] == "tools/call":
            frames = [
                {"jsonrpc": "2.0", "id": "p", "method": "ping"},
                {"jsonrpc": "2.0", "id": "e", "method": "elicitation/create", "params": {}},
                {"jsonrpc": "2.0", "id": message["id"], "result": {"content": [], "unknown": {"kept": 1}}},
            ]
            return 200, AS_EVENTS, b"".join(b"data: " + json.dumps(f).encode() + b"\r\n\r\n" for f in frames)
        return 202 if "id" not in message else 404, {}, b""

    connection = await opened(await serve(raw(handle)))
    answer = await connection.request("tools/call", {"name": "x"}, timeout=5)
    assert answer["unknown"] == {"kept": 1}
    async with asyncio.timeout(5):
        await both.wait()
    assert answers["p"]["result"] == {}
    assert answers["e"]["error"]["code"] == -32601
    await connection.close()


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        ((401, {}, b""), NotMcpError, "refused our credentials"),
        ((307, {"location": "http://elsewhere/"}, b""), NotMcpError, "redirects to"),
        ((502, {"content-type": "text/html"}, b"<html>"), NotMcpError, "HTTP 502"),
        ((200, {"content-type": "text/html"}, b"<html>"), NotMcpError, "text/html"),
        ((202, {}, b""), NotMcpError, "HTTP 202"),
        ((200, AS_JSON, b"{not json"), NotMcpError, "broken JSON"),
        ((200, AS_JSON, b'{"a":"\xff"'), NotMcpError, "broken JSON"),
        ((200, AS_JSON, b'{"jsonrpc":"2.0","id":"other","result":{}}'), NotMcpError, "no response to the request"),
        ((200, {**AS_JSON, "content-encoding": "gzip"}, b"x"), NotMcpError, "not in the coding gzip"),
        ((200, AS_JSON, b"[" + b"1," * 5000 + b"1]"), NotMcpError, "more than 9,000 bytes"),
        ((200, AS_EVENTS, b"data: " + b"x" * 9001 + b"\n\n"), UnreachableError, "event of more than"),
        ((200, AS_EVENTS, b": nothing\n\n"), IncompleteAnswerError, "without an answer"),
    ],
)
async def test_a_server_that_breaks_the_protocol_is_said_to(
    serve: Any, answer: Any, error: type[Exception], words: str
) -> None:
    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        return discovered(message) if message["method"] == "server/discover" else answer

    connection = await opened(await serve(raw(handle)), max_bytes=9000)
    with pytest.raises(error, match=words):
        await connection.request("tools/call", {"name": "x"}, timeout=5)
    await connection.close()


async def test_an_error_object_arrives_whole_whatever_the_http_status(serve: Any) -> None:
    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        if message["method"] == "server/discover":
            return discovered(message)
        error = {"code": -32021, "message": "needs sampling", "data": {"requiredCapabilities": {"sampling": {}}}}
        return 400, AS_JSON, json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()

    connection = await opened(await serve(raw(handle)))
    with pytest.raises(RpcError) as caught:
        await connection.request("tools/call", {"name": "x"}, timeout=5)
    assert (caught.value.code, caught.value.data) == (-32021, {"requiredCapabilities": {"sampling": {}}})
    await connection.close()


async def test_the_callers_capabilities_travel_instead_of_ours(serve: Any) -> None:
    seen: list[Any] = []

    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        return discovered(message) if message["method"] == "server/discover" else result(message, {})

    connection = await opened(await serve(raw(handle, seen)), headers={"authorization": "Bearer upstream"})
    meta = {
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    }
    await connection.request("tools/call", {"name": "größe"}, timeout=5, meta=meta)
    _, headers, body = seen[-1]
    sent = body["params"]["_meta"]
    assert sent["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {}}
    assert sent["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"
    assert sent["io.modelcontextprotocol/clientInfo"]["name"] == "mcp-workbench"
    assert sent["traceparent"] == meta["traceparent"]
    assert headers["authorization"] == "Bearer upstream"
    assert headers["mcp-method"] == "tools/call"
    assert headers["mcp-name"] == "=?base64?Z3LDtsOfZQ==?="
    assert headers["accept-encoding"] == "identity"
    await connection.close()


async def test_a_tool_whose_header_annotation_is_invalid_is_not_offered(serve: Any) -> None:
    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        if message["method"] == "server/discover":
            return discovered(message)
        bad = {"type": "object", "properties": {"a": {"type": "number", "x-mcp-header": "A"}}}
        tools = [{"name": "good", "inputSchema": {"type": "object"}}, {"name": "bad", "inputSchema": bad}]
        return result(message, {"tools": tools})

    connection = await opened(await serve(raw(handle)))
    listed = await connection.request("tools/list", {}, timeout=5)
    assert [tool["name"] for tool in listed["tools"]] == ["good"]
    await connection.close()


async def test_nothing_listening_is_unreachable() -> None:
    with socket.socket() as taken:  # bound, but not listening: nobody else gets the port meanwhile
        taken.bind(("127.0.0.1", 0))
        connection = HttpConnection(f"http://127.0.0.1:{taken.getsockname()[1]}/mcp", name="gone")
        with pytest.raises(UnreachableError, match="gone"):
            await connection.open()
    assert not connection.alive
    with pytest.raises(UnreachableError, match="not open"):
        await connection.request("tools/list", {}, timeout=1)


async def test_a_server_with_foreign_revisions_only_is_refused_with_their_names(serve: Any) -> None:
    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        error = {"code": -32022, "message": "no", "data": {"supported": ["2031-01-01"]}}
        return 400, AS_JSON, json.dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}).encode()

    url = await serve(raw(handle))
    with pytest.raises(UnreachableError, match="2031-01-01"):
        await opened(url)


async def test_changes_of_lists_are_heard_outside_requests(calc: Any, serve: Any) -> None:
    heard = asyncio.Event()

    @calc.mcp.tool()
    async def grow(ctx: Context) -> str:
        """Changes the list of tools."""
        await ctx.notify_tools_changed()
        return ""

    connection = HttpConnection(await serve(calc.mcp.streamable_http_app()) + "/mcp", name="calc")
    acknowledged = asyncio.Event()

    def note(message: JSON) -> None:
        if message["method"] == "notifications/subscriptions/acknowledged":
            acknowledged.set()
        if message["method"] == "notifications/tools/list_changed":
            heard.set()

    connection.on_notification = note
    await connection.open()
    assert connection.capabilities["tools"]["listChanged"] is True
    async with asyncio.timeout(5):
        await acknowledged.wait()
        await connection.request("tools/call", {"name": "grow", "arguments": {}}, timeout=5)
        await heard.wait()
    await connection.close()


async def test_an_address_from_outside_is_judged_when_it_is_dialled(calc: Any, serve: Any) -> None:
    url = await serve(calc.mcp.streamable_http_app())
    spec = ServerSpec(id="outside", kind="url")
    for given in (url, "http://169.254.169.254/mcp"):
        with pytest.raises(MisuseError, match="cannot be registered"):
            upstream_connection(spec, LaunchContext(url=given + "/mcp", guarded=True))
    # a name may lead to this machine although it does not say so
    port = url.rpartition(":")[2]
    sly = HttpConnection(
        f"http://sly.example:{port}/mcp", name="outside", pool=HttpClientPool(Lying(local_allowed=False))
    )
    with pytest.raises(UnreachableError, match="forbidden address"):
        await sly.open()
    local = f"http://localhost:{port}/mcp"
    connection = upstream_connection(spec, LaunchContext(url=local, guarded=True, local_allowed=True))
    await connection.open()
    assert connection.era == "2026-07-28"
    await connection.close()


async def test_nothing_is_sent_to_a_port_that_may_not_be_registered(serve: Any) -> None:
    """Not to the address of a stored server after the setting was changed, nor to where a request was led since."""
    asked: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        asked.append(scope["type"])
        await send({"type": "http.response.start", "status": 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    port = int((await serve(app)).rpartition(":")[2])
    asked.clear()  # of the server's own start
    https, here = (range(443, 444),), (range(port, port + 1),)
    spec = ServerSpec(id="outside", kind="url")
    stored = LaunchContext(url=f"http://127.0.0.1:{port}/mcp", guarded=True, local_allowed=True, ports=https)
    with pytest.raises(MisuseError, match=f"port {port} is not allowed"):
        upstream_connection(spec, stored)
    for host in ("127.0.0.1", "localhost"):
        for ports, reached in ((https, False), (here, True)):
            pool = HttpClientPool.guarded(local_allowed=True, ports=ports)
            http = pool.acquire()
            for ask in (http.get, http.post):
                if reached:
                    async with ask(f"http://{host}:{port}/") as response:
                        assert response.status == 404
                else:
                    with pytest.raises(OSError, match=f"port {port} is not allowed"):
                        await ask(f"http://{host}:{port}/")
            assert bool(asked) is reached
            asked.clear()
            await pool.release()


async def test_an_old_server_announces_changes_on_the_stream_it_offers(serve: Any) -> None:
    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        if message["method"] == "initialize":
            return result(message, {"protocolVersion": "2025-06-18", "capabilities": {"tools": {"listChanged": True}}})
        return 202 if "id" not in message else 404, {}, b""

    async def get(headers: dict[str, str], _: Any) -> tuple[int, dict[str, str], bytes]:
        assert headers["mcp-protocol-version"] == "2025-06-18"
        return 200, AS_EVENTS, b'data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n\n'

    heard = asyncio.Event()
    connection = HttpConnection(await serve(raw(handle, get=get)) + "/mcp", name="old")
    connection.on_notification = lambda message: heard.set()
    await connection.open()
    async with asyncio.timeout(5):
        await heard.wait()
    await connection.close()


async def test_an_answer_whose_stream_breaks_off_is_taken_up_again(serve: Any) -> None:
    asked: list[Any] = []

    async def handle(headers: dict[str, str], message: Any) -> tuple[int, dict[str, str], bytes]:
        if message["method"] == "initialize":
            return result(message, {"protocolVersion": "2025-11-25", "capabilities": {}})
        if message["method"] == "tools/call":
            asked.append(message["id"])
            return 200, AS_EVENTS, b"id: 41\nretry: 1\ndata:\n\n"
        return 202 if "id" not in message else 404, {}, b""

    async def get(headers: dict[str, str], _: Any) -> tuple[int, dict[str, str], bytes]:
        if headers["last-event-id"] == "41":
            return 200, AS_EVENTS, b"id: 42\nretry: 1\ndata:\n\n"
        assert headers["last-event-id"] == "42"
        answer = {"jsonrpc": "2.0", "id": asked[0], "result": {"content": [], "late": True}}
        return 200, AS_EVENTS, b"data: " + json.dumps(answer).encode() + b"\n\n"

    connection = await opened(await serve(raw(handle, get=get)))
    answer = await connection.request("tools/call", {"name": "x"}, timeout=5)
    assert answer["late"] is True
    await connection.close()


class Lying(GuardedResolver):
    """Takes every name for `localhost`, as a hostile name server would."""

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> Any:
        return await super().resolve("localhost", port, family)
