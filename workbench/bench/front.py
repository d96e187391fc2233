"""HTTP at the front door, with the bounds that uvicorn leaves open: slow senders, slow readers, endless headers."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADER_SECONDS: Final = 10.0
"""Seconds in which the headers of a request have to arrive, counted from the connection or the first byte."""

HEADER_BYTES: Final = 64 << 10
SMALL: Final = 16 << 10
"""Bytes of a body up to which copying it behind its head costs less than sending it alone."""

UNREAD_SECONDS: Final = 30.0
"""Seconds in which a reader has to take the next 64 KiB of an answer."""

LINGER_SECONDS: Final = 5.0
"""Seconds in which who was answered before the body was whole may finish sending it; nothing of it is kept."""

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Joined:
    """A transport that sends the head of an answer together with what follows it in the same turn of the event loop.

    uvicorn writes head and body one after another, and each `write` is a system call and a packet of its own. A head
    that nothing follows at once, like that of an event stream, leaves when the turn is over.

    Args:
        transport: writes the bytes.
        loop: whose turns count.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it for the next `write` when it is a head."""
        if self._head:
            head, self._head = self._head, b""
            if len(data) <= SMALL:
                self._transport.write(head + data)
            else:
                self._transport.writelines((head, data))
        elif data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
        else:
            self._transport.write(data)

    def close(self) -> None:
        """Close when everything was sent."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)


class Front(HttpToolsProtocol):
    """One connection. A single timer for each watches it, so that a request costs no timer of its own."""

    _timer: asyncio.TimerHandle | None = None
    _headers_since: float | None = None
    """Since when headers are awaited; None between requests, when keep-alive counts, and during a request."""
    _unread_since: float | None = None
    _header_bytes = 0
    _unfinished = False
    """Whether the body of the newest request is still arriving."""
    _answered_since: float | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Joined(transport, self.loop))  # type: ignore[arg-type]
        self._headers_since = self.loop.time()
        self._timer = self.loop.call_later(HEADER_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._headers_since is not None:
            self._header_bytes += len(data)
            if self._header_bytes > HEADER_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._headers_since = self.loop.time()
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        self._headers_since = None
        self._unfinished = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._unfinished = False
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread_since = self.loop.time()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread_since = None

    def _look(self) -> None:
        if self.transport.is_closing() and self._unread_since is None:
            return
        now = self.loop.time()
        late = self._headers_since is not None and now - self._headers_since >= HEADER_SECONDS
        unread = self._unread_since is not None and now - self._unread_since >= UNREAD_SECONDS
        if late or unread or self._lingers(now):
            self.transport.abort()
            return
        due = now + HEADER_SECONDS
        if self._headers_since is not None:
            due = self._headers_since + HEADER_SECONDS
        elif self._answered_since is not None:
            due = self._answered_since + LINGER_SECONDS
        self._timer = self.loop.call_at(max(due, now + 0.1), self._look)

    def _lingers(self, now: float) -> bool:
        """Whether somebody was answered long ago and still sends the body of that request."""
        if not self._unfinished or self.cycle is None or not self.cycle.response_complete:
            self._answered_since = None
        elif self._answered_since is None:
            self._answered_since = now
        return self._answered_since is not None and now - self._answered_since >= LINGER_SECONDS
