"""What dead writers left behind is mended before anything new is written.

A writer that died may leave a torn last line, a lineage that lacks acknowledged lines, and, after a loss of power in
`os` mode, a lineage that holds lines which the write-ahead log lost. The log and the lineage are united by sequence
number, torn bytes go to `quarantine/`, and what is left is sealed. Nothing that was acknowledged is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from workbench.audit.format.folder import AuditFolder, sync_folder, write_all
from workbench.audit.format.hash_chain import LINE, genesis
from workbench.audit.write.seals import SealLog, Witness, newest_seals
from workbench.events import JSON, now_us

_CLOCK_SLACK_US = 86_400_000_000
"""So far the clock may have been set back since a writer started."""


class RecoveryResult(NamedTuple):
    """What was found and done for one dead writer."""

    writer: str
    segments: int
    torn_bytes: int
    lineage_lines_added: int
    log_lines_added: int


class _Line(NamedTuple):
    tenant: str
    seq: int
    content: bytes  # newline included


class _Base(NamedTuple):
    """Where a tenant's lineage stood at its last seal."""

    seq: int
    size: int


def recover(folder: AuditFolder, witness: Witness | None = None) -> list[RecoveryResult]:
    """Mend and seal what every dead writer left; living ones (their lock is held) are not touched.

    Raises:
        OSError: the disk says no.
    """
    seals = SealLog(folder, witness)
    seals.sign()
    writers = {path.stem for path in folder.writers.glob("*.lock")} | _unsealed_writers(folder)
    done = []
    for writer in sorted(writers):
        with _dead(folder, writer) as dead:
            if dead:
                done.append(_Recovery(folder, writer, seals).run())
    return done


def _unsealed_writers(folder: AuditFolder) -> set[str]:
    """The writers of segments that no seal states and whose lock file is gone as well: of a folder that was copied."""
    closed = {path.name: writer for writer, _, path in folder.segments() if not folder.lock_of(writer).exists()}
    for seal in _seals_since(folder, min(closed.values(), default="")):
        if not closed:
            break
        closed.pop(seal.get("segment", ""), None)
    return set(closed.values())


def _seals_since(folder: AuditFolder, writer: str) -> Iterator[JSON]:
    """The newest seals first, until they are older than this writer, whose id begins with the time of its start."""
    began_us = int(writer[:12] or "0", 16) * 1000 - _CLOCK_SLACK_US
    for seal in newest_seals(folder):
        if int(seal.get("sealed_us") or 0) < began_us:
            return
        yield seal


@contextmanager
def _dead(folder: AuditFolder, writer: str) -> Iterator[bool]:
    """Holds the writer's lock if nobody else does; its lock file is removed once the mending is through."""
    path = folder.lock_of(writer)
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


