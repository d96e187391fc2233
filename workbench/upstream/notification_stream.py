"""Streams on which a server announces changes, kept open whatever happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import aiohttp

from workbench.events import JSON, UnreachableError
from workbench.registry.connection import FOLLOW, UNFOLLOW, RpcError
from workbench.upstream.negotiation import CAPABILITIES_KEY

SUBSCRIBE: Final = ("resources/subscribe", "resources/unsubscribe")
WATCHED: Final = frozenset({*SUBSCRIBE, FOLLOW, UNFOLLOW})
TASKS: Final = "io.modelcontextprotocol/tasks"

KINDS: Final = ("tools", "prompts", "resources")
CHANGES: Final[JSON] = {f"{kind}ListChanged": True for kind in KINDS}

MAX_PAUSE_S: Final = 30.0


async def keep_listening(
    stream: Callable[[], Awaitable[bool]], tell: Callable[[JSON], None], going: Callable[[], bool]
) -> None:
    """Keep one stream open; after each gap, assume that everything has changed meanwhile.

    Args:
        stream: opens it, and returns when it has ended; False when the server has no such thing.
        tell: called with each announcement.
        going: whether the connection is still open.
    """
    pause, missed = 1.0, False
    while going():
        if missed:
            for kind in KINDS:
                tell({"method": f"notifications/{kind}/list_changed"})
        try:
            if not await stream():
                return
            pause = 1.0
        except RpcError:
            return  # the server offers changes but not this way; the registry polls
        except (UnreachableError, aiohttp.ClientError, OSError):
            missed = True
        await asyncio.sleep(pause)
        pause, missed = min(pause * 2, MAX_PAUSE_S), True


def declared(wanted: JSON) -> JSON | None:
    """`_meta` of the request for a stream: who wants to hear of tasks has to declare that it knows them."""
    return {CAPABILITIES_KEY: {"extensions": {TASKS: {}}}} if "taskIds" in wanted else None


class NotificationStream:
    """What older servers have methods for: a modern one is told all addresses at once, on a stream of their own, and
    so it is of tasks.

    Args:
        listen: keeps a stream open on which the server announces what it is given.
        spawn: runs it as a task of the connection.
    """

    def __init__(
        self,
        listen: Callable[[JSON], Coroutine[Any, Any, None]],
        spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
    ) -> None:
        self._listen = listen
        self._spawn = spawn
        self._wanted: dict[str, set[str]] = {"resourceSubscriptions": set(), "taskIds": set()}
        self._streams: dict[str, asyncio.Task[None]] = {}

    def take(self, method: str, params: JSON) -> JSON:
        """Have changes of a resource or a task announced, or not any more; the result of a method in `WATCHED`."""
        of_task = method in (FOLLOW, UNFOLLOW)
        kind = "taskIds" if of_task else "resourceSubscriptions"
        name, wanted = str(params.get("taskId" if of_task else "uri")), method in (FOLLOW, SUBSCRIBE[0])
        names = self._wanted[kind]
        if wanted is (name in names):
            return {}
        (names.add if wanted else names.discard)(name)
        if (stream := self._streams.pop(kind, None)) is not None:
            stream.cancel()
        if names:
            self._streams[kind] = self._spawn(self._listen({kind: sorted(names)}))
        return {}
