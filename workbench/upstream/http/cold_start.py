"""Servers that are started by the first request to them: what stands before them answers 502, 503 or 504 meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from workbench.upstream.http.failure import WAKING
from workbench.upstream.negotiation import NotMcpError

FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 8.0

T = TypeVar("T")


async def when_awake(ask: Callable[[], Awaitable[T]], tell: Callable[[str], Any], limit_s: float) -> T:
    """What `ask` gives, as soon as the server is there.

    Args:
        ask: asked again after each such status.
        tell: called with the reason for waiting.
        limit_s: seconds after which the last refusal counts.

    Raises:
        ApprovalRefusedError: the server was not there in time, or refused for another reason.
    """
    clock = asyncio.get_running_loop().time
    until, pause = clock() + limit_s, FIRST_PAUSE_S
    while True:
        try:
            return await ask()
        except NotMcpError as e:
            wait = max(pause, float(e.retry_s))
            if e.status not in WAKING or clock() + wait > until:
                raise
            tell(f"Waiting for it to wake up: {e}")
        await asyncio.sleep(wait)
        pause = min(pause * 2, MAX_PAUSE_S)
