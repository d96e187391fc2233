"""A folder of data files as tables of DuckDB: found, named, loaded, and loaded again when a file changes.

Each file is copied into a database file of its own in a temporary folder. Queries run on another connection, to which
the copies are attached read-only before it is locked down, so that no statement can reach a file or change a table.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from servers.tables.conventions import NULL_VALUES, quoted
from servers.tables.delimited import NoTable, Unreadable, read_text
from servers.tables.files import LeftOut, Scan, Stamp, kind_of, names, scan, stem_of
from servers.tables.unpack import UnpackError, member, members, packing_of, unpacked
from servers.tables.workbook import WorkbookError, sheet_names, write_sheet

LOCK_DOWN = (
    "set temp_directory = ''",
    "set TimeZone = 'UTC'",
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
    "set python_enable_replacements = false",
    "set enable_external_access = false",
    "set lock_configuration = true",
)

MAX_PARTS = 100
"""Sheets of a workbook, or files in an archive, that are read."""


@dataclass(frozen=True)
class Column:
    """A column as it was loaded."""

    name: str
    type: str


@dataclass(frozen=True)
class Table:
    """A file that was loaded, or the reason why it was not."""

    name: str
    file: str
    """Path within the folder, with `/`."""
    bytes: int
    columns: tuple[Column, ...] = ()
    rows: int = 0
    error: str = ""
    note: str = ""
    """What a reader has to know about how it was read."""

    def column(self, name: str) -> Column | None:
        """The column of that name; case only matters where two differ in nothing else."""
        exact = next((c for c in self.columns if c.name == name), None)
        return exact or next((c for c in self.columns if c.name.casefold() == name.casefold()), None)


@dataclass
class _Loaded:
    stamp: Stamp
    path: Path | None
    named: str
    """A path that a table's name is made of."""
    file: str
    """What is shown as its file."""
    columns: tuple[Column, ...] = ()
    rows: int = 0
    error: str = ""
    note: str = ""
    no_table: bool = False
    """Whether the error is that there is no table in it."""


@dataclass(frozen=True)
class Snapshot:
    """The tables at one moment and a locked-down connection that sees them."""

    tables: dict[str, Table]
    connection: duckdb.DuckDBPyConnection
    views: tuple[tuple[str, str], ...] = ()
    """Name and database file of each table."""
    left_out: tuple[LeftOut, ...] = ()
    """What else is in the folder, and why it is no table."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was worked out about the tables, e.g. the figures of each column."""


