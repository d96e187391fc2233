"""Server-sent events, read from a byte stream (WHATWG HTML §9.2.6)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple, Protocol

from workbench.events import Unreachable


class Event(NamedTuple):
    """One event. Comments and empty events are not reported."""

    data: bytes
    id: str
    """Last event id seen so far on the stream, this event's included."""
    retry_ms: int | None
    """Pause that the server wishes before a reconnection, when this event said so."""
    name: str = "message"


class ByteStream(Protocol):
    """The part of `aiohttp.StreamReader` that is needed."""

    async def readany(self) -> bytes: ...


async def events(stream: ByteStream, *, max_bytes: int) -> AsyncIterator[Event]:
    """The events of `stream`, until it ends.

    An event without data is reported when it carries an id or a retry time (a "priming" event), because a reader that
    wants to resume needs them.

    Args:
        stream: where the bytes come from.
        max_bytes: largest event that is accepted.

    Raises:
        Unreachable: an event is larger than `max_bytes`.
    """
    parts: list[bytes] = []  # of a line whose end has not come yet
    pending = 0
    data: list[bytes] = []
    size, last_id, retry, primed, named = 0, "", None, False, "message"
    ended_with_cr = False
    while chunk := await stream.readany():
        if ended_with_cr:  # a bare CR ended a line; what follows may be the other half of a CRLF
            chunk = chunk.removeprefix(b"\n")
        ended_with_cr = chunk.endswith(b"\r")
        parts.append(chunk)
        pending += len(chunk)
        if pending + size > max_bytes:
            raise Unreachable(f"The server sent an event of more than {max_bytes:,} bytes.")
        if b"\n" not in chunk and b"\r" not in chunk:
            continue
        buffer = b"".join(parts)
        lines = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        parts = [lines.pop()]
        pending = len(parts[0])
        for line in lines:
            if not line:
                if data or primed:
                    yield Event(b"\n".join(data), last_id, retry, named)
                data, size, retry, primed, named = [], 0, None, False, "message"
                continue
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                data.append(value)
                size += len(value)
            elif name == b"id" and b"\0" not in value:
                last_id, primed = value.decode("utf-8", "replace"), True
            elif name == b"event":
                named = value.decode("utf-8", "replace") or "message"
            elif name == b"retry" and value.isdigit():
                retry, primed = int(value[:9]), True
