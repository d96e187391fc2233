"""Content codings of HTTP answers (RFC 9110 §8.4): gzip, deflate, br and zstd, in bounded pieces.

None is asked for, but servers and what stands before them compress all the same. A small answer can unpack to
gigabytes, so nothing is unpacked faster than it is read, and whoever reads bounds the sum.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import brotli
import zstandard

from workbench.upstream.negotiation import NotMcpError

MAX_CODINGS: Final = 3
"""Codings on top of each other; more than one is legal and hardly ever seen."""

MAX_PIECE: Final = 1 << 20
"""Bytes that are unpacked at once."""

_ZSTD_INPUT: Final = 256
"""Compressed bytes that are unpacked at once: four of them can stand for 128 KiB."""

_ZSTD_WINDOW: Final = 8 << 20
"""Largest window that a decoder has to accept (RFC 9659)."""

_DEFLATED: Final = 0x78
"""First byte of a zlib stream; some servers send `deflate` without that frame (RFC 9110 §8.4.1.2)."""

_IDENTITY: Final = frozenset({"", "identity", "none"})


class CodingError(ValueError):
    """The content is not what its coding says."""


class ByteSource(Protocol):
    """Where encoded bytes come from: the content of a response."""

    async def readany(self) -> bytes: ...

    def at_eof(self) -> bool: ...


class _Zlib:
    """gzip and deflate. A gzip file may have several members."""

    def __init__(self, window_bits: int | None) -> None:
        self._bits = window_bits
        self._unpacking: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._unpacking is None:
                raw = self._bits is None and data[0] & 0x0F != _DEFLATED & 0x0F
                self._unpacking = zlib.decompressobj(-zlib.MAX_WBITS if raw else self._bits or zlib.MAX_WBITS)
            yield self._unpacking.decompress(data, MAX_PIECE)
            data = self._unpacking.unconsumed_tail
            if self._unpacking.eof:
                data = self._unpacking.unused_data.lstrip(b"\0")
                self._unpacking = None

    def check_end(self) -> None:
        if self._unpacking is not None and not self._unpacking.eof and self._bits is not None:
            raise CodingError("it ends too early")


class _Brotli:
    def __init__(self) -> None:
        self._unpacking = brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._unpacking.process(data, output_buffer_limit=MAX_PIECE)
        while not self._unpacking.can_accept_more_data() and not self._unpacking.is_finished():
            yield self._unpacking.process(b"", output_buffer_limit=MAX_PIECE)

    def check_end(self) -> None:
        if not self._unpacking.is_finished():
            raise CodingError("it ends too early")


class _Zstandard:
    def __init__(self) -> None:
        self._unpacking = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj(
            read_across_frames=True
        )

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), _ZSTD_INPUT):
            yield self._unpacking.decompress(data[at : at + _ZSTD_INPUT])

    def check_end(self) -> None:
        return  # where frames may follow each other, no end can be told; what is read from it finds out


_DECODERS: Final[dict[str, Callable[[], _Zlib | _Brotli | _Zstandard]]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(None),
    "br": _Brotli,
    "zstd": _Zstandard,
}


class DecodedStream:
    """The content of a response without its codings.

    Args:
        source: the encoded content.
        codings: their names, in the order in which they were applied.
        server: how to call the server in messages.
    """

    def __init__(self, source: ByteSource, codings: list[str], server: str) -> None:
        self._source = source
        self._decoders = [_DECODERS[name]() for name in reversed(codings)]
        self._names = ", ".join(codings)
        self._server = server
        self._pieces: Iterator[bytes] = iter(())

    async def readany(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            ApprovalRefusedError: the content is not in that coding.
        """
        try:
            while True:
                if piece := next(self._pieces, b""):
                    await asyncio.sleep(0)  # others have their turn between two pieces
                    return piece
                if not (data := await self._source.readany()):
                    break
                self._pieces = self._through(data, self._decoders)
            for decoder in self._decoders:
                decoder.check_end()
        except (zlib.error, brotli.error, zstandard.ZstdError, CodingError) as e:
            words = f"Server {self._server!r} sent content that is not in the coding {self._names} it names: {e}."
            raise NotMcpError(words, 200) from e
        return b""

    def at_eof(self) -> bool:
        """Whether the encoded content has been read; what is left of it to unpack is of no use to a next request."""
        return self._source.at_eof()

    def _through(self, data: bytes, decoders: list[Any]) -> Iterator[bytes]:
        for piece in decoders[0].feed(data):
            if not piece:
                continue
            if len(decoders) == 1:
                yield piece
            else:
                yield from self._through(piece, decoders[1:])


def decoded(response: Any, server: str) -> Any:
    """The content of `response` without its codings; the content itself where it has none.

    Raises:
        ApprovalRefusedError: a coding is not known.
    """
    header = response.headers.get("Content-Encoding", "")
    if not header:
        return response.content
    codings = [name for part in header.split(",") if (name := part.strip().lower()) not in _IDENTITY]
    if not codings:
        return response.content
    unknown = [name for name in codings if name not in _DECODERS]
    if unknown or len(codings) > MAX_CODINGS:
        known = "gzip, deflate, br and zstd are read"
        words = f"Server {server!r} sent content in the coding {header[:100]!r}; {known}."
        raise NotMcpError(words, response.status)
    return DecodedStream(response.content, codings, server)
