"""Runs one query under caps of time, rows and bytes, and turns what it gives into JSON."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb

from servers.tables.conventions import quoted

MAX_VALUE_LENGTH = 4000
MAX_BYTES = 1 << 20
MAX_COLUMNS = 300

PLAIN = {"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER"}
PLAIN |= {"UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE"}
LEAST_INTEGER, GREATEST_INTEGER = -(1 << 63), (1 << 64) - 1
"""Many readers of JSON take an integer beyond 64 bits for a floating-point number, so it travels as text."""

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
        if len(described) > MAX_COLUMNS:
            raise QueryFailed(f"The query gives {len(described)} columns; at most {MAX_COLUMNS} are allowed.")
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
            if len(rows) >= most_rows or size > MAX_BYTES:
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
    if kind in PLAIN or decimal(kind):
        return column
    if kind == "BLOB":
        return f"left(hex({column}), {MAX_VALUE_LENGTH + 1})"
    text = f"to_json({column})::varchar" if _nested(kind) else f"{column}::varchar"
    return f"left({text}, {MAX_VALUE_LENGTH + 1})"


def _nested(kind: str) -> bool:
    return kind.endswith("]") or kind.startswith(("STRUCT", "MAP", "UNION", "LIST", "JSON", "VARIANT"))


def decimal(kind: str) -> bool:
    """Whether a type is a decimal number, and no list of them."""
    return kind.startswith("DECIMAL") and not kind.endswith("]")


def _value(value: Any, kind: str) -> tuple[Any, bool]:
    """A value as JSON has it, and whether it was cut."""
    if isinstance(value, str):
        if len(value) > MAX_VALUE_LENGTH:
            return value[:MAX_VALUE_LENGTH] + "…", True
        return (_parsed(value, kind) if _nested(kind) else value), False
    if isinstance(value, float):
        return _finite(value), False
    if isinstance(value, Decimal):
        return (_whole(value) if kind.endswith(",0)") else _fraction(value)), False
    return (_whole(value) if isinstance(value, int) and not isinstance(value, bool) else value), False


def _parsed(text: str, kind: str) -> Any:
    """What a nested value holds, its numbers treated as those that stand alone."""
    # the fractions of JSON are floats; those of a structure may be decimals
    fraction = _finite if kind.startswith("JSON") else _fraction
    try:
        return json.loads(text, parse_int=_whole, parse_float=fraction, parse_constant=_finite)
    except (ValueError, RecursionError):
        return text  # nested deeper than can be read


def _whole(value: Any) -> int | str:
    number = int(value)
    return number if LEAST_INTEGER <= number <= GREATEST_INTEGER else str(number)


def _fraction(value: Decimal | str) -> float | str:
    """The number if a float holds every digit of it, else its digits."""
    near = float(value)
    if math.isfinite(near) and Decimal(repr(near)) == Decimal(value):
        return near
    return value if isinstance(value, str) else format(value, "f")


def _finite(value: Any) -> float | str | None:
    """JSON has no word for what is no number or has no end."""
    number = float(value)
    return number if math.isfinite(number) else None if math.isnan(number) else str(number)


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
