"""The documents of all sources in one full-text index (SQLite FTS5, ranked by BM25), kept up with the files."""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from servers.knowledge.documents import Document, Section, kind_of, parse
from servers.knowledge.passages import END, MARK, passage

MAX_DOCUMENTS = 20_000
MAX_FILE_BYTES = 4 << 20
MAX_DEPTH = 12

# Words that are in nearly every text: asking for them would rank by chance.
COMMON = frozenset(
    re.findall(
        r"\w+",
        """a about an and any are as at be but by can could did do does for from get gets got had has have how i if in
        into is it its me my no not of on or our please shall should so that the their them then there these they
        this those to us was we were what when where which who why will with would you your""",
    )
)

Stamp = tuple[int, int]


@dataclass(frozen=True)
class Listed:
    """A document of the index, without its text."""

    document_id: str
    title: str
    source: str
    characters: int
    updated: str


@dataclass(frozen=True)
class Hit:
    """The passage of a document that fits best."""

    document: Listed
    heading: str
    snippet: str
    offset: int
    score: float


@dataclass(frozen=True)
class Folder:
    """A folder of documents, or a single file of it.

    Args:
        source: first part of the ids of its documents.
        root: the folder.
        only: path of a single file within it; empty for all.
    """

    source: str
    root: Path
    only: str = ""


