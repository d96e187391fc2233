"""The control store of one machine: `control.db` in the state folder, shared by the processes that open it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.config import open_control
from workbench.control.control_store import ChangeNotice, ControlStore, ControlStoreError, P, Row, T, contradiction


class SqliteStore(ControlStore):
    """A connection of its own to the database of a state folder.

    Args:
        home: a prepared state folder.

    Raises:
        MisuseError: the file is corrupt or is something else.
    """

    local = True
    safe_transport = True

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._db = open_control(home)
        self._lock = threading.RLock()
        self.where = f"SQLite at {home / 'control.db'}"

    def prepare(
        self,
        room: str,
        tables: str,
        *,
        added: Sequence[tuple[str, str]] = (),
        told: Mapping[str, ChangeNotice] | None = None,
    ) -> None:
        with self._lock, _failing():
            self._db.executescript(tables)
            for table, column in added:
                known = {row[1] for row in self._db.execute(f"pragma table_info({table})")}
                if column.split()[0] not in known:
                    with contextlib.suppress(sqlite3.OperationalError):  # another process was faster
                        self._db.execute(f"alter table {table} add column {column}")

    def rows(self, query: str, *values: Any) -> list[Row]:
        with self._lock, _failing():
            return self._db.execute(query, values).fetchall()

    def change(self, statement: str, *values: Any) -> int:
        with self._lock, _failing():
            return self._db.execute(statement, values).rowcount

    @contextlib.contextmanager
    def exclusively(self, what: str) -> Iterator[None]:
        with self._lock:
            with _failing():
                self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            with _failing():
                self._db.execute("commit")

    def version(self) -> int:
        with self._lock, _failing():
            return int(self._db.execute("pragma data_version").fetchone()[0])

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return work(*args, **kwargs)

    def share(self, path: Path, make: Callable[[], bytes]) -> None:
        """Nothing to do: whoever needs the file makes it, and all who open the folder see it."""

    @property
    def problem(self) -> str:
        return ""

    def probe(self) -> float:
        started = time.perf_counter()
        self.rows("select count(*) from sqlite_master")
        return (time.perf_counter() - started) * 1000

    def close(self) -> None:
        with self._lock:
            self._db.close()


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as e:
        raise contradiction() from e
    except sqlite3.Error as e:
        raise ControlStoreError(
            f"control.db in the state folder does not answer: {e}.", hint="Look at the file, its rights and the disk."
        ) from e
