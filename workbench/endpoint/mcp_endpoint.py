"""The MCP endpoint: raw ASGI for `/mcp`, `/servers/{id}/mcp` and `/profiles/{name}/mcp`, in
both protocol eras, and for `/sse` beside each.

No framework and no objects of the SDK stand on this path: at several thousand calls a second they would cost more than
everything else together.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from functools import lru_cache
from typing import Final

from workbench import error_codes
from workbench.access.failed_credentials import TooManyFailuresError
from workbench.endpoint.endpoint_scope import profile_of, view_of, without_slash
from workbench.endpoint.features import EndpointContext
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.auth_challenge import WELL_KNOWN, challenge, metadata
from workbench.endpoint.http.cors import CrossOrigin
from workbench.endpoint.http.http_request import (
    BodyTooLargeError,
    ClientGoneError,
    EndpointRequest,
    Receive,
    Scope,
    Send,
)
from workbench.endpoint.http.origin_check import OriginCheck
from workbench.endpoint.http.responses import JSON_TYPE, EndpointResponse, say_error
from workbench.endpoint.http.single_headers import is_single
from workbench.endpoint.http_sse import PATH, SseChannels
from workbench.endpoint.legacy import LegacyProtocol
from workbench.endpoint.modern import ModernProtocol
from workbench.events import UnauthenticatedError, UnreachableError
from workbench.gateway.call import Gateway
from workbench.gateway.results.outbound_redaction import enter, in_error
from workbench.upstream.jsonrpc_messages import encode
from workbench.upstream.negotiation import LEGACY, VERSION_KEY

_LEGACY: Final = frozenset(LEGACY)

_JSON_TYPES: Final = frozenset({b"application/json", b"application/json-rpc", b"application/jsonrequest"})
"""JSON-RPC over HTTP has had all three names; none is a type that a page may send without being asked for it."""

_CHARSET: Final = re.compile(rb"charset\s*=\s*[\"']?([^\s;\"']*)")
_ACCEPTABLE: Final = (b"application/json", b"*/*", b"application/*")


class BadHeadersError(Exception):
    """The headers cannot be accepted; `answer` says why."""

    def __init__(self, answer: EndpointResponse) -> None:
        super().__init__()
        self.answer = answer


class McpEndpoint:
    """The gateway as an MCP server over Streamable HTTP, and over HTTP+SSE for clients of 2024-11-05.

    Args:
        gateway: what runs the calls.
        senders: says which hosts and origins are accepted; by default as the settings say.
    """

    def __init__(self, gateway: Gateway, senders: OriginCheck | None = None) -> None:
        self._gateway = gateway
        context = EndpointContext.of(gateway)
        self._lists = context.lists
        self._modern = ModernProtocol(context)
        self._legacy = LegacyProtocol(context)
        self._channels = SseChannels(self._legacy, context.announcements, gateway.relay)
        self._senders = OriginCheck(gateway.settings) if senders is None else senders
        self._cross_origin = CrossOrigin(self._serve, self._senders)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""
        await self.answer(scope, receive, send)  # a coroutine, because servers tell ASGI 3 by that

    def answer(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """`__call__`, for who need not be told that it is ASGI 3; it costs no frame of its own."""
        return self._cross_origin(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, endpoint, view = _endpoint_of(scope["path"])
        about = path != endpoint
        request = EndpointRequest(scope, receive, send, {}, view or "", "")
        try:
            request.headers = _headers(scope["headers"])
            host = self._check_sender(request)
        except BadHeadersError as e:
            await request.reply(e.answer)
            return
        base = self._gateway.access.resources.base(scope.get("scheme", "http"), host)
        request.resource = base + ("/mcp" if view is None else endpoint)
        if view is None and path != WELL_KNOWN:
            known = "/mcp, /servers/{id}/mcp and /profiles/{name}/mcp"
            await request.reply(_plain(404, f"There is no MCP endpoint here; see {known}."))
        elif about:
            told = metadata(request.resource, self._lists.scopes(), self._gateway.access.tokens.issuers)
            await request.reply(EndpointResponse(200, [JSON_TYPE], encode(told)))
        elif scope["method"] == "OPTIONS":
            await request.reply(EndpointResponse(204, [(b"allow", _allowed(path, older=True))], b""))
        elif not self._recognised(request) and (refused := await self._authenticated(request)) is not None:
            await request.reply(refused)
        elif missing := self._missing(request):
            await request.reply(_plain(404, missing))
        else:
            await self._answer(request, scope["method"])

    async def _answer(self, request: EndpointRequest, method: str) -> None:
        revision = request.header(b"mcp-protocol-version")
        older = revision is None or revision in _LEGACY
        most = self._gateway.settings.max_request_bytes if method == "POST" else 0
        try:
            if method == "POST":
                _check_content(request)
            body = await request.body(most)
        except BadHeadersError as e:
            await request.reply(e.answer)
        except BodyTooLargeError:
            await request.reply(_plain(413, f"The body has more than {most:,} bytes.", close=True))
        except TimeoutError:
            await request.reply(_plain(408, "The body did not arrive in time.", close=True))
        except ClientGoneError:
            return
        else:
            await self._dispatch(request, method, body, older=older)

    async def _dispatch(self, request: EndpointRequest, method: str, body: bytes, *, older: bool) -> None:
        path = _endpoint_of(request.scope["path"])[0]
        of_2024 = path.endswith(PATH)
        if of_2024 and method == "GET":
            await self._channels.open(request)
            return
        if older and method == "GET":
            await self._legacy.listen(request)
            return
        if older and method == "DELETE" and not of_2024:
            await self._legacy.end(request)
            return
        if method != "POST":
            await request.reply(EndpointResponse(405, [(b"allow", _allowed(path, older=older))], b""))
            return
        try:
            message = jsonrpc.parse(body)
        except jsonrpc.BadMessageError as e:
            await request.reply(say_error(None, e.code, str(e), e.data))
        else:
            if self._gateway.policy.needs_prefetch and not _is_call(message):
                await self._gateway.judge(request.caller)
            if of_2024:
                await self._channels.take(request, message)
            # A request that describes itself in the body belongs to the new era, even if its header is missing: there
            # the contradiction is told.
            elif older and not _describes_itself(message):
                await self._legacy.answer(request, message)
            else:
                await self._modern.answer(request, message)

    def _missing(self, request: EndpointRequest) -> str:
        """What the path names that there is not, in words; empty when it is there."""
        view = request.view
        if name := profile_of(view):
            return "" if self._gateway.profiles.find(name) is not None else f"There is no profile {name!r}."
        there = not view or self._gateway.registry.exists(view, request.caller.tenant)
        return "" if there else f"There is no server {view!r}."

    # --- who is asking

    def _check_sender(self, request: EndpointRequest) -> str:
        """The Host header, if it names us; a page of another origin must not reach us through the user's browser."""
        host, origin = request.header(b"host"), request.header(b"origin")
        refused = self._senders.refusal(host, origin)
        if refused is not None:
            raise BadHeadersError(_plain(*refused))
        return str(host).lower()

    def _recognised(self, request: EndpointRequest) -> bool:
        """Whether the caller presented a credential that was looked at lately; all others are for `_authenticated`."""
        header = request.header(b"authorization")
        try:
            caller = None if header is None else self._gateway.access.remembered(header, request.view)
        except UnauthenticatedError:
            return False
        if caller is None:
            return False
        request.caller = caller
        enter(self._gateway.policy, caller.tenant)
        return True

    async def _authenticated(self, request: EndpointRequest) -> EndpointResponse | None:
        """How a request is answered whose caller is not known; None when the caller is."""
        header = request.header(b"authorization")
        try:
            request.caller = await self._gateway.access.admission.authenticate(
                request.scope, header, request.view, door="mcp"
            )
            enter(self._gateway.policy, request.caller.tenant)
        except TooManyFailuresError as e:
            body = jsonrpc.error(None, 429, str(e), {"workbench/outcome": {"kind": "unauthenticated"}})
            return EndpointResponse(429, [JSON_TYPE, (b"retry-after", b"%d" % e.retry_after)], body)
        except UnauthenticatedError:
            return self._challenge(request)
        except UnreachableError:
            # not 401: a client would throw away a credential that is good
            body = jsonrpc.error(None, error_codes.OVERLOADED, "Nobody can say now who is calling.", {})
            return EndpointResponse(503, [JSON_TYPE, (b"retry-after", b"1")], body)
        return None

    def _challenge(self, request: EndpointRequest) -> EndpointResponse:
        presented = b"authorization" in request.headers
        scope = " ".join(self._lists.reading_scopes())
        told = challenge(UnauthenticatedError(""), scope=scope, resource=request.resource, presented=presented)
        words = "The credential is not valid." if presented else "Authenticate with `Authorization: Bearer <key>`."
        body = jsonrpc.error(None, 401, words, {"workbench/outcome": {"kind": "unauthenticated"}})
        return EndpointResponse(401, [JSON_TYPE, (b"www-authenticate", told.encode("latin-1"))], body)


