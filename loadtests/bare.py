"""What the gateway is measured against: a bare MCP server, and a bare pass-through in front of it.

Neither checks, decides or records anything. The server is what is called; the pass-through is the least that a proxy
in Python can do with the same libraries (uvicorn, httptools, uvloop, aiohttp), so that the difference is the price of
governance. `python -m loadtests.bare server`, `… passthrough URL` or `… file PATH` print their port; `… stdio` is the
server over stdio.

The server answers clients of both eras, so that every gateway can stand before it. Below `/s7/mcp` (any number) it is
another one, with `TOOLS_EACH` tools of its own.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
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
TOOLS_EACH = 40
MODERN = "2026-07-28"
_NUMBERED = re.compile(r"/s(\d+)/mcp")
_VERBS = ("find", "create", "update", "delete", "export", "approve", "archive", "count", "compare", "schedule")
_NOUNS = (
    *(
        "invoice",
        "customer",
        "shipment",
        "contract",
        "ticket",
        "payment",
        "campaign",
        "warehouse",
        "employee",
        "refund",
    ),
    *("meeting", "document", "subscription", "supplier", "order", "device", "route", "budget", "survey", "licence"),
)
_PLACES = ("archive", "ledger", "region", "branch", "partner", "draft", "season", "batch", "portal", "market")
_HOP = {b"host", b"content-length", b"connection", b"transfer-encoding", b"accept-encoding"}


async def read(receive: Any) -> bytes:
    body: bytes = b""
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


def numbered(server: int) -> list[dict[str, Any]]:
    """The tools of one of many servers: the same for the same number, and no two alike."""
    tools = []
    for n in range(server * TOOLS_EACH, (server + 1) * TOOLS_EACH):
        verb, noun = _VERBS[n % 10], _NOUNS[n // 10 % 20]
        place, other = _PLACES[n // 200 % 10], _PLACES[n // 2000 % 10]
        tools.append(
            {
                "name": f"{verb}_{noun}_{place}_{n}",
                "description": f"{verb.capitalize()} a {noun} of the {place} by its number, from the {other}.",
                "inputSchema": {
                    "type": "object",
                    "properties": {
                        f"{noun}_id": {"type": "string", "description": f"Which {noun}."},
                        "limit": {"type": "integer", "description": "How many at most."},
                    },
                    "required": [f"{noun}_id"],
                },
                "annotations": {"readOnlyHint": True},
            }
        )
    return tools


def answer(message: dict[str, Any], path: str) -> dict[str, Any]:
    """The result of one request, or the error that it has no such method."""
    method, params = message["method"], message.get("params") or {}
    found = _NUMBERED.fullmatch(path)
    if method == "tools/call":
        if found:
            result: Any = {"content": [{"type": "text", "text": "done"}], "structuredContent": {"done": True}}
        else:
            given = params["arguments"]
            result = large(given["bytes"]) if params["name"] == "large" else add(**given)
    elif method == "tools/list":
        result = {"tools": numbered(int(found[1])) if found else [TOOL, LARGE]}
    elif method == "server/discover":
        result = {"supportedVersions": [MODERN], "capabilities": {"tools": {}}}
    elif method == "initialize":
        info = {"name": "bare", "version": "1"}
        result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": info}
    elif method == "ping":
        result = {}
    else:
        return {"error": {"code": -32601, "message": f"There is no method {method}."}}
    if (params.get("_meta") or {}).get("io.modelcontextprotocol/protocolVersion") == MODERN:
        result["resultType"] = "complete"
        if method == "tools/list":
            result |= {"ttlMs": 60_000, "cacheScope": "public"}
    return {"result": result}


def respond(line: bytes, path: str) -> bytes:
    """The answer to one message; empty where none is due."""
    message = json.loads(line)
    if "id" not in message or "method" not in message:
        return b""
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer(message, path)}).encode()


def stdio() -> None:
    """The server over stdio."""
    for line in sys.stdin.buffer:
        if told := respond(line, ""):
            sys.stdout.buffer.write(told + b"\n")
            sys.stdout.buffer.flush()


async def server(scope: Any, receive: Any, send: Any) -> None:
    """A server of both eras without sessions, as cheap as it can be."""
    body = await read(receive)
    if scope["method"] != "POST":
        await reply(send, 405, b"")
        return
    told = respond(body, scope["path"])
    await reply(send, 200 if told else 202, told)


class File:
    """Answers everything with the same bytes, in one piece."""

    def __init__(self, path: str) -> None:
        self.body = Path(path).read_bytes()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await read(receive)
        await reply(send, 200, self.body)


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
    if kind == "stdio":
        stdio()
        return
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(1024)
    print(listening.getsockname()[1], flush=True)
    apps: dict[str, Callable[..., Any]] = {"server": lambda: server, "passthrough": Passthrough, "file": File}
    config = uvicorn.Config(
        apps[kind](*rest), log_level="error", access_log=False, lifespan="off", http="httptools", loop="uvloop"
    )
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
