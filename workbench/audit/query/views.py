"""The views of the record in a DuckDB connection: `live` (files as they are now), `events`, the tables over it."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from workbench.audit.format.columns import COLUMNS, quoted, select_nothing
from workbench.audit.lake.rollups import hourly_columns, select_hourly
from workbench.audit.write.subject_keys import MARK

if TYPE_CHECKING:
    import duckdb

TABLES = (
    "tool_calls",
    "tool_calls_hourly",
    "decisions",
    "approvals",
    "intents",
    "runs",
    "turns",
    "registry_events",
    "access_events",
    "health_checks",
    "metrics",
    "load_runs",
    "load_requests",
    "administration",
    "events",
)
"""The tables that a person may query, besides `tables` and `table_columns`, which describe them."""

REVEAL = "__reveal"
"""Function of (event id, text) that decrypts; users cannot name it."""

REVEALED = "* REPLACE ({})".format(
    ", ".join(
        f"CASE WHEN contains({name}, {quoted(MARK)}) THEN {REVEAL}(event_id, {name}) ELSE {name} END AS {name}"
        for name in ("args", "result", "error_message", "data")
    )
)
"""All columns of `events`, encrypted values in clear."""

LIVE, LIVE_HOURLY = "live", "live_hourly"
"""The views that name files. They are replaced when the files change, and nobody else may name them."""


@cache
def view_statements() -> tuple[str, ...]:
    """The statements of `views.sql`."""
    text = files("workbench.audit.query").joinpath("views.sql").read_text(encoding="utf-8")
    code = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return tuple(statement.strip() for statement in code.split(";\n") if statement.strip())


def create_views(connection: duckdb.DuckDBPyConnection, tenant: str | None = None, columns: str = "*") -> None:
    """Create every view, over no files yet, and `tables` and `table_columns`, which document them.

    Args:
        tenant: show only this tenant's rows. The filter is a barrier (`SECURE VIEW`): no expression of the user's query
            is evaluated on a row before it has passed, so that not even an error message can tell of other rows.
        columns: the columns of `events`; `REVEALED` where `REVEAL` is a function of the connection.
    """
    _create_tables(connection, tenant, columns)
    for view, names_of, values, comment in _documentation():
        connection.execute(f"CREATE OR REPLACE VIEW {view} AS SELECT * FROM (VALUES {values}) AS t({names_of})")
        connection.execute(f"COMMENT ON VIEW {view} IS {quoted(comment)}")


def comment_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Add the documentation as comments, for clients that show those. It takes longer than to create the views."""
    connection.execute("COMMENT ON VIEW events IS 'Everything that was recorded, one row each, of every kind.'")
    connection.execute(
        "COMMENT ON VIEW tool_calls_hourly IS 'Tool calls summed up by hour, tenant, tool, outcome and latency bucket; "
        "add up calls. Fast over any length of time.'"
    )
    for column in hourly_columns():
        connection.execute(f"COMMENT ON COLUMN tool_calls_hourly.{column.name} IS {quoted(column.meaning)}")
    for statement in view_statements():
        if statement.startswith("COMMENT"):
            connection.execute(statement)
    _comment_columns(connection)


def _create_tables(connection: duckdb.DuckDBPyConnection, tenant: str | None = None, columns: str = "*") -> None:
    show_files(connection, select_nothing(), select_hourly([], None))
    secure, rows = ("SECURE ", f" WHERE tenant = {quoted(tenant)}") if tenant is not None else ("", "")
    connection.execute(f"CREATE OR REPLACE {secure}VIEW events AS SELECT {columns} FROM {LIVE}{rows}")
    connection.execute(f"CREATE OR REPLACE {secure}VIEW tool_calls_hourly AS SELECT * FROM {LIVE_HOURLY}{rows}")
    for statement in view_statements():
        if not statement.startswith("COMMENT"):
            connection.execute(statement)


def show_files(connection: duckdb.DuckDBPyConnection, events: str, hourly: str) -> None:
    """Let the tables be over the rows of these two selects."""
    connection.execute(f"CREATE OR REPLACE VIEW {LIVE} AS {events}")
    connection.execute(f"CREATE OR REPLACE VIEW {LIVE_HOURLY} AS {hourly}")


def _comment_columns(connection: duckdb.DuckDBPyConnection) -> None:
    """A column means the same in every view that has it, unless `views.sql` says otherwise."""
    meanings = {column.name: column.meaning for column in COLUMNS}
    uncommented = connection.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal AND comment IS NULL"
    ).fetchall()
    for table, column in uncommented:
        if table in TABLES and column in meanings:
            connection.execute(f'COMMENT ON COLUMN {table}."{column}" IS {quoted(meanings[column])}')


@cache
def _documentation() -> tuple[tuple[str, str, str, str], ...]:
    """`tables` and `table_columns`: name, columns, values as SQL, and meaning. They are the comments, as data."""
    import duckdb

    names = ", ".join(map(quoted, TABLES))
    with duckdb.connect(":memory:") as connection:
        _create_tables(connection)
        comment_views(connection)
        tables = connection.execute(
            f"SELECT view_name, comment FROM duckdb_views() WHERE view_name IN ({names}) ORDER BY view_name"
        ).fetchall()
        columns = connection.execute(
            "SELECT table_name, column_name, data_type, comment FROM duckdb_columns() "
            f"WHERE table_name IN ({names}) ORDER BY table_name, column_index"
        ).fetchall()

    def values(rows: list[tuple[object, ...]]) -> str:
        return ", ".join("(" + ", ".join(quoted(str(value or "")) for value in row) + ")" for row in rows)

    return (
        ("tables", "name, meaning", values(tables), "The tables of the record."),
        ("table_columns", "table_name, column_name, type, meaning", values(columns), "The columns of the tables."),
    )
