"""Servers that the gateway tests talk to: built with the SDK, and raw ones for what the SDK cannot be made to do."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from workbench.access import Access
from workbench.audit import AuditLog
from workbench.config import Settings
from workbench.events import JSON, Caller
from workbench.gateway import Gateway, McpEndpoint, upstream_connection
from workbench.gateway.upstream.memory import MemoryConnection
from workbench.policy import Policy
from workbench.registry import Connection, Launched, Registry, ServerSpec

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

    @mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
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

    @mcp.tool(annotations=ToolAnnotations(destructive_hint=True))
    def erase(what: str) -> str:
        """Destroys something."""
        calc.calls.append(f"erase {what}")
        return f"{what} is gone"

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


# --- a whole gateway -----------------------------------------------------------------------------


@dataclass
class House:
    """All rooms that the gateway stands on, real, over servers in this process."""

    settings: Settings
    audit: AuditLog
    access: Access
    policy: Policy
    registry: Registry
    gateway: Gateway
    endpoint: McpEndpoint
    calc: Calc

    @property
    def owner(self) -> Caller:
        return self.access.local_caller()

    def key(self, *roles: str, scopes: tuple[str, ...] = (), subject: str = "ann") -> str:
        """A token of somebody with these roles and scopes."""
        return self.access.create_key(subject, roles=roles, scopes=scopes)[1]

    def caller(self, *roles: str, scopes: tuple[str, ...] = (), subject: str = "ann") -> Caller:
        return self.access.authenticate(f"Bearer {self.key(*roles, scopes=scopes, subject=subject)}")

    def recorded(self, kind: str = "call") -> list[JSON]:
        """The records of one kind that are on disk, oldest first."""
        found: list[JSON] = []
        for file in sorted((self.settings.home).rglob("*.jsonl")):
            if file.parent.name == "wal":
                found += [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
        return [record for record in found if record.get("kind") == kind]

    def outcomes(self) -> list[str]:
        return [record["outcome"] for record in self.recorded()]


Furnish = Callable[..., Awaitable[House]]


@pytest.fixture
async def furnish(settings: Settings, calc: Calc) -> AsyncIterator[Furnish]:
    """`await furnish()` opens a gateway over `calc` and further servers; settings can be given."""
    async with AsyncExitStack() as stack:

        async def open_house(**more: Any) -> House:
            servers: dict[str, Any] = {"calc": calc.mcp, **more.pop("servers", {})}
            changed = settings.replace(health_interval=5.0, **more)
            audit = await AuditLog.open(changed)
            stack.push_async_callback(audit.close)
            access, policy = Access(changed), Policy(changed)
            stack.callback(access.close)
            stack.callback(policy.close)

            def connect(spec: ServerSpec, launched: Launched) -> Connection:
                server = servers[spec.id]
                if isinstance(server, str):
                    return upstream_connection(spec, launched)
                return server if hasattr(server, "request") else MemoryConnection(server, name=spec.id)

            specs = [
                ServerSpec(id=id, kind="url", url=server if isinstance(server, str) else f"memory://{id}")
                for id, server in servers.items()
            ]
            registry = Registry(changed, audit, connect, specs=specs)
            stack.push_async_callback(registry.stop)
            await registry.start()
            gateway = Gateway(changed, registry, access, policy, audit)
            return House(changed, audit, access, policy, registry, gateway, McpEndpoint(gateway), calc)

        yield open_house


@pytest.fixture
async def house(furnish: Furnish) -> House:
    return await furnish()


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something that other tasks bring about; the deadline fails the test."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is of many kinds
            await asyncio.sleep(0.005)
