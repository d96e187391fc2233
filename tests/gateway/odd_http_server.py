"""A real HTTP server of MCP without any framework, whose answers are put together byte by byte."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

TOOLS = [{"name": "echo", "description": "Echoes.", "inputSchema": {"type": "object"}}]


@dataclass
class Sent:
    """One request that arrived."""

    method: str
    path: str
    headers: dict[str, str]
    message: Any

    @property
    def rpc(self) -> str:
        """The JSON-RPC method; empty when there is none."""
        return self.message.get("method", "") if isinstance(self.message, dict) else ""


@dataclass
class Reply:
    """One answer. A body in several pieces is sent chunked; `framed` says whether its length is told."""

    status: int = 200
    body: bytes | list[bytes] = b""
    headers: dict[str, str] = field(default_factory=dict)
    framed: bool = True

    def encoded(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} Whatever", *(f"{name}: {value}" for name, value in self.headers.items())]
        body = self.body
        if isinstance(body, list):
            lines.append("Transfer-Encoding: chunked")
            body = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in [*body, b""])
        elif self.framed:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


Handle = Callable[[Sent], Reply | Awaitable[Reply]]


def answer(message: Any, *, revision: str = "2025-06-18", text: str = "hi") -> dict[str, Any]:
    """What a plain server of an older revision says to a request."""
    method, id = message.get("method"), message.get("id")
    results: dict[str, Any] = {
        "initialize": {"protocolVersion": revision, "capabilities": {"tools": {}}, "serverInfo": {"name": "odd"}},
        "tools/list": {"tools": TOOLS},
        "tools/call": {"content": [{"type": "text", "text": text}]},
        "ping": {},
    }
    if method in results:
        return {"jsonrpc": "2.0", "id": id, "result": results[method]}
    return {"jsonrpc": "2.0", "id": id, "error": {"code": -32601, "message": "Method not found"}}


def plain(sent: Sent, **more: Any) -> Reply:
    """The answer of a server that does nothing odd."""
    if sent.method != "POST":
        return Reply(405)
    if "id" not in sent.message:
        return Reply(202)
    return Reply(200, json.dumps(answer(sent.message, **more)).encode(), {"Content-Type": "application/json"})


class OddServer:
    """Answers with what `handle` says, and remembers what arrived.

    Args:
        handle: given each request.
    """

    def __init__(self, handle: Handle) -> None:
        self.handle = handle
        self.sent: list[Sent] = []
        self.url = ""

    def of(self, rpc: str) -> list[Sent]:
        """The requests with this JSON-RPC method."""
        return [sent for sent in self.sent if sent.rpc == rpc]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").rstrip().split("\r\n")
                method, path, _ = first.split(" ")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                sent = Sent(method, path, headers, json.loads(body) if body else None)
                self.sent.append(sent)
                reply = self.handle(sent)
                reply = reply if isinstance(reply, Reply) else await reply
                writer.write(reply.encoded())
                await writer.drain()
                if not reply.framed or reply.headers.get("Connection") == "close":
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def odd_server(handle: Handle) -> AsyncIterator[OddServer]:
    """A server on a free port of this machine, on the running loop."""
    odd = OddServer(handle)
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(odd.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    odd.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield odd
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
