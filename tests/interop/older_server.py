"""A server for `mcp` before 2.0: asks, logs, reports progress. Run in an environment of its own, over stdio or SSE."""

from __future__ import annotations

import sys

from mcp.server.fastmcp import Context, FastMCP
from mcp.types import SamplingMessage, TextContent
from pydantic import BaseModel


class Name(BaseModel):
    name: str


server = FastMCP("older", port=int(sys.argv[2]) if len(sys.argv) > 2 else 0)


@server.tool()
async def greet(ctx: Context) -> str:
    """Asks for a name."""
    answer = await ctx.elicit("name?", Name)
    return f"Hello {answer.data.name if answer.action == 'accept' else answer.action}"


@server.tool()
async def think(ctx: Context) -> str:
    """Asks the client's model."""
    question = SamplingMessage(role="user", content=TextContent(type="text", text="capital of France?"))
    return str((await ctx.session.create_message([question], max_tokens=9)).content.text)


@server.tool()
async def folders(ctx: Context) -> str:
    """Asks for the client's roots."""
    return " ".join(str(root.uri) for root in (await ctx.session.list_roots()).roots)


@server.tool()
async def steps(ctx: Context) -> str:
    """Reports progress and logs."""
    await ctx.report_progress(1, 2, "half")
    await ctx.warning("careful")
    return "done"


if __name__ == "__main__":
    server.run(transport=sys.argv[1])
