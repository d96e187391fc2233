"""What any replica of a server announces reaches who wants to hear of it, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.conftest import Browser, until
from tests.gateway.test_crossings import Older, begin
from workbench.config import Settings
from workbench.endpoint import subscriptions
from workbench.registry import ServerSpec
from workbench.testing import GatewayHarness
from workbench.upstream.http.streamable_http import HttpConnection

URI = "note://0"
URIS = ("note://0", "note://1", "note://2")


class Replica:
    """One of several copies of a server, which can be told to announce something."""

    def __init__(self, number: int = 0, *, older: bool = False) -> None:
        self.mcp = MCPServer("notes")
        self.older = older
        self.url = ""
        self.watched: list[str] = []

        @self.mcp.tool()
        async def touch(ctx: Context) -> str:
            await ctx.notify_resource_updated(URIS[number])
            return "touched"

        for uri in URIS:
            self.mcp.resource(uri)(note)

    async def touch(self) -> None:
        """Let this very replica announce that its note has changed."""
        direct = HttpConnection(self.url)
        await direct.open()
        await direct.request("tools/call", {"name": "touch", "arguments": {}}, timeout=10)
        await direct.close()


def note() -> str:
    """A note."""
    return "one"


Open = Callable[..., Awaitable[GatewayHarness]]


@pytest.fixture
async def opened(settings: Settings, serve: Any) -> AsyncIterator[Open]:
    """`await opened(replicas)` is a gateway over all of them as one server, `notes`."""
    async with AsyncExitStack() as stack:

        async def open_house(replicas: list[Replica]) -> GatewayHarness:
            for replica in replicas:
                app: Any = replica.mcp.streamable_http_app()
                replica.url = f"{await serve(Older(app) if replica.older else app)}/mcp"
            first, *more = (replica.url for replica in replicas)
            spec = ServerSpec(id="notes", kind="url", url=first, more_urls=tuple(more))
            return await stack.enter_async_context(GatewayHarness({"notes": spec}, base=settings))

        yield open_house


class Listener:
    """A client that listens for changes of notes and of prompts."""

    def __init__(self, house: GatewayHarness) -> None:
        self.heard: list[Any] = []
        self._leave = asyncio.Event()
        wanted = {"notifications": {"resourceSubscriptions": [*URIS], "promptsListChanged": True}}
        self._listening = asyncio.create_task(
            Browser(house).modern("subscriptions/listen", wanted, leave=self._leave, on_event=self.heard.append)
        )

    def updates(self, uri: str = URI) -> int:
        method = "notifications/resources/updated"
        return sum(event["method"] == method and event["params"]["uri"] == uri for event in self.heard)

    async def begun(self) -> None:
        await until(lambda: self.heard)

    async def left(self) -> None:
        self._leave.set()
        await self._listening


def listening_at(house: GatewayHarness) -> list[int]:
    """How many addresses each replica has been asked to announce."""
    entries = house.registry._entries["notes"].replicas
    return [
        len(entry.connection._watching._wanted["resourceSubscriptions"]) if entry.connection else 0 for entry in entries
    ]  # type: ignore[attr-defined]


async def touched(replica: Replica, heard: Callable[[], Any]) -> None:
    """Have a replica announce its change until that is heard: its stream may only just be opening."""
    async with asyncio.timeout(20):
        while not heard():
            await replica.touch()
            await asyncio.sleep(0.2)


async def test_a_change_that_only_one_replica_sees_is_announced_whichever_that_is(opened: Open) -> None:
    replicas = [Replica(number) for number in range(3)]
    house = await opened(replicas)
    listener = Listener(house)
    await listener.begun()
    assert listening_at(house) == [3, 3, 3]
    for uri, replica in zip(URIS, replicas, strict=True):
        await touched(replica, lambda uri=uri: listener.updates(uri))  # type: ignore[misc]
    await listener.left()
    await until(lambda: listening_at(house) == [0, 0, 0])


async def test_what_all_replicas_announce_together_is_told_once(opened: Open, monkeypatch: Any) -> None:
    monkeypatch.setattr(subscriptions, "GATHER_WINDOW_S", 0.05)
    house = await opened([Replica(), Replica(), Replica()])
    listener = Listener(house)
    await listener.begun()
    changed = {"method": "notifications/resources/updated", "params": {"uri": URI}}
    for _ in range(3):
        house.registry._said("notes", changed)
    house.registry._said("notes", {"method": "notifications/prompts/list_changed"})
    await until(lambda: len(listener.heard) >= 3)
    house.registry._said("notes", changed)  # another one, later
    await until(lambda: listener.updates() >= 2)
    assert [event["method"].split("/")[1] for event in listener.heard[1:3]] == ["resources", "prompts"]
    assert listener.updates() == 2
    await listener.left()


async def test_a_replica_that_comes_back_is_told_again_what_is_watched(opened: Open) -> None:
    replicas = [Replica(0), Replica(1)]
    house = await opened(replicas)
    listener = Listener(house)
    await listener.begun()
    before = [entry.connection for entry in house.registry._entries["notes"].replicas]
    await house.registry.restart("notes")
    entries = house.registry._entries["notes"].replicas
    await until(lambda: all(entry.connection not in (None, *before) for entry in entries))
    await until(lambda: listening_at(house) == [3, 3])
    await until(lambda: all(listener.updates(uri) for uri in URIS))  # they may have changed meanwhile
    told = listener.updates(URIS[1])
    await touched(replicas[1], lambda: listener.updates(URIS[1]) > told)
    await listener.left()


async def test_one_replica_that_is_away_does_not_keep_a_resource_from_being_watched(opened: Open) -> None:
    house = await opened([Replica(), Replica()])
    away, there = house.registry._entries["notes"].replicas
    await away.stop()
    listener = Listener(house)
    await listener.begun()
    assert listener.heard[0]["params"]["notifications"]["resourceSubscriptions"] == [*URIS]
    assert there.connection is not None
    assert listening_at(house)[1] == 3
    await listener.left()


async def test_what_no_replica_lets_be_watched_is_refused(opened: Open) -> None:
    replicas = [Replica(older=True), Replica(older=True)]  # which know no method to watch anything
    house = await opened(replicas)
    browser = Browser(house)
    session = await begin(browser, {})
    refused = await browser.legacy("resources/subscribe", {"uri": URI}, headers=session)
    assert refused.error["code"] == -32601
    assert house.outcomes() == ["failed"]
