"""What may be asked of the tables: structured filters and figures as SQL, and the check of free-form SQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import duckdb
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, ConfigDict, Field

from servers.tables.answers import decimal, first_lines, new_cursor
from servers.tables.conventions import quoted
from servers.tables.folder import Column, Table

MAX_QUERY_LENGTH = 20_000
MAX_DEPTH = 200

SELECTS = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
SOURCES = {"BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "EMPTY", "PIVOT", "EMPTY_FROM"}
TABLE_FUNCTIONS = {"range", "generate_series", "unnest", "json_each", "json_tree"}
REFUSED = {"query", "query_table", "current_setting", "getenv", "getvariable", "version", "pg_typeof", "nextval"}
REFUSED |= {"currval", "set_config", "add_parquet_key", "write_log", "txid_current", "current_database"}
REFUSED |= {"json_execute_serialized_sql", "parse_duckdb_log_message"}
REFUSED_PREFIX = ("duckdb_", "pragma_", "read_", "parquet_", "pg_", "sniff_", "glob", "which_secret", "current_schema")

Scalar = str | int | float | bool

Operator = Literal[
    "=", "!=", "<", "<=", ">", ">=", "in", "not in", "between", "contains", "starts with", "ends with",
    "is null", "is not null",
]  # fmt: skip


class Filter(BaseModel):
    """One condition on one column; several are joined by "and"."""

    model_config = ConfigDict(extra="forbid")

    column: str = Field(description="Name of a column.", examples=["origin"])
    op: Operator = Field("=", description="contains, starts with and ends with ignore case.")
    value: Scalar | list[Scalar] | None = Field(
        None,
        description="What to compare with; a list for in, not in and between (two values); dates as YYYY-MM-DD. "
        "null with = means that there is no value.",
        examples=["JFK", 100, ["JFK", "LGA"]],
    )


class Metric(BaseModel):
    """One figure to work out."""

    model_config = ConfigDict(extra="forbid")

    function: Literal["count", "count distinct", "sum", "avg", "min", "max", "median", "stddev"] = "count"
    column: str | None = Field(None, description="Column to work on; count without one counts rows.")


TimeUnit = Literal["year", "quarter", "month", "week", "day", "hour", "weekday", "hour of day"]
Filters = Annotated[list[Filter] | None, Field(description="Conditions that all have to hold.", max_length=30)]


def known_column(table: Table, name: str) -> Column:
    """The column of that name.

    Raises:
        ToolError: there is none; the message lists what there is.
    """
    column = table.column(name)
    if column is None:
        there = ", ".join(c.name for c in table.columns[:60])
        raise ToolError(f"Table {table.name} has no column {name!r}. Its columns: {there}.")
    return column


def conditions(table: Table, filters: list[Filter] | None) -> tuple[str, list[Any]]:
    """The WHERE clause of the filters and its parameters."""
    clauses, parameters = [], []
    for one in filters or []:
        sql, values = _condition(known_column(table, one.column), one)
        clauses.append(sql)
        parameters.extend(values)
    return (" where " + " and ".join(clauses) if clauses else ""), parameters


def _condition(column: Column, one: Filter) -> tuple[str, list[Any]]:
    name, op, value = quoted(column.name), one.op, one.value
    if op in ("is null", "is not null") or (value is None and op in ("=", "!=")):
        return f"{name} is {'not ' if op in ('!=', 'is not null') else ''}null", []
    if op in ("in", "not in", "between"):
        values = value if isinstance(value, list) else [value] if value is not None else []
        if not values or (op == "between" and len(values) != 2):
            wanted = "two values" if op == "between" else "a list of values"
            raise ToolError(f"Filter on {column.name!r}: {op} needs {wanted}, got {one.value!r}.")
        marks = [_mark(column, v) for v in values]
        if op == "between":
            return f"{name} between {marks[0]} and {marks[1]}", values
        return f"{name} {op} ({', '.join(marks)})", values
    if value is None or isinstance(value, list):
        raise ToolError(f"Filter on {column.name!r}: {op} needs one value, got {one.value!r}.")
    if op in ("contains", "starts with", "ends with"):
        function = {"contains": "contains", "starts with": "starts_with", "ends with": "ends_with"}[op]
        text = f"hex({name})" if column.type == "BLOB" else f"{name}::varchar"
        return f"{function}(lower({text}), lower(?))", [str(value)]
    return f"{name} {op} {_mark(column, value)}", [value]


def _mark(column: Column, value: Scalar) -> str:
    """The parameter's mark, cast so that text compares with dates and numbers as a person means it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and numeric(column):
        return "?"
    if column.type == "BLOB":
        return "unhex(?)"  # as the values come back
    return f"cast(? as {column.type})"


def numeric(column: Column) -> bool:
    """Whether the column holds numbers."""
    whole = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
    return column.type in (*whole, "UHUGEINT", "FLOAT", "DOUBLE") or column.type == "BIGNUM" or decimal(column.type)


