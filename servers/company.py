"""The sample company as a locked-down in-memory DuckDB, with changes kept in a file beside it.

The committed Parquet files never change. A write of a tool is one appended line of `changes.jsonl` in the state folder;
every server that holds a changed table reads the line before its next query, so that all servers agree.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb

STATE_VARIABLE = "WORKBENCH_SERVER_STATE"
CHANGES = "changes.jsonl"
DATA = Path(__file__).resolve().parents[1] / "data" / "company"

MAX_ITEMS = 4
"""Queries that run at the same time. More would not be faster, and each needs a part of the memory limit."""

Row = dict[str, Any]
Change = dict[str, Any]


class Company:
    """Some tables of the sample company, read once and queried in memory.

    Args:
        tables: names of the tables to load.
        data: folder of the Parquet files.
        state: folder of the changes; default `WORKBENCH_SERVER_STATE`, else a temporary one that goes with the process.
    """

    def __init__(self, *tables: str, data: Path = DATA, state: Path | None = None) -> None:
        self.tables = ("company", *tables)
        self.data = data
        self._state = state
        self._running = threading.BoundedSemaphore(MAX_ITEMS)
        self._loading = threading.Lock()
        self._database: duckdb.DuckDBPyConnection | None = None
        self._local = threading.local()
        self._columns: dict[str, set[str]] = {}
        self._applied = 0
        self._applying = threading.Lock()

    # --- reading

    def rows(self, sql: str, *parameters: Any) -> list[Row]:
        """The rows that a query gives, times marked as UTC.

        Args:
            sql: a query of ours; what a caller gave is only ever a parameter.
            parameters: one for each `?`.
        """
        cursor = self._cursor()
        self._catch_up()
        with self._running:
            result = cursor.execute(sql, parameters)
            names = [column[0] for column in result.description or ()]
            found = result.fetchall()
        return [dict(zip(names, map(_utc, row), strict=True)) for row in found]

    def one(self, sql: str, *parameters: Any) -> Row | None:
        """The first row, or None."""
        found = self.rows(sql, *parameters)
        return found[0] if found else None

    def page(self, select: str, order: str, limit: int, offset: int, parameters: list[Any]) -> tuple[list[Row], int]:
        """One page of a query and the number of all its rows."""
        counted = f"select *, count(*) over () as total_ from ({select})"
        rows = self.rows(f"{counted} order by {order} limit {int(limit)} offset {int(offset)}", *parameters)
        if not rows and offset:  # behind the end, where no row tells the number
            found = self.one(f"select count(*) as total_ from ({select})", *parameters)
            return [], int(found["total_"]) if found else 0
        total = int(rows[0]["total_"]) if rows else 0
        for row in rows:
            del row["total_"]
        return rows, total

    @property
    def as_of(self) -> date:
        """The sample's today."""
        found = self.one("select as_of from company")
        assert found
        return found["as_of"]  # type: ignore[no-any-return]

    def health(self) -> Row:
        """For `/health`: the tables are loaded and the state folder can be written."""
        self._cursor()
        if STATE_VARIABLE in os.environ:
            self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.state, os.W_OK):
                raise PermissionError(f"{self.state} cannot be written")
        return {"as_of": self.as_of.isoformat()}

    # --- writing

    @contextlib.contextmanager
    def writing(self, by: str) -> Iterator[Callable[..., None]]:
        """Decide and write as one step: within the block no other process writes, and reads are up to date.

        The block receives a function that takes changes: `{"table", "key": {...}, "set": {...}}` or
        `{"table", "row": {...}}`. They are durable when the block ends, and nothing is written if it raises.

        Args:
            by: the tool that writes, for the reader of the file.
        """
        self._cursor()
        changes: list[Change] = []
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.state / CHANGES, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            _cut_torn_line(file)
            self._catch_up()
            yield lambda *more: changes.extend(more)
            if changes:
                entry = {"at": datetime.now(UTC).isoformat(), "by": by, "changes": changes}
                for change in changes:
                    self._statement(change)  # refuses what could not be read back
                file.write(json.dumps(entry, default=_json).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self._catch_up()

    @property
    def state(self) -> Path:
        """The folder of the changes."""
        if self._state is None:
            named = os.environ.get(STATE_VARIABLE)
            if named:
                self._state = Path(named)
            else:
                temporary = tempfile.TemporaryDirectory(prefix="larkfield-")
                atexit.register(temporary.cleanup)
                self._state = Path(temporary.name)
        return self._state

    # --- inside

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        cursor = getattr(self._local, "cursor", None)
        if cursor is None:
            with self._loading:
                if self._database is None:
                    self._database = self._load()
                cursor = self._local.cursor = self._database.cursor()
        return cursor

    def _load(self) -> duckdb.DuckDBPyConnection:
        database = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": "256MB"})
        for table in self.tables:
            path = self.data / f"{table}.parquet"
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing. Make it with `python -m data.generator`.")
            database.execute(f"create table {table} as select * from read_parquet(?)", [str(path)])
            described = database.execute(f"describe {table}").fetchall()
            self._columns[table] = {str(row[0]) for row in described}
        database.execute("set temp_directory = ''")
        database.execute("set enable_external_access = false")
        database.execute("set lock_configuration = true")
        return database

    def _catch_up(self) -> None:
        """Apply the lines that were added since, by whichever process."""
        if self._state is None and STATE_VARIABLE not in os.environ:
            return  # alone, and nothing was written yet
        path = self.state / CHANGES
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            return
        if size <= self._applied:
            return
        with self._applying, open(path, "rb") as file:
            file.seek(self._applied)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # still being written
                self._apply(json.loads(line)["changes"])
                self._applied += len(line)

    def _apply(self, changes: list[Change]) -> None:
        statements = [self._statement(c) for c in changes if c["table"] in self.tables]
        cursor = self._local.cursor
        cursor.execute("begin")
        try:
            for sql, values in statements:
                cursor.execute(sql, values)
        except duckdb.Error:
            cursor.execute("rollback")
            raise
        cursor.execute("commit")

    def _statement(self, change: Change) -> tuple[str, list[Any]]:
        table = change["table"]
        named = [*change.get("row", ()), *change.get("set", ()), *change.get("key", ())]
        unknown = [name for name in named if name not in self._columns[table]]
        if unknown:
            raise ValueError(f"{self.state / CHANGES} names {unknown[0]!r}, which {table} does not have.")
        if "row" in change:
            row = change["row"]
            marks = ", ".join("?" for _ in row)
            return f"insert into {table} ({', '.join(row)}) values ({marks})", list(row.values())
        sets = ", ".join(f"{name} = ?" for name in change["set"])
        keys = " and ".join(f"{name} = ?" for name in change["key"])
        return f"update {table} set {sets} where {keys}", [*change["set"].values(), *change["key"].values()]


def where(*conditions: tuple[str, Any]) -> tuple[str, list[Any]]:
    """A WHERE clause of the conditions whose value is not None, and their parameters.

    A value that is a list gives one parameter for each `?` of its condition.
    """
    kept = [(sql, value) for sql, value in conditions if value is not None]
    parameters: list[Any] = []
    for _, value in kept:
        parameters.extend(value if isinstance(value, list) else [value])
    return (" where " + " and ".join(f"({sql})" for sql, _ in kept) if kept else ""), parameters


def containing(text: str | None, *columns: str) -> tuple[str, list[str] | None]:
    """A condition that every word of `text` occurs in one of the columns, whatever the case."""
    words = (text or "").lower().split()[:12]
    if not words:
        return "", None
    searched = " || ' ' || ".join(f"coalesce(lower({c}), '')" for c in columns)
    return " and ".join(f"contains({searched}, ?)" for _ in words), words


def _cut_torn_line(file: Any) -> None:
    """A process that died while writing left half a line: it was never acknowledged, so it goes."""
    size = file.seek(0, os.SEEK_END)
    while size:
        start = max(0, size - 65536)
        file.seek(start)
        end = file.read(size - start).rfind(b"\n")
        if end >= 0:
            file.truncate(start + end + 1)
            return
        size = start
    file.truncate(0)


def _utc(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _json(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
    return str(value)
