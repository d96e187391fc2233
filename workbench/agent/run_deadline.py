"""The deadline of one run. The clock stands still while a person is asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager


class Deadline:
    """Cancels what runs inside `running()` after `seconds`, pauses not counted."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._left = seconds
        self._pauses = 0
        self._since = 0.0
        self._timeout: asyncio.Timeout | None = None

    @property
    def left(self) -> float:
        """Seconds that remain, never below zero."""
        if self._timeout is None or self._pauses:
            return max(self._left, 0.0)
        return max(self._left - (asyncio.get_running_loop().time() - self._since), 0.0)

    @property
    def expired(self) -> bool:
        return self._timeout is not None and self._timeout.expired()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the clock.

        Raises:
            TimeoutError: when leaving, if the time was up.
        """
        async with asyncio.timeout(self._left) as self._timeout:
            self._since = asyncio.get_running_loop().time()
            yield

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the clock for as long as the block takes; blocks may overlap."""
        self._left = self.left
        self._pauses += 1
        if self._timeout is not None:
            self._timeout.reschedule(None)
        try:
            yield
        finally:
            self._pauses -= 1
            if self._timeout is not None and not self._pauses and not self._timeout.expired():
                self._since = asyncio.get_running_loop().time()
                self._timeout.reschedule(self._since + self._left)
