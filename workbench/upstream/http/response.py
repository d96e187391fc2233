"""HTTP responses of upstream servers: what is needed of them, and letting go of them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

import aiohttp


class HttpResponse(Protocol):
    """What we need of a response, whichever client it came with."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Any:
        """Has `get`, with names in any case."""

    @property
    def content(self) -> Any:
        """Has `readany` and `at_eof`, as `aiohttp.StreamReader`."""

    def close(self) -> None:
        """Let go of the socket; a server that is still answering notices."""


async def drain(response: HttpResponse) -> None:
    """Read what little follows an answer, so that the socket can serve the next request; give up after a second."""
    try:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(1):
                while await response.content.readany():
                    pass
    finally:
        response.close()
