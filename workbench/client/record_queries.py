"""The record as the façade shows it: SQL, saved questions, exports and what happened before."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.client.attached import AttachedBackend
from workbench.client.backend import Backend
from workbench.client.history import recorded_call, recorded_run
from workbench.client.results import Result, Run, SavedQuestions
from workbench.config import Settings
from workbench.events import MisuseError

if TYPE_CHECKING:
    from workbench.audit import Reader, SavedQuestion, Verification
    from workbench.audit.query.engine import SqlEngine
    from workbench.client.data_frame import Frame

ExportFormat = Literal["csv", "parquet", "jsonl"]
Progress = Callable[[int, int], object]

MAX_ROWS = 1_000_000
"""Rows that a platform elsewhere answers with at most."""


class RecordQueries:
    """The part of `Workbench` that reads the record.

    The record of this machine is read as files, in this process: the gateway's own never runs analytical SQL for
    others. The record of a platform elsewhere is asked over its management API, which shows the caller's tenant.
    """

    settings: Settings
    _backend: Backend
    _run: Callable[..., Any]
    _check_open: Callable[[], None]
    _reader: Reader | None = None
    _fleet: SqlEngine | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether the platform is on another machine, so that the files of its record cannot be read from here."""
        return isinstance(self._backend, AttachedBackend) and self._backend.running.elsewhere

    @property
    def reader(self) -> Reader:
        """DuckDB over the files of the record, in this process.

        Raises:
            MisuseError: the platform is elsewhere.
        """
        self._check_open()
        self._need_files("Reading the files of the record")
        if self._reader is None:
            from workbench.audit import Reader

            self._reader = Reader(self.settings.home)
        return self._reader

    @property
    def engine(self) -> SqlEngine:
        """What answers SQL here: the reader of the files, or the platform elsewhere."""
        self._check_open()
        if isinstance(self._backend, AttachedBackend) and self._backend.running.elsewhere:
            return _Elsewhere(self._backend, self._run)
        return self.reader

    @property
    def fleet(self) -> SqlEngine:
        """What answers SQL over the records of all gateways that share `audit_catalog` or `audit_engine`.

        Raises:
            MisuseError: neither is set.
            UnreachableError: it does not answer.
        """
        self._check_open()
        if isinstance(self._backend, AttachedBackend) and self._backend.running.elsewhere:
            return _Elsewhere(self._backend, self._run, fleet=True)
        if self._fleet is None:
            from workbench.audit.fleet.fleet import open_fleet

            self._fleet = open_fleet(self.settings)
        return self._fleet

    def sql(
        self,
        query: str,
        parameters: Any = None,
        *,
        max_rows: int | None = None,
        timeout: float = 30.0,
        fleet: bool = False,
    ) -> Frame:
        """Run one read-only SQL statement over the record; returns a DataFrame.

        Args:
            query: SELECT, FROM, WITH, DESCRIBE or SUMMARIZE over the tables of the record.
            parameters: values for `?` (a sequence) or `$name` (a mapping).
            max_rows: most rows to return; the rest is cut off.
            timeout: seconds after which it is stopped. Interrupting (Ctrl-C) stops it too, wherever it runs.
            fleet: query the records of all gateways that share a catalog, up to their last compaction.

        Raises:
            MisuseError: the query is not one read-only statement, or DuckDB refuses it; the message says where.
        """
        from workbench.client.data_frame import frame

        if not isinstance(query, str):
            raise MisuseError(
                f"The statement is {query!r}.", hint='Expected SQL as text, e.g. "select * from tool_calls".'
            )

        engine = self.fleet if fleet else self.engine
        return frame(engine.sql(query, parameters, max_rows=max_rows, timeout_s=timeout))

    def questions(self) -> list[SavedQuestion]:
        """The saved questions to the record; `question(name)` runs one."""
        from workbench.audit import questions

        return SavedQuestions(questions())

    def question(self, name: str, /, *, timeout: float = 30.0, **parameters: Any) -> Frame:
        """Run a saved question, e.g. `wb.question("slowest_tools", hours=1)`.

        Args:
            name: name of the question (see `questions`).
            timeout: seconds after which it is stopped.
            parameters: parameters of the question that differ from their defaults.

        Raises:
            MisuseError: no such question, or it has no such parameter; the message says which there are.
        """
        from workbench.audit.query.saved_questions import saved_question

        asked = saved_question(name)
        return self.sql(asked.sql, asked.filled(parameters), timeout=timeout)

    def export(
        self,
        path: str | Path,
        table: str = "calls",
        *,
        format: ExportFormat | None = None,
        since: str | None = None,
        until: str | None = None,
        progress: Progress | None = None,
    ) -> Path:
        """Write one table of the record to a file, which appears whole or not at all; returns its path.

        Args:
            path: the file; its suffix gives the format unless `format` does.
            table: `calls`, or a table of the record.
            format: csv, parquet or jsonl.
            since: ISO 8601 time, inclusive, UTC.
            until: ISO 8601 time, exclusive; default now.
            progress: called with what is done and the total: rows, or bytes and 0 from a platform elsewhere.

        Raises:
            MisuseError: no such table or format, or a time that is not ISO 8601.
            OSError: the file cannot be written.
        """
        from workbench.audit.query.export import export_file
        from workbench.platform.timestamps import microseconds

        self._check_open()
        path = Path(path)
        form = format or path.suffix.removeprefix(".")
        if form not in get_args(ExportFormat):
            raise MisuseError(f"The format {form!r} is none.", hint=f"Expected {', '.join(get_args(ExportFormat))}.")
        if isinstance(self._backend, AttachedBackend) and self._backend.running.elsewhere:
            self._run(self._backend.export, path, table, form, since, until, progress)
        else:
            span = {"since_us": microseconds(since), "until_us": microseconds(until)}
            export_file(self.settings.home, path, table=table, format=form, progress=progress, **span)
        return path

    def recorded_call(self, call: str) -> Result | None:
        """A finished call, read back from the record, arguments and answer redacted; None when there is none."""
        return recorded_call(self.engine, call)

    def recorded_run(self, run: str) -> Run | None:
        """A finished run, read back from the record; None when there is none of that id."""
        return recorded_run(self.engine, run)

    def verify(self, *, deep: bool = False, progress: Callable[..., None] | None = None) -> Verification:
        """Check that nothing in the record was altered or removed.

        Args:
            deep: check every line of every chain, not only sealed files.
            progress: called while the check goes on.

        Raises:
            MisuseError: the platform is on another machine; only its files can prove anything.
        """
        from workbench.audit import verify
        from workbench.audit.write.witness import read_witness_key

        self._check_open()
        self._need_files("Verifying")
        witness, key = self.settings.audit_witness or None, read_witness_key(self.settings.audit_witness_key)
        return verify(self.settings.home, deep=deep, progress=progress, witness=witness, witness_key=key)

    def _close_readers(self) -> None:
        for reader in (self._reader, self._fleet):
            if reader is not None:
                reader.close()
        self._reader = self._fleet = None

    def _need_files(self, what: str) -> None:
        if self.elsewhere:
            raise MisuseError(
                f"{what} needs the files, and this platform is elsewhere.",
                hint="Do it on its machine, or on a copy: `workbench audit fetch STORE NEW_FOLDER`.",
            )


class _Elsewhere:
    """The platform elsewhere as an engine: its management API answers."""

    def __init__(self, backend: AttachedBackend, run: Callable[..., Any], *, fleet: bool = False) -> None:
        self._backend = backend
        self._run = run
        self._fleet = fleet

    def sql(self, query: str, parameters: Any = None, *, max_rows: int | None = None, timeout_s: float = 30.0) -> Any:
        from workbench.audit.query.reader import TRUNCATED, QueryStoppedError

        ask: Callable[..., Awaitable[Any]] = self._backend.sql
        table = self._run(ask, query, parameters, min(max_rows or MAX_ROWS, MAX_ROWS), timeout_s, self._fleet)
        if (max_rows is None or max_rows > MAX_ROWS) and TRUNCATED in (table.schema.metadata or {}):
            raise QueryStoppedError(f"The answer has more than {MAX_ROWS:,} rows.", hint="Give max_rows, or export.")
        return table

    def interrupt(self) -> None:
        """A query is stopped by interrupting the thread that waits for it."""

    def close(self) -> None:
        """The connection belongs to the workbench."""
