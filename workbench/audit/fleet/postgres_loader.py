"""Brings what is compacted into Postgres: the rows of new files are added, those that retention removed go."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.audit.fleet.postgres_tables import LOCK, prepare_tables
from workbench.audit.format.columns import COLUMNS, quoted, select_parquet
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.record_keys import first_key
from workbench.audit.lake.lake_catalog import Member
from workbench.audit.lake.manifest import Manifest
from workbench.events import MissingPackageError, MisuseError, UnreachableError

if TYPE_CHECKING:
    import duckdb

    from workbench.config import Settings

_CHUNK = 1 << 20


def load(settings: Settings) -> int | None:
    """Let Postgres have the rows of this state folder's Parquet files; returns how many files came or went.

    Each day is one transaction: its rows change wholly or not, and saying it again changes nothing. None is returned
    when the compactor is at work.

    Raises:
        MisuseError: a package is missing.
        UnreachableError: Postgres does not answer, or refuses.
    """
    from workbench.audit.lake.compactor import Compactor

    folder = AuditFolder(settings.home)
    with Compactor(folder).alone() as (alone, source):
        if not alone:
            return None
        manifest = Manifest.read(folder)
        owner = first_key(folder) if manifest.parts else ""
        with connect(settings.audit_engine) as connection:
            with connection.transaction():
                prepare_tables(connection)
            return _Load(folder, owner, source, connection).run(manifest)


def loaded(url: str) -> list[Member]:
    """Whose rows are there.

    Raises:
        MisuseError: a package is missing.
        UnreachableError: Postgres does not answer, or refuses.
    """
    with connect(url) as connection:
        if not connection.execute("SELECT to_regclass('record.parts')").fetchone()[0]:
            return []
        counted = "SELECT owner, count(*), sum(rows)::bigint FROM record.parts GROUP BY owner ORDER BY owner"
        return [Member("", *row) for row in connection.execute(counted).fetchall()]


@contextlib.contextmanager
def connect(url: str, **options: Any) -> Iterator[Any]:
    """A connection of psycopg; its errors become ours.

    Raises:
        MisuseError: the package is missing, or the URL is none of a Postgres.
        UnreachableError: Postgres does not answer, or refuses.
    """
    try:
        import psycopg
        import sqlglot  # noqa: F401
    except ImportError as e:
        raise MissingPackageError(str(e.name), "postgres") from e
    if not url.startswith(("postgresql://", "postgres://")):
        raise MisuseError(
            "The setting audit_engine names no Postgres.", hint="Expected postgresql://user@host/database."
        )
    try:
        with psycopg.connect(url, **options) as connection:
            yield connection
    except psycopg.Error as e:
        raise UnreachableError(f"Postgres refuses: {str(e).strip().splitlines()[0]}.", hint="See audit_engine.") from e


class _Load:
    def __init__(self, folder: AuditFolder, owner: str, source: duckdb.DuckDBPyConnection, connection: Any) -> None:
        self._folder = folder
        self._owner = owner
        self._source = source
        self._connection = connection

    def run(self, manifest: Manifest) -> int:
        wanted = {part["path"]: part for part in manifest.parts}
        had = self._connection.execute("SELECT path, date::text FROM record.parts WHERE owner = %s", [self._owner])
        loaded = dict(had.fetchall())
        days = {part["date"] for path, part in wanted.items() if path not in loaded}
        days |= {day for path, day in loaded.items() if path not in wanted}
        for day in sorted(days):
            with self._connection.transaction():
                self._connection.execute(LOCK)
                self._load_day(day, {path: part for path, part in wanted.items() if part["date"] == day}, set(loaded))
        return len(set(wanted) ^ set(loaded))

    def _load_day(self, day: str, parts: dict[str, Any], loaded: set[str]) -> None:
        """The files of a day; all of it anew when rows of it are gone."""
        mine = [self._owner, day]
        self._add([path for path in parts if path not in loaded])
        self._connection.execute("DELETE FROM record.parts WHERE owner = %s AND date = %s::date", mine)
        counted = "SELECT count(*) FROM record.rows WHERE owner = %s AND ts >= %s::date AND ts < %s::date + 1"
        found = self._connection.execute(counted, [*mine, day]).fetchone()[0]
        if found != sum(part["rows"] for part in parts.values()):
            self._connection.execute(counted.replace("SELECT count(*)", "DELETE"), [*mine, day])
            self._add(list(parts))
        for path, part in parts.items():
            self._connection.execute(
                "INSERT INTO record.parts VALUES (%s, %s, %s, %s)", [self._owner, path, day, part["rows"]]
            )

    def _add(self, paths: list[str]) -> None:
        """The rows of these files, except those that are there."""
        if not paths:
            return
        names = ", ".join(f'"{column.name}"' for column in COLUMNS)
        self._connection.execute(
            f"CREATE TEMP TABLE IF NOT EXISTS incoming ON COMMIT DELETE ROWS AS SELECT {names} FROM record.rows LIMIT 0"
        )
        files = [str(self._folder.root / path) for path in paths]
        with tempfile.TemporaryDirectory(prefix="load-", dir=self._folder.root) as temporary:
            pipe = Path(temporary) / "rows.csv"
            select = ", ".join(_as_csv(column.name, column.type) for column in COLUMNS)
            rows_of = f"SELECT {select} FROM ({select_parquet(files)})"
            self._source.execute(f"COPY ({rows_of}) TO {quoted(str(pipe))} (FORMAT csv, HEADER false)")
            with (
                pipe.open("rb") as rows,
                self._connection.cursor().copy(f"COPY incoming ({names}) FROM STDIN (FORMAT csv)") as copy,
            ):
                while chunk := rows.read(_CHUNK):
                    copy.write(chunk)
        self._connection.execute(
            f"INSERT INTO record.rows (owner, {names}) SELECT %s, {names} FROM incoming ON CONFLICT DO NOTHING",
            [self._owner],
        )
        self._connection.execute("TRUNCATE incoming")


def _as_csv(name: str, kind: str) -> str:
    """A column as Postgres reads it from CSV: no character 0, lists as its own arrays."""
    if kind == "VARCHAR":
        return f'replace("{name}", chr(0), chr(65533)) AS "{name}"'
    if kind == "VARCHAR[]":
        item = "'\"' || replace(replace(replace(x, chr(0), chr(65533)), '\\', '\\\\'), '\"', '\\\"') || '\"'"
        inner = f"array_to_string(list_transform(\"{name}\", lambda x: {item}), ',')"
        return f"CASE WHEN \"{name}\" IS NOT NULL THEN '{{' || {inner} || '}}' END AS \"{name}\""
    return f'"{name}"'
