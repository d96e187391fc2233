"""Server-sent events, read from a byte stream (WHATWG HTML §9.2.6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final, NamedTuple, Protocol

from workbench.events import UnreachableError


class SseEvent(NamedTuple):
    """One event. Comments and empty events are not reported."""

    data: bytes
    id: str
    """Last event id seen so far on the stream, this event's included."""
    retry_ms: int | None
    """Pause that the server wishes before a reconnection, when this event said so."""
    name: str = "message"
    complete: bool = True
    """False when the stream ended before the blank line that ends an event; the data may be cut off then."""


class ByteStream(Protocol):
    """The part of `aiohttp.StreamReader` that is needed."""

    async def readany(self) -> bytes: ...


LARGE: Final = 64 << 10
"""Bytes of data from which on others get their turn before an event is dealt with."""


class _Fields:
    """The event that is being read, line by line."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.size = 0
        self._last_id = ""
        self._retry: int | None = None
        self._primed = False
        self._name = "message"

    def add(self, line: bytes) -> None:
        """Take a line that is not blank."""
        if line.startswith(b"{"):  # a message without its field, which would be lost otherwise
            line = b"data:" + line
        if line.startswith(b"data:"):
            value = line[6 if line.startswith(b"data: ") else 5 :]  # one copy of what may be large
            self.data.append(value)
            self.size += len(value)
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":  # a field without a colon is empty
            self.data.append(b"")
        elif name == b"id" and b"\0" not in value:
            self._last_id, self._primed = value.decode("utf-8", "replace"), True
        elif name == b"event":
            self._name = value.decode("utf-8", "replace") or "message"
        elif name == b"retry" and value.isdigit():
            self._retry, self._primed = int(value[:9]), True

    def end(self, *, complete: bool = True) -> SseEvent | None:
        """The event, if there is anything in it; the next one begins."""
        found = None
        if self.data or self._primed:
            data = self.data[0] if len(self.data) == 1 else b"\n".join(self.data)
            found = SseEvent(data, self._last_id, self._retry, self._name, complete)
        self.data, self.size, self._retry, self._primed, self._name = [], 0, None, False, "message"
        return found


async def events(stream: ByteStream, *, max_bytes: int) -> AsyncIterator[SseEvent]:
    """The events of `stream`, until it ends.

    An event without data is reported when it carries an id or a retry time (a "priming" event), because a reader that
    wants to resume needs them. Data that no blank line follows before the stream ends is reported as incomplete: many
    servers leave out that line.

    Args:
        stream: where the bytes come from.
        max_bytes: largest event that is accepted.

    Raises:
        UnreachableError: an event is larger than `max_bytes`.
    """
    parts: list[bytes] = []  # of a line whose end has not come yet
    pending = 0
    fields = _Fields()
    first, half_ended = True, False
    while chunk := await stream.readany():
        if half_ended:  # the last chunk ended with CR: its LF is no further line
            chunk = chunk.removeprefix(b"\n")
        half_ended = chunk.endswith(b"\r")
        parts.append(chunk)
        pending += len(chunk)
        if pending + fields.size > max_bytes:
            raise UnreachableError(f"The server sent an event of more than {max_bytes:,} bytes.")
        if b"\n" not in chunk and b"\r" not in chunk:
            continue
        # only the chunk is searched: the parts before it hold no end of a line
        lines = (chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in chunk else chunk).split(b"\n")
        if len(parts) > 1:
            lines[0] = b"".join([*parts[:-1], lines[0]])
        parts = [lines.pop()]
        pending = len(parts[0])
        if first:
            lines[0], first = lines[0].removeprefix(b"\xef\xbb\xbf"), False
        for line in lines:
            if line:
                fields.add(line)
            elif (event := fields.end()) is not None:
                if len(event.data) > LARGE:
                    await asyncio.sleep(0)
                yield event
    if rest := b"".join(parts):
        fields.add(rest.removeprefix(b"\xef\xbb\xbf") if first else rest)
    if fields.data and (event := fields.end(complete=False)) is not None:
        yield event