class Folder:
    """The tables of a folder.

    Args:
        root: the folder; subfolders are read too, hidden ones are not.
        memory_mb: most memory of the engine, in megabytes.
        threads: threads of the engine.
        most_bytes: larger files are listed with an error.
        null_values: texts that stand for no value in delimited text and workbooks.
    """

    def __init__(
        self,
        root: Path,
        *,
        memory_mb: int = 512,
        threads: int = 2,
        most_bytes: int = 4 << 30,
        null_values: Sequence[str] = NULL_VALUES,
    ) -> None:
        self.root = root.resolve()
        if not self.root.is_dir():
            raise NotADirectoryError(f"{root} is no folder. Give --folder a folder of CSV, Parquet or JSON files.")
        self.memory_mb, self.threads, self.most_bytes = memory_mb, threads, most_bytes
        self.null_values = tuple(null_values)
        self._copies = Path(tempfile.mkdtemp(prefix="tables-"))
        self._remove_copies = weakref.finalize(self, shutil.rmtree, self._copies, ignore_errors=True)
        self._loaded: dict[str, list[_Loaded]] = {}
        self._snapshot: Snapshot | None = None
        self._seen = Scan()
        self._lock = threading.Lock()
        self._made = 0

    def snapshot(self) -> Snapshot:
        """The tables as the files are now; files that changed since are loaded again first."""
        with self._lock:
            found = scan(self.root)
            if self._snapshot is None or found != self._seen:
                self._load(found.files)
                self._snapshot = self._attach(found.left_out)
                self._seen = found
            return self._snapshot

    def close(self) -> None:
        """Remove the copies."""
        if self._snapshot:
            self._snapshot.connection.close()
        self._remove_copies()

    # --- loading

    def _load(self, found: dict[str, Stamp]) -> None:
        for file in [f for f in self._loaded if f not in found]:
            self._drop(file)
        for file, stamp in found.items():
            before = self._loaded.get(file)
            if before is None or before[0].stamp != stamp:
                self._drop(file)
                self._loaded[file] = self._copies_of(file, stamp)

    def _drop(self, file: str) -> None:
        for old in self._loaded.pop(file, []):
            if old.path:
                old.path.unlink(missing_ok=True)  # connections that still read it keep it until they end

    def _copies_of(self, file: str, stamp: Stamp) -> list[_Loaded]:
        """The tables of a file, or the reason why there are none. Never empty."""

        def failed(error: str) -> list[_Loaded]:
            return [_Loaded(stamp, None, file, file, error=error)]

        source = (self.root / file).resolve()
        if not source.is_relative_to(self.root):
            return failed("The file is a link to a place outside the folder.")
        if not source.is_file():
            return failed("This is no regular file.")
        if stamp[1] == 0:
            return failed("The file is empty.")
        if stamp[1] > self.most_bytes:
            return failed(f"The file has {stamp[1]:,} bytes, more than {self.most_bytes:,}.")
        kind = kind_of(file)
        try:
            if kind == "workbook":
                return self._sheets(file, stamp, source) or failed("The workbook has no sheet with cells.")
            if kind == "archive":
                return self._members(file, stamp, source) or failed("The archive has no file that could be a table.")
            with self._place() as place, unpacked(source, packing_of(file), place, self.most_bytes) as plain:
                return [self._copy(stamp, kind, plain, file, file)]
        except (UnpackError, WorkbookError, OSError) as e:
            return failed(str(e))

    @contextlib.contextmanager
    def _place(self) -> Iterator[Path]:
        """A path for a temporary file, with a plain name: the file's own may hold characters that mean a pattern."""
        self._made += 1
        place = self._copies / f"in{self._made}"
        try:
            yield place
        finally:
            place.unlink(missing_ok=True)

    def _sheets(self, file: str, stamp: Stamp, source: Path) -> list[_Loaded]:
        found: list[_Loaded] = []
        sheets = sheet_names(source)
        for sheet in sheets[:MAX_PARTS]:
            shown = f"{file} (sheet {sheet})" if len(sheets) > 1 else file
            named = (
                f"{file.rpartition('/')[0]}/{stem_of(file)}_{sheet.replace('/', '_')}.xlsx" if len(sheets) > 1 else file
            )
            with self._place() as place:
                try:
                    if write_sheet(source, sheet, place):
                        found.append(self._copy(stamp, "csv", place, named, shown))
                    else:
                        found.append(_Loaded(stamp, None, named, shown, error="The sheet has no cells.", no_table=True))
                except WorkbookError as e:
                    found.append(_Loaded(stamp, None, named, shown, error=str(e)))
        return [*found, *_beyond(stamp, file, len(sheets), "sheets")]

    def _members(self, file: str, stamp: Stamp, source: Path) -> list[_Loaded]:
        found: list[_Loaded] = []
        inside = [(name, size) for name, size in members(source) if not name.startswith("__MACOSX/")]
        for name, size in inside[:MAX_PARTS]:
            shown, kind = f"{file} ({name})", kind_of(name)
            named = f"{file[:-4]}/{name}" if len(inside) > 1 else f"{file.rpartition('/')[0]}/{name.rpartition('/')[2]}"
            if not kind or kind in ("workbook", "archive") or packing_of(name):
                reason = "Files of this kind are not read from an archive."
                found.append(_Loaded(stamp, None, named, shown, error=reason, no_table=True))
                continue
            with self._place() as place:
                try:
                    with member(source, name, place, min(self.most_bytes, max(size, 1))) as plain:
                        found.append(self._copy(stamp, kind, plain, named, shown))
                except UnpackError as e:
                    found.append(_Loaded(stamp, None, named, shown, error=str(e)))
        return [*found, *_beyond(stamp, file, len(inside), "files")]

    def _copy(self, stamp: Stamp, kind: str, source: Path, named: str, file: str) -> _Loaded:
        """Copy one table into a database file of its own."""
        self._made += 1
        target = self._copies / f"t{self._made}.duckdb"
        link = self._copies / f"link{self._made}"
        link.symlink_to(source)
        try:
            with duckdb.connect(str(target), config={"threads": self.threads, "memory_limit": "1GB"}) as loader:
                loader.execute("set autoinstall_known_extensions = false")
                note = _read(loader, kind, link, self.null_values)
                described = loader.execute("describe data").fetchall()
                rows = loader.execute("select count(*) from data").fetchone()
            columns = tuple(Column(str(row[0]), str(row[1])) for row in described)
            return _Loaded(stamp, target, named, file, columns, rows[0] if rows else 0, note=note)
        except (duckdb.Error, UnicodeDecodeError, Unreadable) as e:
            target.unlink(missing_ok=True)
            shown = str(e).replace(str(link), file).splitlines()
            error = " ".join(line.strip() for line in shown[:3]) or type(e).__name__
            return _Loaded(stamp, None, named, file, error=error, no_table=isinstance(e, NoTable))
        finally:
            link.unlink(missing_ok=True)

    # --- serving

    def _attach(self, left_out: list[LeftOut]) -> Snapshot:
        every = [loaded for parts in self._loaded.values() for loaded in parts]
        left_out = left_out + [LeftOut(loaded.file, loaded.error) for loaded in every if loaded.no_table]
        by_name: dict[str, _Loaded] = {}
        for loaded in every:
            named = loaded.named
            while named in by_name:  # two sheets or members whose names differ only in what a table's name cannot hold
                named = f"{named.rpartition('.')[0]}_.{named.rpartition('.')[2]}"
            if not loaded.no_table:
                by_name[named] = loaded
        tables: dict[str, Table] = {}
        views = []
        for named, name in names(list(by_name)).items():
            found = by_name[named]
            tables[name] = Table(name, found.file, found.stamp[1], found.columns, found.rows, found.error, found.note)
            if found.path:
                views.append((name, str(found.path)))
        connection = attached(views, memory=f"{self.memory_mb}MB", threads=self.threads)
        return Snapshot(tables, connection, tuple(views), tuple(left_out))


