"""A child for the stdio tests: `sdk` is a dual-era server, `old` knows only the handshake, `rude` never answers."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer


def sdk() -> None:
    mcp = MCPServer("child", version="3")

    @mcp.tool()
    def echo(text: str) -> str:
        """Gives the text back."""
        return text

    @mcp.tool()
    async def steps(ctx: Context) -> str:
        """Reports progress."""
        await ctx.report_progress(1, 2, "half")
        return "done"

    @mcp.tool()
    async def hang() -> str:
        """Never answers."""
        print("hanging", flush=True)
        await asyncio.Event().wait()
        return ""

    if "--http" not in sys.argv:
        mcp.run()
        return
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(mcp.streamable_http_app(), log_level="error")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listening]))


def send(message: dict[str, Any]) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def old() -> None:
    """2025-03-26: silent about everything before the handshake, serves one call at a time, tells what it was sent."""
    ready, heard = False, []
    for line in sys.stdin:
        message = json.loads(line)
        method, id = message.get("method"), message.get("id")
        if method == "initialize":
            print("a banner that does not belong here", flush=True)
            send(
                {"id": id, "result": {"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {"name": "o"}}}
            )
        elif method == "notifications/initialized":
            ready = True
            send({"id": "q", "method": "roots/list"})
            send({"method": "notifications/tools/list_changed"})
        elif not ready:
            continue
        elif method == "tools/call" and message["params"]["name"] == "hang":
            heard.append("hang")
        elif method == "tools/call" and message["params"]["name"] == "die":
            sys.exit(3)
        elif method == "tools/call" and message["params"]["name"] == "big":
            send({"id": id, "result": {"text": "x" * message["params"]["arguments"]["size"]}})
        elif method == "tools/call":
            send({"id": id, "result": {"heard": heard}})
        else:
            heard.append(method or message.get("error", {}).get("code"))


def rude() -> None:
    """Never answers anything, and sleeps on."""
    time.sleep(60)


if __name__ == "__main__":
    {"sdk": sdk, "old": old, "rude": rude}[sys.argv[1]]()
