"""Numbers and dates of delimited text are read in the convention that a whole column supports, else kept as text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servers.tables.conventions import interpret
from servers.tables.delimited import read_text

Read = Callable[..., tuple[list[Any], str, str]]


@pytest.fixture
def loader() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.execute("set TimeZone = 'UTC'")
        yield connection


@pytest.fixture
def read(loader: duckdb.DuckDBPyConnection, tmp_path: Path) -> Read:
    """Reads one column of values (with others beside it), and returns its values, its type and the note."""

    def column(values: list[str], *, beside: list[str] | None = None, sign: str = "|") -> tuple[list[Any], str, str]:
        others = beside or ["x"] * len(values)
        path = tmp_path / "values.csv"
        path.write_text(f"first{sign}value\n" + "".join(f"{o}{sign}{v}\n" for o, v in zip(others, values, strict=True)))
        loader.execute("drop table if exists data")
        note = read_text(loader, path, None)
        kind = next(str(row[1]) for row in loader.execute("describe data").fetchall() if row[0] == "value")
        shown = "value at time zone 'UTC'" if kind.endswith("ZONE") else "value"  # Python needs a package for zones
        return [row[0] for row in loader.execute(f"select {shown} from data").fetchall()], kind, note

    return column


NUMBERS = [
    # values, what they are, type
    (["1.234,56", "0,99", "12,00"], [1234.56, 0.99, 12.0], "DOUBLE"),
    (["1.234.567", "12"], [1234567, 12], "BIGINT"),
    (["1,234.56", "7"], [1234.56, 7.0], "DOUBLE"),
    (["1,234,567", "7"], [1234567, 7], "BIGINT"),
    (["-1.234,5", "+3,25"], [-1234.5, 3.25], "DOUBLE"),
    (["1 234,56", "12 345,00"], [1234.56, 12345.0], "DOUBLE"),
    (["1\u00a0234,56", "2,5"], [1234.56, 2.5], "DOUBLE"),
    (["1\u202f234", "1\u202f234\u202f567"], [1234, 1234567], "BIGINT"),
    (["1 234.56", "12.5"], [1234.56, 12.5], "DOUBLE"),
    (["1'234.56", "12.5"], [1234.56, 12.5], "DOUBLE"),
    (["1’234’567", "5"], [1234567, 5], "BIGINT"),
    (["1,23,456.78", "12,345"], [123456.78, 12345.0], "DOUBLE"),
    (["€ 1.234,56", "€ 0,99"], [1234.56, 0.99], "DOUBLE"),
    (["12,5 %", "7 %"], [12.5, 7.0], "DOUBLE"),
    (["$1,234.56", "$0.99"], [1234.56, 0.99], "DOUBLE"),
]
PLAIN = [
    (["1.5", "2.25e3"], [1.5, 2250.0], "DOUBLE"),
    (["1", "-2", "+3"], [1, -2, 3], "BIGINT"),
    (["12345678901234567890", "1"], [12345678901234567890, 1], "HUGEINT"),
    (["true", "FALSE"], [True, False], "BOOLEAN"),
    (["1.234", "0.123"], [1.234, 0.123], "DOUBLE"),
]


@pytest.mark.parametrize(("values", "expected", "kind"), NUMBERS + PLAIN)
def test_numbers_are_read_in_the_convention_of_their_column(
    read: Read, values: list[str], expected: list[Any], kind: str
) -> None:
    found, type, note = read(values)
    assert (found, type) == (expected, kind)
    assert bool(note) is ((values, expected, kind) in NUMBERS), "what is not written as in SQL has to be said"


TEXTS = [
    ["007", "12"],  # a number would lose the zeros
    ["12345678901234567890123456789012345678901", "1"],  # no type holds it exactly
    ["1.234,56", "1,234.56"],  # two conventions in one column
    ["1,2,3", "4"],
    ["12,34,56", "7"],
    ["1.23.456", "7"],
    ["€ 1,50", "$ 1.50"],
    ["1_000", "2"],
    ["0x10", "1"],
    ["inf", "1"],
    ["١٢", "3"],
    ["31/02/2024", "13/01/2024"],  # no such day
    ["2024-02-30", "2024-01-01"],
    ["13/04/2024", "04/13/2024"],  # day and month first in one column
    ["yes", "no"],
    ["10:30", "noon"],
    ["2024-01-01 10:00:00Z", "2024-01-01 10:00:00"],
]


@pytest.mark.parametrize("values", TEXTS)
def test_what_no_convention_explains_stays_as_it_is(read: Read, values: list[str]) -> None:
    assert read(values)[:2] == (values, "VARCHAR")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["1,234", "5,678"], "may separate thousands or decimals"),
        (["03/04/2024", "05/06/2024"], "may have the day or the month first"),
        (["03-04-2024", "05-06-2024"], "may have the day or the month first"),
        (["03/04/24", "05/06/24"], "may have the day or the month first"),
        (["03/04/2024 10:30", "05/06/2024 11:00"], "may have the day or the month first"),
    ],
)
def test_what_two_conventions_explain_stays_text_and_that_is_said(read: Read, values: list[str], words: str) -> None:
    found, kind, note = read(values)
    assert (found, kind) == (values, "VARCHAR")
    assert words in note
    assert values[0] in note


DATES = [
    (["03.04.2024", "13.04.2024"], [date(2024, 4, 3), date(2024, 4, 13)], "day first"),
    (["03.04.2024", "05.06.2024"], [date(2024, 4, 3), date(2024, 6, 5)], "day first"),
    (["3.4.24", "13.4.24"], [date(2024, 4, 3), date(2024, 4, 13)], "day first"),
    (["03/04/2024", "13/04/2024"], [date(2024, 4, 3), date(2024, 4, 13)], "day first"),
    (["03/04/2024", "04/13/2024"], [date(2024, 3, 4), date(2024, 4, 13)], "month first"),
    (["13-04-2024", "1-5-2024"], [date(2024, 4, 13), date(2024, 5, 1)], "day first"),
    (["2024/04/13", "2024/05/01"], [date(2024, 4, 13), date(2024, 5, 1)], ""),
    (["2024-04-13", "2024-05-01"], [date(2024, 4, 13), date(2024, 5, 1)], ""),
    (["13 Apr 2024", "1 May 2024"], [date(2024, 4, 13), date(2024, 5, 1)], ""),
    (["13-Apr-2024", "01-May-2024"], [date(2024, 4, 13), date(2024, 5, 1)], ""),
    (["April 13, 2024", "May 1, 2024"], [date(2024, 4, 13), date(2024, 5, 1)], ""),
    (["31/12/98", "01/02/99"], [date(1998, 12, 31), date(1999, 2, 1)], "day first"),
    (["13.04.2024 10:30", "14.04.2024 11:00"], [datetime(2024, 4, 13, 10, 30), datetime(2024, 4, 14, 11)], "day first"),
    (["04/13/2024 1:05 PM", "04/14/2024 11:00 AM"], [datetime(2024, 4, 13, 13, 5), datetime(2024, 4, 14, 11)], "month"),
    (["2024-04-13 10:30:05", "2024-05-01T00:00"], [datetime(2024, 4, 13, 10, 30, 5), datetime(2024, 5, 1)], ""),
    (["2024-04-13T12:30:05+02:00"] * 2, [datetime(2024, 4, 13, 10, 30, 5)] * 2, ""),
    (["10:30", "9:05:01"], [time(10, 30), time(9, 5, 1)], ""),
]


@pytest.mark.parametrize(("values", "expected", "words"), DATES)
def test_dates_are_read_in_the_order_of_their_column(
    read: Read, values: list[str], expected: list[Any], words: str
) -> None:
    found, _, note = read(values)
    assert found == expected
    assert words in note


def test_another_column_of_the_file_decides_what_is_open(read: Read) -> None:
    found, _, note = read(["03/04/2024", "05/06/2024"], beside=["13/04/2024", "01/02/2024"])
    assert found == [date(2024, 4, 3), date(2024, 6, 5)]
    assert note.count("day first") == 2
    assert read(["1,234", "5,678"], beside=["0,5", "1,25"])[0] == [1.234, 5.678]
    assert read(["1,234", "5,678"], beside=["1,234.5", "2.5"])[0] == [1234, 5678]
    assert read(["1.234", "5.678"], beside=["0,5", "1,25"])[0] == [1234, 5678]


def test_columns_that_disagree_decide_nothing(read: Read, loader: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "three.csv"
    path.write_text("a|b|c\n13/04/2024|04/13/2024|01/02/2024\n")
    read_text(loader, path, None)
    kinds = [row[1] for row in loader.execute("describe data").fetchall()]
    assert kinds == ["DATE", "DATE", "VARCHAR"]


def test_where_semicolons_separate_the_fields_a_comma_is_a_decimal_sign(read: Read) -> None:
    assert read(["1,234", "5,678"], sign=";")[0] == [1.234, 5.678]
    found, kind, note = read(["1.234", "5.678"], sign=";")
    assert (found, kind) == (["1.234", "5.678"], "VARCHAR")
    assert "thousands or decimals" in note


def test_one_value_far_down_decides_over_the_whole_column(read: Read) -> None:
    many = ["03/04/2024"] * 5000
    assert read([*many, "13/04/2024"])[0][0] == date(2024, 4, 3)
    assert read([*many, "04/13/2024"])[0][0] == date(2024, 3, 4)
    assert read([*many, "soon"])[1] == "VARCHAR"
    assert read([*["5"] * 5000, "1,5"])[0][-1] == 1.5


@pytest.mark.parametrize("word", ["NA", "n/a", "-", "–", "NaN", "none", "?", "#N/A"])
def test_a_word_for_nothing_is_missing_among_numbers_and_a_text_among_texts(read: Read, word: str) -> None:
    found, kind, note = read(["1", word, "3"])
    assert (found, kind) == ([1, None, 3], "BIGINT")
    assert "1 in value" in note
    assert read(["one", word, "three"])[0] == ["one", word, "three"]


def test_null_stands_for_nothing_in_every_column_unless_configured_otherwise(
    loader: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    path = tmp_path / "nulls.csv"
    path.write_text("a,b,c\nNULL,\\N,x\nann,bob,-\n")
    read_text(loader, path, None)
    assert loader.execute("from data").fetchall() == [(None, None, "x"), ("ann", "bob", "-")]
    loader.execute("drop table data")
    read_text(loader, path, None, null_values=("-",))
    assert loader.execute("from data").fetchall() == [("NULL", "\\N", "x"), ("ann", "bob", None)]


def test_a_column_without_any_value_is_text(read: Read) -> None:
    assert read(["", ""])[:2] == ([None, None], "VARCHAR")
    assert read(["NA", "-"])[:2] == (["NA", "-"], "VARCHAR")


@given(
    rows=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12), min_size=1, max_size=20)
)
@settings(max_examples=60, deadline=None)
def test_no_text_is_lost_or_changed_unless_it_becomes_a_value(rows: list[str]) -> None:
    with duckdb.connect(":memory:") as loader:
        loader.execute("create table texts (v varchar)")
        loader.executemany("insert into texts values (?)", [[row] for row in rows])
        interpret(loader, "texts")
        [(_, kind, *_)] = loader.execute("describe data").fetchall()
        found = [row[0] for row in loader.execute("from data").fetchall()]
    assert len(found) == len(rows)
    if kind == "VARCHAR":
        assert found == [None if row in ("", "NULL", "\\N") else row for row in rows]
