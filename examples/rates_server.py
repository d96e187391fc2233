"""An MCP server over stdio with one tool, written with the official SDK."""

from mcp.server import MCPServer
from mcp_types import ToolAnnotations

EUROS = {"USD": 0.92, "GBP": 1.17, "JPY": 0.0061}

server = MCPServer("rates")


# A tool that says it only reads needs no approval of a human.
@server.tool(annotations=ToolAnnotations(read_only_hint=True, open_world_hint=False))
def convert(amount: float, currency: str) -> float:
    """Convert an amount of a currency (USD, GBP or JPY) to euros."""
    return round(amount * EUROS[currency], 2)


if __name__ == "__main__":
    server.run()