class Library:
    """Documents of several folders, and some that are given.

    Args:
        folders: scanned at every search; only files that changed are read again.
        given: ids, documents and days of change of what lies in no file.
    """

    def __init__(
        self, folders: list[Folder], given: Callable[[], list[tuple[str, Document, str]]] | None = None
    ) -> None:
        self.folders = folders
        self._given = given
        self._lock = threading.Lock()
        self._stamps: dict[str, Stamp] = {}
        self._db = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
        self._db.executescript(
            """
            create table documents (id text primary key, title text, source text, text text, updated text);
            create virtual table passages using fts5(
                title, heading, body, id unindexed, start unindexed, tokenize = 'porter unicode61 remove_diacritics 2');
            """
        )

    def close(self) -> None:
        """Let go of the index."""
        self._db.close()

    def search(self, query: str, limit: int, source: str | None = None) -> tuple[list[Hit], int]:
        """The documents that fit best and how many fit at all.

        Any word may fit; rare words count more, and words in titles and headings more than in the text.
        """
        words = list(dict.fromkeys(re.findall(r"\w+", query.lower())))
        words = [w for w in words if w not in COMMON] or words
        if not words:
            return [], 0
        asked = " OR ".join(f'"{w}"' for w in words[:32])
        with self._lock:
            self._catch_up()
            rows = self._db.execute(
                """select p.id, p.rowid, bm25(passages, 6.0, 3.0, 1.0) as score
                from passages p join documents d on d.id = p.id
                where passages match ? and (? is null or d.source = ?) order by score, p.id, p.start limit 2000""",
                (asked, source, source),
            ).fetchall()
            best: dict[str, tuple[int, float]] = {}
            for ident, row, score in rows:
                best.setdefault(ident, (row, round(-score, 3)))
            return [self._hit(asked, i, *found) for i, found in list(best.items())[:limit]], len(best)

    def _hit(self, asked: str, ident: str, row: int, score: float) -> Hit:
        heading, start, marked = self._db.execute(
            f"select heading, start, highlight(passages, 2, '{MARK}', '{END}') from passages "
            "where passages match ? and rowid = ?",
            (asked, row),
        ).fetchone()
        return Hit(self._listed(ident), heading, passage(marked), int(start), score)

    def read(self, document_id: str) -> tuple[Listed, str] | None:
        """A document and its text, or None."""
        with self._lock:
            self._catch_up()
            row = self._db.execute("select text from documents where id = ?", (document_id,)).fetchone()
            return (self._listed(document_id), row[0]) if row else None

    def documents(self, source: str | None = None) -> list[Listed]:
        """All documents by id."""
        with self._lock:
            self._catch_up()
            rows = self._db.execute(
                """select id, title, source, length(text), updated from documents
                where ? is null or source = ? order by id""",
                (source, source),
            )
            return [Listed(*row) for row in rows]

    def sources(self) -> dict[str, int]:
        """The sources and the number of documents of each."""
        with self._lock:
            self._catch_up()
            return dict(self._db.execute("select source, count(*) from documents group by 1 order by 1").fetchall())

    def similar(self, document_id: str) -> list[str]:
        """Ids that end alike, for who misspelt one."""
        name = document_id.rsplit("/", 1)[-1]
        with self._lock:
            rows = self._db.execute(
                "select id from documents where id like ? escape '\\' order by id limit 5", (f"%{_like(name)}%",)
            )
            return [row[0] for row in rows]

    # --- keeping up

    def _catch_up(self) -> None:
        if self._given:
            for ident, document, updated in self._given():
                self._put(ident, document, updated)
            self._given = None
        found: dict[str, tuple[Path, Stamp]] = {}
        for folder in self.folders:
            for ident, path in _files(folder):
                try:
                    stat = path.stat()
                except OSError:
                    continue  # removed since it was listed
                if stat.st_size <= MAX_FILE_BYTES and len(found) < MAX_DOCUMENTS:
                    found[ident] = (path, (stat.st_mtime_ns, stat.st_size))
        for ident in [i for i in self._stamps if i not in found]:
            del self._stamps[ident]
            self._remove(ident)
        for ident, (path, stamp) in found.items():
            if self._stamps.get(ident) != stamp:
                self._index(ident, path, stamp)

    def _index(self, ident: str, path: Path, stamp: Stamp) -> None:
        try:
            raw = path.read_bytes()
        except OSError:
            self._remove(ident)  # may not be read: it is not part of the library
            return
        updated = _day(stamp[0])
        self._put(ident, parse(raw, kind_of(path.name), path.name), updated)
        self._stamps[ident] = stamp

    def _put(self, ident: str, document: Document, updated: str) -> None:
        self._remove(ident)
        self._db.execute("begin")
        source = ident.split("/", 1)[0]
        self._db.execute(
            "insert into documents values (?, ?, ?, ?, ?)", (ident, document.title, source, document.text, updated)
        )
        self._db.executemany(
            "insert into passages values (?, ?, ?, ?, ?)",
            [(document.title, s.heading, s.body, ident, s.offset) for s in document.sections],
        )
        self._db.execute("commit")

    def _remove(self, ident: str) -> None:
        known = self._db.execute("delete from documents where id = ?", (ident,)).rowcount
        if known:
            self._db.execute("delete from passages where id = ?", (ident,))

    def _listed(self, ident: str) -> Listed:
        row = self._db.execute(
            "select id, title, source, length(text), updated from documents where id = ?", (ident,)
        ).fetchone()
        return Listed(*row)


def whole(title: str, text: str) -> Document:
    """A document of one section."""
    return Document(title, text, (Section(title, text, 0),))


def _files(folder: Folder) -> Iterator[tuple[str, Path]]:
    """Ids and paths of the documents of a folder; hidden names and links are left out."""
    if folder.only:
        path = folder.root / folder.only
        if path.is_file():
            yield f"{folder.source}/{folder.only}", path
        return
    waiting = [(folder.root, 0)]
    while waiting:
        at, depth = waiting.pop()
        try:
            entries = sorted(at.iterdir())
        except OSError:
            continue  # may not be read, or was removed
        for entry in entries:
            if entry.name.startswith(".") or entry.is_symlink():
                continue
            if entry.is_dir():
                if depth < MAX_DEPTH and entry.name not in ("node_modules", "__pycache__"):
                    waiting.append((entry, depth + 1))
            elif kind_of(entry.name) and entry.is_file():
                yield f"{folder.source}/{entry.relative_to(folder.root).as_posix()}", entry


def _day(ns: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).date().isoformat()


def _like(text: str) -> str:
    return re.sub(r"([%_\\])", r"\\\1", text)
