"""Streams that stay open to announce changes: GET at older revisions, `subscriptions/listen` at 2026-07-28."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any, Final

from workbench.endpoint.endpoint_scope import profile_of
from workbench.endpoint.http.http_request import EndpointRequest
from workbench.endpoint.http.outbox import Outbox
from workbench.endpoint.resource_subscriptions import ResourceSubscriptions
from workbench.endpoint.task_subscriptions import ACKNOWLEDGED, CHANGED, FollowedTasks, TaskSubscriptions, agreed
from workbench.events import JSON, Tool, UnauthenticatedError, UnreachableError
from workbench.gateway.call import Gateway
from workbench.registry.connection import Connection

KEEP_ALIVE_S: Final = 15.0
"""Seconds between two comments on an idle stream; also how long a revoked credential keeps one."""

GATHER_WINDOW_S: Final = 0.1
"""Seconds in which the same announcement of several replicas of a server counts as one. It is told when they are over,
so that whoever asks then sees what all of them have announced."""

MAX_STREAMS: Final = 2048

KINDS: Final = ("tools", "prompts", "resources")
UPDATED: Final = "notifications/resources/updated"

Frame = Callable[[str, JSON], bytes]
"""Makes the bytes that announce something, of a method and its params."""


class SubscriptionFilter:
    """What a client wants to be told.

    Args:
        kinds: lists whose changes are announced: tools, prompts, resources.
        watched: server and address there → the address as the client knows it. May change while a stream is open.
        followed: tasks of servers.
    """

    def __init__(
        self,
        kinds: frozenset[str],
        watched: dict[tuple[str, str], str] | None = None,
        followed: FollowedTasks | None = None,
    ) -> None:
        self.kinds = kinds
        self.watched = {} if watched is None else watched
        self.followed = followed


class _OpenStream:
    """A stream, and what has not been announced on it yet. A change that is announced already is not queued twice."""

    def __init__(self, view: str, tenant: str, wanted: SubscriptionFilter) -> None:
        self.view = view
        self.tenant = tenant
        self.wanted = wanted
        self.changed = asyncio.Event()
        self.due: dict[tuple[str, str], JSON] = {}
        for id in wanted.followed.ids.values() if wanted.followed is not None else ():
            self.announce(CHANGED, {"taskId": id})  # how it is now; what was before may never have been announced

    def announce(self, method: str, params: JSON) -> None:
        self.due[method, str(params.get("uri") or params.get("taskId", ""))] = params
        self.changed.set()

    async def next(self) -> tuple[str, JSON | None]:
        """What is due next; no params when it turns out that there is nothing new to say."""
        key = next(iter(self.due))
        params = self.due.pop(key)
        if key[0] == CHANGED and self.wanted.followed is not None:
            return CHANGED, await self.wanted.followed.state(params["taskId"])
        return key[0], params


class Announcements:
    """All open streams of one gateway: one listener upstream serves all of them.

    Args:
        gateway: whose registry is followed.
        watches: the resources that somebody wants to be told of.
    """

    def __init__(self, gateway: Gateway, watches: ResourceSubscriptions) -> None:
        self._gateway = gateway
        self._watches = watches
        self._streams: set[_OpenStream] = set()
        self._ready = self._ready_servers()
        self._tools = self._tools_of_tenants()
        self.following = TaskSubscriptions(gateway)
        gateway.registry.on_change.append(self._changed)
        self._gathered: set[tuple[Any, ...]] = set()
        gateway.registry.on_message.append(self._heard)
        gateway.registry.on_open.append(self._opened)
        gateway.profiles.on_change.append(self._reselected)

    @property
    def full(self) -> bool:
        """Whether no further stream can be kept."""
        return len(self._streams) >= MAX_STREAMS

    async def keep(
        self,
        request: EndpointRequest,
        first: bytes,
        frame: Frame,
        wanted: SubscriptionFilter,
        *,
        outbox: Outbox | None = None,
    ) -> None:
        """Answer `request` with a stream until the client goes away or its credential is no longer good.

        Args:
            first: bytes to begin the stream with.
            frame: makes the bytes of one announcement.
            wanted: what is announced.
            outbox: of this request, where others add to it as well.
        """
        outbox = outbox or request.outbox()
        stream = _OpenStream(request.view, request.caller.tenant, wanted)
        self._streams.add(stream)
        loop = asyncio.get_running_loop()
        gone = loop.create_task(_until_gone(request, stream.changed))
        try:
            await outbox.put(first)
            good_until = loop.time() + KEEP_ALIVE_S
            while not gone.done():
                try:
                    async with asyncio.timeout_at(good_until):
                        await stream.changed.wait()
                except TimeoutError:
                    pass
                if loop.time() >= good_until:  # however much there is to announce
                    if not await self._still_good(request):
                        await outbox.end()
                        return
                    good_until = loop.time() + KEEP_ALIVE_S
                    if not stream.due:
                        await outbox.put(b": still here\n\n")
                stream.changed.clear()
                while stream.due and not gone.done() and loop.time() < good_until:
                    method, params = await stream.next()
                    if params is not None:
                        await outbox.put(frame(method, params))
                if stream.due:
                    stream.changed.set()
        except (UnauthenticatedError, UnreachableError):  # the client begins another one when it can be told who it is
            await outbox.end()
        finally:
            outbox.abandon()
            gone.cancel()
            self._streams.discard(stream)

    async def _still_good(self, request: EndpointRequest) -> bool:
        """Whether there is what a stream shows.

        Raises:
            UnauthenticatedError: its credential is not good any more.
            UnreachableError: nobody can say.
        """
        await self._gateway.access.authenticate_async(request.header(b"authorization"), request.view)
        name = profile_of(request.view)
        return not name or self._gateway.profiles.find(name) is not None

    def _announce(self, kind: str, tenants: Collection[str], server: str = "") -> None:
        """Tell those for whom something has changed: of `tenants`, or everybody where the empty one is among them."""
        for stream in self._streams:
            whose = "" in tenants or stream.tenant in tenants
            if whose and kind in stream.wanted.kinds and (not server or self._shown(stream.view, server)):
                stream.announce(f"notifications/{kind}/list_changed", {})

    def _shown(self, view: str, server: str) -> bool:
        """Whether anything of a server can be behind an endpoint."""
        if name := profile_of(view):
            profile = self._gateway.profiles.find(name)
            return profile is not None and profile.includes(server)
        return view in ("", server)

    def _reselected(self) -> None:
        """Other profiles are in force: each of their lists may be another now."""
        for stream in self._streams:
            for kind in KINDS if profile_of(stream.view) else ():
                if kind in stream.wanted.kinds:
                    stream.announce(f"notifications/{kind}/list_changed", {})

    def _updated(self, server: str, uri: str) -> None:
        for stream in self._streams:
            if (known := stream.wanted.watched.get((server, uri))) is not None:
                stream.announce(UPDATED, {"uri": known})

    def _moved(self, server: str, ids: Collection[str]) -> None:
        """Tasks of a server have changed, or may have."""
        for stream in self._streams:
            if stream.wanted.followed is not None:
                for (of, own), known in stream.wanted.followed.ids.items():
                    if of == server and own in ids:
                        stream.announce(CHANGED, {"taskId": known})

    def _changed(self) -> None:
        tools, before = self._tools_of_tenants(), self._tools
        self._tools = tools
        others = {whose for whose in tools.keys() | before.keys() if tools.get(whose) != before.get(whose)}
        self._announce("tools", others or {""})
        ready, before_ready = self._ready_servers(), self._ready
        self._ready = ready
        changed = ready.items() ^ before_ready.items()
        for kind in ("prompts", "resources"):
            self._announce(kind, {tenant for _, tenant in changed})

    def _opened(self, server: str, connection: Connection) -> None:
        self.following.renew(server, connection)
        for uri in self._watches.renew(server, connection):
            self._updated(server, uri)  # it may have changed while nobody could tell

    def _heard(self, server: str, message: JSON) -> None:
        """Take what a server says by itself. What several replicas say at about the same time is told once."""
        state = self._gateway.registry.state(server)
        if state is None or not state.replicas or message.get("method") in (CHANGED, ACKNOWLEDGED):
            self._tell(server, message)
            return
        params = message.get("params")
        key = (server, message.get("method"), params.get("uri") if isinstance(params, dict) else None)
        if key not in self._gathered:
            self._gathered.add(key)
            asyncio.get_running_loop().call_later(GATHER_WINDOW_S, self._gathered_is, key, message)

    def _gathered_is(self, key: tuple[Any, ...], message: JSON) -> None:
        self._gathered.discard(key)
        self._tell(key[0], message)

    def _tell(self, server: str, message: JSON) -> None:
        method, params = message.get("method"), message.get("params")
        if method == UPDATED and isinstance(params, dict):
            self._updated(server, str(params.get("uri")))
        elif method == CHANGED and isinstance(params, dict):
            self._moved(server, {str(params.get("taskId"))})
        elif (ids := agreed(message)) is not None:
            self._moved(server, ids)  # they may have changed while nobody listened
        elif method in ("notifications/prompts/list_changed", "notifications/resources/list_changed"):
            spec = self._gateway.registry.spec(server)
            self._announce(method.split("/")[1], {spec.tenant if spec else ""}, server)

    def _ready_servers(self) -> dict[str, str]:
        """Id of each ready server → the tenant for which alone it exists, or nothing."""
        return {state.id: state.tenant for state in self._gateway.registry.servers() if state.status == "ready"}

    def _tools_of_tenants(self) -> dict[str, list[Tool]]:
        """Tools by the tenant for which alone they exist; those of all under the empty one."""
        found: dict[str, list[Tool]] = {}
        for tool in self._gateway.registry.tools():
            found.setdefault(tool.tenant, []).append(tool)
        return found


async def _until_gone(request: EndpointRequest, changed: asyncio.Event) -> None:
    await request.receive()  # the body has been read, so all that can come is that the client leaves
    changed.set()
