"""Servers that the gateway tests talk to: built with the SDK, and raw ones for what the SDK cannot be made to do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

Scope = MutableMapping[str, Any]
Serve = Callable[[Any], Awaitable[str]]


class Sum(BaseModel):
    total: int


@dataclass
class Calc:
    """An SDK server, and what happened inside it."""

    mcp: MCPServer
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[str] = field(default_factory=list)


def make_calc() -> Calc:
    """Tools of every temper: quick, slow, failing, reporting progress, with a mirrored header."""
    mcp = MCPServer("calc", version="1.2", instructions="Adds numbers.")
    calc = Calc(mcp)

    @mcp.tool()
    async def add(a: int, b: Annotated[int, Field(ge=0)]) -> Sum:
        """Add two numbers."""
        calc.calls.append("add")
        return Sum(total=a + b)

    @mcp.tool()
    async def hang() -> str:
        """Never answers."""
        calc.calls.append("hang")
        calc.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            calc.cancelled.set()
            raise
        return ""

    @mcp.tool()
    async def steps(ctx: Context) -> str:
        """Reports progress twice."""
        await ctx.report_progress(1, 2, "half")
        await ctx.report_progress(2, 2, "whole")
        return "done"

    @mcp.tool()
    def fail() -> str:
        """Fails, as tools do."""
        raise ToolError("No such customer: use search first.")

    @mcp.tool()
    def region(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
        """Mirrors its argument in a header."""
        return region

    return calc


@pytest.fixture
def calc() -> Calc:
    return make_calc()


class StartedServer(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    """`app` behind a real uvicorn on a free port of this machine, on the running loop."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="error", access_log=False, lifespan="auto", ws="none", timeout_graceful_shutdown=1
    )
    server = StartedServer(config)
    task = asyncio.create_task(server._serve([listening]))
    try:
        async with asyncio.timeout(10):
            await server.listening.wait()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", server
    finally:
        server.should_exit = True
        await task
        listening.close()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(app)` gives the base URL of a server that ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(app: Any) -> str:
            url, _ = await stack.enter_async_context(served(app))
            return url

        yield start
