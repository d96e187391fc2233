"""A server of the SDK with everything that crosses the gateway, for every transport and both eras."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

from mcp.server.mcpserver import Context, Elicit, ListRoots, MCPServer, Resolve, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import Completion, CreateMessageResult, ListRootsResult, SamplingMessage, TextContent
from pydantic import BaseModel


class Name(BaseModel):
    name: str


class Sum(BaseModel):
    total: int


def ask_name(ctx: Context) -> Elicit[Name]:
    return Elicit("name?", Name)


def ask_model(ctx: Context) -> Sample:
    return Sample([SamplingMessage(role="user", content=TextContent(type="text", text="capital?"))], max_tokens=9)


def ask_roots(ctx: Context) -> ListRoots:
    return ListRoots()


def make() -> MCPServer:
    """A new server; nothing in it is shared with another."""
    mcp = MCPServer("crossing", version="1", instructions="Crosses.")
    cancelled = 0
    permits = asyncio.Semaphore(0)

    @mcp.tool()
    def add(a: int, b: int) -> Sum:
        """Adds."""
        return Sum(total=a + b)

    @mcp.tool()
    def fail() -> str:
        """Fails, as tools do."""
        raise ToolError("No such thing.")

    @mcp.tool()
    async def steps(ctx: Context) -> str:
        """Reports progress."""
        await ctx.report_progress(1, 2, "half")
        return "done"

    @mcp.tool()
    async def work(ctx: Context, steps: int) -> str:
        """Reports progress, and goes on when it is told to."""
        for step in range(1, steps + 1):
            await ctx.report_progress(step, steps)
            await permits.acquire()
        return "done"

    @mcp.tool()
    async def go_on() -> str:
        """Lets `work` take its next step."""
        permits.release()
        return "told"

    @mcp.tool()
    async def log(ctx: Context) -> str:
        """Logs."""
        await ctx.session.send_log_message("warning", "careful", related_request_id=ctx.request_id)
        return "logged"

    @mcp.tool()
    async def hang(ctx: Context) -> str:
        """Says that it has begun, and never answers."""
        nonlocal cancelled
        await ctx.report_progress(0, 1, "begun")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise
        return ""

    @mcp.tool()
    def cancellations() -> int:
        """How many calls were cancelled."""
        return cancelled

    @mcp.tool()
    async def greet(answer: Annotated[Name, Resolve(ask_name)]) -> str:
        """Asks the person."""
        return f"Hello {answer.name}"

    @mcp.tool()
    async def think(answer: Annotated[CreateMessageResult, Resolve(ask_model)]) -> str:
        """Asks the client's model."""
        return str(getattr(answer.content, "text", answer.content))

    @mcp.tool()
    async def folders(answer: Annotated[ListRootsResult, Resolve(ask_roots)]) -> str:
        """Asks for the client's roots."""
        return " ".join(str(root.uri) for root in answer.roots)

    mcp.resource("doc://one", name="one")(lambda: "first")

    @mcp.resource("doc://{shelf}/{book}")
    def book(shelf: str, book: str) -> str:
        return f"{shelf}/{book}"

    @mcp.prompt()
    def about(topic: str) -> str:
        return f"About {topic}"

    @mcp.completion()
    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[f"{argument.value}!"])

    return mcp


if __name__ == "__main__":
    if sys.argv[1] == "older":
        from stdio_child import run_older

        run_older(make())
    else:
        make().run()
