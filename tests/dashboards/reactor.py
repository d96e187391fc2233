"""A server with one tool that answers only after a minute: something to stop."""

from __future__ import annotations

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server: MCPServer[None] = MCPServer("reactor", description="Readings of the test reactor.")


@server.tool(title="Reactor pressure", annotations=ToolAnnotations(read_only_hint=True))
async def reactor_pressure() -> dict[str, float]:
    """The pressure of the reactor, in bar. Measuring it takes long."""
    await anyio.sleep(60)
    return {"pressure_bar": 12.5}


if __name__ == "__main__":
    server.run("stdio")
