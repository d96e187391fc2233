"""The WebSocket transport at `/ws`: one JSON-RPC message per text frame, subprotocol `mcp`, in both protocol eras.

The specification leaves further transports to implementations (basic/transports, "Custom Transports"). Each message is
handed to the HTTP endpoint as a request of its own, under the headers of the handshake, so that credentials, origins,
limits and revisions are judged by the same code. What HTTP mirrors in headers is taken from the message.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

from mcp.shared.inbound import encode_header_value, find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

from workbench import error_codes
from workbench.background_tasks import BackgroundTasks
from workbench.endpoint.endpoint_scope import server_of, view_of
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.http_request import Receive, Scope, Send
from workbench.endpoint.http.single_headers import doubled
from workbench.events import JSON, WorkbenchError
from workbench.registry import Registry
from workbench.upstream.jsonrpc_messages import encode
from workbench.upstream.negotiation import CAPABILITIES_KEY, MODERN, VERSION_KEY

ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

SUBPROTOCOL: Final = "mcp"
PATH: Final = re.compile(r"(.*)/ws")
"""`/ws` stands beside each `/mcp`."""

MAX_SOCKETS: Final = 1024
MAX_CONCURRENT: Final = 64
"""Requests under way on one socket before further ones are turned away."""

POLICY_VIOLATION: Final = 1008
UNSUPPORTED: Final = 1003

_KEPT: Final = frozenset({b"host", b"origin", b"authorization", b"forwarded", b"x-forwarded-for"})
_FIXED: Final = [(b"content-type", b"application/json"), (b"accept", b"application/json, text/event-stream")]
_NAMES: Final = ("name", "uri", "taskId")
_DISCOVER: Final = encode(
    {
        "jsonrpc": "2.0", "id": 0, "method": "server/discover",
        "params": {"_meta": {VERSION_KEY: MODERN, CAPABILITIES_KEY: {}}},
    }
)  # fmt: skip


class WebSocketDoor:
    """Lets clients in over WebSocket.

    Args:
        endpoint: the MCP endpoint over HTTP.
        registry: tells which arguments a tool mirrors in headers.
    """

    def __init__(self, endpoint: ASGI, registry: Registry) -> None:
        self._endpoint = endpoint
        self._registry = registry
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one handshake, and serve the socket until it is closed."""
        await receive()
        if name := doubled(scope["headers"]):
            await _refuse(send, 400, f"The header {name} stands twice.")
            return
        found = PATH.fullmatch(scope["path"])
        if found is None:
            await _refuse(send, 404, "There is no WebSocket here; see /ws, /servers/{id}/ws and /profiles/{name}/ws.")
            return
        if SUBPROTOCOL not in scope.get("subprotocols", ()):
            await _refuse(send, 400, "The subprotocol has to be mcp (Sec-WebSocket-Protocol).")
            return
        if self._open >= MAX_SOCKETS:
            await _refuse(send, 503, "Too many sockets are open.", (b"retry-after", b"30"))
            return
        conversation = WebSocketSession(self._endpoint, self._registry, scope, f"{found[1]}/mcp", send)
        # A request of no consequence tells whether host, origin, credential and path are accepted.
        asked = WebSocketExchange(_DISCOVER)
        await conversation.ask(asked, conversation.modern_headers("server/discover", MODERN, {}))
        if asked.status != 200:
            await _refuse(send, asked.status, asked.body.decode("utf-8", "replace"), *asked.headers)
            return
        self._open += 1
        try:
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            await conversation.serve(receive)
        finally:
            self._open -= 1


