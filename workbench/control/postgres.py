"""The control store of several gateways: one schema in a Postgres.

What a gateway does not know by itself it asks there, in threads, never on the event loop. It hears of changes by
LISTEN/NOTIFY within milliseconds, and asks once a second for what it may not have heard. While the database does not
answer, `version` goes on telling that nothing changed for `grace` seconds, and no longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from workbench.control.change_listener import ChangeListener
from workbench.control.control_store import ChangeNotice, ControlStore, ControlStoreError, P, Row, T, contradiction
from workbench.control.key_files import agree_on
from workbench.control.postgres_schema import check_name, lock_number, make_schema, make_tables, translated
from workbench.control.statement_timeout import StatementTimeout
from workbench.events import MissingPackageError, MisuseError

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

MAX_CONNECTIONS: Final = 8
"""Of one gateway, besides the one that listens."""
CONNECT_TIMEOUT_S: Final = 5.0
"""Seconds that one statement may take, waiting for a connection included."""
_HINT: Final = "Calls that need it are refused meanwhile; it is tried again by itself."


class PostgresStore(ControlStore):
    """One room's way to the database; the rooms of a gateway share its connections.

    Args:
        url: `postgresql://…`, as libpq reads it. A secret: it is never shown.
        schema: of this deployment.
        home: a prepared state folder; the gateways of a deployment share some secret files of it.
        grace: seconds without an answer of the database after which nothing is known any more.

    Raises:
        MisuseError: psycopg is not installed, the URL cannot be read, or the schema is of a later version.
        ControlStoreError: the database does not answer.
    """

    local = False

    def __init__(self, url: str, schema: str, home: Path, *, grace: float) -> None:
        super().__init__()
        self._shared = _shared(url, check_name(schema), home, grace)
        self._shared.stores.add(self)
        self._closed = False
        self.where = self._shared.where
        self.safe_transport = self._shared.safe_transport

    def prepare(
        self,
        room: str,
        tables: str,
        *,
        added: Sequence[tuple[str, str]] = (),
        told: Mapping[str, ChangeNotice] | None = None,
    ) -> None:
        with self._database.connection() as db:
            make_tables(db, self._database.schema, room, tables, added, told or {})

    def rows(self, query: str, *values: Any) -> list[Row]:
        with self._database.cursor(query, values) as found:
            return found.fetchall()

    def change(self, statement: str, *values: Any) -> int:
        with self._database.cursor(statement, values) as done:
            return done.rowcount

    @contextlib.contextmanager
    def exclusively(self, what: str) -> Iterator[None]:
        with self._database.held(what):
            yield

    def version(self) -> int:
        following = self._database.following
        if monotonic() - following.heard_at > self._database.grace:
            raise ControlStoreError(self.problem or "The control database does not answer.", hint=_HINT)
        return following.version

    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                return await loop.run_in_executor(self._database.threads, lambda: work(*args, **kwargs))
        except TimeoutError as e:
            raise ControlStoreError("The control database took too long to answer.", hint=_HINT) from e

    def share(self, path: Path, make: Callable[[], bytes]) -> None:
        agree_on(self, path, make)

    @property
    def problem(self) -> str:
        return self._shared.problem

    def probe(self) -> float:
        started = time.perf_counter()
        self.rows("select 1")
        return (time.perf_counter() - started) * 1000

    def close(self) -> None:
        self._closed = True
        self.on_change.clear()
        self._shared.let_go(self)

    @property
    def _database(self) -> _Database:
        if self._closed:
            raise ControlStoreError("The control store is closed.")
        return self._shared


class _Database:
    """The connections of one gateway, shared by its rooms."""

    def __init__(self, url: str, schema: str, home: Path, grace: float) -> None:
        self.schema, self.grace = schema, grace
        self._arguments = _arguments(url)
        self.where = f"{_name(self._arguments)}, schema {schema}"
        self.safe_transport = _safe(self._arguments)
        self.stores: set[PostgresStore] = set()
        self.threads = ThreadPoolExecutor(MAX_CONNECTIONS, "control")
        self._held = threading.local()
        self._patience = StatementTimeout(CONNECT_TIMEOUT_S)
        try:
            with self._failing(), contextlib.closing(self._connect()) as db, self._patience.bounded(db):
                make_schema(db, schema)
                row = db.execute("select n from control_changes").fetchone()
        except BaseException:
            self._patience.stop()
            raise
        from psycopg_pool import ConnectionPool

        self._pool: Any = ConnectionPool(
            kwargs=self._arguments, min_size=1, max_size=MAX_CONNECTIONS, timeout=CONNECT_TIMEOUT_S,
            configure=self._configure,
            name="control", open=True,
        )  # fmt: skip
        counted = int(row[0]) if row else 0
        self.following = ChangeListener(self._connect, self._patience, schema, counted, self._changed, self._pool.check)
        self.following.start()
        self._end = weakref.finalize(self, _end, self._pool, self.following, self._patience, self.threads)

    @property
    def problem(self) -> str:
        why = self.following.down
        return f"The control database ({self.where}) does not answer: {why}." if why else ""

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection[Any]]:
        """A connection: that of the transaction which this thread holds, or a free one."""
        held: Connection[Any] | None = getattr(self._held, "connection", None)
        if held is not None:
            with self._failing():
                yield held
            return
        if self.following.down:
            raise ControlStoreError(self.problem, hint=_HINT)
        with self._failing(), self._pool.connection() as free, self._patience.bounded(free):
            yield free

    @contextlib.contextmanager
    def cursor(self, statement: str, values: Sequence[Any]) -> Iterator[Cursor[Any]]:
        """What one statement gives."""
        with self.connection() as db:
            yield db.execute(translated(statement), [_storable(value) for value in values])

    @contextlib.contextmanager
    def held(self, what: str) -> Iterator[None]:
        """A transaction of this thread that only one gateway at a time is in."""
        with self.connection() as db, db.transaction():
            db.execute("select pg_advisory_xact_lock(%s)", (lock_number(self.schema, what),))
            outer, self._held.connection = getattr(self._held, "connection", None), db
            try:
                yield
            finally:
                self._held.connection = outer

    def let_go(self, store: PostgresStore) -> None:
        """The room of `store` is closed; with the last one the connections go."""
        with _opening:
            self.stores.discard(store)
            if self.stores:
                return
            for key, database in list(_open.items()):
                if database is self:
                    del _open[key]
        self._end()

    def _changed(self, table: str, key: str) -> None:
        for store in list(self.stores):
            for tell in list(store.on_change):
                tell(table, key)

    def _connect(self) -> Connection[Any]:
        import psycopg

        db: Connection[Any] = psycopg.connect(**self._arguments)
        self._configure(db)
        return db

    def _configure(self, db: Connection[Any]) -> None:
        db.execute(
            "select set_config('search_path', %s, false), set_config('statement_timeout', %s, false), "
            "set_config('lock_timeout', %s, false), set_config('idle_in_transaction_session_timeout', '10s', false)",
            (self.schema, f"{CONNECT_TIMEOUT_S:g}s", f"{CONNECT_TIMEOUT_S:g}s"),
        )

    @contextlib.contextmanager
    def _failing(self) -> Iterator[None]:
        """Errors of the database as ours. A statement that cannot be meant stays what it is: a bug."""
        import psycopg
        from psycopg import errors

        try:
            yield
        except errors.InsufficientPrivilege as e:
            why = str(e).strip().split("\n", 1)[0]
            hint = "Give the role the right to make the schema, or make it with a role that may and grant its use."
            raise MisuseError(f"The control database ({self.where}) refuses: {why}.", hint=hint) from e
        except psycopg.IntegrityError as e:
            raise contradiction() from e
        except (psycopg.ProgrammingError, psycopg.DataError, psycopg.NotSupportedError):
            raise
        except psycopg.Error as e:
            why = str(e).strip().split("\n", 1)[0] or type(e).__name__
            raise ControlStoreError(f"The control database ({self.where}) does not answer: {why}.", hint=_HINT) from e


_open: dict[tuple[str, str, Path], _Database] = {}
_opening = threading.Lock()


def _shared(url: str, schema: str, home: Path, grace: float) -> _Database:
    key = (url, schema, home.resolve())
    with _opening:
        if key not in _open:
            _open[key] = _Database(url, schema, home, grace)
        return _open[key]


def _end(pool: Any, following: ChangeListener, patience: StatementTimeout, threads: ThreadPoolExecutor) -> None:
    threads.shutdown(wait=False, cancel_futures=True)
    following.stop()
    patience.stop()
    pool.close()


def _arguments(url: str) -> dict[str, Any]:
    """What is given to libpq. Nothing of the URL is repeated in an error."""
    try:
        import psycopg
        from psycopg.conninfo import conninfo_to_dict
    except ImportError as e:
        raise MissingPackageError("psycopg", "postgres") from e
    expected = "Expected postgresql://user:password@host:5432/database; percent-encode what is special in a password."
    if not re.match(r"postgres(?:ql)?://", url) or urlsplit(url).netloc.count("@") > 1:
        raise MisuseError("Setting database_url cannot be read.", hint=expected)
    try:
        found = conninfo_to_dict(url)
    except psycopg.Error:
        raise MisuseError("Setting database_url cannot be read.", hint=expected) from None
    defaults = {
        "application_name": "workbench", "connect_timeout": 2, "tcp_user_timeout": 3000,
        "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 2,
    }  # fmt: skip
    return {**defaults, **found, "autocommit": True}


def _name(arguments: Mapping[str, Any]) -> str:
    """The database for people: host and name, no more."""
    return f"Postgres at {arguments.get('host') or 'localhost'}/{arguments.get('dbname') or arguments.get('user')}"


def _safe(arguments: Mapping[str, Any]) -> bool:
    """Whether every host is this machine, or proves who it is (libpq's `sslmode=verify-full`)."""
    hosts = str(arguments.get("host") or "localhost").split(",")
    here = all(host.startswith(("/", "@")) or host in ("localhost", "127.0.0.1", "::1") for host in hosts)
    return here or arguments.get("sslmode") == "verify-full"


def _storable(value: Any) -> Any:
    """Postgres keeps no NUL in a text; what holds one equals nothing that is stored."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value
