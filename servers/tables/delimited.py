"""Delimited text (CSV, TSV, .txt and .log with a separator) as tables: no row and no value is left out in silence."""

from __future__ import annotations

import codecs
import contextlib
import csv
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import duckdb

from servers.tables.conventions import NULL_VALUES, interpret, quoted

DELIMITERS = ",;\t|"
LOOKED_AT = 1 << 16
"""Bytes of a file from which its encoding is guessed."""
MAX_COLUMNS = 2000
NAMED_ROWS = 5
"""Rows with another number of fields that are named one by one."""
HOW_TO_CONVERT = "Save it as UTF-8, for instance with `iconv -f ENCODING -t UTF-8`."
NO_SEPARATOR = "This text has no separator (comma, semicolon, tab or bar) that makes a table of it."
_TEXTS = "texts"


class Unreadable(Exception):
    """The file is no table that could be read without losing something. The message is for the caller."""


class NoTable(Unreadable):
    """The file is text, but not a table."""


@dataclass(frozen=True)
class _Dialect:
    delimiter: str
    quote: str
    escape: str
    comment: str
    skip: int
    header: bool
    names: tuple[str, ...]


def read_text(
    loader: duckdb.DuckDBPyConnection,
    path: Path,
    delimiter: str | None,
    *,
    null_values: Sequence[str] = NULL_VALUES,
    prose: bool = False,
) -> str:
    """Make the table `data` of a file of delimited text.

    Args:
        loader: a connection that may read files.
        path: the file.
        delimiter: what stands between the fields; None to find it out.
        null_values: texts that stand for no value.
        prose: whether the file may as well be running text, by its name: then it has to look like a table.

    Returns:
        What a reader has to know, or "".

    Raises:
        Unreadable: this is no text, or (`NoTable`) no table.
        duckdb.Error: the engine cannot read it.
    """
    loader.execute(f"drop table if exists {_TEXTS}")
    encoding = _encoding(path)
    if encoding == "utf-8":
        return " ".join(_load(loader, path, delimiter, null_values, prose))
    if not encoding:
        raise Unreadable(f"This is neither UTF-8 nor another text that can be recognised. {HOW_TO_CONVERT}")
    converted = path.with_name(f"{path.name}.utf8")
    try:
        with path.open("rb") as raw, converted.open("w", encoding="utf-8", newline="") as out:
            shutil.copyfileobj(codecs.getreader(encoding)(raw, "replace"), out)
        notes = _load(loader, converted, delimiter, null_values, prose)
    finally:
        converted.unlink(missing_ok=True)
    name = {"cp1252": "Windows-1252 (Latin-1)"}.get(encoding, "UTF-16")
    said = f"The file is not UTF-8; it was read as {name}. If letters look wrong: {HOW_TO_CONVERT}"
    return " ".join([said, *notes])


def _load(
    loader: duckdb.DuckDBPyConnection, path: Path, delimiter: str | None, null_values: Sequence[str], prose: bool
) -> list[str]:
    """Read all fields as texts, then find out what they mean."""
    delimiter = delimiter or _consistent(path)
    dialect = _sniffed(loader, path, delimiter)
    found = delimiter or (dialect.delimiter if dialect and len(dialect.names) > 1 else _commonest(path))
    looked_at = dialect is None or dialect.skip > 0 or len(dialect.names) == 1 or prose
    ragged = _ragged(path, found, dialect.skip if dialect else 0) if looked_at else {}
    if dialect is not None and not ragged:
        if prose and (len(dialect.names) < 2 or not _is_tabular(path, found)):
            raise NoTable(NO_SEPARATOR)
        try:
            _read(loader, path, dialect)
        except (duckdb.ConversionException, duckdb.InvalidInputException):
            ragged = _ragged(path, found, dialect.skip)
            if not ragged:
                raise
            loader.execute(f"drop table if exists {_TEXTS}")
    notes = _read_padded(loader, path, found, ragged, prose) if ragged or dialect is None else []
    return notes + interpret(loader, _TEXTS, null_values=null_values, semicolons=found == ";")


