"""What the gateway is measured against: a bare MCP server, and a bare pass-through in front of it.

Neither checks, decides or records anything. The server is what is called; the pass-through is the least that a proxy
in Python can do with the same libraries (uvicorn, httptools, uvloop, aiohttp), so that the difference is the price of
governance. `python -m loadtests.bare server` or `… passthrough URL`; prints its port.
"""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import aiohttp
import uvicorn

TOOL = {
    "name": "add",
    "description": "Adds two numbers.",
    "inputSchema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "annotations": {"readOnlyHint": True},
}
LARGE = {
    "name": "large",
    "description": "Gives rows that have so many bytes in all.",
    "inputSchema": {"type": "object", "properties": {"bytes": {"type": "integer"}}, "required": ["bytes"]},
    "annotations": {"readOnlyHint": True},
}
_HOP = {b"host", b"content-length", b"connection", b"transfer-encoding", b"accept-encoding"}


async def read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def reply(send: Any, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def add(a: int, b: int) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": str(a + b)}], "structuredContent": {"total": a + b}}


def large(size: int) -> dict[str, Any]:
    """About `size` bytes of rows, all of them once."""
    row = {"customer_id": "C-00001", "name": "Ada Lovelace", "city": "London", "balance": 1234.5, "note": "n" * 100}
    return {"content": [], "structuredContent": {"rows": [row] * (size // 180)}}


async def server(scope: Any, receive: Any, send: Any) -> None:
    """A server of 2026-07-28 with one tool, as cheap as it can be."""
    message = json.loads(await read(receive))
    method, params = message["method"], message.get("params", {})
    if method == "tools/call":
        result: Any = large(params["arguments"]["bytes"]) if params["name"] == "large" else add(**params["arguments"])
    elif method == "tools/list":
        result = {"tools": [TOOL, LARGE], "ttlMs": 60_000, "cacheScope": "public"}
    else:
        result = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}}
    result["resultType"] = "complete"
    await reply(send, 200, json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode())


class Passthrough:
    """Forwards each POST and its answer as bytes."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.session: aiohttp.ClientSession | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self.session is None:
            self.session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        body = await read(receive)
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"] if k not in _HOP]
        async with self.session.post(self.url, data=body, headers=headers) as response:
            await reply(send, response.status, await response.read())


def main(kind: str, *rest: str) -> None:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    app = server if kind == "server" else Passthrough(*rest)
    config = uvicorn.Config(app, log_level="error", access_log=False, lifespan="off", http="httptools", loop="uvloop")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
