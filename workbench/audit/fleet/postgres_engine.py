"""A database server as engine: SQL over the rows that every gateway of a fleet has loaded into one Postgres.

A statement is DuckDB's, as everywhere. DuckDB checks it against the tables of the record, without a row in them, and
says what types its answer has; Postgres answers it in its own words.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from workbench.audit.fleet.postgres_dialect import translate
from workbench.audit.fleet.postgres_loader import connect
from workbench.audit.fleet.postgres_tables import ALL, ONE
from workbench.audit.format.columns import COLUMNS
from workbench.audit.lake.rollups import hourly_columns
from workbench.audit.query.engine import Parameters
from workbench.audit.query.reader import TRUNCATED, QueryStoppedError
from workbench.audit.query.views import TABLES, create_views
from workbench.events import MisuseError

if TYPE_CHECKING:
    import pyarrow

_BATCH = 2048
_COLUMNS = {column.name for column in (*COLUMNS, *hourly_columns())}
_NAMES = {*TABLES, "tables", "table_columns"}


class PostgresEngine:
    """Read-only SQL over the rows in a Postgres. One query at a time; calls from several threads queue up.

    Args:
        url: of the Postgres.
        tenant: show only this tenant's rows, whatever the statement; None shows all.
    """

    def __init__(self, url: str, *, tenant: str | None = None) -> None:
        import duckdb

        from workbench.audit.query.sql_guard import SqlGuard

        self._url = url
        self._tenant = tenant
        self._busy = threading.Lock()
        self._stop = ""
        self._running: Any = None
        self._binder = duckdb.connect(
            ":memory:",
            config={
                "threads": "1", "memory_limit": "128MB", "temp_directory": "", "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false", "python_enable_replacements": "false",
            },
        )  # fmt: skip
        self._binder.execute("SET TimeZone = 'UTC'")
        create_views(self._binder)
        self._guard = SqlGuard(self._binder, _NAMES)
        self._binder.execute("SET enable_external_access = false")
        self._binder.execute("SET lock_configuration = true")

    def sql(
        self, query: str, parameters: Parameters = None, *, max_rows: int | None = None, timeout_s: float = 30.0
    ) -> pyarrow.Table:
        with self._busy:
            self._stop = ""
            schema = self._bind(query, parameters)
            said = translate(query, parameters, tables=_NAMES)
            with self._session(timeout_s) as connection:
                rows = self._fetch(connection, said, schema.names, max_rows)
        return _table(rows, schema, max_rows)

    def _bind(self, query: str, parameters: Parameters) -> Any:
        """The types of the answer, from DuckDB; it complains as it does everywhere."""
        import duckdb

        try:
            self._guard.check(query)
            bound = self._binder.sql(query, params=parameters)
            return bound.limit(0).to_arrow_table().schema
        except duckdb.Error as e:
            raise MisuseError(str(e), hint="") from e

    @contextlib.contextmanager
    def _session(self, timeout_s: float) -> Iterator[Any]:
        """A transaction that only reads, with a deadline, over the views that may be seen."""
        import psycopg

        path = ALL if self._tenant is None else ONE
        options = (
            f"-c search_path={path},record,pg_catalog -c default_transaction_read_only=on -c TimeZone=UTC "
            f"-c statement_timeout={max(1, round(timeout_s * 1000))} -c lock_timeout=1000"
        )
        with connect(self._url, options=options) as connection:
            connection.execute("SELECT set_config('workbench.tenant', %s, true)", [self._tenant or ""])
            self._running = connection
            try:
                yield connection
            except psycopg.errors.QueryCanceled as e:
                said = self._stop or f"The query took longer than {timeout_s:g} s."
                raise QueryStoppedError(said, hint="Narrow it, e.g. by time.") from e
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as e:
                raise MisuseError("No gateway has loaded its rows there yet.", hint="`workbench audit publish`.") from e
            except (psycopg.errors.DataError, psycopg.errors.ProgrammingError, psycopg.errors.NotSupportedError) as e:
                said = str(e).strip().splitlines()[0]
                raise MisuseError(f"Postgres refuses the statement: {said}.", hint="Say it in simpler SQL.") from e
            finally:
                self._running = None

    @staticmethod
    def _fetch(connection: Any, said: str, names: list[str], max_rows: int | None) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        with connection.cursor("answer") as cursor:  # of the server, which accepts nothing but a reading statement
            cursor.execute(said.encode())
            got = [str(column.name) for column in cursor.description or ()]
            moved = (one != other for one, other in zip(got, names, strict=False) if {one, other} <= _COLUMNS)
            if len(got) != len(names) or any(moved):  # e.g. after `SELECT *` over some joins
                raise MisuseError("The server gives these columns in another order.", hint="Name them in the SELECT.")
            while batch := cursor.fetchmany(_BATCH):
                rows += batch
                if max_rows is not None and len(rows) > max_rows:
                    break
        return rows

    def interrupt(self) -> None:
        self._stop = "The query was cancelled."
        if (running := self._running) is not None:
            running.cancel_safe()

    def close(self) -> None:
        self._binder.close()


def _table(rows: list[tuple[Any, ...]], schema: Any, max_rows: int | None) -> pyarrow.Table:
    import pyarrow as pa

    cut = max_rows is not None and len(rows) > max_rows
    columns = zip(*rows[:max_rows], strict=True) if rows[:max_rows] else ((),) * len(schema)
    try:
        arrays = [
            pa.array([_value(value, field.type) for value in values], field.type)
            for values, field in zip(columns, schema, strict=True)
        ]
    except (pa.ArrowException, TypeError, ValueError) as e:
        raise MisuseError(
            f"The server answers with other types: {e}.", hint="Ask for columns and simple values."
        ) from e
    return pa.Table.from_arrays(arrays, schema=schema.with_metadata({TRUNCATED: b"true"} if cut else None))


def _value(value: Any, kind: Any) -> Any:
    """A value of Postgres as the type that DuckDB would answer with."""
    import pyarrow as pa

    if value is None:
        return None
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_integer(kind):
        return int(value)
    if pa.types.is_decimal(kind):
        return round(Decimal(value), kind.scale)
    if pa.types.is_string(kind) and not isinstance(value, str):
        return str(value)
    if isinstance(value, timedelta):
        return pa.MonthDayNano([0, value.days, value.seconds * 10**9 + value.microseconds * 1000])
    return value