def _beyond(stamp: Stamp, file: str, count: int, what: str) -> list[_Loaded]:
    if count <= MAX_PARTS:
        return []
    reason = f"{count - MAX_PARTS} {what} beyond the first {MAX_PARTS} are not read."
    return [_Loaded(stamp, None, f"{file} …", f"{file} …", error=reason, no_table=True)]


def attached(views: list[tuple[str, str]], *, memory: str, threads: int) -> duckdb.DuckDBPyConnection:
    """A connection that sees the tables of some database files, and nothing else.

    Args:
        views: name and database file of each table.
        memory: most memory of the engine.
        threads: threads of the engine.
    """
    connection = duckdb.connect(":memory:", config={"threads": threads, "memory_limit": memory})
    for name, path in views:
        database = quoted(Path(path).stem)
        connection.execute(f"attach '{path}' as {database} (read_only)")
        connection.execute(f"create view {quoted(name)} as from {database}.main.data")
    for statement in LOCK_DOWN:
        connection.execute(statement)
    return connection


def _read(loader: duckdb.DuckDBPyConnection, kind: str, path: Path, null_values: Sequence[str]) -> str:
    """Make the table `data` of a file; returns what has to be said about it."""
    if kind in ("csv", "tsv", "text"):
        tab = "\t" if kind == "tsv" else None
        return read_text(loader, path, tab, null_values=null_values, prose=kind == "text")
    if kind == "parquet":
        loader.execute("create table data as from read_parquet(?)", [str(path)])
    else:
        form = "newline_delimited" if kind == "jsonl" else "auto"
        options = f"format = '{form}', sample_size = -1, compression = 'none'"
        loader.execute(f"create table data as from read_json(?, {options})", [str(path)])
    return ""
