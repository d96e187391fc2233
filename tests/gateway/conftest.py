"""Servers that the gateway tests talk to: built with the SDK, and raw ones for what the SDK cannot be made to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from tests.asgi import listening
from workbench.config import Settings
from workbench.events import JSON
from workbench.testing import GatewayHarness

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
    cancellations: int = 0


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
            calc.cancellations += 1
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
    async def erase(what: str) -> str:
        """Destroys something."""
        calc.calls.append(f"erase {what}")
        if what == "nothing":
            raise ToolError("There is nothing.")
        if what == "for ever":
            await asyncio.Event().wait()
        return f"{what} is gone"

    return calc


@pytest.fixture
def calc() -> Calc:
    return make_calc()


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[tuple[str, uvicorn.Server]]:
    """`app` behind a real uvicorn on a free port of this machine, on the running loop."""
    async with listening(app, lifespan="auto", timeout_keep_alive=3600) as server:
        yield f"http://127.0.0.1:{server.port}", server


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """`await serve(app)` gives the base URL of a server that ends with the test."""
    async with AsyncExitStack() as stack:

        async def start(app: Any) -> str:
            url, _ = await stack.enter_async_context(served(app))
            return url

        yield start


# --- a whole gateway -----------------------------------------------------------------------------


class House(GatewayHarness):
    """A gateway over `calc` and further servers in this process."""

    def __init__(self, calc: Calc, servers: dict[str, Any], **more: Any) -> None:
        super().__init__({"calc": calc.mcp, **servers}, **more)
        self.calc = calc


Furnish = Callable[..., Awaitable[House]]


@pytest.fixture
async def furnish(settings: Settings, calc: Calc) -> AsyncIterator[Furnish]:
    """`await furnish()` opens a gateway over `calc` and further servers; settings can be given."""
    async with AsyncExitStack() as stack:

        async def open_house(**more: Any) -> House:
            servers = more.pop("servers", {})
            house = House(calc, servers, base=settings, **{"health_interval": 5.0, **more})
            await stack.enter_async_context(house)
            return house

        yield open_house


@pytest.fixture
async def house(furnish: Furnish) -> House:
    return await furnish()


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something that other tasks bring about; the deadline fails the test."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is of many kinds
            await asyncio.sleep(0.005)


# --- a client in this process --------------------------------------------------------------------

MODERN = "2026-07-28"


@dataclass
class Response:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        return [json.loads(line[6:]) for line in self.body.split(b"\n") if line.startswith(b"data: ")]

    @property
    def error(self) -> Any:
        return self.json["error"]


class Browser:
    """Speaks ASGI to the endpoint, as uvicorn would."""

    def __init__(self, house: Any, path: str = "/mcp", token: str | None = None) -> None:
        self.house = house
        self.path = path
        self.token = house.access.local_key() if token is None else token

    async def send(
        self,
        body: Any = None,
        *,
        method: str = "POST",
        headers: dict[str, str | None] | None = None,
        extra: tuple[tuple[str, str], ...] = (),
        leave: asyncio.Event | None = None,
        path: str | None = None,
        pieces: int = 1,
        gone: bool = False,
        on_event: Callable[[Any], None] | None = None,
    ) -> Response:
        """One request; a header of None is left out. The client leaves when `leave` is set.

        The body arrives in so many `pieces`; with `gone` the client leaves before the last one. `on_event` is called
        with each message of an event stream.
        """
        found: dict[str, str | None] = {
            "host": "127.0.0.1:8800",
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
        }
        if self.token:
            found["authorization"] = f"Bearer {self.token}"
        found |= headers or {}
        raw = [(k.lower().encode(), v.encode("latin-1")) for k, v in [*found.items(), *extra] if v is not None]
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        response, done = Response(), asyncio.Event()
        size = max(1, -(-len(data) // pieces))
        parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        pending: list[Any] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        pending[-1] = {"type": "http.disconnect"} if gone else {**pending[-1], "more_body": False}

        async def receive() -> Any:
            if pending:
                return pending.pop(0)
            await (leave or done).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert not response.status, "the response was started twice"
                response.status = message["status"]
                response.headers = {k.decode(): v.decode() for k, v in message["headers"]}
            else:
                assert response.status
                response.body += message.get("body", b"")
                if on_event is not None and message.get("body", b"").startswith(b"event: message\ndata: "):
                    on_event(json.loads(message["body"].split(b"data: ", 1)[1]))
                if not message.get("more_body"):
                    done.set()

        scope = {"type": "http", "method": method, "path": path or self.path, "headers": raw, "scheme": "http"}
        async with asyncio.timeout(20):
            await self.house.endpoint(scope, receive, send)
        return response

    async def modern(self, method: str, params: JSON | None = None, *, id: Any = 1, **more: Any) -> Response:
        meta = {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
            **more.pop("meta", {}),
        }
        params = {**(params or {}), "_meta": meta}
        headers = {"mcp-protocol-version": MODERN, "mcp-method": method, **more.pop("headers", {})}
        if "name" in params:
            headers.setdefault("mcp-name", params["name"])
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        return await self.send(body, headers=headers, **more)

    async def legacy(self, method: str, params: JSON | None = None, *, id: Any = 1, **more: Any) -> Response:
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params or {}}
        return await self.send(body, **more)


@pytest.fixture
def browse() -> type[Browser]:
    """`browse(house, path, token=…)` is a client of that house's endpoint."""
    return Browser


@pytest.fixture
def browser(house: House) -> Browser:
    return Browser(house)
