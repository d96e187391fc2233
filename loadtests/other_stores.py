"""What the record is measured beside: SQLite, a plain DuckDB file, and the bare disk, with the same events."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from loadtests.recorded_month import Recorded
from workbench.audit import Reader

_COLUMNS = "ts bigint, tenant varchar, tool varchar, outcome varchar, latency_us bigint, trace_id varchar, body varchar"
_DAY = "ts >= (select max(ts) from events) - 86400000000"


def flat(tenant: str, record: dict[str, Any]) -> tuple[Any, ...]:
    """A record as the columns that the other stores get."""
    keys = ("tool", "outcome", "latency_us", "trace_id")
    return (record["timestamp"], tenant, *(record[key] for key in keys), json.dumps(record))


def sqlite_groups(path: Path, groups: list[list[Recorded]]) -> float:
    """Events per second into SQLite: WAL, synchronous=FULL, two indexes, one transaction for each group."""
    db = _sqlite(path)
    began = time.perf_counter()
    for group in groups:
        db.execute("begin")
        db.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?)", [flat(t, r) for t, r in group])
        db.execute("commit")
    took = time.perf_counter() - began
    db.close()
    return sum(map(len, groups)) / took


def _sqlite(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("create table events (ts, tenant, tool, outcome, latency_us, trace_id, body)")
    db.execute("create index by_time on events (ts)")
    db.execute("create index by_trace on events (trace_id)")
    return db


def duckdb_groups(path: Path, groups: list[list[Recorded]]) -> float:
    """Events per second into a DuckDB file through its appender, flushed and committed for each group."""
    import duckdb

    with duckdb.connect(str(path)) as db:
        db.execute(f"create table events ({_COLUMNS})")
        began = time.perf_counter()
        for group in groups:
            with db.appender("events") as appender:
                for tenant, record in group:
                    appender.append_row(*flat(tenant, record))
        took = time.perf_counter() - began
    return sum(map(len, groups)) / took


def plain_groups(path: Path, segments: list[Path], group: int) -> float:
    """Events per second when the very bytes of a log are written again and `fdatasync` follows every group."""
    lines = [line for segment in segments for line in segment.read_bytes().splitlines(keepends=True)]
    pieces = [b"".join(lines[at : at + group]) for at in range(0, len(lines), group)]
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, 0o600)
    began = time.perf_counter()
    for piece in pieces:
        os.write(fd, piece)
        os.fdatasync(fd)
    took = time.perf_counter() - began
    os.close(fd)
    return len(lines) / took


def plain_hashes(root: Path) -> int:
    """SHA-256 of every file of the lineage and the lake, on all cores nothing compared; how many bytes."""

    def hashed(path: Path) -> int:
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        return path.stat().st_size

    files = [path for kind in ("lineage", "lake", "rollup", "index") for path in (root / kind).glob("*/*")]
    files.sort(key=lambda path: -path.stat().st_size)
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        return sum(pool.map(hashed, files))


class Copies:
    """The newest day of a record in SQLite, with indexes on time and trace, and all of it in a plain DuckDB file."""

    def __init__(self, folder: Path, home: Path) -> None:
        import duckdb

        with Reader(home, threads=2, memory="1GB") as reader:
            day = reader.sql(
                "select epoch_us(ts), tenant, tool, outcome, latency_us, trace_id, args from tool_calls "
                "where ts >= (select max(ts) from tool_calls) - interval 1 day"
            )
        self._sqlite = _sqlite(folder / "copy.sqlite")
        self._sqlite.execute("begin")
        rows = zip(*(column.to_pylist() for column in day.columns), strict=True)
        self._sqlite.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?)", rows)
        self._sqlite.execute("commit")
        self._duckdb = duckdb.connect(str(folder / "copy.duckdb"), config={"threads": "2", "memory_limit": "1GB"})
        self._duckdb.execute("set enable_progress_bar = false")
        self._duckdb.execute(
            "create table events as select epoch_us(ts) as ts, tenant, tool, outcome, latency_us, trace_id, args "
            f"from read_parquet('{home}/audit/lake/*/*.parquet', hive_partitioning=false) where kind = 'call'"
        )

    def sqlite_by_hour(self) -> None:
        """p95 by tool and hour over a day; SQLite has no percentiles, so calls are numbered by latency."""
        self._sqlite.execute(
            "select tool, hour, min(latency_us) from (select tool, ts / 3600000000 as hour, latency_us, "
            "percent_rank() over (partition by tool, ts / 3600000000 order by latency_us) as rank from events) "
            "where rank >= 0.95 group by tool, hour"
        ).fetchall()

    def sqlite_trace(self, trace: str) -> None:
        """One trace, by index."""
        self._sqlite.execute("select * from events where trace_id = ?", [trace]).fetchall()

    def duckdb_by_hour(self) -> None:
        """p95 by tool and hour over a day."""
        self._duckdb.sql(
            f"select tool, ts // 3600000000, quantile_cont(latency_us, 0.95) from events where {_DAY} group by all"
        ).fetchall()

    def duckdb_trace(self, trace: str) -> None:
        """One trace, without an index."""
        self._duckdb.execute("select * from events where trace_id = ?", [trace]).fetchall()

    def duckdb_month(self) -> None:
        """The calls of each day by outcome."""
        self._duckdb.sql(
            "select ts // 86400000000, outcome, count(*), avg(latency_us) from events group by all"
        ).fetchall()

    def close(self) -> None:
        """Give up the files."""
        self._sqlite.close()
        self._duckdb.close()