def _sniffed(loader: duckdb.DuckDBPyConnection, path: Path, delimiter: str | None) -> _Dialect | None:
    """How the engine would read the file; None when it cannot tell."""
    options, parameters = (", delim = $delim", {"delim": delimiter}) if delimiter else ("", {})
    for sample in (50_000, -1):
        try:
            row = loader.execute(
                "select Delimiter, Quote, Escape, Comment, SkipRows, HasHeader, Columns "
                f"from sniff_csv($path, sample_size = {sample}, compression = 'none'{options})",
                {"path": str(path), **parameters},
            ).fetchone()
        except (duckdb.ConversionException, duckdb.InvalidInputException):
            continue
        assert row
        signs = ["" if sign in (None, "(empty)") else str(sign) for sign in row[:4]]
        names = tuple(str(column["name"]) for column in row[6])
        return _Dialect(signs[0], signs[1] or '"', signs[2], signs[3], int(row[4]), bool(row[5]), names)
    return None


def _read(loader: duckdb.DuckDBPyConnection, path: Path, dialect: _Dialect) -> None:
    """The table of texts, as the engine reads it."""
    columns = dict.fromkeys(dialect.names, "VARCHAR")
    # the engine refuses an escape without a use, and a comment sign that is none
    optional = {"escape": dialect.escape or dialect.quote, "comment": dialect.comment}
    options = "".join(f", {name} = ${name}" for name, value in optional.items() if value)
    loader.execute(
        f"create table {_TEXTS} as from read_csv($path, auto_detect = false, compression = 'none', columns = $columns, "
        f"delim = $delim, quote = $quote, header = $header, skip = $skip{options})",
        {
            "path": str(path), "columns": columns, "delim": dialect.delimiter, "quote": dialect.quote,
            "header": dialect.header, "skip": dialect.skip, **{n: v for n, v in optional.items() if v},
        },
    )  # fmt: skip


# --- rows of different lengths