def figure(table: Table, metric: Metric) -> tuple[str, str]:
    """A figure as SQL, and the name of its column in the answer."""
    if metric.column is None:
        if metric.function != "count":
            raise ToolError(f"{metric.function} needs a column. Name one of {table.name} in `column`.")
        return "count(*)", "count"
    column = known_column(table, metric.column)
    name = quoted(column.name)
    label = f"{metric.function.replace(' ', '_')}_{column.name}"
    if metric.function == "count distinct":
        return f"count(distinct {name})", label
    if metric.function in ("sum", "avg", "median", "stddev") and not numeric(column) and column.type != "BOOLEAN":
        raise ToolError(f"{metric.function} needs numbers; {column.name!r} of {table.name} is {column.type}.")
    if column.type == "BOOLEAN" and metric.function not in ("count", "min", "max"):
        name += "::int"
    return f"{metric.function}({name})", label


def time_group(table: Table, column: str, unit: TimeUnit) -> str:
    """A column of dates or times cut to a unit, as SQL that gives text which sorts by time."""
    found = known_column(table, column)
    if not found.type.startswith(("DATE", "TIMESTAMP", "VARCHAR")):
        raise ToolError(f"time_column needs dates or times; {found.name!r} of {table.name} is {found.type}.")
    # text may hold times as well; what is none falls into the group without a name
    name = f"try_cast({quoted(found.name)} as timestamp)"
    forms = {
        "year": f"strftime({name}, '%Y')",
        "quarter": f"year({name}) || '-Q' || quarter({name})",
        "month": f"strftime({name}, '%Y-%m')",
        "week": f"strftime(date_trunc('week', {name}), '%Y-%m-%d')",
        "day": f"strftime({name}, '%Y-%m-%d')",
        "hour": f"strftime({name}, '%Y-%m-%d %H:00')",
        "weekday": f"isodow({name}) || ' ' || dayname({name})",
        "hour of day": f"strftime({name}, '%H')",
    }
    return forms[unit]


def checked(connection: duckdb.DuckDBPyConnection, sql: str, tables: set[str]) -> str:
    """The one SELECT of `sql`, if it reads nothing but `tables`.

    This is the first of two fences: the connection itself cannot reach files or change settings.

    Raises:
        ToolError: it is something else; the message says what.
    """
    if len(sql) > MAX_QUERY_LENGTH:
        raise ToolError(f"The query has {len(sql):,} characters; at most {MAX_QUERY_LENGTH:,} are taken.")
    try:
        statements = duckdb.extract_statements(sql)
    except (duckdb.Error, UnicodeError, ValueError) as e:
        raise ToolError(f"This is not valid SQL. {first_lines(e)}") from e
    if len(statements) != 1:
        raise ToolError(f"One statement is expected, got {len(statements)}.")
    statement = statements[0].query.strip().rstrip(";")
    try:
        with new_cursor(connection) as cursor:
            answer = cursor.execute("select json_serialize_sql(?)", [statement]).fetchone()
        tree: dict[str, Any] = json.loads(answer[0]) if answer else {}
    except (duckdb.Error, RecursionError, UnicodeError) as e:
        raise ToolError(f"The query cannot be checked, so it is not run. {first_lines(e)}") from e
    if tree.get("error") or len(tree.get("statements") or ()) != 1:
        raise ToolError("Only one SELECT is allowed: no writes, no settings, no PIVOT statement.")
    known = {t.casefold() for t in tables}
    defined = {str(entry["key"]).casefold() for node in _nodes(tree) for entry in _ctes(node)}
    for node in _nodes(tree):
        _check_node(node, known, defined)
    return str(statement)


def _check_node(node: dict[str, Any], known: set[str], defined: set[str]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in SELECTS:
        raise ToolError("Only SELECT is allowed, also inside WITH.")
    if "query_location_length" in node and kind in ("SHOW_REF", "COLUMN_DATA", "DELIM_GET", "BOUND_TABLE_REF"):
        raise ToolError("DESCRIBE, SHOW and SUMMARIZE are not allowed here. Use describe_table.")
    if kind == "BASE_TABLE":
        name = str(node.get("table_name", "")).casefold()
        path = [str(p).casefold() for p in (node.get("qualified_name") or {}).get("path", [])]
        qualified = node.get("schema_name") or node.get("catalog_name") or len(path) > 1
        if qualified or (name not in known and name not in defined):
            there = ", ".join(sorted(known)) or "none"
            raise ToolError(f"There is no table {'.'.join(path) or name!r}. Tables: {there}.")
    function = str(node.get("function_name", "")).casefold()
    if kind == "TABLE_FUNCTION":
        function = str((node.get("function") or {}).get("function_name", "")).casefold()
        if function not in TABLE_FUNCTIONS:
            raise ToolError(f"The table function {function} is not allowed. Read the tables by their names.")
    elif function and (function in REFUSED or function.startswith(REFUSED_PREFIX)):
        raise ToolError(f"The function {function} is not allowed.")


def _ctes(node: dict[str, Any]) -> list[dict[str, Any]]:
    found = node.get("cte_map")
    return list(found["map"]) if isinstance(found, dict) else []


def _nodes(tree: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    if depth > MAX_DEPTH:
        raise ToolError("The query is nested too deeply.")
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from _nodes(value, depth + 1)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value, depth + 1)
