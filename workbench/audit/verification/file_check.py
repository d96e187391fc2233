"""The part of `verify` that compares files with what the seals state of them."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from workbench.audit.format.folder import AuditFolder, tenant_name
from workbench.audit.format.hash_chain import ChainBreak, ChainState, follow
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.retention import is_erased
from workbench.audit.verification.findings import Finding, Progress, Verification
from workbench.audit.verification.sealed_claims import SealedClaims, SealedRange
from workbench.audit.write.recovery import lines_of

if TYPE_CHECKING:
    from hashlib import _Hash

_CHUNK = 1 << 20


class _CancelledError(Exception):
    pass


class ContentsCheck:
    """Compares the lineage, the log and the lake with the seals."""

    def __init__(
        self,
        folder: AuditFolder,
        found: Verification,
        progress: Progress | None,
        cancel: Callable[[], bool] | None,
        since_us: int,
    ) -> None:
        self._folder = folder
        self._found = found
        self._progress = progress
        self._cancel = cancel
        self._since_us = since_us
        self._total = 0
        self._counting = threading.Lock()
        # Before the seals are read: whatever the manifest says was sealed before it was published.
        self._manifest, self._manifest_digest, self._manifest_problem = self._read_manifest()
        self._stated = SealedClaims(self._manifest, [path.name for _, _, path in folder.segments()])
        self.take = self._stated.take
        """Takes in one seal."""

    def run(self) -> None:
        """Check everything; findings and counts go into the verification."""
        try:
            stated, manifest = self._stated, self._manifest
            self._found.segments, self._found.rows = stated.segments, stated.rows
            for number, problem in stated.problems:
                self._add(Finding("seals.jsonl", f"line {number} {problem}"))
            self._check_manifest()
            self._total = self._size_of_it_all(manifest, stated.waiting)
            # Hashing leaves the interpreter free, so that files are read on every core, and more of them than there are
            # cores, because some wait for the disk; the largest first, so that none is left for the end alone.
            checks: list[tuple[int, Callable[[], None]]] = [
                *(self._lineage_check(name, ranges) for name, ranges in stated.ranges.items()),
                *((seal["bytes"], partial(self._check_segment, seal)) for seal in stated.waiting),
                *self._lake_checks(manifest),
            ]
            checks.sort(key=lambda check: -check[0])
            with ThreadPoolExecutor(2 * (os.cpu_count() or 1), thread_name_prefix="audit-verify") as pool:
                list(pool.map(lambda check: check[1](), checks))
            self._found.findings.sort(key=_place)
            self._check_unknown_lineages()
            self._check_unknown_segments()
            self._check_lake_rows(manifest)
            self._count_superseded(manifest)
        except _CancelledError:
            self._found.cancelled = True

    def _size_of_it_all(self, manifest: Manifest, waiting: list[dict[str, Any]]) -> int:
        lineage = sum(ranges[-1].bytes for ranges in self._stated.ranges.values())
        lake = sum(item["bytes"] for item in (*manifest.parts, *manifest.rollups, *manifest.indexes))
        return int(lineage + lake + sum(seal["bytes"] for seal in waiting))

    def _add(self, finding: Finding) -> None:
        self._found.findings.append(finding)

    def _step(self, count: int) -> None:
        with self._counting:
            self._found.bytes += count
            if self._progress is not None:
                self._progress(self._found.bytes, max(self._total, self._found.bytes))
            if self._cancel is not None and self._cancel():
                raise _CancelledError

    def _alive_or_killed(self, writer: str) -> bool:
        """Whether lines after the last seal are to be expected: a writer that closed left no lock file behind."""
        return self._folder.lock_of(writer).exists()

    # --- lineage --------------------------------------------------------

    def _lineage_check(self, name: str, ranges: list[SealedRange]) -> tuple[int, Callable[[], None]]:
        return ranges[-1].bytes, partial(self._check_lineage, self._folder.lineage / name, ranges)

    def _check_lineage(self, path: Path, ranges: list[SealedRange]) -> None:
        """Digest of every sealed range; on a difference, or when deep, the chain of its lines."""
        tenant, writer = ranges[0].tenant, ranges[0].writer
        where = f"lineage/{path.parent.name}/{path.name}"
        state = ChainState.start(tenant, writer)
        try:
            file = path.open("rb")
        except FileNotFoundError:
            self._add(Finding(where, "the file is missing", tenant, writer, 0))
            return
        with file:
            start = 0
            for entry in ranges:
                start = entry.start
                if entry.sealed_us >= self._since_us:
                    if self._removed(file, entry):
                        state = ChainState(tenant, entry.seq, entry.head)
                        start = entry.bytes
                        continue
                    same = self._digest(file, start, entry.bytes) == entry.sha256
                    if not same or self._found.deep:
                        broken = self._first_bad(file, start, entry, state)
                        if broken is not None or not same:
                            seq = broken.seq if broken else entry.seq - 1
                            reason = broken.reason if broken else "the lines are not those that were sealed"
                            self._add(Finding(where, reason, tenant, writer, seq))
                            return
                state = ChainState(tenant, entry.seq, entry.head)
                start = entry.bytes
            self._check_tail(file, start, where, state, writer)

    def _removed(self, file: BinaryIO, entry: SealedRange) -> bool:
        """Whether a range is gone, and a rule that is stated and fits says so."""
        if (entry.file, entry.start) not in self._stated.removable.ranges:
            return False
        if not is_erased(file.fileno(), entry.start, entry.bytes):
            return False  # it is stated, but not removed yet: then it must still be what it was
        with self._counting:
            self._found.removed_rows += entry.rows
        return True

    def _digest(self, file: BinaryIO, start: int, end: int) -> str:
        file.seek(start)
        digest: _Hash = hashlib.sha256()
        left = end - start
        while left > 0 and (chunk := file.read(min(_CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
            self._step(len(chunk))
        return digest.hexdigest() if left == 0 else "too short"

    def _first_bad(self, file: BinaryIO, start: int, entry: SealedRange, state: ChainState) -> ChainBreak | None:
        reached, broken = follow(state, self._lines(file, start, entry.bytes), entry.head)
        if broken is None and reached.seq < entry.seq:
            return ChainBreak(reached.seq, f"the file ends here; {entry.seq - reached.seq} lines are missing")
        if broken is None and reached.head != entry.head:
            # Only the last line has no successor that would give it away.
            return ChainBreak(entry.seq - 1, "the line was altered")
        return broken

    def _lines(self, file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
        file.seek(start)
        position = start
        steps = 0
        while position < end and (line := file.readline()):
            position += len(line)
            steps += 1
            if steps % 4096 == 0:
                self._step(0)
            yield line

    def _check_tail(self, file: BinaryIO, start: int, where: str, state: ChainState, writer: str) -> None:
        """Lines after the last seal."""
        size = os.fstat(file.fileno()).st_size
        if size <= start:
            return
        if not self._alive_or_killed(writer):
            reason = "there are lines after the last seal of a writer that was closed"
            self._add(Finding(where, reason, state.tenant, writer, state.seq))
            return
        file.seek(start)
        tail = file.read(size - start)
        whole = tail[: tail.rfind(b"\n") + 1]  # the last line may be torn or on its way
        with self._counting:
            self._found.unsealed_rows += whole.count(b"\n")
        if self._found.deep:
            _, broken = follow(state, whole.splitlines(keepends=True))
            if broken is not None:
                self._add(Finding(where, broken.reason, state.tenant, writer, broken.seq))

    def _check_unknown_lineages(self) -> None:
        """Files that no seal states: of writers that have not sealed anything yet, or forged."""
        for path in self._folder.lineages():
            name = str(path.relative_to(self._folder.lineage))
            if name in self._stated.ranges or not path.stat().st_size:
                continue
            with path.open("rb") as file:
                try:
                    tenant = str(orjson.loads(file.readline())["tenant"])
                except (orjson.JSONDecodeError, KeyError):
                    tenant = ""
                state = ChainState.start(tenant, path.stem)
                if tenant_name(tenant) != path.parent.name.removeprefix("tenant=") and tenant:
                    self._add(Finding(f"lineage/{name}", "the lines belong to another tenant", tenant, path.stem, 0))
                    continue
                self._check_tail(file, 0, f"lineage/{name}", state, path.stem)

    # --- log and lake ---------------------------------------------------

    def _check_segment(self, seal: dict[str, Any]) -> None:
        """A sealed segment that SQL reads from the log."""
        path = self._folder.wal / seal["segment"]
        where = f"wal/{path.name}"
        try:
            with path.open("rb") as file:
                same = self._digest(file, 0, seal["bytes"]) == seal["sha256"]
                same = same and os.fstat(file.fileno()).st_size == seal["bytes"]
        except FileNotFoundError:
            self._add(Finding(where, "the segment is missing", writer=seal["writer"]))
            return
        if not same:
            tenant, seq = _first_difference(self._folder, path, seal["writer"])
            self._add(Finding(where, "the segment is not the one that was sealed", tenant, seal["writer"], seq))

    def _check_unknown_segments(self) -> None:
        for writer, _, path in self._folder.segments():
            if path.name not in self._stated.sealed and path.stat().st_size and not self._alive_or_killed(writer):
                self._add(Finding(f"wal/{path.name}", "a segment of a closed writer that no seal states", "", writer))

    def _read_manifest(self) -> tuple[Manifest, str, str]:
        """The manifest, its digest, and what is wrong with it, if it is a manifest at all."""
        try:
            raw = self._folder.manifest.read_bytes()
            return Manifest(**orjson.loads(raw)), hashlib.sha256(raw).hexdigest(), ""
        except FileNotFoundError:
            return Manifest(), "", "the manifest is missing"
        except (TypeError, orjson.JSONDecodeError):
            return Manifest(), "", "it is not a manifest"

    def _check_manifest(self) -> None:
        if self._manifest_digest:
            if self._manifest.generation and self._manifest_digest not in self._stated.manifests:
                self._add(Finding("MANIFEST.json", "the manifest is not one that was sealed"))
        elif self._stated.manifests or self._folder.manifest.exists():
            self._add(Finding("MANIFEST.json", self._manifest_problem))

    def _lake_checks(self, manifest: Manifest) -> list[tuple[int, Callable[[], None]]]:
        items = [*manifest.parts, *manifest.rollups, *manifest.indexes]
        self._found.lake_files += len(items)
        return [
            (item["bytes"], partial(self._check_lake_file, item["path"], self._stated.lake.get(item["path"])))
            for item in items
        ]

    def _check_lake_file(self, path: str, seal: dict[str, Any] | None) -> None:
        if seal is None:
            self._add(Finding(path, "no seal states this file"))
            return
        try:
            with (self._folder.root / path).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                same = size == seal["bytes"] and self._digest(file, 0, size) == seal["sha256"]
        except FileNotFoundError:
            self._add(Finding(path, "the file is missing"))
            return
        if not same:
            self._add(Finding(path, "the file is not the one that was sealed"))

    def _check_lake_rows(self, manifest: Manifest) -> None:
        held = sum(item["rows"] for item in manifest.parts) + self._stated.removable.lake_rows
        owed = self._stated.published_rows
        if held != owed:
            self._add(Finding("MANIFEST.json", f"the lake holds {held} rows, the sealed segments had {owed}"))

    def _count_superseded(self, manifest: Manifest) -> None:
        """Files that later ones have replaced, or that never counted: no query reads them, and nothing here does."""
        folder = self._folder
        counted = {item["path"] for item in (*manifest.parts, *manifest.rollups, *manifest.indexes)}
        there = (path for kind in (folder.lake, folder.rollup, folder.index) for path in kind.rglob("*.parquet"))
        in_lake = sum(str(path.relative_to(folder.root)) not in counted for path in there)
        in_log = sum(number < manifest.marks.get(writer, 0) for writer, number, _ in folder.segments())
        self._found.superseded_files = in_lake + in_log


def _place(finding: Finding) -> tuple[bool, str]:
    """The lineage first: there the very line is named."""
    return not finding.where.startswith("lineage/"), finding.where


def _first_difference(folder: AuditFolder, segment: Path, writer: str) -> tuple[str, int | None]:
    """Tenant and sequence number of the first line of a segment that is not in the tenant's lineage, or the reverse."""
    lines, _ = lines_of(segment.read_bytes(), 0)
    kept: dict[str, dict[int, bytes]] = {}
    expected: dict[str, int] = {}
    for line in lines:
        if line.tenant not in kept:
            try:
                of_tenant, _ = lines_of(folder.lineage_of(line.tenant, writer).read_bytes(), 0)
            except FileNotFoundError:
                of_tenant = []
            kept[line.tenant] = {entry.seq: entry.content for entry in of_tenant}
        if line.seq != expected.get(line.tenant, line.seq):
            return line.tenant, expected[line.tenant]
        if kept[line.tenant].get(line.seq) != line.content:
            return line.tenant, line.seq
        expected[line.tenant] = line.seq + 1
    for tenant, seq in expected.items():
        if seq in kept[tenant]:
            return tenant, seq
    return "", None
