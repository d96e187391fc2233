"""A folder of data files as tables of DuckDB: found, named, loaded, and loaded again when a file changes.

Each file is copied into a database file of its own in a temporary folder. Queries run on another connection, to which
the copies are attached read-only before it is locked down, so that no statement can reach a file or change a table.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
import weakref
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from servers.tables.delimited import Unreadable, mend_words_for_nothing, quoted, read_text

SUFFIXES = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".parquet": "parquet",
    ".json": "json",
    ".json.gz": "json",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
}
MOST_FILES = 500
DEEPEST = 4
LOCK_DOWN = (
    "set temp_directory = ''",
    "set TimeZone = 'UTC'",
    "set autoinstall_known_extensions = false",
    "set autoload_known_extensions = false",
    "set python_enable_replacements = false",
    "set enable_external_access = false",
    "set lock_configuration = true",
)

Stamp = tuple[int, int, int]


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
    columns: tuple[Column, ...] = ()
    rows: int = 0
    error: str = ""
    note: str = ""


@dataclass(frozen=True)
class Snapshot:
    """The tables at one moment and a locked-down connection that sees them."""

    tables: dict[str, Table]
    connection: duckdb.DuckDBPyConnection
    views: tuple[tuple[str, str], ...] = ()
    """Name and database file of each table."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was worked out about the tables, e.g. the figures of each column."""


class Folder:
    """The tables of a folder.

    Args:
        root: the folder; subfolders are read too, hidden ones are not.
        memory_mb: most memory of the engine, in megabytes.
        threads: threads of the engine.
        most_bytes: larger files are listed with an error.
    """

    def __init__(self, root: Path, *, memory_mb: int = 512, threads: int = 2, most_bytes: int = 4 << 30) -> None:
        self.root = root.resolve()
        if not self.root.is_dir():
            raise NotADirectoryError(f"{root} is no folder. Give --folder a folder of CSV, Parquet or JSON files.")
        self.memory_mb, self.threads, self.most_bytes = memory_mb, threads, most_bytes
        self._copies = Path(tempfile.mkdtemp(prefix="tables-"))
        self._remove_copies = weakref.finalize(self, shutil.rmtree, self._copies, ignore_errors=True)
        self._loaded: dict[str, _Loaded] = {}
        self._snapshot: Snapshot | None = None
        self._seen: dict[str, Stamp] = {}
        self._lock = threading.Lock()
        self._made = 0

    def snapshot(self) -> Snapshot:
        """The tables as the files are now; files that changed since are loaded again first."""
        with self._lock:
            found = self._scan()
            if self._snapshot is None or found != self._seen:
                self._load(found)
                self._snapshot = self._attach()
                self._seen = found
            return self._snapshot

    def close(self) -> None:
        """Remove the copies."""
        if self._snapshot:
            self._snapshot.connection.close()
        self._remove_copies()

    # --- finding

    def _scan(self) -> dict[str, Stamp]:
        found: dict[str, Stamp] = {}
        waiting = [(self.root, 0)]
        while waiting:
            folder, depth = waiting.pop()
            try:
                entries = sorted(folder.iterdir())
            except OSError:
                continue  # unreadable or just removed: there is nothing to list
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir() and not entry.is_symlink() and depth < DEEPEST:
                    waiting.append((entry, depth + 1))
                elif kind_of(entry.name) and len(found) < MOST_FILES:
                    stamp = _stamp(entry)
                    if stamp:
                        found[entry.relative_to(self.root).as_posix()] = stamp
        return dict(sorted(found.items()))

    # --- loading

    def _load(self, found: dict[str, Stamp]) -> None:
        for file in [f for f in self._loaded if f not in found]:
            self._drop(file)
        for file, stamp in found.items():
            before = self._loaded.get(file)
            if before is None or before.stamp != stamp:
                self._drop(file)
                self._loaded[file] = self._copy(file, stamp)

    def _drop(self, file: str) -> None:
        old = self._loaded.pop(file, None)
        if old and old.path:
            old.path.unlink(missing_ok=True)  # connections that still read it keep it until they end

    def _copy(self, file: str, stamp: Stamp) -> _Loaded:
        source = (self.root / file).resolve()
        if not source.is_relative_to(self.root):
            return _Loaded(stamp, None, error="The file is a link to a place outside the folder.")
        if not source.is_file():
            return _Loaded(stamp, None, error="This is no regular file.")
        if stamp[1] == 0:
            return _Loaded(stamp, None, error="The file is empty.")
        if stamp[1] > self.most_bytes:
            return _Loaded(stamp, None, error=f"The file has {stamp[1]:,} bytes, more than {self.most_bytes:,}.")
        self._made += 1
        target = self._copies / f"t{self._made}.duckdb"
        # a link with a plain name: the file's own may hold characters that mean a pattern
        link = self._copies / f"in{self._made}{'.gz' if file.lower().endswith('.gz') else ''}"
        link.symlink_to(source)
        try:
            with duckdb.connect(str(target), config={"threads": self.threads, "memory_limit": "1GB"}) as loader:
                loader.execute("set autoinstall_known_extensions = false")
                note = _read(loader, kind_of(file), link)
                mend_words_for_nothing(loader)
                described = loader.execute("describe data").fetchall()
                rows = loader.execute("select count(*) from data").fetchone()
            columns = tuple(Column(str(row[0]), str(row[1])) for row in described)
            return _Loaded(stamp, target, columns, rows[0] if rows else 0, note=note)
        except (duckdb.Error, UnicodeDecodeError, Unreadable) as e:
            target.unlink(missing_ok=True)
            shown = str(e).replace(str(link), file).splitlines()
            return _Loaded(stamp, None, error=" ".join(line.strip() for line in shown[:3]) or type(e).__name__)
        finally:
            link.unlink(missing_ok=True)

    # --- serving

    def _attach(self) -> Snapshot:
        tables: dict[str, Table] = {}
        views = []
        for file, name in names(list(self._loaded)).items():
            loaded = self._loaded[file]
            tables[name] = Table(name, file, loaded.stamp[1], loaded.columns, loaded.rows, loaded.error, loaded.note)
            if loaded.path:
                views.append((name, str(loaded.path)))
        connection = attached(views, memory=f"{self.memory_mb}MB", threads=self.threads)
        return Snapshot(tables, connection, tuple(views))


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


