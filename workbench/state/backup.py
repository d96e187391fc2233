"""Backup and restore of a whole state folder: one archive, every file with its hash, checked before it is used.

The archive is a gzip-compressed tar (POSIX pax). Its first member is `BACKUP.json`: format, version, time, and size,
SHA-256 and permissions of every file that follows.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, cast

import msgspec

from workbench.config import FORMAT as STATE_FORMAT
from workbench.events import MisuseError, Record, WorkbenchError
from workbench.state.snapshot import SnapshotFile, snapshot

BACKUP_FORMAT: Final = "workbench backup 1"
MANIFEST: Final = "BACKUP.json"
MAX_MANIFEST_BYTES: Final = 256 << 20

Progress = Callable[[int, int], object]
_PART: Final = 1 << 20


class BackupError(WorkbenchError):
    """An archive is damaged, or what was restored from it does not verify. Nothing was put into place."""


class FileEntry(Record, frozen=True, kw_only=True):
    """What the manifest says of one file."""

    bytes: int
    sha256: str
    mode: int


class BackupManifest(Record, frozen=True, kw_only=True):
    """The first member of an archive."""

    format: str
    version: str
    """Of the program that wrote it."""
    state_format: str
    created: str
    """ISO 8601, UTC."""
    files: dict[str, FileEntry]

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(entry.bytes for entry in self.files.values())


class RestoreResult(Record, frozen=True, kw_only=True):
    """What a restore, or the trial of one, found."""

    manifest: BackupManifest
    record: str
    """The verification of the record, in one sentence."""
    databases: int
    """Databases that passed SQLite's integrity check."""


def back_up(home: Path, target: Path, *, version: str, progress: Progress | None = None) -> BackupManifest:
    """Write a state folder into one archive, readable by its owner alone. A platform may be running on it.

    Args:
        home: the state folder.
        target: the archive; it must not exist.
        version: of this program.
        progress: called now and then with bytes done and bytes in all.

    Raises:
        MisuseError: there is no state folder, or the archive exists.
        UnreachableError: the record is being compacted and that does not end.
        OSError: a disk says no; no archive is left then.
    """
    if not (home / "FORMAT").exists():
        raise MisuseError(f"{home} is not a state folder.", hint="Name it with --home or WORKBENCH_HOME.")
    if target.exists():
        raise MisuseError(f"{target} exists.", hint="Choose another name: a backup never replaces one.")
    temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        with snapshot(home) as files:
            entries = {file.name: _entry(file) for file in files}
            manifest = BackupManifest(
                format=BACKUP_FORMAT,
                version=version,
                state_format=STATE_FORMAT.strip(),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                files=entries,
            )
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                _write(out, manifest, files, progress)
                out.flush()
                os.fsync(out.fileno())
        os.link(temporary, target)  # fails when somebody made it meanwhile, unlike a rename
    finally:
        temporary.unlink(missing_ok=True)
    return manifest


def _entry(file: SnapshotFile) -> FileEntry:
    digest = hashlib.sha256()
    for part in _parts(file):
        digest.update(part)
    return FileEntry(bytes=file.bytes, sha256=digest.hexdigest(), mode=file.mode)


def _parts(file: SnapshotFile) -> Iterator[bytes]:
    """The content of a file as far as it belongs to the snapshot."""
    left = file.bytes
    with file.path.open("rb") as source:
        while left and (part := source.read(min(_PART, left))):
            left -= len(part)
            yield part


class _Content(io.RawIOBase):
    """The content of a file of a snapshot, as `tarfile` reads it."""

    def __init__(self, file: SnapshotFile) -> None:
        self._source = file.path.open("rb")
        self._left = file.bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._source.read(min(len(buffer), self._left))
        self._left -= len(part)
        buffer[: len(part)] = part
        return len(part)

    def close(self) -> None:
        self._source.close()
        super().close()


def _write(out: IO[bytes], manifest: BackupManifest, files: list[SnapshotFile], progress: Progress | None) -> None:
    total, done = manifest.bytes, 0
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        text = msgspec.json.encode(manifest)
        archive.addfile(_member(MANIFEST, len(text), 0o600), io.BytesIO(text))
        for file in files:
            with contextlib.closing(_Content(file)) as content:
                archive.addfile(_member(file.name, file.bytes, file.mode), cast("IO[bytes]", content))
            done += file.bytes
            if progress is not None:
                progress(done, total)


