"""How the record of a platform is read: its files in this process, or over the management API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from workbench.client.attached import AttachedBackend, Progress
from workbench.client.backend import Backend
from workbench.client.background_loop import BackgroundLoop
from workbench.config import Settings
from workbench.events import MisuseError

if TYPE_CHECKING:
    from workbench.audit import Reader, Verification
    from workbench.audit.query.engine import SqlEngine

ExportFormat = Literal["csv", "parquet", "jsonl"]

MAX_ROWS = 1_000_000
"""Rows that a platform elsewhere answers with at most."""


class RecordQueries:
    """Reads the record for one `Workbench`.

    The record of this machine is read as files, in this process: the gateway's own never runs analytical SQL for
    others. The record of a platform elsewhere is asked over its management API, which shows the caller's tenant.

    Args:
        settings: of the workbench; name the state folder, the fleet and the witness.
        backend: of the workbench.
        loop: where the requests of `backend` run.
    """

    def __init__(self, settings: Settings, backend: Backend, loop: BackgroundLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._elsewhere = backend if isinstance(backend, AttachedBackend) and backend.running.elsewhere else None
        self._reader: Reader | None = None
        self._fleet: SqlEngine | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether the platform is on another machine, so that the files of its record cannot be read from here."""
        return self._elsewhere is not None

    @property
    def reader(self) -> Reader:
        """DuckDB over the files of the record, in this process.

        Raises:
            MisuseError: the platform is elsewhere.
        """
        self._loop.check_open()
        self._need_files("Reading the files of the record")
        if self._reader is None:
            from workbench.audit import Reader

            self._reader = Reader(self._settings.home)
        return self._reader

    @property
    def engine(self) -> SqlEngine:
        """What answers SQL here: the reader of the files, or the platform elsewhere."""
        self._loop.check_open()
        return self.reader if self._elsewhere is None else _Elsewhere(self._elsewhere, self._loop)

    @property
    def fleet(self) -> SqlEngine:
        """What answers SQL over the records of all gateways that share `audit_catalog` or `audit_engine`.

        Raises:
            MisuseError: neither is set.
            UnreachableError: it does not answer.
        """
        self._loop.check_open()
        if self._elsewhere is not None:
            return _Elsewhere(self._elsewhere, self._loop, fleet=True)
        if self._fleet is None:
            from workbench.audit.fleet.fleet import open_fleet

            self._fleet = open_fleet(self._settings)
        return self._fleet

    def export(
        self,
        path: Path,
        table: str,
        format: ExportFormat | None,
        since: str | None,
        until: str | None,
        progress: Progress | None,
    ) -> Path:
        """As `Workbench.export`."""
        from workbench.audit.query.export import export_file
        from workbench.platform.timestamps import microseconds

        self._loop.check_open()
        form = format or path.suffix.removeprefix(".")
        if form not in get_args(ExportFormat):
            raise MisuseError(f"The format {form!r} is none.", hint=f"Expected {', '.join(get_args(ExportFormat))}.")
        if self._elsewhere is not None:
            self._loop.run(self._elsewhere.export, path, table, form, since, until, progress)
        else:
            span = {"since_us": microseconds(since), "until_us": microseconds(until)}
            export_file(self._settings.home, path, table=table, format=form, progress=progress, **span)
        return path

    def verify(self, *, deep: bool, progress: Callable[..., None] | None) -> Verification:
        """As `Workbench.verify`."""
        from workbench.audit import verify
        from workbench.audit.write.witness import read_witness_key

        self._loop.check_open()
        self._need_files("Verifying")
        settings = self._settings
        witness, key = settings.audit_witness or None, read_witness_key(settings.audit_witness_key)
        return verify(settings.home, deep=deep, progress=progress, witness=witness, witness_key=key)

    def close(self) -> None:
        """Close what was opened to read the record."""
        for reader in (self._reader, self._fleet):
            if reader is not None:
                reader.close()
        self._reader = self._fleet = None

    def _need_files(self, what: str) -> None:
        if self._elsewhere is not None:
            raise MisuseError(
                f"{what} needs the files, and this platform is elsewhere.",
                hint="Do it on its machine, or on a copy: `workbench audit fetch STORE NEW_FOLDER`.",
            )


class _Elsewhere:
    """The platform elsewhere as an engine: its management API answers."""

    def __init__(self, backend: AttachedBackend, loop: BackgroundLoop, *, fleet: bool = False) -> None:
        self._backend = backend
        self._loop = loop
        self._fleet = fleet

    def sql(self, query: str, parameters: Any = None, *, max_rows: int | None = None, timeout_s: float = 30.0) -> Any:
        from workbench.audit.query.reader import TRUNCATED, QueryStoppedError

        most = min(max_rows or MAX_ROWS, MAX_ROWS)
        table = self._loop.run(self._backend.sql, query, parameters, most, timeout_s, self._fleet)
        if (max_rows is None or max_rows > MAX_ROWS) and TRUNCATED in (table.schema.metadata or {}):
            raise QueryStoppedError(f"The answer has more than {MAX_ROWS:,} rows.", hint="Give max_rows, or export.")
        return table

    def interrupt(self) -> None:
        """A query is stopped by interrupting the thread that waits for it."""

    def close(self) -> None:
        """The connection belongs to the workbench."""