class WebSocketExchange:
    """One message as an HTTP request, and what is answered to it.

    Args:
        body: of the request.
        tell: awaited with each message of an event stream; without it the answer is only kept.
    """

    def __init__(self, body: bytes, tell: Callable[[bytes], Awaitable[None]] | None = None) -> None:
        self.gone = asyncio.Event()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.streamed = False
        self.modern = False
        """Whether it is of a revision at which the client's going away cancels."""
        self._request: bytes | None = body
        self._tell = tell
        self._parts: list[bytes] = []

    @property
    def body(self) -> bytes:
        """What has come of the answer; of events, what is not whole yet."""
        return b"".join(self._parts)

    async def receive(self) -> dict[str, Any]:
        """ASGI: the body, then nothing until the message is cancelled or the socket closed."""
        if self._request is not None:
            body, self._request = self._request, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """ASGI: an answer, as one document or as events."""
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", ()))
            self.streamed = (b"content-type", b"text/event-stream") in self.headers
            return
        part = message.get("body", b"")
        self._parts.append(part)
        if self.streamed and b"\n\n" in part:  # a large event comes in many parts, and is put together once
            *events, rest = self.body.split(b"\n\n")
            self._parts = [rest] if rest else []
            for event in events:
                data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
                if data and self._tell is not None:
                    await self._tell(data)

    def header(self, name: bytes) -> bytes | None:
        """A header of the answer."""
        return next((value for key, value in self.headers if key.lower() == name), None)


