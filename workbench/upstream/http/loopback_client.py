"""A small HTTP/1.1 client for servers on this machine: POST and its answer over kept connections, nothing else.

Nearly every upstream of a workbench is a server on loopback, and there a general client costs more than everything
else on the way of a call. Addresses with names, TLS and all other methods stay with aiohttp. httptools parses.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from weakref import WeakKeyDictionary

import httptools

from workbench.upstream.request_headers import PreparedHeaders
from workbench.version import __version__

CONNECT_TIMEOUT_S: Final = 5.0
IDLE_TIMEOUT_S: Final = 4.0
"""A kept connection is not used after that: the usual server closes it after 5 s, and a request that is sent on a
connection being closed cannot be told from one that was executed."""

MAX_IDLE: Final = 1024
"""Kept connections to one server; as many as calls may be under way on it, so that a crowd need not dial each time."""

MAX_HEADERS: Final = 64 << 10
MAX_BUFFERED_BYTES: Final = 1 << 20
"""Bytes of an answer that wait to be read before the server has to wait."""

_ADDRESS: Final = re.compile(r"http://(127\.0\.0\.1|\[::1\])(?::(\d{1,5}))?(/[^#?\s]*)?")
_FIXED: Final = f"Accept-Encoding: identity\r\nUser-Agent: mcp-workbench/{__version__}\r\nContent-Length: "


_KEYS: Final = {name: name.lower().encode() for name in ("Content-Type", "Content-Encoding")}
"""Of the fields that every answer is asked for."""


class BrokenConnectionError(ConnectionError):
    """The connection ended, or what came over it is no HTTP."""


class ResponseHeaders:
    """Header fields of an answer; names in any case."""

    __slots__ = ("_fields",)

    def __init__(self) -> None:
        self._fields: dict[bytes, bytes] = {}

    def add(self, name: bytes, value: bytes) -> None:
        self._fields[name.lower()] = value

    def get(self, name: str, default: str = "") -> str:
        value = self._fields.get(_KEYS.get(name) or name.lower().encode())
        return default if value is None else value.decode("latin-1").strip()

    def raw(self, name: bytes) -> bytes:
        """The value of a field, its name in lower case; empty when there is none."""
        return self._fields.get(name, b"")


class LoopbackResponse:
    """One answer: `status` and `headers` are there, the content is read from it; what `aiohttp.ClientResponse` is."""

    __slots__ = ("_connection", "_ended", "_error", "_parts", "_size", "_waiter", "headers", "status")

    def __init__(self, connection: _Connection) -> None:
        self.status = 0
        self.headers = ResponseHeaders()
        self._connection = connection
        self._parts: list[bytes] = []
        self._size = 0
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def content(self) -> LoopbackResponse:
        """The stream of the content, which is this object itself."""
        return self

    def at_eof(self) -> bool:
        """Whether everything has come and was read."""
        return self._ended and not self._parts

    async def readany(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            Broken: the connection ended before the content did.
        """
        while not self._parts:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        if self._size > MAX_BUFFERED_BYTES:
            self._connection.resume()
        self._size = 0
        return data

    def close(self) -> None:
        """Let go of the connection: it is closed unless the answer is complete. The server notices and stops."""
        if not self._ended and self._error is None:
            self._connection.abort()

    # --- called by the connection

    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        if self._size > MAX_BUFFERED_BYTES:
            self._connection.pause()
        self._wake()

    def end(self, error: Exception | None = None) -> None:
        if error is None:
            self._ended = True
        else:
            self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One socket: one request at a time. Calls of httptools and of asyncio come in as methods."""

    def __init__(self, idle: deque[_Connection]) -> None:
        self.loop = asyncio.get_running_loop()
        self.since = 0.0
        self._idle = idle
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: LoopbackResponse | None = None
        self._started: asyncio.Future[LoopbackResponse] | None = None
        self._head_bytes = 0
        self._until_closed = False

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes) -> asyncio.Future[LoopbackResponse]:
        """Send a request; the future has its answer once the headers are there."""
        assert self._transport is not None
        self._response = LoopbackResponse(self)
        self._head_bytes = 0
        self._started = self.loop.create_future()
        self._transport.write(request)
        return self._started

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self.usable and self._response is not None:
            self._transport.pause_reading()  # type: ignore[union-attr]

    def resume(self) -> None:
        if self.usable:
            self._transport.resume_reading()  # type: ignore[union-attr]

    # --- asyncio

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            self.abort()  # nothing was asked
            return
        if self._started is not None and not self._started.done():
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as e:
            self._fail(BrokenConnectionError(f"the answer is no HTTP: {e or type(e).__name__}"))
            self.abort()
            return
        if self._head_bytes > MAX_HEADERS and self._started is not None and not self._started.done():
            self._fail(BrokenConnectionError(f"the headers of the answer have more than {MAX_HEADERS:,} bytes"))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._until_closed and exc is None and self._response is not None:
            self._response.end()
            self._response = None
        self._fail(BrokenConnectionError(str(exc) if exc else "the server closed the connection"))
        self._transport = None
        with contextlib.suppress(ValueError):
            self._idle.remove(self)

    def _fail(self, error: Exception) -> None:
        response, self._response = self._response, None
        if self._started is not None and not self._started.done():
            self._started.set_exception(error)
        elif response is not None:
            response.end(error)

    # --- httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None:
            self._response.headers.add(name, value)

    def on_headers_complete(self) -> None:
        response, status = self._response, self._parser.get_status_code()
        if response is None or status < 200:
            return
        response.status = status
        bounded = response.headers.raw(b"content-length") or response.headers.raw(b"transfer-encoding")
        self._until_closed = not bounded and status not in (204, 304)
        if self._started is not None and not self._started.done():
            self._started.set_result(response)

    def on_body(self, body: bytes) -> None:
        if self._response is not None:
            self._response.feed(body)

    def on_message_complete(self) -> None:
        response = self._response
        if response is None or response.status < 200:
            return
        self._response = None
        response.end()
        if not self._parser.should_keep_alive() or not self.usable or len(self._idle) >= MAX_IDLE:
            if self._transport is not None:
                self._transport.close()
            return
        self._transport.resume_reading()  # type: ignore[union-attr]
        self.since = self.loop.time()
        self._idle.append(self)


class LoopbackClient:
    """The kept connections of one event loop to servers on this machine. Idle ones are closed after a while."""

    _shared: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, LoopbackClient]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self._idle: dict[tuple[str, int], deque[_Connection]] = {}
        self._sweep: asyncio.TimerHandle | None = None

    @classmethod
    def shared(cls) -> LoopbackClient:
        """Those of the running event loop."""
        loop = asyncio.get_running_loop()
        return cls._shared.get(loop) or cls._shared.setdefault(loop, cls())

    @property
    def idle(self) -> int:
        """How many connections wait for their next request."""
        return sum(len(found) for found in self._idle.values())

    async def post(self, address: LoopbackAddress, data: bytes, headers: Mapping[str, str]) -> LoopbackResponse:
        """Send a POST; returns when the headers of the answer are there.

        Raises:
            OSError: the server cannot be reached, or went away before it answered.
        """
        prepared = headers if type(headers) is PreparedHeaders else None
        lines = prepared.lines if prepared is not None else None
        if lines is None:
            lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
            if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
                raise BrokenConnectionError("a header value has a line break")
            if prepared is not None:
                prepared.lines = lines
        head = f"{address.opening}{lines}{_FIXED}{len(data)}\r\n\r\n"
        connection = self._take(address) or await self._connect(address)
        started = connection.send(head.encode("latin-1") + data)
        try:
            return await started
        except BaseException:
            connection.abort()
            raise

    def close(self) -> None:
        """Close what is idle."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for found in self._idle.values():
            while found:
                found.pop().abort()

    def _take(self, address: LoopbackAddress) -> _Connection | None:
        idle = self._idle.get(address.origin)
        while idle:
            connection = idle.pop()
            if connection.usable and connection.loop.time() - connection.since < IDLE_TIMEOUT_S:
                return connection
            connection.abort()
        return None

    async def _connect(self, address: LoopbackAddress) -> _Connection:
        idle = self._idle.setdefault(address.origin, deque())
        loop = asyncio.get_running_loop()
        if self._sweep is None:
            self._sweep = loop.call_later(IDLE_TIMEOUT_S, self._drop_old)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                _, connection = await loop.create_connection(lambda: _Connection(idle), *address.origin)
        except TimeoutError as e:
            raise BrokenConnectionError("the server does not accept connections") from e
        return connection

    def _drop_old(self) -> None:
        loop = asyncio.get_running_loop()
        for idle in self._idle.values():
            while idle and loop.time() - idle[0].since >= IDLE_TIMEOUT_S:
                idle.popleft().abort()
        self._sweep = loop.call_later(IDLE_TIMEOUT_S, self._drop_old) if self.idle else None


class LoopbackAddress:
    """Where a server on this machine listens."""

    __slots__ = ("opening", "origin")

    def __init__(self, host: str, port: int, path: str) -> None:
        self.origin = (host.strip("[]"), port)
        self.opening = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"

    @classmethod
    def of(cls, url: str) -> LoopbackAddress | None:
        """The address in `url`; None when it is not literally one of this machine, or needs more than plain HTTP."""
        found = _ADDRESS.fullmatch(url)
        return cls(found[1], int(found[2] or 80), found[3] or "/") if found else None
