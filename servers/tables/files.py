"""Which files of a folder are tables, what kind each is, and the name of its table."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from servers.tables.unpack import PACKED, packing_of

KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".psv": "csv",
    ".txt": "text",
    ".log": "text",
    ".dat": "text",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".xlsx": "workbook",
    ".xlsm": "workbook",
    ".xlsb": "workbook",
    ".xls": "workbook",
    ".ods": "workbook",
    ".zip": "archive",
}
"""Kinds by suffix. Each but workbooks and archives may be packed as well: `.csv.gz`, `.jsonl.zst`."""
UNPACKED_ONLY = ("workbook", "archive", "parquet")
MAX_FILES = 500
MAX_DEPTH = 4
MAX_NAMED = 50
"""Files of other kinds that are named one by one."""

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class LeftOut:
    """A file, or some files, that are no tables here, and why."""

    file: str
    reason: str


@dataclass
class Scan:
    """What a folder holds at one moment."""

    files: dict[str, Stamp] = field(default_factory=dict)
    """Files that may be tables, by path within the folder, with what changes when they do."""
    left_out: list[LeftOut] = field(default_factory=list)


def scan(root: Path) -> Scan:
    """Look through a folder, down to four levels. Everything that is not read has an entry in `left_out`."""
    found = Scan()
    hidden, beyond, other = 0, 0, 0
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        try:
            entries = sorted(folder.iterdir())
        except OSError as e:
            found.left_out.append(LeftOut(_within(root, folder), f"The folder cannot be read: {e.strerror}."))
            continue
        for entry in entries:
            file = _within(root, entry)
            if entry.name.startswith("."):
                hidden += bool(kind_of(entry.name))
            elif entry.is_dir():
                if entry.is_symlink():
                    found.left_out.append(LeftOut(file, "Links to folders are not followed."))
                elif depth >= MAX_DEPTH:
                    found.left_out.append(LeftOut(file, f"Folders below {MAX_DEPTH} levels are not read."))
                else:
                    waiting.append((entry, depth + 1))
            elif not kind_of(entry.name):
                other += 1
                if other <= MAX_NAMED:
                    found.left_out.append(LeftOut(file, "Files of this kind are not read as tables."))
            elif len(found.files) >= MAX_FILES:
                beyond += 1
            elif stamp := _stamp(entry):
                found.files[file] = stamp
            else:
                found.left_out.append(LeftOut(file, "The file cannot be looked at: it is gone, or a broken link."))
    for count, what in (
        (other - MAX_NAMED, "more files of other kinds are not read as tables."),
        (hidden, "hidden files are not read."),
        (beyond, f"files beyond the first {MAX_FILES} are not read."),
    ):
        if count > 0:
            found.left_out.append(LeftOut("…", f"{count} {what}"))
    found.files = dict(sorted(found.files.items()))
    return found


def _within(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _stamp(path: Path) -> Stamp | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def kind_of(name: str) -> str:
    """The kind of a file by its name, packed or not; empty for everything that is not read."""
    packing = packing_of(name)
    plain = name[: len(name) - len(packing)].lower()
    kind = next((kind for suffix, kind in KINDS.items() if plain.endswith(suffix)), "")
    return "" if packing and kind in UNPACKED_ONLY else kind


def stem_of(name: str) -> str:
    """The file's name without folder and suffixes."""
    base = name.rsplit("/", 1)[-1]
    base = base[: len(base) - len(packing_of(base))]
    suffix = next((s for s in KINDS if base.lower().endswith(s)), "")
    return base[: len(base) - len(suffix)]


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
    base = file.rsplit("/", 1)[-1]
    base = base[: len(base) - len(packing_of(base))]
    suffix = next((s for s in KINDS if base.lower().endswith(s)), "")
    kind = KINDS.get(suffix, "")
    return f"{stem_of(file)}_{kind if kind not in ('text', 'workbook', 'archive') else suffix[1:]}"


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


__all__ = ["PACKED", "LeftOut", "Scan", "Stamp", "kind_of", "names", "scan", "stem_of"]