@lru_cache(256)
def _endpoint_of(path: str) -> tuple[str, str, str | None]:
    """A path without its slash, the endpoint that it is or tells of, and the view behind that; None when it is none."""
    path = without_slash(path)
    endpoint = path.removeprefix(WELL_KNOWN) if path.startswith(WELL_KNOWN) else path
    return path, endpoint, view_of(endpoint)


def _allowed(path: str, *, older: bool) -> bytes:
    """The methods of an endpoint (RFC 9110 §10.2.1)."""
    return b"GET, POST" if path.endswith(PATH) else b"POST, GET, DELETE" if older else b"POST"


def _headers(raw: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name, values without the blanks around them, which the parser keeps (RFC 9110 §5.5)."""
    headers: dict[bytes, bytes] = {}
    for name, value in raw:
        value = value.strip(b" \t")
        if name in headers:
            if is_single(name):
                shown = name.decode("latin-1")
                raise BadHeadersError(say_error(None, error_codes.HEADER_MISMATCH, f"The header {shown} stands twice."))
            if name == b"accept":  # a list, which may be sent in parts (RFC 9110 §5.3)
                value = headers[name] + b", " + value
        headers[name] = value
    return headers


def _check_content(request: EndpointRequest) -> None:
    """Only plain JSON is read: nothing that a form could send, and nothing compressed."""
    headers = request.headers
    accept = headers.get(b"accept", b"*/*") or b"*/*"
    usual = headers.get(b"content-type") == b"application/json" and b"content-encoding" not in headers
    if usual and b"application/json" in accept:
        return
    kind, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
    charset = _CHARSET.search(parameters) if parameters else None
    if kind.strip() not in _JSON_TYPES or (charset and charset[1] not in (b"utf-8", b"utf8", b"us-ascii")):
        raise BadHeadersError(_plain(415, "Content-Type has to be application/json, in UTF-8."))
    if headers.get(b"content-encoding", b"identity").lower() not in (b"identity", b""):
        raise BadHeadersError(_plain(415, "Compressed bodies are not read."))
    if b"application/json" not in accept and not any(kind in accept.lower() for kind in _ACCEPTABLE):
        if not request.takes_events:
            raise BadHeadersError(_plain(406, "Accept has to list application/json and text/event-stream."))
        request.events_only = True


def _is_call(message: object) -> bool:
    return isinstance(message, dict) and message.get("method") == "tools/call"


def _describes_itself(message: object) -> bool:
    params = message.get("params") if isinstance(message, dict) else None
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and VERSION_KEY in meta


def _plain(status: int, words: str, *, close: bool = False) -> EndpointResponse:
    """An answer outside of JSON-RPC; with `close` the connection is not used again, for its rest is unread."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    return EndpointResponse(
        status, [*headers, (b"connection", b"close")] if close else headers, in_error(words).encode()
    )