class _Recovery:
    def __init__(self, folder: AuditFolder, writer: str, seals: SealLog) -> None:
        self.folder = folder
        self.writer = writer
        self.seals = seals
        self.bases: dict[str, _Base] = {}
        self.torn = 0
        self.lineage_added = 0
        self.log_added = 0

    def run(self) -> RecoveryResult:
        # Read under the lock: another process may have mended this writer in the meantime.
        sealed = self._sealed_number()
        segments = [
            (number, path)
            for writer, number, path in self.folder.segments()
            if writer == self.writer and number > sealed
        ]
        logged: dict[str, dict[int, bytes]] = {}
        for _, path in segments:
            for line in self._whole_lines(path):
                logged.setdefault(line.tenant, {})[line.seq] = line.content
        self.bases = self._bases(set(logged))
        kept = self._lineage_tails()
        if not segments and not any(kept.values()):
            return RecoveryResult(self.writer, 0, self.torn, 0, 0)
        lost = [
            content
            for tenant, lines in kept.items()
            for seq, content in sorted(lines.items())
            if seq not in logged.get(tenant, {})
        ]
        if lost:
            segments.append(self._extra_segment(max([sealed, *(number for number, _ in segments)]) + 1, lost))
        states = [
            self._mend_lineage(tenant, {**kept.get(tenant, {}), **logged.get(tenant, {})})
            for tenant in sorted({*kept, *logged})
            if kept.get(tenant) or logged.get(tenant)
        ]
        self._seal(segments, states)
        return RecoveryResult(self.writer, len(segments), self.torn, self.lineage_added, self.log_added)

    def _my_seals(self) -> Iterator[JSON]:
        """The newest first. They are read from the end, as far as it takes."""
        seals = _seals_since(self.folder, self.writer)
        return (seal for seal in seals if seal.get("type") == "segment" and seal["writer"] == self.writer)

    def _sealed_number(self) -> int:
        """The last segment that is sealed, or -1: a writer seals its segments in order."""
        return next((int(seal["number"]) for seal in self._my_seals()), -1)

    def _bases(self, tenants: set[str]) -> dict[str, _Base]:
        """Where the lineage of these tenants, and of all that have a file, stood at its last seal."""
        files = {str(path.relative_to(self.folder.lineage)) for path in self._lineages()}
        files |= {str(self.folder.lineage_of(t, self.writer).relative_to(self.folder.lineage)) for t in tenants}
        bases: dict[str, _Base] = {}
        for seal in self._my_seals():
            for state in seal["lineage"]:
                bases.setdefault(state["tenant"], _Base(state["seq"], state["bytes"]))
                files.discard(state["file"])
            if not files:
                break
        return bases

    def _lineages(self) -> Iterator[Path]:
        return self.folder.lineage.glob(f"tenant=*/{self.writer}.jsonl")

    def _whole_lines(self, path: Path) -> list[_Line]:
        """The readable lines of a segment; what follows the last of them is cut off and kept in quarantine."""
        content = path.read_bytes()
        lines, end = lines_of(content, 0)
        self._cut(path, content, end)
        return lines

    def _cut(self, path: Path, content: bytes, end: int) -> None:
        if end == len(content):
            return
        self.torn += len(content) - end
        self.folder.quarantine.mkdir(mode=0o700, exist_ok=True)
        name = f"{path.parent.name}-{path.name}.{now_us()}.torn"
        fd = os.open(self.folder.quarantine / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            write_all(fd, content[end:])
            os.fsync(fd)
        finally:
            os.close(fd)
        os.truncate(path, end)

    def _lineage_tails(self) -> dict[str, dict[int, bytes]]:
        """The lines of each tenant's lineage that no seal states yet."""
        tails: dict[str, dict[int, bytes]] = {}
        by_file = {self.folder.lineage_of(tenant, self.writer): base for tenant, base in self.bases.items()}
        for path in self._lineages():
            start = by_file[path].size if path in by_file else 0
            content = path.read_bytes()
            lines, end = lines_of(content, start)
            if len(content) >= start:
                self._cut(path, content, end)
            for line in lines:
                tails.setdefault(line.tenant, {})[line.seq] = line.content
        return tails

    def _extra_segment(self, number: int, lines: list[bytes]) -> tuple[int, Path]:
        """A segment for lines that only the lineage kept, so that SQL sees them as well."""
        path = self.folder.segment(self.writer, number)
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            write_all(fd, b"".join(lines))
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folder(self.folder.wal)
        self.log_added = len(lines)
        return number, path

    def _mend_lineage(self, tenant: str, lines: dict[int, bytes]) -> JSON:
        base = self.bases.get(tenant, _Base(0, 0))
        path = self.folder.lineage_of(tenant, self.writer)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        wanted = b"".join(content for _, content in sorted(lines.items()))
        fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            found = os.pread(fd, os.fstat(fd).st_size, base.size)
            if found != wanted:
                same = wanted.startswith(found)
                self.lineage_added += wanted.count(b"\n") - found.count(b"\n")
                position = base.size + (len(found) if same else 0)
                os.ftruncate(fd, position)
                os.lseek(fd, position, os.SEEK_SET)
                write_all(fd, wanted[len(found) :] if same else wanted)
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folder(path.parent)
        sync_folder(self.folder.lineage)
        last = max(lines)
        return {
            "tenant": tenant,
            "file": str(path.relative_to(self.folder.lineage)),
            "rows": len(lines),
            "seq": last + 1,
            "head": hashlib.sha256(lines[last][:-1]).hexdigest() if lines else genesis(tenant, self.writer),
            "start": base.size,
            "bytes": base.size + len(wanted),
            "sha256": hashlib.sha256(wanted).hexdigest(),
        }

    def _seal(self, segments: list[tuple[int, Path]], states: list[JSON]) -> None:
        """Seal every segment; the last one states the lineage, which was mended as a whole."""
        records: list[JSON] = []
        for number, path in segments:
            content = path.read_bytes()
            if not content:
                path.unlink()
                continue
            lines, _ = lines_of(content, 0)
            times = [orjson.loads(line.content).get("timestamp") for line in (lines[0], lines[-1])] if lines else [0, 0]
            records.append(
                {
                    "v": 1,
                    "type": "segment",
                    "segment": path.name,
                    "writer": self.writer,
                    "number": number,
                    "rows": len(lines),
                    "bytes": len(content),
                    "sha256": hashlib.sha256(content).hexdigest(),
                    "first_us": times[0],
                    "last_us": times[1],
                    "sealed_us": now_us(),
                    "lineage": [],
                    "recovered": {"torn_bytes": 0, "lineage_lines_added": 0, "log_lines_added": 0},
                }
            )
        if records:
            records[-1]["lineage"] = states
            records[-1]["recovered"] = {
                "torn_bytes": self.torn,
                "lineage_lines_added": self.lineage_added,
                "log_lines_added": self.log_added,
            }
            self.seals.append(*records)


def lines_of(content: bytes, start: int) -> tuple[list[_Line], int]:
    """The readable lines of `content` from `start`, and where the last of them ends."""
    found: list[_Line] = []
    end = position = start
    while (newline := content.find(b"\n", position)) >= 0:
        line = content[position : newline + 1]
        position = newline + 1
        match = LINE.match(line)
        if not match:
            continue
        try:
            tenant = orjson.loads(line)["tenant"]
        except (orjson.JSONDecodeError, KeyError):
            continue
        found.append(_Line(tenant, int(match[1]), line))
        end = position
    return found, end
