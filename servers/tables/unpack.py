"""Packed files, unpacked into a temporary one within a bound: gzip, bzip2, xz, zstandard, and zip archives."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

PACKED = (".gz", ".bz2", ".xz", ".zst")
_PART = 1 << 20


class UnpackError(Exception):
    """The file cannot be unpacked. The message is for the caller."""


def packing_of(name: str) -> str:
    """The suffix that says how a file is packed; empty when it is not."""
    return next((suffix for suffix in PACKED if name.lower().endswith(suffix)), "")


@contextmanager
def unpacked(path: Path, packing: str, target: Path, max_bytes: int) -> Iterator[Path]:
    """The file as it was before it was packed; `path` itself when it is not packed.

    Args:
        path: the file.
        packing: one of `PACKED`, or empty.
        target: where to write the content; it is removed at the end.
        max_bytes: most bytes of content.

    Raises:
        UnpackError: the content is larger, or the file is damaged.
    """
    if not packing:
        yield path
        return
    try:
        with _opened(path, packing) as source, target.open("wb") as out:
            _copy(source, out, max_bytes)
        yield target
    finally:
        target.unlink(missing_ok=True)


@contextmanager
def member(path: Path, name: str, target: Path, max_bytes: int) -> Iterator[Path]:
    """One file of a zip archive, as `unpacked`."""
    try:
        with _damage(), zipfile.ZipFile(path) as archive, archive.open(name) as source, target.open("wb") as out:
            _copy(source, out, max_bytes)
        yield target
    finally:
        target.unlink(missing_ok=True)


def members(path: Path) -> list[tuple[str, int]]:
    """The files in a zip archive with their sizes in bytes, in the order of the archive.

    Raises:
        UnpackError: it is not a zip archive.
    """
    with _damage(), zipfile.ZipFile(path) as archive:
        return [(info.filename, info.file_size) for info in archive.infolist() if not info.is_dir()]


@contextmanager
def _opened(path: Path, packing: str) -> Iterator[IO[bytes]]:
    with _damage():
        if packing == ".zst":
            import pyarrow as pa

            with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
                yield stream
            return
        module: Any = {".gz": gzip, ".bz2": bz2, ".xz": lzma}[packing]
        with module.open(path) as file:
            yield file


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, ValueError) as e:
        raise UnpackError(f"It cannot be unpacked: {str(e) or type(e).__name__}.") from e
    except (RuntimeError, NotImplementedError) as e:  # a password, or a method that Python does not know
        raise UnpackError(f"It cannot be unpacked: {e}.") from e


def _copy(source: IO[bytes], out: IO[bytes], max_bytes: int) -> None:
    total = 0
    while part := source.read(_PART):
        total += len(part)
        if total > max_bytes:
            raise UnpackError(f"It holds more than {max_bytes:,} bytes.")
        out.write(part)