def kind_of(name: str) -> str:
    """`csv`, `tsv`, `parquet`, `json` or `jsonl` by the file's name; empty for everything else."""
    lower = name.lower()
    return next((SUFFIXES[s] for s in sorted(SUFFIXES, key=len, reverse=True) if lower.endswith(s)), "")


def stem_of(name: str) -> str:
    """The file's name without folder and suffixes."""
    base = name.rsplit("/", 1)[-1]
    suffix = next(s for s in sorted(SUFFIXES, key=len, reverse=True) if base.lower().endswith(s))
    return base[: -len(suffix)]


def names(files: list[str]) -> dict[str, str]:
    """A table name for each file, the same for the same set of files.

    The stem of the file where that is unique, else stem and kind, else the whole path, else that with a number.
    """
    made: dict[str, str] = {}
    taken: set[str] = set()
    waiting = sorted(files)
    for form in (stem_of, _with_kind, _with_folder):
        words = {file: _word(form(file)) for file in waiting}
        counts = Counter(word.casefold() for word in words.values())
        for file, word in words.items():
            if counts[word.casefold()] == 1 and word.casefold() not in taken:
                made[file] = word
                taken.add(word.casefold())
        waiting = [file for file in waiting if file not in made]
    for file in waiting:
        word, number = _word(_with_folder(file)), 2
        while f"{word}_{number}".casefold() in taken:
            number += 1
        made[file] = f"{word}_{number}"
        taken.add(made[file].casefold())
    return dict(sorted(made.items(), key=lambda item: item[1].casefold()))


def _with_kind(file: str) -> str:
    return f"{stem_of(file)}_{kind_of(file)}"


def _with_folder(file: str) -> str:
    return f"{file.rpartition('/')[0]}/{_with_kind(file)}"


def _word(text: str) -> str:
    word = re.sub(r"\W+", "_", text).strip("_") or "table"
    if word[0].isdigit():
        word = f"t_{word}"
    return f"{word}_table" if word.lower() in _reserved() else word


_RESERVED: set[str] = set()


def _reserved() -> set[str]:
    if not _RESERVED:
        with duckdb.connect(":memory:") as db:
            found = db.execute("select keyword_name from duckdb_keywords() where keyword_category <> 'unreserved'")
            _RESERVED.update(str(row[0]) for row in found.fetchall())
    return _RESERVED


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(loader: duckdb.DuckDBPyConnection, kind: str, path: Path) -> str:
    """Make the table `data` of a file; returns what has to be said about it."""
    if kind in ("csv", "tsv"):
        return read_text(loader, path, "\t" if kind == "tsv" else None)
    if kind == "parquet":
        loader.execute("create table data as from read_parquet(?)", [str(path)])
    else:
        form = "newline_delimited" if kind == "jsonl" else "auto"
        loader.execute(f"create table data as from read_json(?, format = '{form}', sample_size = -1)", [str(path)])
    return ""
