"""Servers that only speak HTTP+SSE: found out, called, asked back, and left when they break the rules."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from tests.gateway.conftest import until
from tests.gateway.test_crossings import ACCEPTED, CAN_ASK, FORM, begin, converse
from workbench.events import JSON, UnreachableError
from workbench.registry.connection import LaunchContext, RpcError
from workbench.registry.server import ServerSpec
from workbench.upstream import upstream_connection
from workbench.upstream.autodetect import UrlConnection
from workbench.upstream.http import sse_connection
from workbench.upstream.http.sse_connection import EventStreamConnection
from workbench.upstream.http.streamable_http import HttpConnection

# what older servers do is deprecated, and done all the same
pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")


class Older:
    """A server of the SDK behind HTTP+SSE, and who asked it what."""

    def __init__(self) -> None:
        self.mcp = mcp = MCPServer("older", version="7", instructions="Greets.")
        self.requests: list[tuple[str, str]] = []
        self.streams = 0
        self.cancelled = asyncio.Event()
        self.hangs = asyncio.Event()

        @mcp.tool()
        async def greet(ctx: Context) -> str:
            answer = await ctx.session.elicit_form("name?", FORM)
            return f"Hello {(answer.content or {}).get('name', answer.action)}"

        @mcp.tool()
        async def steps(ctx: Context) -> str:
            await ctx.report_progress(1, 2, "half")
            await ctx.session.send_log_message("warning", "careful")
            return "done"

        @mcp.tool()
        async def hang() -> str:
            self.hangs.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return ""

        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        self._app = mcp.sse_app(transport_security=security)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self.requests.append((scope["method"], scope["path"]))
        stream = scope["method"] == "GET"
        self.streams += stream
        try:
            await self._app(scope, receive, send)
        finally:
            self.streams -= stream


@pytest.fixture
async def older(serve: Any) -> tuple[Older, str]:
    app = Older()
    return app, f"{await serve(app)}/sse"


@pytest.fixture
async def opened() -> AsyncIterator[Callable[[Any], Any]]:
    """`await opened(connection)` opens it, and closes it when the test ends."""
    connections: list[Any] = []

    async def start(connection: Any) -> Any:
        connections.append(connection)
        await connection.open()
        return connection

    yield start
    for connection in connections:
        await connection.close()


async def test_a_server_without_streamable_http_is_found_out(older: tuple[Older, str], opened: Any) -> None:
    app, url = older
    connection = await opened(UrlConnection(url, name="older"))
    assert (connection.transport, connection.alive) == ("sse", True)
    assert connection.era == "2025-11-25"
    assert connection.server_info["name"] == "older"
    assert connection.instructions == "Greets."
    assert [method for method, path in app.requests if path == "/sse"] == ["POST", "POST", "GET"]
    heard: list[JSON] = []

    async def notify(message: JSON) -> None:
        heard.append(message["params"])

    answer = await connection.request(
        "tools/call", {"name": "steps"}, timeout=5, notify=notify, meta={"progressToken": "p"}
    )
    assert answer["content"][0]["text"] == "done"
    assert [params["progressToken"] for params in heard] == ["p"]
    with pytest.raises(RpcError) as caught:
        await connection.request("no/such", {}, timeout=5)
    assert caught.value.code == -32601
    posted = len(app.requests)
    await connection.notify("com.example/told", {"n": 1}, timeout=5)
    assert len(app.requests) == posted + 1
    await connection.close()
    assert not connection.alive
    await until(lambda: not app.streams)
    await connection.open()
    assert connection.alive


async def test_who_is_configured_as_sse_is_asked_for_a_stream_first(
    older: tuple[Older, str], opened: Any, calc: Any, serve: Any
) -> None:
    app, url = older
    spec = ServerSpec(id="older", kind="url", url=url, sse=True)
    connection = upstream_connection(spec, LaunchContext(url=url))
    assert isinstance(connection, UrlConnection)
    await opened(connection)
    assert app.requests[0] == ("GET", "/sse")
    newer = f"{await serve(calc.mcp.streamable_http_app())}/mcp"
    connection = await opened(UrlConnection(newer, name="calc", stream_first=True))
    assert (connection.transport, connection.era) == ("http", "2026-07-28")


async def test_cancelling_reaches_the_server(older: tuple[Older, str], opened: Any) -> None:
    app, url = older
    connection = await opened(UrlConnection(url))
    with pytest.raises(TimeoutError):
        await connection.request("tools/call", {"name": "hang"}, timeout=0.5)
    async with asyncio.timeout(5):
        await app.cancelled.wait()


async def test_clients_of_both_eras_are_asked(older: tuple[Older, str], furnish: Any, browse: Any) -> None:
    app, url = older
    house = await furnish(servers={"older": url})
    state = house.registry.state("older")
    assert (state.transport, state.era, state.version) == ("sse", "2025-11-25", "7")
    browser = browse(house, "/servers/older/mcp")
    session = await begin(browser, {"elicitation": {"form": {}}})
    hello = {"name": "greet", "arguments": {}}
    response = await converse(browser, session, hello, [{"result": ACCEPTED}])
    assert response.events[-1]["result"]["content"][0]["text"] == "Hello Ada"
    first = (await browser.modern("tools/call", hello, meta=CAN_ASK)).json["result"]
    again = {
        **hello,
        "requestState": first["requestState"],
        "inputResponses": dict.fromkeys(first["inputRequests"], ACCEPTED),
    }
    answer = (await browser.modern("tools/call", again, meta=CAN_ASK)).json["result"]
    assert answer["content"][0]["text"] == "Hello Ada"
    assert app.streams == 2  # that of the server, and one that serves the calls of this person
    logs = await browser.legacy("tools/call", {"name": "steps", "arguments": {}}, headers=session)
    assert [message["method"] for message in logs.events[:-1]] == ["notifications/message"]


async def test_a_server_that_comes_back_is_connected_again(serve: Any, furnish: Any, browse: Any) -> None:
    gone = asyncio.Event()
    app = Older()

    async def breaking(scope: Any, receive: Any, send: Any) -> None:
        async def told() -> Any:
            if scope.get("method") != "GET":
                return await receive()
            receiving = asyncio.ensure_future(receive())
            leaving = asyncio.ensure_future(gone.wait())
            await asyncio.wait({receiving, leaving}, return_when=asyncio.FIRST_COMPLETED)
            leaving.cancel()
            if receiving.done():
                return receiving.result()
            receiving.cancel()
            return {"type": "http.disconnect"}

        await app(scope, told, send)

    house = await furnish(servers={"older": f"{await serve(breaking)}/sse"})
    connection = house.registry._entries["older"].first.connection
    gone.set()
    await until(lambda: not connection.alive)
    gone.clear()
    house.registry._entries["older"].first.suspect()
    await until(lambda: house.registry._entries["older"].first.reachable)
    answer = (await browse(house).modern("tools/call", {"name": "older.steps", "arguments": {}})).json
    assert answer["result"]["content"][0]["text"] == "done"


# --- servers that break the rules ----------------------------------------------------------------


class Rude:
    """A stream that says what it was given, and POSTs that are answered with a status."""

    def __init__(self, *events: bytes, post: int = 202, kind: bytes = b"text/event-stream", status: int = 200) -> None:
        self.events = events
        self.post = post
        self.kind = kind
        self.status = status
        self.ends = True
        self.posted: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST":
            self.posted.append(json.loads((await receive())["body"] or b"null"))
            await send({"type": "http.response.start", "status": self.post, "headers": []})
            await send({"type": "http.response.body", "body": b"x"})
            return
        await send({"type": "http.response.start", "status": self.status, "headers": [(b"content-type", self.kind)]})
        for event in self.events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        while not self.ends and (await receive())["type"] != "http.disconnect":
            pass
        await send({"type": "http.response.body", "body": b""})


ENDPOINT = b"event: endpoint\ndata: /messages?id=1\n\n"


@pytest.mark.parametrize(
    ("rude", "told"),
    [
        (Rude(), "without an address"),
        (Rude(b"event: endpoint\ndata: https://evil.example/messages\n\n"), "evil.example"),
        (Rude(b"event: endpoint\ndata: //evil.example/messages\n\n"), "evil.example"),
        (Rude(ENDPOINT, kind=b"text/html"), "no MCP message"),
        (Rude(ENDPOINT, status=401), "refused our credentials"),
        (Rude(ENDPOINT, status=302), "redirects"),
        (Rude(ENDPOINT, b"data: {\n\n"), "broken JSON"),
        (Rude(ENDPOINT, b"data: " + b"x" * 5000), "more than 4,000 bytes"),
        (Rude(ENDPOINT), "ended the stream"),
    ],
)
async def test_a_stream_that_cannot_be_used_is_left(serve: Any, opened: Any, rude: Rude, told: str) -> None:
    connection = EventStreamConnection(f"{await serve(rude)}/sse", name="rude", max_bytes=4000)
    with pytest.raises(UnreachableError, match=told):
        await opened(connection)
    assert not connection.alive
    assert connection._http is None


async def test_a_forgotten_stream_is_said_to_be(serve: Any, opened: Any) -> None:
    rude = Rude(ENDPOINT, post=404)
    rude.ends = False
    with pytest.raises(UnreachableError, match="forgotten our stream"):
        await opened(EventStreamConnection(f"{await serve(rude)}/sse", name="rude"))
    assert rude.posted[0]["method"] == "initialize"


async def test_a_server_that_names_no_address_or_takes_no_message_is_given_up(
    serve: Any, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse_connection, "OPEN_TIMEOUT_S", 0.1)
    rude = Rude(b": nothing yet\n\n")
    rude.ends = False
    with pytest.raises(UnreachableError, match="did not name an address"):
        await opened(EventStreamConnection(f"{await serve(rude)}/sse", name="rude"))
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await opened(EventStreamConnection("http://127.0.0.1:1/sse", name="rude"))


async def test_neither_transport_is_said_with_both_reasons(serve: Any, opened: Any) -> None:
    nothing = Rude(post=404, status=404)
    with pytest.raises(UnreachableError, match=r"HTTP 404.*Neither Streamable HTTP nor HTTP\+SSE.*HTTP 404"):
        await opened(UrlConnection(f"{await serve(nothing)}/mcp", name="nothing"))
    refusing = Rude(post=401, status=200)
    with pytest.raises(UnreachableError, match="refused our credentials"):
        await opened(UrlConnection(f"{await serve(refusing)}/mcp", name="refusing"))
    assert len(refusing.posted) == 1


def test_what_is_launched_here_is_not_asked_for_a_stream() -> None:
    bundled = ServerSpec(id="crm", kind="bundled", trust="bundled")

    async def made() -> Any:
        return upstream_connection(bundled, LaunchContext(url="http://127.0.0.1:1/mcp"))

    assert type(asyncio.run(made())) is HttpConnection


class Oldest:
    """A server of 2024-11-05 and nothing else, as that revision describes it."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.heard: list[tuple[str, bool]] = []
        self.ended = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] == "POST" and scope["path"] == "/sse":
            await send({"type": "http.response.start", "status": 405, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        elif scope["method"] == "POST":
            message = json.loads((await receive())["body"])
            self.heard.append((message["method"], b"mcp-protocol-version" in dict(scope["headers"])))
            await send({"type": "http.response.start", "status": 202, "headers": []})
            await send({"type": "http.response.body", "body": b"Accepted"})
            if "id" in message:
                self.answers.put_nowait({"jsonrpc": "2.0", "id": message["id"], "result": self.result(message)})
        else:
            kind = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": kind})
            await send({"type": "http.response.body", "body": ENDPOINT, "more_body": True})
            while (answer := await self.answers.get()) is not None:
                data = b"event: message\r\ndata: " + json.dumps(answer).encode() + b"\r\n\r\n"
                await send({"type": "http.response.body", "body": data, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            self.ended.set()

    def result(self, message: Any) -> Any:
        if message["method"] == "initialize":
            info = {"name": "oldest", "version": "1"}
            return {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}}, "serverInfo": info}
        if message["method"] == "tools/list":
            return {"tools": [{"name": "say", "inputSchema": {"type": "object"}}]}
        return {"content": [{"type": "text", "text": "said"}]}


async def test_a_server_of_2024_is_spoken_to_in_its_revision(serve: Any, furnish: Any, browse: Any) -> None:
    oldest = Oldest()
    house = await furnish(servers={"oldest": f"{await serve(oldest)}/sse"})
    state = house.registry.state("oldest")
    assert (state.era, state.transport) == ("2024-11-05", "sse")
    call = {"name": "oldest.say", "arguments": {}}
    assert (await browse(house).modern("tools/call", call)).json["result"]["content"][0]["text"] == "said"
    assert [method for method, _ in oldest.heard[:4]] == [
        "initialize",
        "notifications/initialized",
        "tools/list",
        "tools/call",
    ]
    assert not any(versioned for _, versioned in oldest.heard)
    await house.registry.stop()
    oldest.answers.put_nowait(None)
    async with asyncio.timeout(5):
        await oldest.ended.wait()
