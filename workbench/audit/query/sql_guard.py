"""What SQL of others may say: one statement that only reads, over the tables of the record and nothing else.

DuckDB itself parses the statement into a tree, and the tree is compared with an allow-list. Everything that is not on
it is refused: files, other catalogs, table functions, statements that change something, settings.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import orjson

from workbench.events import MisuseError
from workbench.suggestions import close_names

if TYPE_CHECKING:
    import duckdb

_QUERY_NODES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_SOURCES = {"BASE_TABLE", "TABLE_FUNCTION", "JOIN", "SUBQUERY", "EMPTY", "EXPRESSION_LIST", "PIVOT", "SHOW_REF", "CTE"}
_TABLE_FUNCTIONS = {"range", "generate_series", "unnest", "json_each", "json_tree"}
_FORBIDDEN_FUNCTIONS = frozenset(
    (
        # they see past a row filter or into the process
        *("current_query", "current_setting", "getenv", "getvariable", "index_key", "stats", "which_secret"),
        # they run text as SQL or show its plan
        *("json_deserialize_sql", "json_execute_serialized_sql", "json_serialize_plan", "json_serialize_sql"),
        *("query", "query_table"),
        # they change something, or only pass the time
        *("currval", "nextval", "set_config", "setval", "sleep_ms", "write_log"),
    )
)
_CTE_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_HINT = "Only one SELECT over the tables of the record is accepted: "


class SqlGuard:
    """Checks statements against the tables that may be named.

    Args:
        connection: where the statement will run; it parses and knows which names are taken.
        tables: names that may be read.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: Collection[str]) -> None:
        self._connection = connection
        self._tables = frozenset(tables)
        self._taken = {
            str(row[0]).lower()
            for row in connection.execute(
                "SELECT view_name FROM duckdb_views() UNION SELECT table_name FROM duckdb_tables()"
            ).fetchall()
        }

    def check(self, query: str) -> None:
        """Accept `query`, or say why not.

        Raises:
            MisuseError: it is no single reading statement, or reads something else than the record.
            duckdb.Error: it is no SQL.
        """
        parsed = self._connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()[0][0]
        try:
            tree = orjson.loads(parsed)
        except orjson.JSONDecodeError as e:
            raise MisuseError("The statement is nested too deeply.", hint="Say it with common tables (WITH).") from e
        if tree["error"]:
            if tree.get("error_type") == "not implemented":
                raise MisuseError("This statement is not a SELECT.", hint=self._hint())
            self._connection.extract_statements(query)  # raises the same complaint, with the line and a caret
            raise MisuseError(f"SQL error: {tree['error_message']}", hint="")
        if len(tree["statements"]) != 1:
            raise MisuseError(f"{len(tree['statements'])} statements were given, expected one.", hint=self._hint())
        common = {name.lower() for name in _common_tables(tree)}
        for name in common:
            if not _CTE_NAME.match(name) or (name in self._taken and name not in self._tables):
                raise MisuseError(f"{name!r} cannot name a common table here.", hint="Take another plain name.")
        self._check_node(tree["statements"][0], common)

    def _hint(self) -> str:
        return _HINT + ", ".join(sorted(self._tables)) + "."

    def _check_node(self, node: Any, common: set[str]) -> None:
        if isinstance(node, list):
            for item in node:
                self._check_node(item, common)
            return
        if not isinstance(node, dict):
            return
        kind = str(node.get("type", ""))
        if "class" in node:
            self._check_expression(node)
        elif "cte_map" in node and kind not in _QUERY_NODES:
            raise MisuseError(f"A statement may not contain {kind.removesuffix('_QUERY_NODE')}.", hint=self._hint())
        elif kind and "sample" in node and "alias" in node:
            self._check_source(kind, node, common)
        for value in node.values():
            self._check_node(value, common)

    def _check_expression(self, node: dict[str, Any]) -> None:
        name = str(node.get("function_name", "")).lower()
        if name in _FORBIDDEN_FUNCTIONS or name.startswith(("pg_", "duckdb_", "pragma_", "read_", "__")):
            raise MisuseError(f"The function {name}() is not available here.", hint=self._hint())

    def _check_source(self, kind: str, node: dict[str, Any], common: set[str]) -> None:
        if kind not in _SOURCES:
            raise MisuseError(f"A query may not read from {kind}.", hint=self._hint())
        if kind == "TABLE_FUNCTION":
            name = str((node.get("function") or {}).get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                raise MisuseError(f"The table function {name}() is not available here.", hint=self._hint())
        if kind == "SHOW_REF" and not (node.get("show_type") in ("DESCRIBE", "SUMMARY") and node.get("query")):
            raise MisuseError("SHOW is not available here.", hint="Use `describe <table>` or `from tables`.")
        if kind == "BASE_TABLE":
            self._check_table(node, common)

    def _check_table(self, node: dict[str, Any], common: set[str]) -> None:
        path = [str(part) for part in (node.get("qualified_name") or {}).get("path") or []]
        name = str(node.get("table_name", ""))
        others = node.get("schema_name") or node.get("catalog_name") or node.get("at_clause")
        if others or path not in ([], [name]):
            raise MisuseError(f"The table {'.'.join(path) or name} is not available here.", hint=self._hint())
        if name.lower() in self._tables or name.lower() in common:
            return
        close = close_names(name, self._tables, 1)
        hint = f"Did you mean {close[0]}?" if close else self._hint()
        raise MisuseError(f"There is no table {name}.", hint=hint)


def _common_tables(node: Any) -> Iterator[str]:
    """Every name that a WITH clause anywhere in the tree defines."""
    if isinstance(node, list):
        for item in node:
            yield from _common_tables(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "cte_map" and isinstance(value, dict):
                yield from (str(entry["key"]) for entry in value.get("map", []))
            elif key == "cte_name":
                yield str(value)
            yield from _common_tables(value)
