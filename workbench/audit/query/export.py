"""Exports of the record: one table, one stretch of time, as CSV, Parquet or JSON lines, in bounded memory.

`python -m workbench.audit.query.export HOME --table tool_calls --format csv` writes to standard output; the platform
runs it so for callers over HTTP, in a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, get_args

import orjson

from workbench.audit.query.reader import Reader
from workbench.audit.query.views import TABLES
from workbench.events import MisuseError, WorkbenchError, now_us

if TYPE_CHECKING:
    import pyarrow

ExportFormat = Literal["csv", "parquet", "jsonl"]
FORMATS: tuple[ExportFormat, ...] = get_args(ExportFormat)

MEDIA_TYPES: dict[ExportFormat, str] = {
    "csv": "text/csv; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "jsonl": "application/x-ndjson",
}

_BATCH = 256
_LINES = 64
_ROW_GROUP_BYTES = 32 << 20
_TIMEOUT_S = 24 * 3600.0
_ALIASES = {"calls": "tool_calls"}

Progress = Callable[[int, int], object]
"""Called with the rows written so far and the rows to write."""


def table_of(name: str) -> str:
    """The table that a person means.

    Raises:
        MisuseError: there is no such table.
    """
    found = _ALIASES.get(name, name)
    if found not in TABLES or found == "tool_calls_hourly":
        tables = ", ".join(table for table in TABLES if table != "tool_calls_hourly")
        raise MisuseError(f"There is no table {name!r} to export.", hint=f"Expected calls or one of {tables}.")
    return found


def export(
    home: Path,
    output: IO[bytes],
    *,
    table: str = "tool_calls",
    format: ExportFormat = "csv",
    since_us: int = 0,
    until_us: int = 0,
    tenant: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Write one table to `output`, day by day; returns how many rows that were.

    Days are in order, rows within a day are not: sorting them would need as much memory as they have bytes.

    Args:
        table: a table of the record, or `calls`.
        since_us: first time, inclusive, µs since the epoch.
        until_us: last time, exclusive; 0 means now, so that the export ends although more is recorded meanwhile.
        tenant: only this tenant's rows.

    Raises:
        MisuseError: no such table.
        OSError: the output cannot be written.
    """
    name = table_of(table)
    span = {"since": since_us, "until": until_us or now_us()}
    where = "ts >= make_timestamp($since) AND ts < make_timestamp($until)"
    with Reader(home, tenant=tenant) as reader:
        days = reader.sql(
            f"SELECT CAST(ts AS DATE) AS day, count(*) AS n FROM {name} WHERE {where} GROUP BY 1 ORDER BY 1",
            span,
            timeout_s=_TIMEOUT_S,
        ).to_pylist()
        total = sum(day["n"] for day in days)
        select = f"SELECT {_columns(reader, name, format)} FROM {name} WHERE {where}"
        done = 0
        with _writer(format, output, reader.sql(f"{select} LIMIT 0", span).schema) as write:
            for day in days:
                of_day = {**span, "day": day["day"]}
                for batch in reader.batches(
                    f"{select} AND CAST(ts AS DATE) = $day", of_day, rows=_BATCH, timeout_s=_TIMEOUT_S
                ):
                    write(batch)
                    done += batch.num_rows
                    if progress is not None:
                        progress(done, total)
    return done


def _columns(reader: Reader, table: str, format: ExportFormat) -> str:
    """The columns of a table; in CSV, lists become JSON text, because CSV has none."""
    described = reader.sql(f"DESCRIBE {table}").to_pylist()
    lists = {row["column_name"] for row in described if format == "csv" and row["column_type"].endswith("[]")}
    return ", ".join(
        f'CAST(to_json("{name}") AS VARCHAR) AS "{name}"' if name in lists else f'"{name}"'
        for name in (row["column_name"] for row in described)
    )


@contextlib.contextmanager
def _writer(format: ExportFormat, output: IO[bytes], schema: Any) -> Iterator[Callable[[Any], None]]:
    if format == "csv":
        from pyarrow import csv

        with csv.CSVWriter(output, schema) as writer:
            yield writer.write_batch
    elif format == "parquet":
        with _RowGroups(output, schema) as groups:
            yield groups.add
    else:
        yield lambda batch: _write_lines(output, batch)


def _write_lines(output: IO[bytes], batch: pyarrow.RecordBatch) -> None:
    option = orjson.OPT_APPEND_NEWLINE | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z
    for at in range(0, batch.num_rows, _LINES):
        for row in batch.slice(at, _LINES).to_pylist():
            output.write(orjson.dumps(row, default=str, option=option))


class _RowGroups:
    """Collects batches into row groups that are worth their overhead."""

    def __init__(self, output: IO[bytes], schema: Any) -> None:
        from pyarrow import parquet

        self._schema = schema
        self._waiting: list[Any] = []
        self._bytes = 0
        self._writer = parquet.ParquetWriter(output, schema, compression="zstd")

    def add(self, batch: pyarrow.RecordBatch) -> None:
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        import pyarrow

        if self._waiting:
            self._writer.write_table(pyarrow.Table.from_batches(self._waiting, self._schema))
        self._waiting, self._bytes = [], 0

    def __enter__(self) -> _RowGroups:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._writer.close()


def export_file(home: Path, path: Path, **options: Any) -> int:
    """`export` into a file that appears whole or not at all: a temporary one beside it is renamed at the end.

    Raises:
        MisuseError: no such table.
        OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as output:
            rows = export(home, output, **options)
            output.flush()
            os.fsync(output.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return rows


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code: 0, or that of the error, whose JSON is on standard error."""
    parser = argparse.ArgumentParser(prog="workbench.audit.query.export")
    parser.add_argument("home", type=Path)
    parser.add_argument("--table", default="tool_calls")
    parser.add_argument("--format", choices=FORMATS, default="csv")
    parser.add_argument("--since", type=int, default=0, help="µs since the epoch")
    parser.add_argument("--until", type=int, default=0, help="µs since the epoch")
    parser.add_argument("--tenant", default=None)
    given = parser.parse_args(arguments)
    try:
        export(
            given.home,
            sys.stdout.buffer,
            table=given.table,
            format=given.format,
            since_us=given.since,
            until_us=given.until,
            tenant=given.tenant,
        )
        sys.stdout.buffer.flush()
    except WorkbenchError as e:
        sys.stderr.write(orjson.dumps({"message": str(e.args[0]), "hint": e.hint}).decode())
        return e.exit_code
    return 0


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        os.nice(5)  # here, so that a program that calls `main` keeps its own priority
    sys.exit(main())
