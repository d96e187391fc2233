"""Web pages of other origins that may talk to us: preflights and response headers (CORS, WHATWG Fetch §3.2).

Only origins that `OriginCheck` accepts get any of this; to all others a browser shows nothing of an answer. Cookies are
never asked for: a page has to present a credential of its own.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, Final

from workbench.endpoint.http.http_request import Receive, Scope, Send
from workbench.endpoint.http.origin_check import OriginCheck

MAX_AGE_S: Final = 7200
"""How long a browser may remember the answer to a preflight; none remembers it longer."""

_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED: Final = (
    b"Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After, RateLimit-Limit, RateLimit-Remaining, "
    b"RateLimit-Reset, Last-Event-ID, Content-Disposition"
)
_NAMES: Final = re.compile(
    rb"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}){0,99}"
)


class CrossOrigin:
    """Wraps an application, so that pages of accepted origins can read its answers.

    Args:
        app: ASGI.
        senders: says which origins are accepted.
    """

    def __init__(self, app: Any, senders: OriginCheck) -> None:
        self._app = app
        self._senders = senders

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Answer one HTTP request. What no page sent costs no frame of its own."""
        origin = _header(scope, b"origin") if scope["type"] == "http" else None
        if origin is None or self._refused(scope, origin):
            answered: Awaitable[None] = self._app(scope, receive, send)
            return answered
        return self._answer_page(scope, receive, send, origin)

    async def _answer_page(self, scope: Scope, receive: Receive, send: Send, origin: bytes) -> None:
        headers = [
            (b"access-control-allow-origin", origin),
            (b"vary", b"Origin"),
        ]
        if scope["method"] == "OPTIONS" and _header(scope, b"access-control-request-method") is not None:
            await _answer_preflight(scope, headers, send)
            return
        headers.append((b"access-control-expose-headers", _EXPOSED))

        async def send_readable(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *headers]}
            await send(message)

        await self._app(scope, receive, send_readable)

    def _refused(self, scope: Scope, origin: bytes) -> bool:
        host = _header(scope, b"host")
        return (
            self._senders.refusal(None if host is None else host.decode("latin-1"), origin.decode("latin-1"))
            is not None
        )


async def _answer_preflight(scope: Scope, headers: list[tuple[bytes, bytes]], send: Send) -> None:
    """Say what a page may send. It brings no credential, so nothing is said of what there is."""
    asked = _header(scope, b"access-control-request-headers")
    headers = [
        *headers,
        (b"vary", b"Access-Control-Request-Method, Access-Control-Request-Headers"),
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-max-age", b"%d" % MAX_AGE_S),
        (b"content-length", b"0"),
    ]
    if asked is not None and _NAMES.fullmatch(asked):
        headers.append((b"access-control-allow-headers", asked))
    for network in (b"private", b"local"):  # a public page, and we are on this machine: two drafts, two names
        if _header(scope, b"access-control-request-%b-network" % network) == b"true":
            headers.append((b"access-control-allow-%b-network" % network, b"true"))
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header; where it stands twice, the application refuses the request."""
    for given, value in scope["headers"]:
        if given == name:
            return bytes(value).strip(b" \t")
    return None
