"""Whoever has shown no credential is answered before the body is read, at every door; doubled headers are refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from workbench.access.oauth.authorization_server import AuthorizationServer
from workbench.api import build_app
from workbench.api.application import build_api
from workbench.config import Settings
from workbench.platform.platform import Platform
from workbench.serve import http_front

HUGE = 100 << 20
PORTION = 64 << 10

OPEN = {
    "/health": 200, "/docs": 200, "/openapi.json": 200, "/swagger/swagger-ui-bundle.js": 200,
    "/swagger/swagger-ui.css": 200, "/swagger/favicon-32x32.png": 200, "/approvals/{approval}": 200,
    "/slack/interactivity": 404, "/.well-known/oauth-authorization-server": 200, "/oauth/jwks": 200,
    "/oauth/authorize": 400,
    # these are proven in the body, which is small
    "/oauth/token": 400, "/oauth/introspect": 400, "/oauth/revoke": 400, "/oauth/register": 400,
    "/docs/oauth2-redirect": 200, "/.well-known/oauth-protected-resource": 200,
}  # fmt: skip
"""Routes that ask for no credential in the headers, and how they answer a plain request. All others answer 401."""

MAX_OPEN = 128 << 10
"""Bytes of a body that any of them reads."""

MCP = ("/mcp", "/sse", "/servers/crm/mcp", "/servers/crm/sse", "/profiles/support/mcp", "/profiles/support/sse")


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[Platform]:
    settings = Settings.load(
        env={}, cwd=tmp_path, home=tmp_path / "home", servers=(), port="8800", app=False, oauth_server=True,
        oauth_registration=True, audit_min_free_bytes=1,
    )  # fmt: skip
    opened = await Platform.open(settings)
    yield opened
    await opened.close()


def routes_of(platform: Platform) -> set[tuple[str, str]]:
    """Method and path of everything that is routed, whichever router has it."""

    def walk(routes: Any) -> Iterator[Any]:
        for route in routes:
            inner = getattr(route, "original_router", None)
            if inner is not None:
                yield from walk(inner.routes)
            else:
                yield route

    issuing = AuthorizationServer(platform.access, scopes=platform.scopes, record=platform.record_access)
    found = [*walk(build_api(platform).routes), *issuing._app.routes]
    return {(method, route.path) for route in found for method in route.methods or {"GET"}}


class Sent:
    """One request whose body arrives only when it is asked for."""

    def __init__(self, method: str, path: str, size: int, *headers: tuple[bytes, bytes], chunked: bool = False) -> None:
        length = (b"transfer-encoding", b"chunked") if chunked else (b"content-length", str(size).encode())
        host = [] if any(name == b"host" for name, _ in headers) else [(b"host", b"127.0.0.1:8800")]
        self.scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"",
            "headers": [*host, *([length] if size else []), *headers], "scheme": "http", "root_path": "",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8800), "http_version": "1.1",
        }  # fmt: skip
        self.content: bytes | None = None
        self.left = size
        self.read = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.done = asyncio.Event()

    async def receive(self) -> Any:
        if not self.left and self.read:
            await self.done.wait()
            return {"type": "http.disconnect"}
        part = min(PORTION, self.left)
        self.left -= part
        self.read += part
        return {"type": "http.request", "body": self.content or b"x" * part, "more_body": self.left > 0}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                self.done.set()

    async def to(self, app: Any) -> Sent:
        async with asyncio.timeout(20):
            await app(self.scope, self.receive, self.send)
        return self


def filled(path: str) -> str:
    return path.replace("{", "a").replace("}", "").replace(":path", "")


async def test_no_door_reads_the_body_of_somebody_unknown(platform: Platform) -> None:
    app = build_app(platform)
    routes = sorted({*routes_of(platform), *(("POST", path) for path in (*MCP, "/nowhere", "/api/platform/nowhere"))})
    assert {path for _, path in routes} >= set(OPEN) - {
        "/docs/oauth2-redirect",
        "/.well-known/oauth-protected-resource",
    }
    for _, path in routes:
        for method in ("POST", "PUT", "GET"):
            for chunked in (False, True):
                sent = await Sent(
                    method, filled(path), HUGE, (b"content-type", b"application/json"), chunked=chunked
                ).to(app)
                if path in OPEN:
                    assert sent.read <= MAX_OPEN + PORTION, (method, path, chunked)
                else:
                    assert (sent.status, sent.read) == (401, 0), (method, path, chunked)


async def test_a_wrong_credential_opens_no_body_either(platform: Platform) -> None:
    app = build_app(platform)
    for path in (*MCP, "/api/platform/call", "/servers", "/metrics", "/status"):
        sent = await Sent("POST", path, HUGE, (b"authorization", b"Bearer mk_x"), (b"content-type", b"text/plain")).to(
            app
        )
        assert (sent.status, sent.read) == (401, 0), path


async def test_every_route_without_a_row_asks_who_is_there(platform: Platform) -> None:
    app = build_app(platform)
    for method, path in sorted(routes_of(platform)):
        if path.startswith("/swagger/"):
            continue  # files of the package fastapi_swagger, for everybody
        sent = await Sent(method, filled(path), 0).to(app)
        if path in OPEN:
            assert sent.status in (OPEN[path], 400), (method, path)
        else:
            assert sent.status == 401, (method, path)


async def test_who_is_known_may_send_a_body_up_to_the_setting(platform: Platform) -> None:
    app = build_app(platform)
    authorization = (b"authorization", f"Bearer {platform.access.local_key()}".encode())
    most = platform.settings.max_request_bytes
    sent = await Sent("POST", "/api/platform/call", most + 1, authorization).to(app)
    assert sent.status == 413
    body = json.dumps({"tool": "crm.nothing", "arguments": {}}).encode()
    small = Sent("POST", "/api/platform/call", len(body), authorization, (b"content-type", b"application/json"))
    small.content = body
    assert (await small.to(app)).status == 404
    assert json.loads(small.body)["kind"] == "not_found"


async def test_an_unsigned_click_is_refused_unread(platform: Platform) -> None:
    platform.slack = object()  # type: ignore[assignment]
    try:
        app = build_app(platform)
        sent = await Sent("POST", "/slack/interactivity", HUGE).to(app)
        assert (sent.status, sent.read) == (401, 0)
        signed = await Sent("POST", "/slack/interactivity", HUGE, (b"x-slack-signature", b"v0=00")).to(app)
        assert (signed.status, signed.read) == (413, 0)
        endless = Sent("POST", "/slack/interactivity", HUGE, (b"x-slack-signature", b"v0=00"), chunked=True)
        await endless.to(app)
        assert (endless.status, endless.read <= MAX_OPEN + PORTION) == (413, True)
    finally:
        platform.slack = None


DOORS = ("/mcp", "/servers/crm/mcp", "/sse", "/api/platform/call", "/servers", "/health", "/metrics", "/oauth/token",
         "/approvals/1", "/slack/interactivity", "/docs", "/nowhere", "/.well-known/oauth-protected-resource",
         "/.well-known/oauth-authorization-server")  # fmt: skip

TWICE = {
    "host": ("127.0.0.1:8800", "evil.example"), "origin": ("http://localhost", "https://evil.example"),
    "content-type": ("application/json", "text/plain"), "authorization": ("Bearer a", "Bearer b"),
    "mcp-session-id": ("a", "b"), "mcp-protocol-version": ("2025-11-25", "2025-06-18"), "mcp-method": ("a", "b"),
    "mcp-name": ("a", "b"), "mcp-param-region": ("EU", "US"), "content-length": ("2", "3"), "x-api-key": ("a", "b"),
    "transfer-encoding": ("chunked", "identity"), "content-encoding": ("gzip", "identity"), "last-event-id": ("1", "2"),
}  # fmt: skip


@pytest.mark.parametrize("name", TWICE)
async def test_what_may_stand_once_is_refused_twice_at_every_door(platform: Platform, name: str) -> None:
    app = build_app(platform)
    for path in DOORS:
        for pair in (TWICE[name], (TWICE[name][0],) * 2):
            headers = [(name.encode(), value.encode()) for value in pair]
            sent = await Sent("POST", path, 0, *headers).to(app)
            assert (sent.status, sent.read) == (400, 0), path
            assert name in sent.body.decode(), path


@pytest.mark.parametrize("name", TWICE)
async def test_a_handshake_with_a_header_twice_is_refused(platform: Platform, name: str) -> None:
    app = build_app(platform)
    headers = [(name.encode(), value.encode()) for value in TWICE[name]]
    scope = {
        "type": "websocket", "path": "/ws", "headers": [(b"host", b"127.0.0.1:8800"), *headers], "scheme": "ws",
        "subprotocols": ["mcp"], "client": ("127.0.0.1", 1), "query_string": b"",
    }  # fmt: skip
    if name == "host":
        scope["headers"] = headers
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        said.append(message)

    await app(scope, receive, send)
    assert said[0]["status"] == 400
    assert name in said[1]["body"].decode()


async def test_who_was_answered_early_cannot_keep_the_connection_by_dripping_its_body(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_front, "HEADER_TIMEOUT_S", 0.1)
    monkeypatch.setattr(http_front, "LINGER_TIMEOUT_S", 0.3)
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.listen()
    config = uvicorn.Config(
        build_app(platform), http=http_front.Front, log_level="critical", lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([bound]))
    try:
        reader, writer = await asyncio.open_connection(*bound.getsockname())
        writer.write(b"POST /mcp HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 104857600\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 401")

        async def drip() -> None:
            while True:
                writer.write(b"x")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(15):
            with contextlib.suppress(ConnectionError):
                await reader.read()
        dripping.cancel()
        writer.close()
    finally:
        server.should_exit = True
        await task
        bound.close()
