"""The record in Postgres: one table of rows, and over it the same tables that every engine has.

`record.rows` holds the columns of `events` and whose record each row is of. The views are there twice: `record_all`
shows every tenant, `record_tenant` the one that the session names in `workbench.tenant`, and none when it names none.
"""

from __future__ import annotations

import hashlib
from typing import Any

from workbench.audit.fleet.postgres_dialect import say
from workbench.audit.format.columns import COLUMNS, quoted
from workbench.audit.lake.rollups import select_rollup, show_hourly
from workbench.audit.query.views import create_views, view_statements

ALL, ONE = "record_all", "record_tenant"
"""Schemas of the views over all tenants, and over one."""

LOCK = "SELECT pg_advisory_xact_lock(hashtext('mcp-workbench record'))"
_TYPES = {"VARCHAR": "text", "BIGINT": "bigint", "TIMESTAMP": "timestamp", "VARCHAR[]": "text[]", "INTEGER": "integer"}

_FUNCTIONS = r"""
CREATE OR REPLACE FUNCTION record.try_bigint(given text) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN CAST(round(CAST(given AS numeric)) AS bigint); EXCEPTION WHEN others THEN RETURN NULL; END $$;
CREATE OR REPLACE FUNCTION record.try_double(given text) RETURNS double precision IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN CAST(given AS double precision); EXCEPTION WHEN others THEN RETURN NULL; END $$;
CREATE OR REPLACE FUNCTION record.try_boolean(given text) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN CAST(given AS boolean); EXCEPTION WHEN others THEN RETURN NULL; END $$;
CREATE OR REPLACE FUNCTION record.json_extract_path_text(given text, VARIADIC path text[]) RETURNS text
IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN CAST(given AS json) #>> path;
EXCEPTION WHEN untranslatable_character THEN RETURN CAST(replace(given, '\u0000', '\ufffd') AS json) #>> path;
WHEN others THEN RETURN NULL; END $$;
CREATE OR REPLACE FUNCTION record.json_extract_path(given text, VARIADIC path text[]) RETURNS text
IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN RETURN CAST(CAST(given AS json) #> path AS text);
EXCEPTION WHEN untranslatable_character THEN
RETURN CAST(CAST(replace(given, '\u0000', '\ufffd') AS json) #> path AS text);
WHEN others THEN RETURN NULL; END $$;
CREATE OR REPLACE FUNCTION record.round_to(given double precision, digits integer) RETURNS double precision
IMMUTABLE LANGUAGE sql RETURN CASE WHEN given IN ('NaN', 'Infinity', '-Infinity') THEN given
ELSE CAST(round(CAST(given AS numeric), digits) AS double precision) END;
CREATE OR REPLACE FUNCTION record.nearest(given double precision) RETURNS double precision
IMMUTABLE LANGUAGE sql RETURN trunc(given) + CASE WHEN abs(given - trunc(given)) >= 0.5 THEN sign(given) ELSE 0 END;
CREATE OR REPLACE FUNCTION record.round_double(given double precision, digits integer) RETURNS double precision
IMMUTABLE LANGUAGE sql RETURN CASE WHEN given IN ('NaN', 'Infinity', '-Infinity') THEN given
WHEN digits < 0 THEN record.nearest(given / 10.0::double precision ^ least(-digits, 300))
* 10.0::double precision ^ least(-digits, 300)
WHEN abs(given) >= 9007199254740992 OR digits > 290 THEN given
ELSE record.nearest(given * 10.0::double precision ^ digits) / 10.0::double precision ^ digits END;
CREATE OR REPLACE FUNCTION record.length(given text[]) RETURNS bigint
IMMUTABLE LANGUAGE sql RETURN cardinality(given);
CREATE OR REPLACE FUNCTION record.contains(given text, part text) RETURNS boolean
IMMUTABLE LANGUAGE sql RETURN strpos(given, part) > 0;
CREATE OR REPLACE FUNCTION record.make_timestamp(us bigint) RETURNS timestamp
IMMUTABLE LANGUAGE sql RETURN timestamp '1970-01-01' + us * interval '1 microsecond';
CREATE OR REPLACE FUNCTION record.to_days(n bigint) RETURNS interval
IMMUTABLE LANGUAGE sql RETURN n * interval '1 day';
CREATE OR REPLACE FUNCTION record.to_hours(n bigint) RETURNS interval
IMMUTABLE LANGUAGE sql RETURN n * interval '1 hour';
CREATE OR REPLACE FUNCTION record.to_minutes(n bigint) RETURNS interval
IMMUTABLE LANGUAGE sql RETURN n * interval '1 minute';
CREATE OR REPLACE FUNCTION record.to_seconds(n double precision) RETURNS interval
IMMUTABLE LANGUAGE sql RETURN n * interval '1 second';
"""