def _member(name: str, size: int, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, mode
    return member


# --- restoring


def restore(source: Path, home: Path, *, deep: bool = False, progress: Progress | None = None) -> RestoreResult:
    """Put a backup into place, after everything in it was checked.

    Args:
        source: the archive.
        home: the state folder to make; it must be missing or empty.
        deep: also check the chain of every recorded line.
        progress: called now and then with bytes done and bytes in all.

    Raises:
        MisuseError: `home` is in use, or the archive is of another format.
        BackupError: the archive is damaged, or the record in it does not verify. `home` is as it was.
        OSError: a disk says no.
    """
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise MisuseError(f"{home} is not empty.", hint="Move it away, or restore into another folder with --home.")
    home.parent.mkdir(parents=True, exist_ok=True)
    staging = home.with_name(f".{home.name}.restore-{os.getpid()}")
    try:
        found = _unpacked(source, staging, deep=deep, progress=progress)
        if home.exists():
            home.rmdir()
        staging.rename(home)
        return found
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def try_restore(source: Path, *, deep: bool = False, progress: Progress | None = None) -> RestoreResult:
    """Restore into a temporary folder, check everything, and remove it again.

    Raises:
        MisuseError: the archive is of another format.
        BackupError: the archive is damaged, or the record in it does not verify.
        OSError: a disk says no.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-restore-") as folder:
        return _unpacked(source, Path(folder) / "home", deep=deep, progress=progress)


def _unpacked(source: Path, target: Path, *, deep: bool, progress: Progress | None) -> RestoreResult:
    target.mkdir(mode=0o700)
    try:
        with tarfile.open(source, "r:gz") as archive:
            manifest = _extract(archive, target, progress)
    except (tarfile.TarError, EOFError, OSError) as e:
        if isinstance(e, OSError) and e.errno is not None:
            raise
        raise BackupError(f"{source} is damaged: {e}.", hint="Use another backup.") from e
    return RestoreResult(manifest=manifest, databases=_check_databases(target), record=_verified(target, deep=deep))


def _extract(archive: tarfile.TarFile, target: Path, progress: Progress | None) -> BackupManifest:
    first = archive.next()
    if first is None or first.name != MANIFEST or first.size > MAX_MANIFEST_BYTES:
        raise MisuseError(
            f"This is not a backup: it does not begin with {MANIFEST}.", hint="Expected a backup's archive."
        )
    content = archive.extractfile(first)
    assert content is not None
    try:
        manifest = msgspec.json.decode(content.read(), type=BackupManifest)
    except msgspec.DecodeError as e:
        raise BackupError(f"{MANIFEST} cannot be read: {e}.", hint="Use another backup.") from e
    if manifest.format != BACKUP_FORMAT or manifest.state_format != STATE_FORMAT.strip():
        raise MisuseError(
            f"The backup is of the format {manifest.format!r} with a state folder {manifest.state_format!r}.",
            hint=f"This version reads {BACKUP_FORMAT!r} with {STATE_FORMAT.strip()!r}; restore it with version "
            f"{manifest.version}.",
        )
    left, done = dict(manifest.files), 0
    while (member := archive.next()) is not None:
        entry = left.pop(member.name, None)
        if entry is None or not member.isreg() or member.size != entry.bytes or not _is_inside(member.name):
            raise BackupError(f"The archive has {member.name!r}, which its manifest does not name so.")
        _put(archive, member, entry, target / member.name)
        done += entry.bytes
        if progress is not None:
            progress(done, manifest.bytes)
    if left:
        raise BackupError(f"{len(left)} file(s) of the manifest are missing, {min(left)!r} among them.")
    return manifest


def _is_inside(name: str) -> bool:
    """Whether a name leads to a file below the folder, and to nothing else."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name and str(path) == name


def _put(archive: tarfile.TarFile, member: tarfile.TarInfo, entry: FileEntry, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source = archive.extractfile(member)
    assert source is not None
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        while part := source.read(_PART):
            digest.update(part)
            out.write(part)
        out.flush()
        os.fsync(out.fileno())
    if digest.hexdigest() != entry.sha256:
        raise BackupError(f"{member.name} is damaged: its SHA-256 differs.", hint="Use another backup.")
    path.chmod(entry.mode & 0o755)  # never writable by others


def _check_databases(home: Path) -> int:
    count = 0
    for path in sorted(home.rglob("*.db")):
        try:
            with contextlib.closing(sqlite3.connect(path)) as db:
                problem = db.execute("pragma integrity_check").fetchone()[0]
        except sqlite3.DatabaseError as e:
            problem = str(e)
        if problem != "ok":
            raise BackupError(f"{path.relative_to(home)} is damaged: {problem}.", hint="Use another backup.")
        count += 1
    return count


def _verified(home: Path, *, deep: bool) -> str:
    from workbench.audit import verify

    if not (home / "audit").exists():
        return "There is no record in it yet."
    found = verify(home, deep=deep)
    if not found.ok:
        raise BackupError(f"The record in the backup does not verify: {found}", hint="Use another backup.")
    return str(found)
