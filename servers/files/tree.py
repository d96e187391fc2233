"""A folder that cannot be left: every path is resolved by the kernel beneath one open directory.

Comparing path strings is not enough (a prefix also fits a sibling, and a link can change between check and use), so
nothing here ever opens a path that was joined in Python.
"""

from __future__ import annotations

import ctypes
import errno
import mimetypes
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

MAX_PATH_LENGTH = 1024
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x02, 0x04, 0x08
SYS_OPENAT2 = 437  # the same on every architecture that Linux has added since 5.6


class Refused(Exception):
    """A path that must not be opened, or that is not there. The message is for the caller."""


@dataclass(frozen=True)
class Entry:
    """One entry of a directory."""

    path: str
    kind: str
    """`file`, `directory`, `link` or `other`."""
    size: int
    modified_at: datetime


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class Tree:
    """Read-only access to the files beneath a folder.

    Args:
        root: the folder.
        hidden: whether names that begin with a dot may be seen; they often hold keys.
        by_kernel: resolve with `openat2`; by default wherever there is one.
    """

    def __init__(self, root: Path, *, hidden: bool = False, by_kernel: bool | None = None) -> None:
        self.root = root.resolve()
        self.hidden = hidden
        self._directory = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.by_kernel = _has_openat2(self._directory) if by_kernel is None else by_kernel

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._directory)

    def entry(self, path: str) -> Entry:
        """What is at `path`."""
        with self._opened(path) as fd:
            return _entry(self._parts(path), os.fstat(fd))

    def entries(self, path: str) -> list[Entry]:
        """The entries of a directory, directories first, then by name."""
        with self._opened(path, directory=True) as fd:
            parts = self._parts(path)
            found = []
            for name in os.listdir(fd):
                if self.hidden or not name.startswith("."):
                    try:
                        info = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # removed since it was listed
                    found.append(_entry([*parts, name], info))
        return sorted(found, key=lambda e: (e.kind != "directory", e.path))

    def read(self, path: str, offset: int, most: int) -> tuple[bytes, int]:
        """At most `most` bytes from `offset`, and the size of the file."""
        with self._opened(path) as fd:
            info = os.fstat(fd)
            if stat.S_ISDIR(info.st_mode):
                raise Refused(f"{path} is a directory. List it with list_directory.")
            return os.pread(fd, most, offset), info.st_size

    def walk(self, path: str, most: int) -> Iterator[Entry]:
        """All files beneath `path`, level by level, at most `most` of them. Links are not followed."""
        waiting, count = [path], 0
        while waiting:
            at = waiting.pop(0)
            try:
                entries = self.entries(at)
            except Refused:
                if at == path:
                    raise
                continue  # may not be read, or was removed since it was listed
            for entry in entries:
                if entry.kind == "directory":
                    waiting.append(entry.path)
                elif entry.kind == "file":
                    yield entry
                    count += 1
                    if count >= most:
                        return

    # --- opening

    def _parts(self, path: str) -> list[str]:
        """The names of a path, after the checks that need no disk."""
        if "\0" in path or len(path) > MAX_PATH_LENGTH:
            raise Refused("The path holds a NUL character or is too long.")
        try:
            path.encode()
        except UnicodeEncodeError:
            raise Refused("The path is not valid Unicode.") from None
        if path.startswith("/"):
            raise Refused(f"{path!r} is absolute. Give a path within the folder, such as 'docs/readme.md'.")
        parts = [p for p in path.split("/") if p not in ("", ".")]
        if ".." in parts:
            raise Refused(f"{path!r} leads upwards. Give a path within the folder.")
        if not self.hidden and any(p.startswith(".") for p in parts):
            raise Refused(f"{path!r} is hidden. Hidden files are not served.")
        return parts

    @contextmanager
    def _opened(self, path: str, *, directory: bool = False) -> Iterator[int]:
        parts = self._parts(path)
        # non-blocking: opening a pipe must not wait for a writer
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY
        if directory:
            flags |= os.O_DIRECTORY
        try:
            fd = self._by_kernel(parts, flags) if self.by_kernel else self._step_by_step(parts, flags)
        except OSError as e:
            raise Refused(_why(path, e)) from e
        try:
            kind = os.fstat(fd).st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise Refused(f"{path} is no regular file; pipes, sockets and devices are not served.")
            yield fd
        finally:
            os.close(fd)

    def _by_kernel(self, parts: list[str], flags: int) -> int:
        return _openat2(self._directory, "/".join(parts) or ".", flags)

    def _step_by_step(self, parts: list[str], flags: int) -> int:
        """One name after the other, never through a link: for systems without `openat2`."""
        at = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            for name in parts[:-1]:
                step = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
                os.close(at)
                at = step
            return os.open(parts[-1] if parts else ".", flags, dir_fd=at)
        finally:
            os.close(at)


def media_type(path: str) -> str:
    """The media type that the name suggests."""
    return mimetypes.guess_type(path)[0] or "application/octet-stream"


def _entry(parts: list[str], info: os.stat_result) -> Entry:
    kind = "other"
    for is_kind, name in ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link")):
        if is_kind(info.st_mode):
            kind = name
    modified = datetime.fromtimestamp(int(info.st_mtime), UTC)
    return Entry("/".join(parts) or ".", kind, info.st_size, modified)


def _openat2(directory: int, path: str, flags: int) -> int:
    how = _OpenHow(flags, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS)
    library = ctypes.CDLL(None, use_errno=True)
    fd = library.syscall(SYS_OPENAT2, directory, os.fsencode(path), ctypes.byref(how), ctypes.sizeof(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return int(fd)


def _has_openat2(directory: int) -> bool:
    if sys.platform != "linux":
        return False
    try:
        os.close(_openat2(directory, ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return False  # an older kernel, or a sandbox that forbids the call
    return True


def _why(path: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"There is no {path!r}. See what is there with list_directory."
    if error.errno in (errno.ELOOP, errno.EXDEV):
        return f"{path!r} goes through a link. Links are not followed."
    if error.errno == errno.ENOTDIR:
        return f"{path!r} is no directory, or goes through something that is none."
    return f"{path!r} cannot be opened: {error.strerror}."
