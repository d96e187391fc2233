"""HTTP responses of upstream servers: reading them within bounds, and saying why one cannot be used."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

import aiohttp

from workbench.gateway.upstream.revision import Refused


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


async def read_body(response: HttpResponse, server: str, max_bytes: int) -> bytes:
    """The whole body, never more than allowed, and never compressed: we did not ask for that.

    Raises:
        Refused: it is too large, or compressed.
    """
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(f"Server {server!r} compressed its answer without being asked to.", response.status)
    parts, size = [], 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > max_bytes:
            raise Refused(f"Server {server!r} answered with more than {max_bytes:,} bytes.", response.status)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def refusal(response: HttpResponse, server: str) -> Refused:
    """Why an HTTP answer without an MCP message cannot be used."""
    status = response.status
    if status in (401, 403):
        hint = "Check the headers of this server in its configuration."
        return Refused(f"Server {server!r} refused our credentials (HTTP {status}).", status, hint=hint)
    if 300 <= status < 400:
        target = response.headers.get("Location")
        hint = "Redirects are not followed; configure the final address."
        return Refused(f"Server {server!r} redirects to {target!r} (HTTP {status}).", status, hint=hint)
    return Refused(f"Server {server!r} answered HTTP {status} and no MCP message.", status)


async def drain(response: HttpResponse) -> None:
    """Read what little follows an answer, so that the socket can serve the next request; give up after a second."""
    try:
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with asyncio.timeout(1):
                while await response.content.readany():
                    pass
    finally:
        response.close()
