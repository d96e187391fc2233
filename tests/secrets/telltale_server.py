"""An MCP server that tells everything it was given: its environment, and the headers of every request.

`telltale_server.py stdio` or `telltale_server.py PORT`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

mcp = MCPServer("telltale", instructions=f"I was given {os.environ.get('TELLTALE_TOKEN')}.")
SEEN: dict[str, str] = {}
WANTED = os.environ.get("TELLTALE_WANTED", "")


def everything() -> str:
    given = {name: value for name, value in os.environ.items() if name.startswith("TELLTALE")}
    return f"{given} {SEEN}"


@mcp.tool()
def tell() -> str:
    """Say it as a result."""
    return everything()


@mcp.tool()
def fail() -> str:
    """Say it as an error."""
    raise ToolError(everything())


@mcp.tool()
def die() -> str:
    """Say it on stderr, and end."""
    print(everything(), file=sys.stderr, flush=True)
    os._exit(3)


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http":
        SEEN.update({name.decode(): value.decode() for name, value in scope["headers"]})
        if WANTED and SEEN.get("authorization") != f"Bearer {WANTED}":
            start = {"type": "http.response.start", "status": 401, "headers": [(b"content-type", b"text/plain")]}
            await send(start)
            await send({"type": "http.response.body", "body": everything().encode()})
            return
    await inner(scope, receive, send)


inner = mcp.streamable_http_app()

if __name__ == "__main__":
    print(everything(), file=sys.stderr, flush=True)
    if sys.argv[1] == "stdio":
        mcp.run()
    else:
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
