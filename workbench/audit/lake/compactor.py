"""The compactor: sealed segments of the log become Parquet by day, with hourly summaries and a trace index.

It runs in a process of its own at low priority (`python -m workbench.audit.compact HOME --every 60`); one at a time
(flock). It may be killed at any point: files count from the moment the manifest that names them is in place, and the
segments they came from are removed only long after. The lineage is never touched.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from workbench.audit.format.columns import quoted, select_lines, select_parquet
from workbench.audit.format.folder import AuditFolder, sync_folder
from workbench.audit.format.merkle_tree import Frontier
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.merge_plan import due, file_of, groups
from workbench.audit.lake.rollups import merge_rollups, select_rollup
from workbench.audit.lake.segment_checks import LakeRefusedError, check_segment, lineage_has, read_range
from workbench.audit.lake.trace_index import select_ids
from workbench.audit.write.seals import SealLog, Witness, read_seals
from workbench.events import JSON, now_us

if TYPE_CHECKING:
    import duckdb

GRACE_S = 900.0
"""Seconds that a file stays after it stopped counting, for readers that still use it."""

NO_TENANTS: Mapping[str, int] = MappingProxyType({})

_BATCH_BYTES = 64 << 20
_SORTED = "ORDER BY tenant, ts, writer, seq"
_ROW_GROUP = 20_480
"""Rows that Parquet keeps statistics of together. Few of them mostly belong to one tenant and a short time, so that a
lookup reads little; the files do not become larger for it."""


class CompactionResult(NamedTuple):
    """What one run did."""

    segments: int
    rows: int
    merged_days: int
    removed_files: int


class Compactor:
    """Publishes what is sealed.

    Args:
        folder: the record.
        witness: gets a copy of each checkpoint that the new lake files are stated in.
        memory: most memory DuckDB may use, as DuckDB writes it; it spills to disk beyond.
        grace_s: seconds before files that count no more are removed.
        batch_bytes: bytes of the log that are published at once.
    """

    def __init__(
        self,
        folder: AuditFolder,
        *,
        witness: Witness | None = None,
        memory: str = "384MB",
        grace_s: float = GRACE_S,
        batch_bytes: int = _BATCH_BYTES,
    ) -> None:
        self._folder = folder
        self._witness = witness
        self._memory = memory
        self._grace_us = int(grace_s * 1e6)
        self._batch_bytes = batch_bytes
        self._spill = folder.root / "spill"

    def run(self, *, today: str | None = None) -> CompactionResult | None:
        """Publish everything sealed, merge finished days, remove what long stopped counting.

        Args:
            today: the day that is not finished yet, as `YYYY-MM-DD`; default today, UTC.

        Returns:
            What was done; None when another compactor is at work.

        Raises:
            LakeRefusedError: a segment is not what its seal says. What came before it is published.
            OSError: the disk says no.
        """
        self._folder.prepare()
        with self.alone() as (alone, connection):
            if not alone:
                return None
            segments = rows = 0
            while batch := self._next_batch():
                rows += self._publish(connection, *batch)
                segments += len(batch[1])
            merged = self._merge(connection, today or datetime.now(UTC).date().isoformat())
            return CompactionResult(segments, rows, merged, self.remove_retired())

    @contextmanager
    def alone(self) -> Iterator[tuple[bool, duckdb.DuckDBPyConnection]]:
        """Whether no other compactor is at work, and a database to work with; both until the block ends."""
        fd = os.open(self._folder.root / "compactor.lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                alone = False
            with self._database() as connection:
                yield alone, connection
            if alone:
                shutil.rmtree(self._spill, ignore_errors=True)
        finally:
            os.close(fd)

    @contextmanager
    def _database(self) -> Iterator[duckdb.DuckDBPyConnection]:
        import duckdb

        with duckdb.connect(
            ":memory:",
            config={
                "threads": "1",
                "memory_limit": self._memory,
                "temp_directory": str(self._spill),
                "preserve_insertion_order": "false",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
            },
        ) as connection:
            connection.execute("SET enable_progress_bar = false")
            yield connection

    # --- from the log to the lake ------------------------------------------

    def _next_batch(self) -> tuple[Manifest, list[JSON]] | None:
        """The manifest with the seals counted in, and the segments to publish with it."""
        manifest = Manifest.read(self._folder)
        batch: list[JSON] = []
        size = 0
        entries = read_seals(self._folder, manifest.seals_bytes)
        if not manifest.seals_bytes:
            manifest.seals_bytes = sum(len(entry) + 1 for entry, _ in entries[: manifest.seals])
            entries = entries[manifest.seals :]
        for entry, seal in entries:
            if seal.get("type") == "segment" and seal["number"] >= manifest.marks.get(seal["writer"], 0):
                if batch and size + seal["bytes"] > self._batch_bytes:
                    break
                batch.append(seal)
                size += seal["bytes"]
            manifest.seals += 1
            manifest.seals_bytes += len(entry) + 1
        return (manifest, batch) if batch else None

    def _publish(self, connection: duckdb.DuckDBPyConnection, manifest: Manifest, batch: list[JSON]) -> int:
        paths = []
        for seal in batch:
            path = self._folder.wal / seal["segment"]
            check_segment(path, seal)
            paths.append(str(path))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE batch AS {select_lines(paths)}")
        rows = _count(connection, "batch")
        expected = sum(seal["rows"] for seal in batch)
        if rows != expected:
            raise LakeRefusedError(
                f"{rows} of {expected} lines of {batch[0]['segment']} … can be read.",
                hint="Run `workbench audit verify --deep`.",
            )
        manifest.generation += 1
        added: list[dict[str, Any]] = []
        for day in _days(connection, "batch"):
            of_day = f"(SELECT * FROM batch WHERE CAST(ts AS DATE) = DATE {quoted(day)})"
            added += self._write_day(connection, manifest, day, f"SELECT * FROM {of_day} {_SORTED}", of_day)
        for seal in batch:
            manifest.marks[seal["writer"]] = max(manifest.marks.get(seal["writer"], 0), seal["number"] + 1)
            manifest.retired.append({"path": f"wal/{seal['segment']}", "since_us": now_us()})
        lines = [self._line_tree(state) for seal in batch for state in seal["lineage"]]
        self._put_in_place(manifest, added, [], lines)
        connection.execute("DROP TABLE batch")
        return rows

    def _line_tree(self, state: JSON) -> dict[str, Any]:
        """Root of the tree over the lines of one sealed range of lineage: with it, one line can be proved alone."""
        content = read_range(self._folder, state)
        if hashlib.sha256(content).hexdigest() != state["sha256"]:
            raise LakeRefusedError(
                f"The lineage {state['file']} is not what its seal says.", hint="Run `workbench audit verify --deep`."
            )
        frontier = Frontier()
        for line in content.split(b"\n")[:-1]:
            frontier.append(line)
        return {
            "file": state["file"],
            "start": state["start"],
            "bytes": state["bytes"],
            "rows": frontier.size,
            "root": frontier.root().hex(),
        }

    def _write_day(
        self, connection: duckdb.DuckDBPyConnection, manifest: Manifest, day: str, events: str, source: str
    ) -> list[dict[str, Any]]:
        name = f"date={day}/part-{manifest.generation:08d}.parquet"
        part = self._write(connection, self._folder.lake / name, events, day)
        rollup = self._write_rollup(connection, name, select_rollup(source), day)
        index = self._write_index(connection, name, source, day)
        manifest.parts.append(part)
        manifest.rollups.append(rollup)
        manifest.indexes.append(index)
        return [part, rollup, index]

    def _write_rollup(self, connection: duckdb.DuckDBPyConnection, name: str, select: str, day: str) -> dict[str, Any]:
        select = (
            f"{select} ORDER BY tenant, qualified, outcome, hour, bucket"  # long runs of equal values: a third less
        )
        return self._write(connection, self._folder.rollup / name, select, day, group=122_880)

    def _write_index(self, connection: duckdb.DuckDBPyConnection, name: str, source: str, day: str) -> dict[str, Any]:
        select = f"{select_ids(source)} ORDER BY id"
        return {**self._write(connection, self._folder.index / name, select, day), "ids": True}

    def _write(
        self, connection: duckdb.DuckDBPyConnection, path: Path, select: str, day: str, *, group: int = _ROW_GROUP
    ) -> dict[str, Any]:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = path.with_suffix(".tmp")
        connection.execute(
            f"COPY ({select}) TO {quoted(str(temporary))} (FORMAT parquet, CODEC zstd, ROW_GROUP_SIZE {group})"
        )
        temporary.chmod(0o600)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        temporary.rename(path)
        sync_folder(path.parent)
        return {
            "path": str(path.relative_to(self._folder.root)),
            "date": day,
            "rows": _count(connection, f"read_parquet({quoted(str(path))})"),
            "bytes": path.stat().st_size,
            "sha256": digest,
        }

    def _put_in_place(
        self,
        manifest: Manifest,
        added: list[dict[str, Any]],
        removed: list[str],
        lines: list[dict[str, Any]] | None = None,
        dropped: list[dict[str, Any]] | None = None,
    ) -> None:
        """State the new files and the manifest in the seals, then let them count."""
        if not self._folder.manifest.exists():
            Manifest().publish(self._folder)  # once a seal speaks of manifests, that there is none is a finding
        manifest.published_us = now_us()
        stated = {
            "v": 1,
            "type": "lake",
            "generation": manifest.generation,
            "manifest_sha256": manifest.digest(),
            "added": added,
            "removed": removed,
            "lines": lines or [],
            "sealed_us": manifest.published_us,
        }
        if dropped:
            stated["dropped"] = dropped
        SealLog(self._folder, self._witness).append(stated)
        manifest.publish(self._folder)

    # --- housekeeping -------------------------------------------------------

    def _merge(self, connection: duckdb.DuckDBPyConnection, today: str) -> int:
        """Rewrite each finished day as one file, and small files of the current day as larger ones."""
        parts: dict[str, list[JSON]] = {}
        for part in Manifest.read(self._folder).parts:
            parts.setdefault(part["date"], []).append(part)
        merged = 0
        for day, of_day in sorted(parts.items()):
            chosen = due(of_day, over=day < today)
            for group in chosen:
                self._rewrite(connection, day, {file_of(part) for part in group}, NO_TENANTS)
            merged += bool(chosen)
        return merged

    def rewrite_day(
        self, connection: duckdb.DuckDBPyConnection, day: str, *, without: Mapping[str, int] = NO_TENANTS
    ) -> None:
        """Write the files of one day anew, as few as memory allows.

        Args:
            without: tenants whose rows are left out, and the days that their rule keeps; the seal states both.
        """
        of_day = [part for part in Manifest.read(self._folder).parts if part["date"] == day]
        for group in groups(of_day):
            if len(group) > 1 or without:
                self._rewrite(connection, day, {file_of(part) for part in group}, without)

    def _rewrite(
        self, connection: duckdb.DuckDBPyConnection, day: str, chosen: set[str], without: Mapping[str, int]
    ) -> None:
        manifest = Manifest.read(self._folder)
        manifest.generation += 1

        def ours(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [item for item in items if file_of(item) in chosen]

        old = ours([*manifest.parts, *manifest.rollups, *manifest.indexes])
        rows = sum(item["rows"] for item in ours(manifest.parts))
        name = f"date={day}/part-{manifest.generation:08d}.parquet"
        kept = f"WHERE tenant NOT IN ({', '.join(map(quoted, without))})" if without else ""

        def files(items: list[dict[str, Any]]) -> list[str]:
            return [str(self._folder.root / item["path"]) for item in ours(items)]

        def read(items: list[dict[str, Any]]) -> str:
            paths = ", ".join(map(quoted, files(items)))
            return f"(SELECT * FROM read_parquet([{paths}], hive_partitioning=false) {kept})"

        everything = f"({select_parquet(files(manifest.parts))})"
        dropped = _dropped(connection, everything, day, without)
        part = self._write(connection, self._folder.lake / name, f"SELECT * FROM {everything} {kept} {_SORTED}", day)
        if part["rows"] + sum(item["rows"] for item in dropped) != rows:
            raise LakeRefusedError(f"The files of {day} hold {part['rows']} rows, the manifest says {rows}.", hint="")
        sums = merge_rollups(read(manifest.rollups))
        rollup = self._write_rollup(connection, name, sums, day)
        index = self._write_index(connection, name, f"(SELECT * FROM {everything} {kept})", day)
        for kind, new in (("parts", part), ("rollups", rollup), ("indexes", index)):
            others = [item for item in getattr(manifest, kind) if file_of(item) not in chosen]
            setattr(manifest, kind, [*others, new] if part["rows"] else others)
        removed = [item["path"] for item in (old if part["rows"] else [*old, part, rollup, index])]
        manifest.retired += [{"path": path, "since_us": now_us()} for path in removed]
        self._put_in_place(manifest, [part, rollup, index], removed, dropped=dropped)

    def remove_retired(self) -> int:
        """Remove files that stopped counting long enough ago; a segment only if the lineage has all of its lines."""
        manifest = Manifest.read(self._folder)
        limit = now_us() - self._grace_us
        due = [item for item in manifest.retired if item["since_us"] <= limit]
        if not due:
            return 0
        gone = []
        for item in due:
            path = self._folder.root / item["path"]
            if item["path"].startswith("wal/") and path.exists() and not lineage_has(self._folder, path):
                continue
            path.unlink(missing_ok=True)
            gone.append(item)
        if gone:
            manifest.retired = [item for item in manifest.retired if item not in gone]
            manifest.generation += 1
            self._put_in_place(manifest, [], [])
        return len(gone)


def _dropped(
    connection: duckdb.DuckDBPyConnection, events: str, day: str, without: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What a rewrite of a day leaves out: rows by tenant, and the rule."""
    if not without:
        return []
    named = ", ".join(map(quoted, without))
    rows = connection.execute(
        f"SELECT tenant, count(*) FROM {events} WHERE tenant IN ({named}) GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return [{"tenant": t, "date": day, "rows": int(n), "days": without[t]} for t, n in rows]


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0])


def _days(connection: duckdb.DuckDBPyConnection, source: str) -> list[str]:
    rows = connection.execute(f"SELECT DISTINCT CAST(CAST(ts AS DATE) AS VARCHAR) FROM {source} ORDER BY 1").fetchall()
    return [str(row[0]) for row in rows]
