"""What one client has not read yet: bounded in bytes, because who adds more than that waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

MAX_UNREAD: Final = 256 << 10
"""Bytes that may wait for a client before those who add more have to wait for it, too."""

PORTION: Final = 64 << 10
"""Bytes of an answer that are handed to the connection at once."""


class Write(Protocol):
    """Hands bytes to the connection; returns when it has room for more."""

    async def __call__(self, data: bytes, *, last: bool = False) -> None: ...


class _Event:
    """Bytes that belong together, kept in the parts they came in: nobody makes a copy of a large one."""

    __slots__ = ("parts", "size", "written")

    def __init__(self, parts: tuple[bytes, ...]) -> None:
        self.parts = parts
        self.size = sum(map(len, parts))
        self.written: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Outbox:
    """Events for one client, written one after the other by a task of its own, which starts with the first.

    Args:
        begin: starts the response.
        write: hands bytes to the connection.
        held: told of bytes that are kept from now on, or no longer (negative).
    """

    def __init__(
        self, begin: Callable[[], Coroutine[Any, Any, None]], write: Write, held: Callable[[int], None]
    ) -> None:
        self._begin = begin
        self._write = write
        self._held = held
        self._waiting: deque[_Event] = deque()
        self._pump: asyncio.Task[None] | None = None
        self._more = asyncio.Event()
        self._ending = False
        self._room = asyncio.Event()
        self._room.set()
        self.unread = 0
        """Bytes that wait now."""

    @property
    def started(self) -> bool:
        """Whether the response has begun."""
        return self._pump is not None

    @property
    def full(self) -> bool:
        """Whether who adds something has to wait."""
        return self.unread > MAX_UNREAD

    async def room(self) -> None:
        """Wait until who adds something need not wait."""
        await self._room.wait()

    async def put(self, *parts: bytes) -> None:
        """Add one event; return at once while little waits, else when it is written. After the end it has no effect."""
        if self._ending or (self._pump is not None and self._pump.done()):
            return
        event = _Event(parts)
        self._waiting.append(event)
        self._count(event.size)
        self._more.set()
        if self._pump is None:
            self._pump = asyncio.get_running_loop().create_task(self._run())
        if self.full:
            try:
                await event.written
            except asyncio.CancelledError:
                if event in self._waiting and event is not self._waiting[0]:  # half of an event helps nobody
                    self._waiting.remove(event)
                    self._count(-event.size)
                raise

    async def end(self, *parts: bytes) -> None:
        """Write what waits and then `parts`, and end the response."""
        self._ending = True
        self._more.set()
        if self._pump is not None:
            await self._pump
        last = _Event(parts)
        self._count(last.size)
        try:
            await self._send(last, last=True)
        finally:
            self._count(-last.size)

    def abandon(self) -> None:
        """Stop: nobody reads any more."""
        self._ending = True
        if self._pump is not None:
            self._pump.cancel()
        self._drop()

    async def _run(self) -> None:
        try:
            await self._begin()
            while True:
                while self._waiting:
                    event = self._waiting[0]
                    await self._send(event)
                    self._done(self._waiting.popleft())
                if self._ending:
                    return
                self._more.clear()
                await self._more.wait()
        finally:
            self._drop()

    def _drop(self) -> None:
        while self._waiting:
            self._done(self._waiting.popleft())

    def _done(self, event: _Event) -> None:
        self._count(-event.size)
        if not event.written.done():
            event.written.set_result(None)

    def _count(self, size: int) -> None:
        self.unread += size
        self._held(size)
        if self.full:
            self._room.clear()
        else:
            self._room.set()

    async def _send(self, event: _Event, *, last: bool = False) -> None:
        if event.size <= PORTION:
            await self._write(b"".join(event.parts), last=last)
            return
        # Each portion waits until the client has read most of what came before: the connection keeps no copy, either.
        for part in event.parts:
            for at in range(0, len(part), PORTION):
                await self._write(part[at : at + PORTION])
        if last:
            await self._write(b"", last=True)
