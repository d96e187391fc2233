"""HTTP at the front door, with the bounds that uvicorn leaves open: slow senders, slow readers, endless headers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from workbench.platform.connection_limits import ConnectionCounts

HEADER_TIMEOUT_S: Final = 10.0
"""Seconds in which the headers of a request have to arrive, counted from the connection or the first byte."""

MAX_HEADER_BYTES: Final = 64 << 10
SMALL: Final = 16 << 10
"""Bytes of a body up to which copying it behind its head costs less than sending it alone."""

UNREAD_TIMEOUT_S: Final = 30.0
"""Seconds in which a reader has to take the next 64 KiB of an answer."""

LINGER_TIMEOUT_S: Final = 5.0
"""Seconds in which who was answered before the body was whole may finish sending it; nothing of it is kept."""

_TOO_LARGE: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


_TOO_MANY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"
)


async def too_many(scope: Any, receive: Any, send: Any) -> None:
    """Answers in place of the application, where an address has too much under way."""
    headers = [(b"retry-after", b"5"), (b"content-length", b"0"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


class JoinedTransport:
    """A transport that sends the head of an answer together with what follows it in the same turn of the event loop.

    uvicorn writes head and body one after another, and each `write` is a system call and a packet of its own. A head
    that nothing follows at once, like that of an event stream, leaves when the turn is over.

    Args:
        transport: writes the bytes.
        loop: whose turns count.
        unfinished: whether more is to be read before it is closed.
    """

    def __init__(
        self, transport: Any, loop: asyncio.AbstractEventLoop, unfinished: Callable[[], bool] = lambda: False
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._unfinished = unfinished
        self._head = b""
        self._ended = False
        self._eof_written = False
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send `data`, or keep it for the next `write` when it is a head; nothing once no more is to be sent."""
        if self._eof_written:  # an application that was answering when the connection was refused writes on
            return
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
        """Close when everything was sent; while the body of a request arrives, end the answer alone.

        A connection that is closed with something unread is reset, and the reset overtakes the answer: the client
        would lose what was said (RFC 9112, 9.6).
        """
        self._flush()
        if (
            not (self._ended or self._unfinished())
            or self._transport.is_closing()
            or not self._transport.can_write_eof()
        ):
            self._transport.close()
            return
        if not self._ended:
            self._ended = self._eof_written = True
            self._transport.write_eof()
            self._transport.resume_reading()  # and thrown away
            self._loop.call_later(LINGER_TIMEOUT_S, self._transport.close)

    def is_closing(self) -> bool:
        """Whether nothing more is to be sent."""
        return self._ended or self._transport.is_closing()

    def write_eof(self) -> None:
        """Send no more, and go on reading."""
        self._flush()
        self._eof_written = True
        self._transport.write_eof()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def _flush(self) -> None:
        head, self._head = self._head, b""
        if head and not self._transport.is_closing():
            self._transport.write(head)


class Front(HttpToolsProtocol):
    """One connection. A single timer for each watches it, so that a request costs no timer of its own.

    Args:
        counts: of all connections; without it they are not bounded.
    """

    def __init__(self, *args: Any, counts: ConnectionCounts | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._counts = counts
        self._open = self.app
        self._held: str | None = None
        """What the connection is counted as; None when it is not."""
        self._request_held = ""

    _timer: asyncio.TimerHandle | None = None
    _headers_since: float | None = None
    """Since when headers are awaited; None between requests, when keep-alive counts, and during a request."""
    _unread_since: float | None = None
    _header_bytes = 0
    _unfinished = False
    """Whether the body of the newest request is still arriving."""
    _answered_since: float | None = None
    _refused = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedTransport(transport, self.loop, lambda: self._unfinished))  # type: ignore[arg-type]
        if self._counts is not None:
            self._held = self._counts.connect(self._peer())
            if self._held is None:
                self.transport.write(_TOO_MANY)
                self.transport.close()
                return
        self._headers_since = self.loop.time()
        self._timer = self.loop.call_later(HEADER_TIMEOUT_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._let_go()
        super().connection_lost(exc)

    def _peer(self) -> str:
        return str(self.client[0]) if self.client else ""

    def _let_go(self) -> None:
        if self._counts is not None and self._held is not None:
            held, self._held = self._held, None
            self._counts.release(self._request_held)
            self._request_held = ""
            self._counts.disconnect(held)

    def handle_websocket_upgrade(self) -> None:
        """The connection stays counted until the socket is closed."""
        super().handle_websocket_upgrade()
        socket = self.transport.get_protocol()
        lost = socket.connection_lost

        def connection_lost(exc: Exception | None) -> None:
            self._let_go()
            lost(exc)

        socket.connection_lost = connection_lost  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return  # and told so
        super().data_received(data)
        if self._headers_since is not None:
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES and not self.transport.is_closing():
                self._refuse_headers()

    def _refuse_headers(self) -> None:
        """Say so. What still arrives is dropped for a while: to close a socket with bytes unread loses the answer."""
        self._refused = True
        self.transport.write(_TOO_LARGE)
        if not self.transport.can_write_eof():  # TLS, which tells of its end itself
            self.transport.close()
            return
        self.transport.write_eof()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(LINGER_TIMEOUT_S, self.transport.abort)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._headers_since = self.loop.time()
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        self._headers_since = None
        self._unfinished = True
        if self._counts is not None and self._held == "":  # a trusted proxy
            self._counts.release(self._request_held)
            held = self._counts.request(self._peer(), self.headers)
            self._request_held = held or ""
            self.app = self._open if held is not None else too_many
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        if self._request_held and self._counts is not None:
            self._counts.release(self._request_held)
            self._request_held = ""
        super().on_response_complete()

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
        late = self._headers_since is not None and now - self._headers_since >= HEADER_TIMEOUT_S
        unread = self._unread_since is not None and now - self._unread_since >= UNREAD_TIMEOUT_S
        if late or unread or self._lingers(now):
            self.transport.abort()
            return
        due = now + HEADER_TIMEOUT_S
        if self._headers_since is not None:
            due = self._headers_since + HEADER_TIMEOUT_S
        elif self._answered_since is not None:
            due = self._answered_since + LINGER_TIMEOUT_S
        self._timer = self.loop.call_at(max(due, now + 0.1), self._look)

    def _lingers(self, now: float) -> bool:
        """Whether somebody was answered long ago and still sends the body of that request."""
        if not self._unfinished or self.cycle is None or not self.cycle.response_complete:
            self._answered_since = None
        elif self._answered_since is None:
            self._answered_since = now
        return self._answered_since is not None and now - self._answered_since >= LINGER_TIMEOUT_S
