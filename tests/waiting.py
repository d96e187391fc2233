"""Waiting for what another thread or process brings about; the deadline fails the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


def soon(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    """Return as soon as `condition` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 10.0) -> None:
    """Return as soon as `await condition()` holds."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the condition is of many kinds
            await asyncio.sleep(0.005)