def prepare_tables(connection: Any) -> None:
    """Make tables, functions and views, or bring them up to this version.

    Args:
        connection: of psycopg, in a transaction that the caller commits; the role owns the database or may create.
    """
    statements = [*_rows(), *_views(ALL), *_views(ONE)]
    key = hashlib.sha256("\n".join([_FUNCTIONS, *statements]).encode()).hexdigest()
    connection.execute(LOCK)
    connection.execute("CREATE SCHEMA IF NOT EXISTS record")
    connection.execute("CREATE TABLE IF NOT EXISTS record.version (key text PRIMARY KEY)")
    if connection.execute("SELECT 1 FROM record.version WHERE key = %s", [key]).fetchone():
        return
    connection.execute(_FUNCTIONS)
    connection.execute(f"DROP SCHEMA IF EXISTS {ALL}, {ONE} CASCADE")
    for statement in statements:
        connection.execute(statement)
    connection.execute("DELETE FROM record.version")
    connection.execute("INSERT INTO record.version VALUES (%s)", [key])


def _rows() -> list[str]:
    columns = ", ".join(f'"{c.name}" {_TYPES[c.type]}' for c in COLUMNS)
    return [
        f"CREATE TABLE IF NOT EXISTS record.rows (owner text NOT NULL, {columns}, PRIMARY KEY (writer, tenant, seq))",
        *(f'ALTER TABLE record.rows ADD COLUMN IF NOT EXISTS "{c.name}" {_TYPES[c.type]}' for c in COLUMNS),
        "CREATE TABLE IF NOT EXISTS record.parts "
        "(owner text, path text, date date, rows bigint, PRIMARY KEY (owner, path))",
        "CREATE INDEX IF NOT EXISTS rows_by_time ON record.rows (ts)",
        "CREATE INDEX IF NOT EXISTS rows_by_tenant ON record.rows (tenant, kind, ts)",
        "CREATE INDEX IF NOT EXISTS rows_by_trace ON record.rows (trace_id)",
        "CREATE INDEX IF NOT EXISTS rows_by_call ON record.rows (request_id)",
        "CREATE INDEX IF NOT EXISTS rows_by_run ON record.rows (run_id)",
    ]


def _views(schema: str) -> list[str]:
    """The tables that a person queries, in one schema, with what they mean."""
    import sqlglot

    columns = ", ".join(f'"{c.name}"' for c in COLUMNS)
    # a barrier: no expression of a statement is evaluated on a row before it has passed
    barrier = " WITH (security_barrier)" if schema == ONE else ""
    mine = " WHERE tenant = current_setting('workbench.tenant')" if schema == ONE else ""
    path = f"SET LOCAL search_path = {schema}, record, pg_catalog"
    hourly = sqlglot.parse_one(show_hourly(select_rollup("events")), read="duckdb")
    statements = [
        f"CREATE SCHEMA {schema}",
        path,
        f"CREATE VIEW events{barrier} AS SELECT {columns} FROM record.rows{mine}",
        *(f'COMMENT ON COLUMN events."{c.name}" IS {quoted(c.meaning)}' for c in COLUMNS),
        f"CREATE VIEW tool_calls_hourly AS {say(hourly)}",
    ]
    for statement in view_statements():
        if statement.startswith("COMMENT"):
            statements.append(statement)
            continue
        tree = sqlglot.parse_one(statement, read="duckdb")
        name, query = tree.this.sql("postgres"), say(tree.expression)
        statements.append(f"CREATE VIEW {name} AS {query}")
    return [*statements, *_descriptions()]


def _descriptions() -> list[str]:
    """`tables` and `table_columns`, as DuckDB has them."""
    import duckdb

    statements = []
    with duckdb.connect(":memory:") as connection:
        create_views(connection)
        for view in ("tables", "table_columns"):
            found = connection.execute(f"SELECT * FROM {view}")
            names = ", ".join(str(column[0]) for column in found.description or ())
            rows = ", ".join("(" + ", ".join(quoted(str(v)) for v in row) + ")" for row in found.fetchall())
            statements.append(f"CREATE VIEW {view} AS SELECT * FROM (VALUES {rows}) AS t({names})")
    return statements
