"""Finding the events of one trace, call or run without reading the record.

Beside each file of the lake lies an index: for every id in it, who and when. The ids are there as 63 bits of their MD5,
in order, so that one id is found by the statistics of the index; two ids that share those bits cost time, not truth.
What is not compacted yet is searched as bytes, and only lines that name the id are read as JSON.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import orjson

from workbench.audit.format.columns import COLUMNS, FIELDS, quoted, select_nothing, select_parquet

if TYPE_CHECKING:
    import duckdb

    from workbench.audit.lake.manifest import CurrentFiles

IdColumn = Literal["trace_id", "request_id", "run_id"]
"""The ids that are indexed: of traces, of calls, of runs."""

_HASH = "CAST(md5_number_lower({}) >> 1 AS BIGINT)"


def select_ids(events: str) -> str:
    """SQL that says who used each id of `events` (a table or a select in parentheses), and from when to when."""
    ids = ", ".join(get_args(IdColumn))
    return (
        f"SELECT {_HASH.format('id')} AS id, tenant, min(ts) AS first_ts, max(ts) AS last_ts "
        f"FROM (SELECT unnest([{ids}]) AS id, tenant, ts FROM {events}) WHERE id IS NOT NULL GROUP BY ALL"
    )


class IndexLocation(NamedTuple):
    """Where in the lake events of an id may be."""

    part: str
    tenant: str
    first: Any
    last: Any


class TraceLookup:
    """The events of one id, as SQL over the few places that may hold them.

    Args:
        connection: where the SQL will run.
        files: what the record consists of now.
        column: which id it is; None when it may be any of them.
        value: the id.
        tenant: look only at this tenant's events; None looks at all.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        files: CurrentFiles,
        column: IdColumn | None,
        value: str,
        tenant: str | None = None,
    ) -> None:
        self._connection = connection
        self._files = files
        self._columns: tuple[str, ...] = get_args(IdColumn) if column is None else (column,)
        self._named = f"$id IN ({', '.join(self._columns)})"
        self._value = value
        self._tenant = tenant

    def select(self) -> tuple[str, dict[str, Any]]:
        """The statement and its parameters: every column of `events`, oldest first."""
        parameters: dict[str, Any] = {"id": self._value}
        selects = []
        for number, place in enumerate(self._places()):
            names = [f"tenant{number}", f"first{number}", f"last{number}"]
            parameters.update(zip(names, place[1:], strict=True))
            narrow = "WHERE tenant = ${} AND ts BETWEEN ${} AND ${}".format(*names)
            selects.append(f"SELECT * FROM ({select_parquet([place.part])}) {narrow} AND {self._named}")
        if self._files.unindexed:
            selects.append(f"SELECT * FROM ({select_parquet(self._files.unindexed)}) WHERE {self._named}")
        found = [(line, name) for path in self._files.segments for line, name in self._lines(Path(path))]
        if found:
            parameters["lines"] = [line for line, _ in found]
            parameters["names"] = [name for _, name in found]
            selects.append(f"SELECT * FROM ({_select_texts('$lines', '$names')}) WHERE {self._named}")
        everything = " UNION ALL ".join(selects) or f"{select_nothing()} AND $id IS NULL"
        if self._tenant is None:
            return f"SELECT * FROM ({everything}) ORDER BY ts, seq", parameters
        parameters["of"] = self._tenant
        return f"SELECT * FROM ({everything}) WHERE tenant = $of ORDER BY ts, seq", parameters

    def _places(self) -> list[IndexLocation]:
        indexes = self._files.indexes
        if not indexes:
            return []
        paths = ", ".join(map(quoted, indexes))
        rows = self._connection.execute(
            f"SELECT filename, tenant, first_ts, last_ts FROM read_parquet([{paths}], filename=true, "
            f"hive_partitioning=false) WHERE id = {_HASH.format('$id')}",
            {"id": self._value},
        ).fetchall()
        return [IndexLocation(indexes[str(file)], *rest) for file, *rest in rows if self._tenant in (None, rest[0])]

    def _lines(self, segment: Path) -> Iterator[tuple[str, str]]:
        """Whole lines of a segment of the log that hold the id under its name."""
        value, seen = orjson.dumps(self._value), set()
        try:
            with segment.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                for column in self._columns:
                    wanted = b'"%b":%b' % (column.encode(), value)
                    at = content.find(wanted)
                    while at >= 0 and (end := content.find(b"\n", at)) >= 0:  # without an end it is being written
                        begin = content.rfind(b"\n", 0, at) + 1
                        if begin not in seen:
                            yield content[begin:end].decode(), str(segment)
                        seen.add(begin)
                        at = content.find(wanted, end)
        except (FileNotFoundError, ValueError):  # removed in the meantime, or nothing in it yet
            return


def _select_texts(lines: str, names: str) -> str:
    """SQL that reads lines given as text as `events`; beside each line the file that it is from."""
    shape = quoted(orjson.dumps(FIELDS).decode())
    columns = ", ".join(f'CAST({c.source} AS {c.type}) AS "{c.name}"' for c in COLUMNS)
    return (
        f"SELECT {columns} FROM (SELECT unnest(json_transform(line, {shape})), filename "
        f"FROM (SELECT unnest({lines}) AS line, unnest({names}) AS filename))"
    )
