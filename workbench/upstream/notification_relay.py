"""Notifications of one request, on their way to its client: in order, and without making others wait."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from workbench.events import JSON
from workbench.upstream.jsonrpc_messages import Notify, encode

MAX_WAITING: Final = 256 << 10
"""Bytes that wait for a client that reads slowly; then the oldest are dropped, as their sender may (progress, logs)."""


class NotificationRelay:
    """Passes notifications on from a channel that carries the messages of many requests.

    Where a request has a stream of its own, a slow client slows its server down. Here that would slow everybody down,
    so that nobody who adds has to wait, and what is too much is dropped.

    Args:
        notify: awaited with each of them.
    """

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._waiting: deque[tuple[JSON, int]] = deque()
        self._bytes = 0
        self._task: asyncio.Task[None] | None = None

    def add(self, message: JSON) -> None:
        """Pass `message` on as soon as those before it have been."""
        size = len(encode(message))
        self._waiting.append((message, size))
        self._bytes += size
        while self._bytes > MAX_WAITING and len(self._waiting) > 1:
            self._bytes -= self._waiting.popleft()[1]
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def drained(self) -> None:
        """Wait until all that was added is with the client: the answer comes after it."""
        while self._task is not None:
            await self._task

    def close(self) -> None:
        """Drop what waits: the request is over."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                message, size = self._waiting.popleft()
                self._bytes -= size
                await self._notify(message)
        finally:
            self._task = None
