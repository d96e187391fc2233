"""`Reader`: SQL over the record, in the process of whoever asks, while the platform writes.

An in-memory DuckDB reads the files of the log and the lake; no lock is shared with the writer. The user's statement is
data until `guard` has accepted it: it can name the tables of the record and nothing else, it cannot change anything,
and with a tenant given it cannot learn anything of the others.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.audit.format.columns import quoted
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.lake_catalog import FolderCatalog, LakeCatalog
from workbench.audit.lake.segment_store import open_bucket_files
from workbench.audit.lake.trace_index import IdColumn, TraceLookup
from workbench.audit.query.views import REVEAL, REVEALED, TABLES, create_views, show_files
from workbench.audit.write.subject_keys import FILE, SubjectKeys
from workbench.events import MisuseError, UnreachableError

if TYPE_CHECKING:
    import pyarrow

TRUNCATED = b"truncated"
"""Key in the schema metadata of a result that was cut at `max_rows`; its value is `b"true"`."""

_BATCH = 2048


class QueryStoppedError(MisuseError):
    """A query was interrupted, took longer than it may, or needed more memory."""

    error_kind = "QueryStopped"
    exit_code = 5


class Reader:
    """Read-only SQL over one state folder. Any number of readers in any number of processes.

    A reader runs one query at a time; calls from several threads queue up.

    Args:
        home: the state folder. It need not hold a record yet.
        tenant: show only this tenant's rows, whatever the statement; None shows all.
        threads: cores a query may use.
        memory: most memory a query may use, as DuckDB writes it.
        catalog: which files make up the record; default those of the state folder. What is encrypted in the files of
            a fleet stays so, because its keys are in many places.
    """

    def __init__(
        self,
        home: Path,
        *,
        tenant: str | None = None,
        threads: int = 1,
        memory: str = "512MB",
        catalog: LakeCatalog | None = None,
    ) -> None:
        self.folder = AuditFolder(home)
        self.tenant = tenant
        self._catalog = FolderCatalog(self.folder) if catalog is None else catalog
        self._keys: SubjectKeys | None = None
        self._reveals = catalog is None and (self.folder.home / FILE).exists()
        self._busy = threading.Lock()
        self._stop = ""
        self._threads, self._memory = threads, memory
        self._open()

    def _open(self) -> None:
        """Connect to a DuckDB that can open the files of the record and no others."""
        import duckdb

        from workbench.audit.query.sql_guard import SqlGuard

        self._files: tuple[int, tuple[str, ...]] | None = None
        self._folders = self._catalog.folders
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "threads": str(self._threads),
                "memory_limit": self._memory,
                "temp_directory": "",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
                "enable_external_file_cache": "false",  # the log grows under the reader
            },
        )
        # DuckDB complains on standard error when a connection outlives the interpreter.
        self._closing = weakref.finalize(self, self._connection.close)
        self._connection.execute("SET TimeZone = 'UTC'")
        self._connection.execute("SET parquet_metadata_cache = true")  # the lake does not: its files never change
        # DuckDB draws its progress on standard output, where answers and exports are written.
        # A notebook without widgets draws no bar, and DuckDB refuses even to switch it off there.
        with contextlib.suppress(duckdb.InvalidInputException):
            self._connection.execute("SET enable_progress_bar = false")
        self._columns = self._register_keys()
        create_views(self._connection, self.tenant, self._columns)
        self._guard = SqlGuard(self._connection, {*TABLES, "tables", "table_columns"})
        for scheme in {folder.partition("://")[0] for folder in self._folders if "://" in folder}:
            self._connection.register_filesystem(open_bucket_files(scheme))
        allowed = ", ".join(quoted(f"{folder}/") for folder in self._folders)
        self._connection.execute(f"SET allowed_directories = [{allowed}]")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def _register_keys(self) -> str:
        """Where values are encrypted, the function that opens them; returns the columns of `events`."""
        if not self._reveals:
            return "*"
        self._keys = SubjectKeys(self.folder.home, tenant=self.tenant)
        self._connection.create_function(REVEAL, self._keys.reveal, ["varchar", "varchar"], "varchar")
        return REVEALED

    def sql(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        max_rows: int | None = None,
        timeout_s: float = 30.0,
    ) -> pyarrow.Table:
        """The result of one SELECT-like statement over everything recorded up to now.

        Args:
            query: SELECT, FROM, WITH, VALUES, DESCRIBE, SUMMARIZE or SHOW TABLES over the tables of the record.
            parameters: values for `?`/`$1` (a sequence) or `$name` (a mapping).
            max_rows: cut the result after so many rows and say so in its schema metadata.
            timeout_s: seconds after which the query is stopped.

        Raises:
            MisuseError: the statement is not allowed or not valid; the message is DuckDB's and points at the place.
            QueryStoppedError: it was interrupted, took too long, or needed too much memory.
        """
        import duckdb

        if query.strip(" \t\n;").lower() == "show tables":
            query = "from tables"  # what people type first; DuckDB's own answer would name the views over files as well
        with self._running(timeout_s):
            self._guard.check(query)
            try:
                self._refresh()
                return self._collect(self._relation(query, parameters), max_rows)
            except (duckdb.IOException, FileNotFoundError):
                if not self._refresh():
                    raise
            # files were replaced by others before all of them were read
            return self._collect(self._relation(query, parameters), max_rows)

    def batches(
        self,
        query: str,
        parameters: Sequence[Any] | Mapping[str, Any] | None = None,
        *,
        rows: int = _BATCH,
        timeout_s: float = 30.0,
    ) -> Iterator[pyarrow.RecordBatch]:
        """The result of one statement as it comes, in bounded memory. Other queries of this reader wait meanwhile.

        Args:
            rows: rows of one batch.

        Raises:
            MisuseError: as `sql`.
            QueryStoppedError: as `sql`; what was handed out before is then not all of it.
        """
        with self._running(timeout_s):
            self._guard.check(query)
            self._refresh()
            yield from _batches(self._relation(query, parameters).to_arrow_reader(rows))

    def _relation(self, query: str, parameters: Any) -> Any:
        import duckdb

        try:
            return self._connection.sql(query, params=parameters)
        except (duckdb.BinderException, duckdb.CatalogException):
            self._connection.execute(query, parameters)  # the same complaint, with the line and a caret
            raise

    @contextmanager
    def _running(self, timeout_s: float) -> Iterator[None]:
        """One query at a time, with a deadline; DuckDB's errors become ours."""
        import duckdb

        with self._busy:
            self._stop = ""
            timer = threading.Timer(timeout_s, self._expire, [timeout_s])
            timer.daemon = True
            timer.start()
            try:
                yield
            except duckdb.InterruptException as e:
                said = self._stop or "The query was cancelled."
                raise QueryStoppedError(said, hint="Narrow it, e.g. by time.") from e
            except duckdb.OutOfMemoryException as e:
                raise QueryStoppedError("The query needs more memory than it may use.", hint="Narrow it.") from e
            except duckdb.Error as e:
                raise MisuseError(str(e), hint="") from e
            except FileNotFoundError as e:  # of a bucket
                raise UnreachableError(f"A file of the record is not there: {e}.", hint="Ask again.") from e
            finally:
                timer.cancel()
                timer.join()  # a thread that still knows us at the end of the program makes DuckDB complain of leaks

    def trace(self, trace_id: str, *, timeout_s: float = 30.0) -> pyarrow.Table:
        """Every event of one trace, oldest first.

        Args:
            trace_id: 32 hex digits.

        Raises:
            QueryStoppedError: it took too long.
        """
        return self.events_of("trace_id", trace_id, timeout_s=timeout_s)

    def events_of(self, column: IdColumn | None, value: str, *, timeout_s: float = 30.0) -> pyarrow.Table:
        """Every event of one trace, call or run, oldest first. An index says where to look.

        Args:
            column: which id it is: `trace_id`, `request_id` (of a call) or `run_id`; None when it may be any of them.
            value: the id.

        Raises:
            QueryStoppedError: it took too long.
        """
        with self._running(timeout_s):
            lookup = TraceLookup(self._connection, self._catalog.current(), column, value, self.tenant)
            select, parameters = lookup.select()
            found = self._connection.sql(f"SELECT {self._columns} FROM ({select})", params=parameters)
            return self._collect(found, None)

    def interrupt(self) -> None:
        """Stop the query that runs now, from any thread."""
        self._connection.interrupt()

    def close(self) -> None:
        """Give up the connection. May be called twice; at the latest it happens when the interpreter exits."""
        self._closing()
        self._catalog.close()
        if self._keys is not None:
            self._keys.close()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _expire(self, seconds: float) -> None:
        self._stop = f"The query took longer than {seconds:g} s."
        self._connection.interrupt()

    def _refresh(self) -> bool:
        """Look at the files that count now; returns whether they are others than before."""
        files = self._catalog.current()
        if self._catalog.folders != self._folders:  # a gateway joined the fleet
            self._closing()
            self._open()
        if files.key == self._files:
            return False
        show_files(self._connection, files.select(), files.select_hourly())
        self._files = files.key
        return True

    @staticmethod
    def _collect(relation: Any, max_rows: int | None) -> pyarrow.Table:
        import pyarrow

        batches = []
        rows = 0
        reader = relation.to_arrow_reader(_BATCH)
        for batch in _batches(reader):
            batches.append(batch)
            rows += batch.num_rows
            if max_rows is not None and rows > max_rows:
                break
        table = pyarrow.Table.from_batches(batches, schema=reader.schema)
        if max_rows is not None and rows > max_rows:
            table = table.slice(0, max_rows).replace_schema_metadata({TRUNCATED: b"true"})
        return table


def _batches(reader: pyarrow.RecordBatchReader) -> Iterator[pyarrow.RecordBatch]:
    """What the reader reads. After the first rows Arrow turns DuckDB's errors into OSError; they are turned back."""
    import duckdb

    try:
        yield from reader
    except OSError as e:
        kinds = {
            "INTERRUPT": duckdb.InterruptException,
            "Out of Memory": duckdb.OutOfMemoryException,
            "IO": duckdb.IOException,
        }
        kind, said, _ = str(e).partition(" Error: ")
        if not said:
            raise
        raise kinds.get(kind, duckdb.Error)(str(e)) from e
