"""Runs one query under caps of time, rows and bytes, and turns what it gives into JSON."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from typing import Any

import duckdb

from servers.tables.folder import quoted

LONGEST_VALUE = 4000
MOST_BYTES = 1 << 20
MOST_COLUMNS = 300

PLAIN = {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"}
PLAIN |= {"UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE"}


_cursors = threading.Lock()
"""A connection refuses to be used twice at a time, even to make a cursor."""


class QueryFailed(Exception):
    """The query is wrong, too slow or too large. The message is for the caller."""


def run(
    connection: duckdb.DuckDBPyConnection,
    sql: str,
    parameters: Sequence[Any] | dict[str, Any] = (),
    *,
    most_rows: int,
    timeout_s: float,
) -> dict[str, Any]:
    """The rows of one query that has been checked: `columns`, `rows`, `row_count`, `truncated`.

    Args:
        connection: a locked-down connection; the query runs on a cursor of its own.
        sql: one SELECT.
        parameters: for `?` a list, for `$name` a dict.
        most_rows: more are left out, and said so.
        timeout_s: seconds until the query is interrupted.

    Raises:
        QueryFailed: the query is wrong, too slow or too large.
    """
    cursor = new_cursor(connection)
    timer = threading.Timer(timeout_s, cursor.interrupt)
    timer.daemon = True
    timer.start()
    try:
        described = cursor.execute(f"select * from (\n{sql}\n) limit 0", parameters).description or []
        if len(described) > MOST_COLUMNS:
            raise QueryFailed(f"The query gives {len(described)} columns; at most {MOST_COLUMNS} are allowed.")
        inner = [f"c{n}" for n in range(len(described))]
        shaped = ", ".join(_shaped(c, str(d[1])) for c, d in zip(inner, described, strict=True))
        cursor.execute(f"select {shaped} from (\n{sql}\n) as q({', '.join(inner)}) limit {most_rows + 1}", parameters)
        return _collect(cursor, _unique([str(d[0]) for d in described]), [str(d[1]) for d in described], most_rows)
    except duckdb.InterruptException as e:
        raise QueryFailed(f"The query took longer than {timeout_s:g} s and was stopped. Narrow it.") from e
    except duckdb.OutOfMemoryException as e:
        raise QueryFailed("The query needs more memory than it may have. Narrow it or group first.") from e
    except duckdb.Error as e:
        raise QueryFailed(f"The query failed. {first_lines(e)}") from e
    finally:
        timer.cancel()
        cursor.close()


def new_cursor(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor for one thread."""
    with _cursors:
        return connection.cursor()


def first_lines(error: Exception, most: int = 3) -> str:
    """The useful part of an engine's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:most])[:600]


def _collect(cursor: duckdb.DuckDBPyConnection, columns: list[str], types: list[str], most_rows: int) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    size, cut = 0, False
    while batch := cursor.fetchmany(200):
        for raw in batch:
            if len(rows) >= most_rows or size > MOST_BYTES:
                return {"columns": columns, "rows": rows, "row_count": len(rows), "truncated": True}
            values = []
            for value, kind in zip(raw, types, strict=True):
                plain, was_cut = _value(value, kind)
                values.append(plain)
                cut |= was_cut
                size += len(plain) if isinstance(plain, str) else 16
            rows.append(dict(zip(columns, values, strict=True)))
    return {"columns": columns, "rows": rows, "row_count": len(rows), "truncated": cut}


def _shaped(column: str, kind: str) -> str:
    """A column so that no value is larger than allowed when it leaves the engine."""
    if kind in PLAIN or kind.startswith("DECIMAL"):
        return column
    if kind == "BLOB":
        return f"left(hex({column}), {LONGEST_VALUE + 1})"
    text = f"to_json({column})::varchar" if _nested(kind) else f"{column}::varchar"
    return f"left({text}, {LONGEST_VALUE + 1})"


def _nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "LIST", "JSON", "VARIANT"))


def _value(value: Any, kind: str) -> tuple[Any, bool]:
    if value is None or isinstance(value, (bool, int)):
        return value, False
    if isinstance(value, float):
        # JSON has no word for these
        return (value, False) if math.isfinite(value) else (None if math.isnan(value) else str(value), False)
    if isinstance(value, str):
        if len(value) > LONGEST_VALUE:
            return value[:LONGEST_VALUE] + "…", True
        return (json.loads(value), False) if _nested(kind) else (value, False)
    return (int(value) if value == int(value) and "," in kind and kind.endswith(",0)") else float(value)), False


def _unique(names: list[str]) -> list[str]:
    """The names, a repeated one with a number."""
    seen: dict[str, int] = {}
    made = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        made.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return made


def names_of(columns: Sequence[str]) -> str:
    """Column names as a list in SQL."""
    return ", ".join(quoted(c) for c in columns)
