"""What stands in front of every path of the Streamlit server: Host, Origin, session cookie, and what a page may load.

Streamlit knows no users: whoever reaches its socket may act as the owner of the platform. So nothing of it is
answered before the browser has shown a session, neither pages and scripts nor media, uploads, health or the WebSocket.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from workbench.access.app_sessions import AppSessions
from workbench.endpoint.http.origin_check import LOCAL, without_port

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Pairs = list[tuple[bytes, bytes]]

SIGN_IN_PATH = "/sign-in"
SIGN_OUT_PATH = "/sign-out"
PROOF_HEADER = b"x-workbench-app"
"""Header by which the app's script knows that a WebSocket came through this guard."""

_SINGLE = (b"host", b"origin", b"content-type", b"content-length")
_FOREIGN = (b"access-control-", b"x-frame-options", b"referrer-policy", b"content-security-policy")
"""Headers of Streamlit's own answers that ours replace."""

_SIGN_IN = "Run <code>workbench app</code> in a terminal and open the link that it prints. Each link works once."


class AppGuard:
    """An ASGI application around Streamlit's.

    Args:
        app: what is guarded.
        sessions: who may use it.
        cookie: name of the session cookie; it holds the port, since browsers share cookies between ports.
        proof: value of `PROOF_HEADER` on everything that is passed on.
        hosts: values of `Host` to accept besides those of this machine, with or without a port.
        origins: values of `Origin` to accept besides that of the app itself.
        scripts: sources of scripts that stand inside the page, as in `script_hashes`.
    """

    def __init__(
        self,
        app: App,
        sessions: AppSessions,
        *,
        cookie: str,
        proof: str,
        hosts: Iterable[str] = (),
        origins: Iterable[str] = (),
        scripts: Iterable[str] = (),
    ) -> None:
        self._app, self._sessions, self._cookie, self._proof = app, sessions, cookie, proof.encode()
        self._hosts = frozenset(host.lower() for host in (*LOCAL, *hosts))
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._scripts = " ".join(scripts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket"):
            return
        headers = _Headers(scope["headers"])
        refused = headers.doubled() or self._refused_sender(scope, headers)
        if refused is not None:
            await _refuse(scope, send, *refused)
        elif scope["type"] == "http" and scope["path"] == SIGN_IN_PATH:
            await self._sign_in(scope, headers, send)
        elif (session := self._session(headers)) is None:
            await _refuse(scope, send, 401, _SIGN_IN)
        elif scope["path"] == SIGN_OUT_PATH:
            await self._sign_out(scope, session, send)
        elif scope["type"] == "websocket":
            await self._app(self._passed(scope), _until(receive, send, lambda: self._sessions.expires(session)), send)
        else:
            await self._app(self._passed(scope), receive, self._secured(headers.one(b"host"), send))

    def _refused_sender(self, scope: Message, headers: _Headers) -> tuple[int, str] | None:
        """Status and words when the request is for another host or comes from a page that is not ours."""
        host, origin = headers.one(b"host").lower(), headers.find(b"origin")
        if host not in self._hosts and without_port(host) not in self._hosts:
            return 421, "This host is not served here; see the setting <code>allowed_hosts</code>."
        ours = origin is not None and origin.lower() in (f"http://{host}", f"https://{host}", *self._origins)
        if origin is not None and not ours:
            return 403, "This origin is not allowed; see the setting <code>allowed_origins</code>."
        if not ours and (scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")):
            return 403, "A request that changes something has to say its origin."
        site, mode = headers.find(b"sec-fetch-site"), headers.find(b"sec-fetch-mode")
        if not ours and site in ("cross-site", "same-site") and mode != "navigate":
            return 403, "Another page may not load parts of this one."
        return None

    def _session(self, headers: _Headers) -> str | None:
        """The session that the browser shows, where it is one. Several cookies may have its name (RFC 6265 §5.4)."""
        for value in headers.cookies(self._cookie):
            if self._sessions.expires(value) is not None:
                return value
        return None

    async def _sign_in(self, scope: Message, headers: _Headers, send: Send) -> None:
        token = (parse_qs(scope["query_string"].decode("latin-1")).get("token") or [""])[0]
        if scope["method"] != "GET":  # HEAD and others must not use the link up
            await _refuse(scope, send, 405, "Open the link in a browser.")
            return
        session = self._sessions.redeem(token)
        if session is None and self._session(headers) is None:
            await _refuse(scope, send, 401, f"This link was used before, or is too old. {_SIGN_IN}")
            return
        extra: Pairs = []
        if session is not None:
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            extra = [
                (
                    b"set-cookie",
                    f"{self._cookie}={session}; Path=/; Max-Age={int(self._sessions.seconds)}; HttpOnly; "
                    f"SameSite=Strict{secure}".encode(),
                )
            ]
        # a page that goes on by itself: a redirect that began elsewhere would not carry a SameSite=Strict cookie
        page = '<meta http-equiv="refresh" content="0;url=/"><p>Signed in. <a href="/">Open the app</a></p>'
        await _answer(send, 200, page, extra)

    async def _sign_out(self, scope: Message, session: str, send: Send) -> None:
        if scope["type"] == "websocket" or scope["method"] != "POST":
            await _refuse(scope, send, 405, "Sign out with POST.")
            return
        self._sessions.end(session)
        gone = f"{self._cookie}=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict".encode()
        await _answer(send, 200, "<p>Signed out.</p>", [(b"set-cookie", gone)])

    def _passed(self, scope: Message) -> Message:
        """The request as Streamlit gets it: without our cookie, with the proof that it came through here."""
        headers: Pairs = []
        for name, value in scope["headers"]:
            if name == b"cookie":
                kept = [c for c in value.split(b";") if c.partition(b"=")[0].strip() != self._cookie.encode()]
                value = b";".join(kept).strip()
            if name != PROOF_HEADER and value:
                headers.append((name, value))
        return {**scope, "headers": [*headers, (PROOF_HEADER, self._proof)]}

    def _secured(self, host: str, send: Send) -> Send:
        """`send` that says on every answer what the page may load and who may hold it."""
        ours = security_headers(content_policy(host, self._scripts))

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message.get("headers", ()) if not pair[0].lower().startswith(_FOREIGN)]
                message = {**message, "headers": [*kept, *ours]}
            await send(message)

        return sending


def content_policy(host: str, scripts: str = "") -> str:
    """The Content-Security-Policy of the app (CSP Level 3): nothing is loaded from, or sent to, anybody else."""
    return "; ".join(
        (
            "default-src 'self'",
            # scripts come from here alone; those of Streamlit compile expressions of charts and tables
            f"script-src 'self' 'unsafe-eval' {scripts}".rstrip(),
            "style-src 'self' 'unsafe-inline'",  # Streamlit makes its styles as it draws
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "media-src 'self' data: blob:",
            f"connect-src 'self' ws://{host} wss://{host}",  # not every browser counts a WebSocket as 'self'
            "worker-src 'self' blob:",
            "frame-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )


def security_headers(policy: str) -> Pairs:
    """What every answer carries besides its content."""
    named = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "x-dns-prefetch-control": "off",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    return [(name.encode(), value.encode()) for name, value in named.items()]


def script_hashes(page: Path) -> list[str]:
    """The scripts that stand inside `page`, as sources of a Content-Security-Policy."""
    found = re.findall(rb"<script>(.*?)</script>", page.read_bytes(), re.DOTALL)
    return [f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in found]


class _Headers:
    """The headers of one request."""

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]

    def find(self, name: bytes) -> str | None:
        return next((value.decode("latin-1") for key, value in self._pairs if key == name), None)

    def one(self, name: bytes) -> str:
        return self.find(name) or ""

    def doubled(self) -> tuple[int, str] | None:
        """Status and words when a header stands there twice that has one meaning: who reads which is anyone's guess."""
        names = [key for key, _ in self._pairs]
        for name in _SINGLE:
            if names.count(name) > 1:
                return 400, f"The header {name.decode()} stands there more than once."
        return None

    def cookies(self, name: str) -> list[str]:
        found = []
        for key, value in self._pairs:
            if key == b"cookie":
                pairs = (part.strip().partition("=") for part in value.decode("latin-1").split(";"))
                found += [content.strip('"') for given, _, content in pairs if given.strip() == name]
        return found


def _until(receive: Receive, send: Send, expires: Callable[[], float | None]) -> Receive:
    """`receive` of a WebSocket that is closed when its session is over."""

    async def receiving() -> Message:
        left = (expires() or 0) - time.time()
        if left > 0:
            try:
                message = await asyncio.wait_for(receive(), left)
            except TimeoutError:
                pass
            else:
                if message["type"] != "websocket.receive" or expires() is not None:
                    return message
        await send({"type": "websocket.close", "code": 1008, "reason": "The session is over."})
        return {"type": "websocket.disconnect", "code": 1008}

    return receiving


async def _refuse(scope: Message, send: Send, status: int, words: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it was accepted: the client sees 403
    else:
        await _answer(send, status, f"<h1>MCP Workbench</h1><p>{words}</p>")


async def _answer(send: Send, status: int, body: str, extra: Pairs | None = None) -> None:
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>MCP Workbench</title></head>'
        f'<body style="font-family:sans-serif;margin:4em auto;max-width:34em">{body}</body></html>'
    ).encode()
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
    headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(page)).encode()),
        (b"cache-control", b"no-store"),
        *security_headers(policy),
        *(extra or []),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": page})
