"""CSV and TSV files as tables: other encodings than UTF-8 are converted, and rows that do not fit are never lost."""

from __future__ import annotations

import codecs
import contextlib
import csv
import gzip
import shutil
from pathlib import Path
from typing import IO, cast

import duckdb

DELIMITERS = ",;\t|"
LOOKED_AT = 1 << 16
"""Bytes of a file from which its encoding is guessed."""
HOW_TO_CONVERT = "Save it as UTF-8, for instance with `iconv -f ENCODING -t UTF-8`."


class Unreadable(Exception):
    """The file is no table that could be read without losing something. The message is for the caller."""


def read_text(loader: duckdb.DuckDBPyConnection, path: Path, delimiter: str | None) -> str:
    """Make the table `data` of a file of delimited text.

    Args:
        loader: a connection that may read files.
        path: the file; it is packed when its name ends in `.gz`.
        delimiter: what stands between the fields; None to find it out.

    Returns:
        What a reader has to know, or "".

    Raises:
        Unreadable: rows have different numbers of fields, or this is no text.
        duckdb.Error: the engine cannot read it.
    """
    encoding = _guessed(path)
    if encoding != "utf-16":
        try:
            _load(loader, path, delimiter)
            return ""
        except (duckdb.Error, Unreadable):
            if _is_utf8(path):
                raise
            loader.execute("drop table if exists data")
    if not encoding:
        raise Unreadable(f"This is neither UTF-8 nor another text that can be recognised. {HOW_TO_CONVERT}")
    converted = path.with_name(f"{path.name}.utf8")
    try:
        with _opened(path) as raw, converted.open("w", encoding="utf-8", newline="") as out:
            shutil.copyfileobj(codecs.getreader(encoding)(raw, "replace"), out)
        _load(loader, converted, delimiter)
    finally:
        converted.unlink(missing_ok=True)
    name = {"cp1252": "Windows-1252 (Latin-1)", "utf-16": "UTF-16"}[encoding]
    return f"The file is not UTF-8; it was read as {name}. If letters look wrong: {HOW_TO_CONVERT}"


def _load(loader: duckdb.DuckDBPyConnection, path: Path, delimiter: str | None) -> None:
    """What the first rows promise may not hold: then all rows are looked at."""
    options = ", delim = '\t'" if delimiter == "\t" else ""
    options += ", compression = 'gzip'" if path.name.endswith(".gz") else ", compression = 'none'"
    for sample in (50_000, -1):
        try:
            loader.execute(f"create table data as from read_csv(?, sample_size = {sample}{options})", [str(path)])
            break
        except (duckdb.ConversionException, duckdb.InvalidInputException):
            if sample == -1:
                _refuse_ragged(path, delimiter)
                raise
    sniffed = loader.execute(
        f"select Delimiter, SkipRows from sniff_csv(?, sample_size = {sample}{options})", [str(path)]
    ).fetchone()
    assert sniffed
    columns = loader.execute("describe data").fetchall()
    # the engine leaves out rows at the top, or takes lines for single values, where the rows do not agree
    if sniffed[1]:
        _refuse_ragged(path, delimiter or str(sniffed[0]), skipped=int(sniffed[1]))
    elif len(columns) == 1:
        _refuse_ragged(path, delimiter)


def _refuse_ragged(path: Path, delimiter: str | None, *, skipped: int = 0) -> None:
    """Raise if the rows have different numbers of fields, and say where.

    Args:
        path: the file.
        delimiter: what stands between the fields; None to take the commonest in the first line.
        skipped: lines at the top that the engine left out. A title or a remark may stand there, rows may not.
    """
    with _opened(path) as raw:
        text = codecs.getreader("utf-8-sig")(raw, "replace")
        first = next(text, "")
        if first.startswith("#") or not first.strip():
            return
        delimiter = delimiter or max(DELIMITERS, key=first.count)
        lines = (line for part in ([first], text) for line in part)
        rows = csv.reader(lines, delimiter=delimiter, quotechar='"')
        with contextlib.suppress(csv.Error):  # what Python cannot read does not show where rows differ
            width = len(next(rows))
            if width < 2:
                return
            for number, row in enumerate(rows, 2):
                if not row and number <= skipped:
                    return  # an empty line ends a title
                if row and len(row) != width:
                    raise Unreadable(
                        f"The rows have different numbers of fields: {width} in the first row, {len(row)} in row "
                        f"{number}. Give every row the same number, and put values with {delimiter!r} into quotes."
                    )


def _opened(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path)) if path.name.endswith(".gz") else path.open("rb")


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with _opened(path) as raw:
            while part := raw.read(1 << 20):
                decoder.decode(part)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    except (OSError, EOFError):
        return True  # torn or not packed at all: the engine's own message says it
    return True


def _guessed(path: Path) -> str:
    """What the file is if it is not UTF-8: `utf-16`, `cp1252`, or "" for no text."""
    try:
        with _opened(path) as raw:
            start = raw.read(LOOKED_AT)
    except (OSError, EOFError):
        return ""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "" if b"\0" in start else "cp1252"


def quoted(name: str) -> str:
    """A name as SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


def mend_words_for_nothing(loader: duckdb.DuckDBPyConnection) -> None:
    """Make columns of numbers of those that were read as text because `NA`, `null` or `-` stands for nothing."""
    words = "('na', 'n/a', 'nan', 'null', 'none', '-', '')"
    for name, kind, *_ in loader.execute("describe data").fetchall():
        if kind != "VARCHAR":
            continue
        c = quoted(str(name))
        row = loader.execute(
            f"""select count(*) filter (lower({c}) in {words}), count(*) filter (lower({c}) not in {words}),
                count(*) filter (lower({c}) not in {words} and try_cast({c} as double) is null),
                count(*) filter (lower({c}) not in {words} and try_cast({c} as bigint)::varchar is distinct from {c})
            from data"""
        ).fetchone()
        assert row
        nothing, something, no_number, no_integer = row
        if nothing and something and not no_number:
            to = "double" if no_integer else "bigint"
            loader.execute(f"alter table data alter {c} type {to} using try_cast({c} as {to})")