class WebSocketSession:
    """One open socket.

    Args:
        endpoint: the MCP endpoint over HTTP.
        registry: tells which arguments a tool mirrors in headers.
        scope: of the handshake.
        path: of the HTTP endpoint that this socket stands for.
        send: of ASGI.
    """

    def __init__(self, endpoint: ASGI, registry: Registry, scope: Scope, path: str, send: Send) -> None:
        self._endpoint = endpoint
        self._registry = registry
        self._send = send
        self._server = server_of(view_of(path) or "")
        self._headers = [(name, value) for name, value in scope["headers"] if name in _KEPT]
        self._scope = {
            "type": "http", "asgi": scope.get("asgi", {}), "http_version": "1.1", "method": "POST", "path": path,
            "raw_path": path.encode(), "query_string": b"", "root_path": "", "client": scope.get("client"),
            "server": scope.get("server"), "scheme": "https" if scope.get("scheme") == "wss" else "http",
        }  # fmt: skip
        self._session: list[tuple[bytes, bytes]] = []
        self._under_way: dict[tuple[str, Any], WebSocketExchange] = {}
        self._tasks = BackgroundTasks("WebSocket")

    async def serve(self, receive: Receive) -> None:
        """Answer messages until the socket is closed; what is under way then is cancelled."""
        try:
            while (message := await receive())["type"] == "websocket.receive":
                text = message.get("text")
                if text is None:
                    await self._close(UNSUPPORTED, "Messages are text.")
                    return
                await self._read(text.encode())
        finally:
            for exchange in self._under_way.values():
                exchange.gone.set()
            await self._tasks.close()
            if self._session:
                await self.ask(WebSocketExchange(b""), self._session, method="DELETE")

    async def ask(
        self, exchange: WebSocketExchange, headers: list[tuple[bytes, bytes]], *, method: str = "POST"
    ) -> None:
        """Have the endpoint answer one request."""
        scope = {**self._scope, "method": method, "headers": [*self._headers, *_FIXED, *headers]}
        await self._endpoint(scope, exchange.receive, exchange.send)

    def modern_headers(self, method: str, version: Any, params: JSON) -> list[tuple[bytes, bytes]]:
        """What a request of 2026-07-28 mirrors in its headers, taken from its body."""
        headers = {"mcp-protocol-version": str(version), "mcp-method": method}
        name = next((params[key] for key in _NAMES if isinstance(params.get(key), str)), None)
        if name is not None:
            headers["mcp-name"] = encode_header_value(name)
        if method == "tools/call" and name is not None and isinstance(arguments := params.get("arguments"), dict):
            headers |= self._mirrored(f"{self._server}.{name}" if self._server else name, arguments)
        return [(key.lower().encode(), value.encode("latin-1", "replace")) for key, value in headers.items()]

    def _mirrored(self, tool: str, arguments: JSON) -> dict[str, str]:
        try:
            schema = self._registry.resolve(tool)[0].input_schema
        except WorkbenchError:
            return {}  # the endpoint says what is wrong with that name
        mapping = x_mcp_header_map(schema) if find_invalid_x_mcp_header(schema) is None else None
        return mcp_param_headers(mapping, arguments) if mapping else {}

    # --- messages

    async def _read(self, body: bytes) -> None:
        try:
            message = jsonrpc.parse(body)
        except jsonrpc.BadMessageError as e:
            await self._tell(jsonrpc.error(None, e.code, str(e), e.data))
            return
        known = message if isinstance(message, dict) else {}
        method, id = known.get("method"), known.get("id")
        if method is None or id is None:
            await self._notified(body, known)
        elif len(self._under_way) >= MAX_CONCURRENT:
            await self._tell(
                jsonrpc.error(id, error_codes.OVERLOADED, "Too many requests are under way on this socket.")
            )
        else:
            key = (type(id).__name__, id if isinstance(id, str | int) else None)
            if key in self._under_way:
                await self._tell(jsonrpc.error(id, error_codes.INVALID_REQUEST, "A request with this id is under way."))
                return
            exchange = self._under_way[key] = WebSocketExchange(body, self._tell)
            if method == "initialize":  # what comes next needs the session that this opens
                await self._answer(exchange, key, id, known)
            else:
                self._tasks.start(self._answer(exchange, key, id, known))

    async def _notified(self, body: bytes, message: JSON) -> None:
        """A notification, a response to the server, or a batch: these are dealt with in their order."""
        params = message.get("params")
        if message.get("method") == "notifications/cancelled" and isinstance(params, dict):
            id = params.get("requestId")
            exchange = self._under_way.get((type(id).__name__, id if isinstance(id, str | int) else None))
            if exchange is not None and exchange.modern:
                exchange.gone.set()
                return
        exchange = WebSocketExchange(body, self._tell)
        await self.ask(exchange, self._headers_of(message))
        await self._finish(exchange, None)
        if message.get("method") == "notifications/initialized" and self._session:
            self._tasks.start(self._listen())

    async def _answer(self, exchange: WebSocketExchange, key: tuple[str, Any], id: Any, message: JSON) -> None:
        try:
            headers = self._headers_of(message)
            exchange.modern = headers is not self._session
            await self.ask(exchange, headers)
        finally:
            del self._under_way[key]
        if message["method"] == "initialize" and exchange.status == 200:
            session = exchange.header(b"mcp-session-id")
            self._session = [(b"mcp-session-id", session)] if session else []
        await self._finish(exchange, id)

    def _headers_of(self, message: JSON) -> list[tuple[bytes, bytes]]:
        params = message.get("params")
        meta = params.get("_meta") if isinstance(params, dict) else None
        if isinstance(params, dict) and isinstance(meta, dict) and VERSION_KEY in meta:
            return self.modern_headers(str(message.get("method")), meta[VERSION_KEY], params)
        return self._session

    async def _finish(self, exchange: WebSocketExchange, id: Any) -> None:
        if not exchange.streamed and exchange.body:
            await self._tell(_with_id(exchange, id))
        elif id is not None and not exchange.status and not exchange.gone.is_set():
            await self._tell(jsonrpc.error(id, error_codes.INTERNAL_ERROR, "The request was not answered."))
        if exchange.status == 401:
            await self._close(POLICY_VIOLATION, "The credential is not valid any more.")

    async def _listen(self) -> None:
        """What the server says by itself, at older revisions."""
        await self.ask(WebSocketExchange(b"", self._tell), self._session, method="GET")

    async def _tell(self, data: bytes) -> None:
        await self._send({"type": "websocket.send", "text": data.decode()})

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason})


def _with_id(exchange: WebSocketExchange, id: Any) -> bytes:
    """The answer as a message for the request `id`: what HTTP says with a status alone, JSON-RPC says as an error."""
    kind = exchange.header(b"content-type") or b""
    if not kind.startswith(b"application/json"):
        return jsonrpc.error(id, exchange.status, exchange.body.decode("utf-8", "replace"))
    if exchange.status == 200 or id is None:
        return exchange.body
    message = jsonrpc.parse(exchange.body)
    return encode({**message, "id": id}) if isinstance(message, dict) else exchange.body


async def _refuse(send: Send, status: int, words: str, *headers: tuple[bytes, bytes]) -> None:
    """Answer the handshake with an HTTP status instead."""
    told = [(name, value) for name, value in headers if name.lower() != b"content-length"]
    await send({"type": "websocket.http.response.start", "status": status, "headers": told})
    await send({"type": "websocket.http.response.body", "body": words.encode()})