def _records(path: Path, delimiter: str) -> Iterator[list[str]]:
    """The rows as Python reads them, empty ones too.

    Raises:
        Unreadable: a field is too long, or a NUL stands in the text.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        try:
            yield from csv.reader(text, delimiter=delimiter, quotechar='"')
        except csv.Error as e:
            raise Unreadable(f"The text cannot be split into fields: {e}.") from e


def _consistent(path: Path) -> str | None:
    """The only separator with which all of the first rows have the same number of fields, and more than one.

    The engine prefers what gives numbers: it takes `0,5|1,25` for three fields.
    """
    found = []
    for delimiter in DELIMITERS:
        with contextlib.suppress(Unreadable):
            widths = {len(row) for row in islice(_records(path, delimiter), 100) if row}
            if len(widths) == 1 and widths != {1}:
                found.append(delimiter)
    return found[0] if len(found) == 1 else None


def _commonest(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as text:
        first = next((line for line in text if line.strip() and not line.startswith("#")), "")
    return max(DELIMITERS, key=first.count)


def _ragged(path: Path, delimiter: str, skipped: int) -> dict[int, int]:
    """The rows that have another number of fields than the first: number of the row, number of fields.

    Args:
        path: the file.
        delimiter: what stands between the fields.
        skipped: lines at the top that the engine left out. A title or a remark may stand there, rows may not.
    """
    rows = _records(path, delimiter)
    first = next(rows, [])
    if len(first) < 2 or first[0].startswith("#"):
        return {}
    found = {}
    try:
        for number, row in enumerate(rows, 2):
            if not row and number <= skipped:
                return {}  # an empty line ends a title
            if row and len(row) != len(first):
                found[number] = len(row)
    except Unreadable:
        return {}  # what Python cannot read does not show where rows differ
    return found


def _read_padded(
    loader: duckdb.DuckDBPyConnection, path: Path, delimiter: str, ragged: dict[int, int], prose: bool
) -> list[str]:
    """The table of texts with every field of every row: short rows are filled up, long ones get further columns."""
    rows = [row for row in _records(path, delimiter) if row]
    if not rows:
        raise Unreadable("The file has no rows.")
    width, first = max(map(len, rows)), len(rows[0])
    if prose and (first < 2 or len(ragged) * 10 > len(rows) or not _is_tabular(path, delimiter)):
        raise NoTable(NO_SEPARATOR)
    if width > MAX_COLUMNS:
        raise Unreadable(f"A row has {width:,} fields; at most {MAX_COLUMNS:,} are read.")
    header = rows[0] if _is_header(rows[0]) else []
    names = _unique([*header, *("" for _ in range(width - len(header)))])
    padded = path.with_name(f"{path.name}.padded")
    try:
        with padded.open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
            for row in rows[1 if header else 0 :]:
                writer.writerow([*row, *("" for _ in range(width - len(row)))])
        _read(loader, padded, _Dialect(",", '"', '"', "", 0, False, tuple(names)))
    finally:
        padded.unlink(missing_ok=True)
    return [_about(ragged, first, width, len(rows), names)] if ragged else []


def _is_header(row: list[str]) -> bool:
    """Whether a first row holds names: nothing in it is empty, a number or twice there."""
    return all(cell.strip() and not _is_number(cell) for cell in row) and len(set(row)) == len(row)


def _is_tabular(path: Path, delimiter: str) -> bool:
    """Whether a text that may as well be prose looks like a table: names or numbers first, no commas of sentences."""
    rows = [row for row in islice(_records(path, delimiter), 1000) if row]
    if len(rows) < 2 or not (_is_header(rows[0]) or any(map(_is_number, rows[0]))):
        return False
    later = [field for row in rows for field in row[1:]]
    return sum(field.startswith(" ") for field in later) * 2 < len(later)


def _is_number(text: str) -> bool:
    return not text.strip(" \t+-.,'0123456789€$£%/:")


def _unique(names: Sequence[str]) -> list[str]:
    made: list[str] = []
    for number, name in enumerate(names, 1):
        wanted = name.strip() or f"column_{number}"
        taken = {each.casefold() for each in made}
        suffix, unique = 1, wanted
        while unique.casefold() in taken:
            unique, suffix = f"{wanted}_{suffix}", suffix + 1
        made.append(unique)
    return made


def _about(ragged: dict[int, int], first: int, width: int, rows: int, names: list[str]) -> str:
    shown = ", ".join(f"{fields} in row {number}" for number, fields in list(ragged.items())[:NAMED_ROWS])
    more = f" and {len(ragged) - NAMED_ROWS} more" if len(ragged) > NAMED_ROWS else ""
    said = (
        f"The rows have different numbers of fields: {first} in the first row, {shown}{more} ({len(ragged)} of "
        f"{rows} rows). All are kept: missing fields are empty"
    )
    further = f", further ones are in {', '.join(names[first : first + 3])}{' …' if width - first > 3 else ''}"
    return said + (further if width > first else "") + "."


# --- encodings


def _encoding(path: Path) -> str:
    """`utf-8`, `utf-16` (with its order), `cp1252`, or "" for no text."""
    with path.open("rb") as raw:
        start = raw.read(LOOKED_AT)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in start:
        zeros = Counter(at % 2 for at, byte in enumerate(start) if not byte)
        if zeros[1] > len(start) // 4 and not zeros[0]:
            return "utf-16-le"
        return "utf-16-be" if zeros[0] > len(start) // 4 and not zeros[1] else ""
    return "utf-8" if _is_utf8(path) else "cp1252"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with path.open("rb") as raw:
            while part := raw.read(1 << 20):
                decoder.decode(part)
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


__all__ = ["NoTable", "Unreadable", "quoted", "read_text"]
