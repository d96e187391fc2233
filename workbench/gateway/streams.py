"""Streams that stay open to announce changes: GET at older revisions, `subscriptions/listen` at 2026-07-28."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from workbench.events import Unauthenticated
from workbench.gateway.call import Gateway
from workbench.gateway.request import Request

KEEP_ALIVE: Final = 15.0
"""Seconds between two comments on an idle stream; also how long a revoked credential keeps one."""

MOST_STREAMS: Final = 2048


class Announcements:
    """All open streams of one gateway. The registry's changes are the only thing that is announced.

    Args:
        gateway: whose registry is followed.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._streams: set[asyncio.Event] = set()
        gateway.registry.on_change.append(self._changed)

    @property
    def full(self) -> bool:
        """Whether no further stream can be kept."""
        return len(self._streams) >= MOST_STREAMS

    async def keep(self, request: Request, first: bytes, change: Callable[[], bytes]) -> None:
        """Answer `request` with a stream until the client goes away or its credential is no longer good.

        Args:
            first: bytes to begin the stream with.
            change: makes the bytes that announce a change.
        """
        changed = asyncio.Event()
        self._streams.add(changed)
        gone = asyncio.get_running_loop().create_task(_until_gone(request, changed))
        try:
            await request.begin_events()
            await request.send_event(first)
            while not gone.done():
                try:
                    async with asyncio.timeout(KEEP_ALIVE):
                        await changed.wait()
                except TimeoutError:
                    header = request.header(b"authorization")
                    await self._gateway.access.authenticate_async(header, request.view)
                    await request.send_event(b": still here\n\n")
                    continue
                changed.clear()
                if not gone.done():
                    await request.send_event(change())
        except Unauthenticated:
            await request.send_event(b"", last=True)
        finally:
            gone.cancel()
            self._streams.discard(changed)

    def _changed(self) -> None:
        for stream in self._streams:
            stream.set()


async def _until_gone(request: Request, changed: asyncio.Event) -> None:
    await request.receive()  # the body has been read, so all that can come is that the client leaves
    changed.set()
