"""What dead writers left behind is mended before anything new is written.

A writer that died may leave a torn last line, a lineage that lacks acknowledged lines, and, after a loss of power in
`os` mode, a lineage that holds lines which the write-ahead log lost. The log and the lineage are united by sequence
number, torn bytes go to `quarantine/`, and what is left is sealed. Nothing that was acknowledged is dropped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import orjson

from workbench.audit.folder import AuditFolder, sync_folder, write_all
from workbench.audit.seal import SealLog, Witness, read_seals
from workbench.audit.writer import genesis
from workbench.events import JSON, now_us

LINE = re.compile(rb'^\{"seq":(\d+),"prev":"([0-9a-f]{64})",')
"""How every line begins; the rest is the record as it was given."""


class Mended(NamedTuple):
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


def recover(folder: AuditFolder, witness: Witness | None = None) -> list[Mended]:
    """Mend and seal what every dead writer left; living ones (their lock is held) are not touched.

    Raises:
        OSError: the disk says no.
    """
    sealed: set[str] = set()
    bases: dict[str, dict[str, _Base]] = {}
    for _, seal in read_seals(folder):
        if seal.get("type") == "segment":
            sealed.add(seal["segment"])
            of_writer = bases.setdefault(seal["writer"], {})
            for state in seal["lineage"]:
                of_writer[state["tenant"]] = _Base(state["seq"], state["bytes"])
    writers = {path.stem for path in folder.writers.glob("*.lock")}
    writers |= {writer for writer, _, path in folder.segments() if path.name not in sealed}
    seals = SealLog(folder, witness)
    seals.sign()
    done = []
    for writer in sorted(writers):
        with _dead(folder, writer) as dead:
            if dead:
                done.append(_Recovery(folder, writer, seals, bases.get(writer, {})).run())
    return done


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
    def __init__(self, folder: AuditFolder, writer: str, seals: SealLog, bases: dict[str, _Base]) -> None:
        self.folder = folder
        self.writer = writer
        self.seals = seals
        self.bases = bases
        self.torn = 0
        self.lineage_added = 0
        self.log_added = 0

    def run(self) -> Mended:
        # Read again under the lock: another process may have mended this writer in the meantime.
        sealed = {seal.get("segment") for _, seal in read_seals(self.folder)}
        segments = [
            (number, path)
            for writer, number, path in self.folder.segments()
            if writer == self.writer and path.name not in sealed
        ]
        logged: dict[str, dict[int, bytes]] = {}
        for _, path in segments:
            for line in self._whole_lines(path):
                logged.setdefault(line.tenant, {})[line.seq] = line.content
        kept = self._lineage_tails()
        if not segments and not any(kept.values()):
            return Mended(self.writer, 0, self.torn, 0, 0)
        lost = [
            content
            for tenant, lines in kept.items()
            for seq, content in sorted(lines.items())
            if seq not in logged.get(tenant, {})
        ]
        if lost:
            segments.append(self._extra_segment(segments, lost))
        states = [
            self._mend_lineage(tenant, {**kept.get(tenant, {}), **logged.get(tenant, {})})
            for tenant in sorted({*kept, *logged})
            if kept.get(tenant) or logged.get(tenant)
        ]
        self._seal(segments, states)
        return Mended(self.writer, len(segments), self.torn, self.lineage_added, self.log_added)

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
        for path in self.folder.lineage.glob(f"tenant=*/{self.writer}.jsonl"):
            start = by_file[path].size if path in by_file else 0
            content = path.read_bytes()
            lines, end = lines_of(content, start)
            if len(content) >= start:
                self._cut(path, content, end)
            for line in lines:
                tails.setdefault(line.tenant, {})[line.seq] = line.content
        return tails

    def _extra_segment(self, segments: list[tuple[int, Path]], lines: list[bytes]) -> tuple[int, Path]:
        """A segment for lines that only the lineage kept, so that SQL sees them as well."""
        numbers = [number for writer, number, _ in self.folder.segments() if writer == self.writer]
        sealed = [s.get("number", -1) for _, s in read_seals(self.folder) if s.get("writer") == self.writer]
        number = max([*numbers, *sealed, *(n for n, _ in segments), -1]) + 1
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
