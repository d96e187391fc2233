"""How a server of this folder is served: stdio, or Streamable HTTP with health, capabilities and a secret."""

from __future__ import annotations

import argparse
import atexit
import hmac
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Receive, Scope, Send

SECRET_VARIABLE = "MCP_SERVER_SECRET"
LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
GRACE_S = 0.5
"""Seconds that open requests get to finish after SIGTERM."""

Health = Callable[[], dict[str, Any]]


def arguments(description: str) -> argparse.ArgumentParser:
    """The options that every server has; a server adds its own to it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--http", action="store_true", help="serve Streamable HTTP at /mcp instead of stdio")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind to (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port to bind to; 0 takes a free one and prints it")
    parser.add_argument("--fd", type=int, help="inherited listening socket to serve instead of binding one")
    return parser


def serve(server: MCPServer[Any], given: argparse.Namespace | None = None, *, health: Health | None = None) -> None:
    """Run `server` until it is told to stop; what every `server.py` calls last.

    Args:
        server: the server with its tools.
        given: parsed options; by default those of the command line.
        health: returns further fields of `/health`, or raises when the server cannot answer.
    """
    given = given or arguments(server.instructions or server.name).parse_args()
    # the SDK sets up a handler that wraps lines; plain lines are what a supervisor can read
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(Trace(f"{server.name}: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[lines], force=True)
    if not given.http:
        signal.signal(signal.SIGTERM, _leave)
        server.run()
        return
    listener = socket.socket(fileno=given.fd) if given.fd is not None else _listen(given.host, given.port)
    secret = os.environ.pop(SECRET_VARIABLE, "")
    if given.fd is None:
        sys.stderr.write(f"{server.name} listens on {url(listener)}/mcp\n")
    _run(application(server, secret=secret, host=listener.getsockname()[0], health=health), listener)


class Trace(logging.Formatter):
    """What went wrong in one line, then the traceback of it.

    The SDK tells a caller nothing of a crash but that there was one, and logs it wrapped in its own errors: what is of
    use to a supervisor's reader is the error that was raised first.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The lines of one record."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return super().format(record)
        while error.__cause__ is not None:
            error = error.__cause__
        # a copy: other handlers get the record as it is
        shown = logging.makeLogRecord(record.__dict__)
        first = str(error).strip().splitlines()
        shown.msg = f"{record.getMessage()}: {type(error).__name__}: {first[0] if first else 'no message'}"
        shown.args, shown.exc_text = None, None
        shown.exc_info = (type(error), error, error.__traceback__)
        return super().format(shown)


def application(
    server: MCPServer[Any], *, secret: str = "", host: str = "127.0.0.1", health: Health | None = None
) -> ASGIApp:
    """The ASGI application: `/mcp`, `/health` and `/.well-known/mcp-capabilities`, behind the checks of `Guard`.

    Plain calls are answered with one JSON document; a call that reports progress turns into a stream by itself.
    """
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    started = time.monotonic()

    async def health_document(request: Request) -> JSONResponse:
        document: dict[str, Any] = {"status": "ok", "server": server.name, "version": server.version}
        document["uptime_s"] = round(time.monotonic() - started, 3)
        try:
            document |= health() if health else {}
        except Exception as e:  # noqa: BLE001 - whatever is wrong, the answer is "not healthy, because ..."
            return JSONResponse(document | {"status": "failing", "error": str(e)}, status_code=503)
        return JSONResponse(document)

    async def capabilities_document(request: Request) -> JSONResponse:
        return JSONResponse(await capabilities(server))

    app: Starlette = server.streamable_http_app(host=host)
    app.routes.append(Route("/health", health_document))
    app.routes.append(Route("/.well-known/mcp-capabilities", capabilities_document))
    return Guard(app, secret=secret, loopback=host in LOOPBACK)


async def capabilities(server: MCPServer[Any]) -> dict[str, Any]:
    """What the server offers, in the definitions of the protocol: for registries and people, without a session."""
    from mcp_types.version import SUPPORTED_PROTOCOL_VERSIONS

    def plain(items: Any) -> list[Any]:
        return [item.model_dump(mode="json", by_alias=True, exclude_none=True) for item in items]

    return {
        "name": server.name,
        "title": server.title,
        "version": server.version,
        "description": server.description,
        "instructions": server.instructions,
        "protocolVersions": list(SUPPORTED_PROTOCOL_VERSIONS),
        "transport": {"type": "streamable-http", "path": "/mcp"},
        "tools": plain(await server.list_tools()),
        "resources": plain(await server.list_resources()),
        "resourceTemplates": plain(await server.list_resource_templates()),
        "prompts": plain(await server.list_prompts()),
    }


class Guard:
    """Refuses what must not reach the server: foreign Host headers on loopback, and callers without the secret.

    A browser page can make a name resolve to 127.0.0.1 but cannot forge the Host header (DNS rebinding). `/health`
    needs no secret because it tells nothing.
    """

    def __init__(self, app: ASGIApp, *, secret: str, loopback: bool) -> None:
        self.app = app
        self.expected = f"Bearer {secret}".encode() if secret else b""
        self.loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        host = authorization = b""
        for name, value in scope["headers"]:
            if name == b"host":
                host = value
            elif name == b"authorization":
                authorization = value
        if self.loopback and not _is_loopback(host.decode("latin-1")):
            await _refuse(send, 421, "The Host header names no loopback address.")
        elif self.expected and scope["path"] != "/health" and not hmac.compare_digest(authorization, self.expected):
            await _refuse(send, 401, "This server is reached through the gateway only.")
        else:
            await self.app(scope, receive, send)


def _is_loopback(host: str) -> bool:
    name, _, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
    if not name:
        name, port = host, ""
    return name in LOOPBACK and (not port or port.isdigit())


async def _refuse(send: Send, status: int, message: str) -> None:
    body = json.dumps({"error": message}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def url(listener: socket.socket) -> str:
    """The address of a listening socket as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
    except OSError as e:
        raise SystemExit(f"Cannot listen on {host}:{port}: {os.strerror(e.errno or 0)}. Choose another --port.") from e


def _run(app: ASGIApp, listener: socket.socket) -> None:
    import uvicorn

    # uvicorn raises the signal again when it has shut down: then leave as on any other end, temporary files removed
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        ws="none",
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE_S,  # type: ignore[arg-type]  # passed to asyncio.wait_for, which takes fractions
    )
    uvicorn.Server(config).run(sockets=[listener])


def _leave(signum: int, frame: object) -> None:
    # reading stdin blocks in a thread that cannot be woken, so the ordinary end would wait for it
    atexit._run_exitfuncs()
    os._exit(0)
