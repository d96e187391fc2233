"""What the registry's tests share: servers in this process that can be made to misbehave, and a readable log."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import mcp_types as t
import orjson
import pytest
from mcp.server.lowlevel import Server

from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.config import Settings
from workbench.events import JSON, UnreachableError
from workbench.registry import Connection, LaunchContext, Registry, ServerSpec
from workbench.upstream.in_memory import MemoryConnection


def tool(name: str, description: str = "", **more: Any) -> JSON:
    """A tool definition as it is on the wire."""
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}


class Faults:
    """Switches that break the wire to one server."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.answers.set()
        self.refuses = ""
        self.lost = False
        self.opened = 0
        self.methods: list[str] = []


class FaultyConnection(MemoryConnection):
    """The real in-process connection, with faults in between."""

    def __init__(self, server: Server[Any], faults: Faults, **more: Any) -> None:
        super().__init__(server, **more)
        self.faults = faults

    async def open(self) -> None:
        if self.faults.refuses:
            raise UnreachableError(self.faults.refuses)
        self.faults.opened += 1
        self.faults.lost = False
        await super().open()

    async def request(self, method: str, params: JSON, *, timeout: float, **more: Any) -> JSON:
        self.faults.methods.append(method)
        if self.faults.refuses:
            raise UnreachableError(self.faults.refuses)
        if not self.faults.answers.is_set():
            raise TimeoutError  # what a deadline would do, without waiting for it
        return await super().request(method, params, timeout=timeout, **more)

    @property
    def alive(self) -> bool:
        return not self.faults.lost and super().alive


class Neighbour:
    """A server in this process whose tool definitions can be changed at any time."""

    def __init__(self, id: str, *tools: JSON, trust: Any = "configured", page: int = 1000) -> None:
        self.spec = ServerSpec(id=id, kind="url", url=f"memory://{id}", trust=trust, source="tests")
        self.tools = list(tools)
        self.faults = Faults()
        self.connections: list[FaultyConnection] = []
        self._page = page

    def connect(self) -> FaultyConnection:
        server: Server[Any] = Server(self.spec.id, version="3.1", instructions="Be kind.", on_list_tools=self._list)
        connection = FaultyConnection(server, self.faults, name=self.spec.id)
        self.connections.append(connection)
        return connection

    async def _list(self, context: Any, params: Any) -> t.ListToolsResult:
        begin = int((params and params.cursor) or 0)
        end = begin + self._page
        return t.ListToolsResult(
            tools=[t.Tool.model_validate(d) for d in self.tools[begin:end]],
            next_cursor=str(end) if end < len(self.tools) else None,
            ttl_ms=0,
            cache_scope="private",
        )

    def announce(self) -> None:
        """Say that the tools have changed, as the current connection would pass it on."""
        heard = self.connections[-1].on_notification
        assert heard is not None
        heard({"method": "notifications/tools/list_changed"})


Open = Callable[..., Awaitable[Registry]]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return dataclasses.replace(settings, health_interval=0.02, restart_backoff=0.01)


@pytest.fixture
async def log(settings: Settings) -> AsyncIterator[AuditLog]:
    opened = await AuditLog.open(settings)
    yield opened
    await opened.close()


@pytest.fixture
async def open_registry(settings: Settings, log: AuditLog) -> AsyncIterator[Open]:
    """Opens registries over in-process servers; they are stopped when the test ends."""
    opened: list[Registry] = []

    async def open_it(*neighbours: Neighbour, elsewhere: dict[str, Neighbour] | None = None, **more: Any) -> Registry:
        by_url = {n.spec.url: n for n in neighbours} | (elsewhere or {})

        def connect(spec: ServerSpec, launched: LaunchContext) -> Connection:
            return by_url[launched.url].connect()

        changed = dataclasses.replace(settings, **more)
        registry = Registry(changed, log, connect, specs=[n.spec for n in neighbours])
        opened.append(registry)
        await registry.start()
        return registry

    yield open_it
    for registry in opened:
        await registry.stop()


async def until(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Wait for something that other tasks bring about; the deadline fails the test."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is of many kinds
            await asyncio.sleep(0.005)


def recorded(home: Path, kind: str = "registry_event") -> list[JSON]:
    """The records of one kind that the log has on disk, oldest first."""
    found = []
    for file in sorted(home.rglob("*.jsonl")):
        if file.parent.name == "wal":
            found += [orjson.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
    return [r for r in found if r.get("kind") == kind]


async def flushed(log: AuditLog) -> None:
    """Wait until everything put into the log so far is on disk; it keeps the order."""
    await log.write("local", records.metric("flushed", 1.0, tenant="local"))
