"""Streams on which a server announces changes, kept open whatever happens to them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import aiohttp

from workbench.events import JSON, Unreachable
from workbench.registry.connection import RpcError

KINDS: Final = ("tools", "prompts", "resources")
CHANGES: Final[JSON] = {f"{kind}ListChanged": True for kind in KINDS}

LONGEST_PAUSE: Final = 30.0


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
        except (Unreachable, aiohttp.ClientError, OSError):
            missed = True
        await asyncio.sleep(pause)
        pause, missed = min(pause * 2, LONGEST_PAUSE), True


class Watching:
    """What older servers have methods for: a modern one is told all addresses at once, on a stream of their own.

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
        self._uris: set[str] = set()
        self._task: asyncio.Task[None] | None = None

    def change(self, uri: str, *, wanted: bool) -> JSON:
        """Have changes of a resource announced, or not any more; the result of the method that asked for it."""
        if wanted is (uri in self._uris):
            return {}
        (self._uris.add if wanted else self._uris.discard)(uri)
        if self._task is not None:
            self._task.cancel()
        self._task = self._spawn(self._listen({"resourceSubscriptions": sorted(self._uris)})) if self._uris else None
        return {}
