"""A state folder at one moment, taken while a platform may be writing to it.

While nobody seals and nobody compacts, small files are copied, files that never change again get a second name, and of
files that only grow the present length is noted. After that the platform goes on, and the snapshot can be read slowly.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from workbench.audit.format.folder import AuditFolder
from workbench.events import UnreachableError

LOCK_TIMEOUT_S: Final = 60.0
"""How long a compaction that is under way is waited for."""
PREFIX: Final = ".snapshot-"

_LEFT_OUT: Final = frozenset({"run.json", "launches", "audit.duckdb"})
"""What belongs to a running platform alone, or is made anew."""
_SQLITE: Final = b"SQLite format 3\0"
_PAUSE_S: Final = 0.05


class SnapshotFile(NamedTuple):
    """One file of a snapshot."""

    name: str
    """Path within the state folder, with `/`."""
    path: Path
    """Where its content can be read now."""
    bytes: int
    """How much of it belongs to the snapshot: a file that grows has more."""
    mode: int
    """Permissions."""


@contextlib.contextmanager
def snapshot(home: Path) -> Iterator[list[SnapshotFile]]:
    """The files of a state folder at one moment; they can be read until the block ends.

    Args:
        home: the state folder. Copies are kept inside it meanwhile, so that they need no second disk.

    Raises:
        UnreachableError: a compaction does not end.
        OSError: the disk says no.
    """
    for stale in home.glob(f"{PREFIX}*"):  # of a backup that was killed
        shutil.rmtree(stale, ignore_errors=True)
    staging = home / f"{PREFIX}{os.getpid()}"
    staging.mkdir(mode=0o700)
    try:
        with _record_at_rest(AuditFolder(home)):
            found = [_taken(home, path, staging) for path in _ordered(home)]
        yield [file for file in found if file is not None]
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _record_at_rest(folder: AuditFolder) -> Iterator[None]:
    """Nobody compacts and nobody seals. Calls are recorded all the same."""
    with contextlib.ExitStack() as stack:
        for path, exclusive in ((folder.root / "compactor.lock", True), (folder.seals, False)):
            if not path.exists():
                continue
            file = stack.enter_context(path.open("rb"))
            _lock(file.fileno(), fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, path)
        yield


def _lock(fd: int, kind: int, path: Path) -> None:
    end = time.monotonic() + LOCK_TIMEOUT_S
    while True:
        try:
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise UnreachableError(
                    f"The record is being compacted for more than {LOCK_TIMEOUT_S:.0f} s ({path.name} is locked).",
                    hint="Try again when it has ended.",
                ) from None
            time.sleep(_PAUSE_S)
        else:
            return


def _ordered(home: Path) -> list[Path]:
    """The files to take. A line stands in the log before it stands in a lineage, so lineages are taken first.

    Lock files of writers are taken too: they say that lines after the last seal are to be expected.
    """
    found = []
    for folder, folders, names in os.walk(home):
        folders[:] = [
            name for name in sorted(folders) if not (folder == str(home) and (name in _LEFT_OUT or name[0] == "."))
        ]
        for name in sorted(names):
            path = Path(folder) / name
            top = folder == str(home)
            skipped = (top and name in _LEFT_OUT) or name.endswith((".tmp", "-wal", "-shm", "-journal"))
            if not skipped and path.is_file() and not path.is_symlink():
                found.append(path)
    record = AuditFolder(home)

    def late(path: Path) -> int:
        return 2 if path.is_relative_to(record.wal) else 0 if path.is_relative_to(record.lineage) else 1

    return sorted(found, key=lambda path: (late(path), path))


def _taken(home: Path, path: Path, staging: Path) -> SnapshotFile | None:
    name = path.relative_to(home).as_posix()
    target = staging / f"{len(list(staging.iterdir())):06d}"
    try:
        status = path.stat()
        if _is_sqlite(path):
            _copy_database(path, target)
            return SnapshotFile(name, target, target.stat().st_size, 0o600)
        try:
            os.link(path, target)
        except OSError:  # a file system without hard links
            shutil.copyfile(path, target)
        return SnapshotFile(name, target, target.stat().st_size, status.st_mode & 0o777)
    except FileNotFoundError:
        return None  # it was temporary


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _copy_database(path: Path, target: Path) -> None:
    """A copy that is whole, whatever transactions are under way (SQLite's online backup)."""
    with (
        contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10.0)) as source,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
