"""What the texts of a column mean: numbers and dates in the convention that the whole column supports, else text.

`1.234` is a thousand here and a decimal there, `03/04/2024` is in March or in April. A convention counts when every
value of the column fits it and some value fits no other; what stays open is decided by the other columns of the same
file, and is left as text where they say nothing. The note of the table says what was decided.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import duckdb

NULL_VALUES = ("", "NULL", "\\N")
"""Texts that stand for no value in every column, unless the server is started with others."""
MISSING_WORDS = ("na", "n/a", "#n/a", "nan", "null", "none", "-", "–", "—", "?", "\\n")
"""Words that stand for no value where everything else in the column is a number, a date or true and false."""
NAMED_COLUMNS = 6
"""Columns with missing values that are named one by one."""
SAMPLE_ROWS = 2000
"""Rows that are looked at before a convention is tried on all of them."""

_INTEGER = "[+-]?(?:0|[1-9][0-9]{0,37})"
_DECIMAL = r"[+-]?(?:(?:0|[1-9][0-9]{0,14})(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_SPACE = "[ \u00a0\u2009\u202f]"
_WHOLE = "0|[1-9][0-9]*"
_TIME = r"(?:[ T][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?(?: ?[AaPp][Mm])?)?"
_ISO_TIMESTAMP = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M", "T%H:%M:%S")
_CURRENCY = ("€", "$", "£", "¥", "₹", "%", "EUR", "USD", "GBP", "CHF")


@dataclass(frozen=True)
class Convention:
    """One way to read a text.

    `pattern` is a regular expression (RE2 and Python alike) for the whole text, `value` an SQL expression over `{v}`
    that is null where the text cannot be meant so.
    """

    name: str
    type: str
    pattern: str
    value: str
    note: str = ""
    family: str = ""
    """Conventions of one family exclude each other within a file."""


def _without(*characters: str) -> str:
    taken = "{v}"
    for character in characters:
        taken = f"replace({taken}, '{character}', '')"
    return taken


def _number(name: str, pattern: str, text: str, note: str) -> Convention:
    return Convention(name, "DOUBLE", pattern, f"try_cast({text} as double)", note, "number")


def _date(name: str, pattern: str, formats: Iterable[str], note: str = "") -> Convention:
    every = ", ".join(f"'{form}{time}'" for form in formats for time in _TIMES)
    return Convention(name, "TIMESTAMP", pattern + _TIME, f"try_strptime({{v}}, [{every}])", note, "date")


_DAY, _YEAR, _SHORT = "[0-9]{1,2}", "[0-9]{4}", "[0-9]{2}"

PLAIN = (
    Convention("boolean", "BOOLEAN", "(?i:true|false)", "try_cast({v} as boolean)"),
    Convention("integer", "BIGINT", _INTEGER, "try_cast({v} as bigint)"),
    Convention("large integer", "HUGEINT", _INTEGER, "try_cast({v} as hugeint)"),
    Convention("decimal", "DOUBLE", _DECIMAL, "try_cast({v} as double)"),
    Convention("date", "DATE", "[0-9]{4}-[0-9]{2}-[0-9]{2}", "try_cast({v} as date)"),
    Convention(
        "timestamp", "TIMESTAMP", _ISO_TIMESTAMP,
        "try_cast({v} as timestamp)",
    ),
    Convention(
        "timestamp with time zone", "TIMESTAMP WITH TIME ZONE",
        _ISO_TIMESTAMP + r" ?(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)",
        "try_cast({v} as timestamptz)",
    ),
    Convention("time", "TIME", r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?", "try_cast({v} as time)"),
)  # fmt: skip
"""Written as in SQL and ISO 8601: nothing has to be said about them."""

POINT = _number(
    "point", rf"[+-]?(?:[1-9][0-9]{{0,2}}(?:,[0-9]{{3}})+|{_WHOLE})(?:\.[0-9]+)?", _without(","),
    "numbers with a decimal point (1,234.56 is 1234.56)",
)  # fmt: skip
COMMA = _number(
    "comma", rf"[+-]?(?:[1-9][0-9]{{0,2}}(?:\.[0-9]{{3}})+|{_WHOLE})(?:,[0-9]+)?",
    f"replace({_without('.')}, ',', '.')", "numbers with a decimal comma (1.234,56 is 1234.56)",
)  # fmt: skip
NUMBERS = (
    POINT,
    COMMA,
    _number(
        "space and comma", rf"[+-]?(?:[1-9][0-9]{{0,2}}(?:{_SPACE}[0-9]{{3}})+|{_WHOLE})(?:,[0-9]+)?",
        f"replace(regexp_replace({{v}}, '{_SPACE}', '', 'g'), ',', '.')",
        "numbers with a decimal comma and spaces (1 234,56 is 1234.56)",
    ),
    _number(
        "space and point", rf"[+-]?(?:[1-9][0-9]{{0,2}}(?:(?:{_SPACE}|['’])[0-9]{{3}})+|{_WHOLE})(?:\.[0-9]+)?",
        f"regexp_replace({{v}}, '{_SPACE}|[''’]', '', 'g')",
        "numbers with a decimal point and spaces or apostrophes (1'234.56 is 1234.56)",
    ),
    _number(
        "Indian", rf"[+-]?(?:[1-9][0-9]?(?:,[0-9]{{2}})*,[0-9]{{3}}|{_WHOLE})(?:\.[0-9]+)?", _without(","),
        "numbers grouped as in India (1,23,456.78 is 123456.78)",
    ),
)  # fmt: skip
"""In the order in which they are preferred where several fit and give the same values."""

_DAY_FIRST = "dates with the day first (03/04/2024 is 3 April)"
_MONTH_FIRST = "dates with the month first (03/04/2024 is March 4)"
DATES = (
    _date("year first", f"{_YEAR}[/.-]{_DAY}[/.-]{_DAY}", ("%Y/%m/%d", "%Y.%m.%d", "%Y-%m-%d")),
    _date("day first, points", rf"{_DAY}\.{_DAY}\.{_YEAR}", ("%d.%m.%Y",), _DAY_FIRST),
    _date("day first, points, short year", rf"{_DAY}\.{_DAY}\.{_SHORT}", ("%d.%m.%y",), _DAY_FIRST),
    _date("day first", f"{_DAY}[/-]{_DAY}[/-]{_YEAR}", ("%d/%m/%Y", "%d-%m-%Y"), _DAY_FIRST),
    _date("month first", f"{_DAY}[/-]{_DAY}[/-]{_YEAR}", ("%m/%d/%Y", "%m-%d-%Y"), _MONTH_FIRST),
    _date("day first, short year", f"{_DAY}[/-]{_DAY}[/-]{_SHORT}", ("%d/%m/%y", "%d-%m-%y"), _DAY_FIRST),
    _date("month first, short year", f"{_DAY}[/-]{_DAY}[/-]{_SHORT}", ("%m/%d/%y", "%m-%d-%y"), _MONTH_FIRST),
    _date(
        "short year first", f"{_SHORT}[/-]{_DAY}[/-]{_DAY}", ("%y/%m/%d", "%y-%m-%d"),
        "dates with a year of two digits first (24-04-03 is 3 April 2024)",
    ),
    _date(
        "month in letters", f"(?:{_DAY}[ -][A-Za-z]{{3,9}}[ -](?:{_YEAR}|{_SHORT})|[A-Za-z]{{3,9}} {_DAY},? {_YEAR})",
        ("%d %b %Y", "%d-%b-%Y", "%d %B %Y", "%d-%B-%Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%d-%b-%y",
         "%d %b %y"),
    ),
)  # fmt: skip

_ORDER = {
    "day first, points": "day",
    "day first, points, short year": "day",
    "day first": "day",
    "day first, short year": "day",
    "month first": "month",
    "month first, short year": "month",
}


@dataclass
class _Column:
    """What is known about one column while it is decided."""

    name: str
    fitting: list[Convention] = field(default_factory=list)
    chosen: Convention | None = None
    symbol: str = ""
    """A currency or per cent sign that every value has."""
    missing: int = 0
    """Values that are words for nothing."""
    sample: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """SQL for the text that a convention reads."""
        inner = f"trim({quoted(self.name)})"
        if not self.symbol:
            return inner
        return f"trim(regexp_replace({inner}, '^{re.escape(self.symbol)}|{re.escape(self.symbol)}$', ''))"


def interpret(
    loader: duckdb.DuckDBPyConnection,
    source: str,
    *,
    null_values: Sequence[str] = NULL_VALUES,
    semicolons: bool = False,
) -> list[str]:
    """Make the table `data` of a table of texts, with the types that its columns support.

    Args:
        loader: the connection with the table.
        source: name of the table of texts; every column is VARCHAR. It is dropped.
        null_values: texts that stand for no value in every column.
        semicolons: whether the fields of the file were separated by semicolons, as programs do where the comma is the
            decimal sign.

    Returns:
        Sentences about what was decided or left open.
    """
    names = [str(row[0]) for row in loader.execute(f"describe {source}").fetchall()]
    columns = [_Column(name) for name in names]
    _sampled(loader, source, columns, null_values)
    for column in columns:
        _verify(loader, source, column, null_values)
    notes = _decide(columns, semicolons)
    words = _list(null_values)
    soft = _list(MISSING_WORDS)
    expressions = []
    for column in columns:
        c, v = quoted(column.name), column.text
        if column.chosen is None:
            expressions.append(f"case when {c} in {words} then null else {c} end as {c}")
            continue
        value = column.chosen.value.format(v=v)
        missing = f" or lower(trim({c})) in {soft}" if column.missing else ""
        kept = f"case when trim({c}) in {words}{missing} then null else {value} end"
        expressions.append(f"{kept} as {c}")
    loader.execute(f"create table data as select {', '.join(expressions)} from {source}")
    loader.execute(f"drop table {source}")
    _shorten(loader, columns)
    return notes + _about_missing([column for column in columns if column.chosen is not None and column.missing])


def _sampled(
    loader: duckdb.DuckDBPyConnection, source: str, columns: list[_Column], null_values: Sequence[str]
) -> None:
    """Which conventions the first rows allow."""
    rows = loader.execute(f"from {source} limit {SAMPLE_ROWS}").fetchall()
    nothing = {*null_values, ""}
    for number, column in enumerate(columns):
        values = {str(row[number]).strip() for row in rows if row[number] is not None} - nothing
        column.sample = sorted(value for value in values if value.lower() not in MISSING_WORDS)
        texts = column.sample
        column.symbol = next(
            (
                symbol
                for symbol in _CURRENCY
                if texts and all(text.startswith(symbol) or text.endswith(symbol) for text in texts)
            ),
            "",
        )
        if column.symbol:
            texts = [text.removeprefix(column.symbol).removesuffix(column.symbol).strip() for text in texts]
        column.fitting = [
            convention
            for convention in (*PLAIN, *NUMBERS, *DATES)
            if all(re.fullmatch(convention.pattern, text) for text in texts)
            and not (column.symbol and convention.type not in ("DOUBLE", "BIGINT"))
        ]


def _verify(loader: duckdb.DuckDBPyConnection, source: str, column: _Column, null_values: Sequence[str]) -> None:
    """Keep of the fitting conventions those that every value of the column fits."""
    for plain in [convention for convention in column.fitting if convention in PLAIN]:
        if _fit(loader, source, column, [plain], null_values):
            if plain.name != "decimal" or COMMA not in column.fitting:
                column.fitting = [plain]  # nothing else would be preferred
                return
            break
    column.fitting = _fit(loader, source, column, column.fitting, null_values) if column.fitting else []


def _fit(
    loader: duckdb.DuckDBPyConnection,
    source: str,
    column: _Column,
    conventions: list[Convention],
    null_values: Sequence[str],
) -> list[Convention]:
    """Those of `conventions` that every value fits, words for nothing aside; none where there is no value."""
    c, v = quoted(column.name), column.text
    words = _list(null_values)
    soft = f"lower(trim({c})) in {_list(MISSING_WORDS)}"
    tests = []
    for convention in conventions:
        pattern = convention.pattern.replace("'", "''")
        value = convention.value.format(v=v)
        fits = f"regexp_full_match({v}, '{pattern}')"
        if convention.name == "integer":  # a number that is written as the engine writes it needs no closer look
            fits = f"({value}::varchar = {v} or {fits})"
        tests.append(f"count(*) filter (({value} is null or not {fits}) and not {soft})")
    row = loader.execute(
        f"select count(*), count(*) filter ({soft}), {', '.join(tests)} from {source} where trim({c}) not in {words}"
    ).fetchone()
    assert row
    column.missing = int(row[1])
    if row[0] == row[1]:
        return []
    return [convention for convention, misfits in zip(conventions, row[2:], strict=True) if not misfits]


def _decide(columns: list[_Column], semicolons: bool) -> list[str]:
    """Choose a convention for each column; returns what has to be said."""
    for column in columns:
        column.chosen = _certain(column)
    number = _shared(columns, "number")
    order = {_ORDER[c.chosen.name] for c in columns if c.chosen is not None and c.chosen.name in _ORDER}
    notes = []
    for column in columns:
        if column.chosen is None and column.fitting:
            column.chosen = _by_the_file(column, number, order, semicolons)
            if column.chosen is None:
                notes.append(_open_question(column))
        chosen = column.chosen
        if chosen is not None and chosen.note and _says_something(column, chosen):
            notes.append(f"Column {column.name}: read as {chosen.note}.")
        if chosen is not None and column.symbol:
            notes.append(f"Column {column.name}: the sign {column.symbol} of every value was taken off.")
    return notes


def _certain(column: _Column) -> Convention | None:
    """The only convention of its kind that fits, or one written as in SQL where nothing else fits as well."""
    plain = [convention for convention in column.fitting if convention in PLAIN]
    numbers = [convention for convention in column.fitting if convention in NUMBERS]
    dates = [convention for convention in column.fitting if convention in DATES]
    if plain and plain[0].name == "decimal" and COMMA in numbers:
        return None  # 1.234 may be a thousand: the rest of the file decides
    if plain:
        return plain[0]
    if numbers:
        separators = {c for text in column.sample for c in text if c in ",.  \u2009\u202f'’"}
        if separators <= {","} and POINT in numbers and COMMA in numbers:
            return None  # 1,234 may be a thousand or one and a bit
        return numbers[0]
    return dates[0] if len({convention.name for convention in dates}) == 1 else None


def _shared(columns: list[_Column], family: str) -> Convention | None:
    """The convention of a family that the certain columns of the file have in common."""
    found = {c.chosen.name: c.chosen for c in columns if c.chosen is not None and c.chosen.family == family}
    return next(iter(found.values())) if len(found) == 1 else None


def _by_the_file(column: _Column, number: Convention | None, order: set[str], semicolons: bool) -> Convention | None:
    """What the rest of the file says about a column that is open in itself."""
    dates = [convention for convention in column.fitting if convention in DATES]
    if dates:
        agreeing = [convention for convention in dates if len(order) == 1 and _ORDER.get(convention.name) in order]
        return agreeing[0] if len(agreeing) == 1 else None
    decimal = next((convention for convention in column.fitting if convention.name == "decimal"), None)
    if number is not None and number.name in ("comma", "space and comma"):
        return COMMA
    if number is not None:
        return decimal or POINT
    if decimal is not None:
        return None if semicolons else decimal
    return COMMA if semicolons else None


def _open_question(column: _Column) -> str:
    example = column.sample[0] if column.sample else ""
    if any(convention in DATES for convention in column.fitting):
        return (
            f"Column {column.name}: kept as text, because {example!r} may have the day or the month first. "
            "Write dates as 2024-12-31 to have them read."
        )
    return (
        f"Column {column.name}: kept as text, because the sign in {example!r} may separate thousands or decimals. "
        "Write numbers as 1234.56 to have them read."
    )


def _about_missing(columns: list[_Column]) -> list[str]:
    if not columns:
        return []
    shown = ", ".join(f"{column.missing} in {column.name}" for column in columns[:NAMED_COLUMNS])
    more = f" and in {len(columns) - NAMED_COLUMNS} more columns" if len(columns) > NAMED_COLUMNS else ""
    return [f"Words such as NA or - were read as missing values: {shown}{more}."]


def _says_something(column: _Column, chosen: Convention) -> bool:
    """Whether the values look different from what a program would write."""
    return chosen.family == "date" or any(not text.lstrip("+-").isdigit() for text in column.sample)


def _shorten(loader: duckdb.DuckDBPyConnection, columns: list[_Column]) -> None:
    """Whole numbers as integers, and days without a time as dates."""
    for column in columns:
        chosen, c = column.chosen, quoted(column.name)
        if chosen is None or chosen in PLAIN:
            continue
        decimal_sign = "," if "comma" in chosen.name else "."
        if chosen.family == "number" and any(decimal_sign in text for text in column.sample):
            continue  # 12.00 is an amount, not a count
        to = "bigint" if chosen.family == "number" else "date"
        back = f"{c}::{to}::{chosen.type}"
        row = loader.execute(
            f"select bool_and(try_cast({c} as {to}) is not null and {back} = {c}) from data"
        ).fetchone()
        if row and row[0]:
            loader.execute(f"alter table data alter {c} type {to}")


def _list(words: Iterable[str]) -> str:
    return "(" + ", ".join("'" + word.replace("'", "''") + "'" for word in dict.fromkeys((*words, ""))) + ")"


def quoted(name: str) -> str:
    """A name as SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
