"""Every file of a folder is a table, or has an entry that says why it is none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from python_calamine import CalamineWorkbook

from servers.tables import files
from servers.tables.files import MAX_DEPTH, MAX_NAMED, kind_of, names, scan
from servers.tables.folder import Folder, Snapshot

ROWS = b"a,b\n1,2\n3,4\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def folder(place: Path) -> Iterator[Folder]:
    opened = Folder(place, threads=1)
    yield opened
    opened.close()


def rows(snapshot: Snapshot, table: str) -> list[Any]:
    return snapshot.connection.cursor().execute(f'from "{table}"').fetchall()


def reasons(snapshot: Snapshot) -> dict[str, str]:
    return {each.file: each.reason for each in snapshot.left_out}


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)]
)
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (".csv", ROWS),
        (".tsv", b"a\tb\n1\t2\n3\t4\n"),
        (".jsonl", b'{"a":1,"b":2}\n{"a":3,"b":4}\n'),
        (".txt", b"a|b\n1|2\n3|4\n"),
    ],
)
def test_packed_files_are_read_like_plain_ones(
    folder: Folder, place: Path, suffix: str, pack: Any, kind: str, content: bytes
) -> None:
    (place / f"packed{kind}{suffix}").write_bytes(pack(content))
    snapshot = folder.snapshot()
    assert rows(snapshot, "packed") == [(1, 2), (3, 4)]
    assert snapshot.tables["packed"].file == f"packed{kind}{suffix}"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_a_damaged_packed_file_is_named(folder: Folder, place: Path, suffix: str) -> None:
    (place / f"bad.csv{suffix}").write_bytes(b"this is not packed")
    assert "cannot be unpacked" in folder.snapshot().tables["bad"].error


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_packed_file_that_grows_beyond_the_bound_is_refused(place: Path, pack: Any) -> None:
    (place / f"bomb.csv{'.gz' if pack is gzip.compress else '.zst'}").write_bytes(pack(b"1,2\n" * 2_000_000))
    folder = Folder(place, threads=1, most_bytes=1 << 20)
    assert folder.snapshot().tables["bomb"].error == "It holds more than 1,048,576 bytes."
    assert not list(folder._copies.glob("in*"))
    folder.close()


def test_each_file_of_an_archive_is_a_table(folder: Folder, place: Path) -> None:
    with zipfile.ZipFile(place / "both.zip", "w") as archive:
        archive.writestr("one.csv", ROWS)
        archive.writestr("sub/two.json", '[{"x": 5}]')
        archive.writestr("read.me", "hello")
        archive.writestr("../../evil.csv", ROWS)
    with zipfile.ZipFile(place / "single.csv.zip", "w") as archive:
        archive.writestr("single.csv", ROWS)
    snapshot = folder.snapshot()
    assert set(snapshot.tables) == {"one", "two", "evil", "single"}
    assert rows(snapshot, "two") == [(5,)]
    assert snapshot.tables["two"].file == "both.zip (sub/two.json)"
    assert reasons(snapshot) == {"both.zip (read.me)": "Files of this kind are not read from an archive."}
    assert not (place.parent / "evil.csv").exists()


def test_an_archive_without_tables_and_one_that_is_none_are_named(folder: Folder, place: Path) -> None:
    with zipfile.ZipFile(place / "empty.zip", "w"):
        pass
    (place / "fake.zip").write_bytes(b"PK nothing")
    errors = {table.file: table.error for table in folder.snapshot().tables.values()}
    assert "no file that could be a table" in errors["empty.zip"]
    assert "cannot be unpacked" in errors["fake.zip"]


# --- workbooks


SHEET = """<?xml version="1.0" encoding="UTF-8"?>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>{}</sheetData></worksheet>"""


def workbook(path: Path, sheets: dict[str, list[list[Any]]]) -> None:
    """A workbook as spreadsheet programs write it, with texts inline and days as numbers with a date format."""

    def cell(value: Any, at: str) -> str:
        if isinstance(value, bool):
            return f'<c r="{at}" t="b"><v>{int(value)}</v></c>'
        if isinstance(value, tuple):  # a day, by its number
            return f'<c r="{at}" s="1"><v>{value[0]}</v></c>'
        if isinstance(value, (int, float)):
            return f'<c r="{at}"><v>{value}</v></c>'
        return f'<c r="{at}" t="inlineStr"><is><t>{value}</t></is></c>' if value else ""

    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    numbered = list(enumerate(sheets, 1))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="xml" ContentType="application/xml"/><Default '
            'Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{office}/officeDocument" '
            'Target="xl/workbook.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
            + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="s{n}"/>' for n, name in numbered)
            + "</sheets></workbook>",
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships">'
            + "".join(
                f'<Relationship Id="s{n}" Type="{office}/worksheet" Target="worksheets/sheet{n}.xml"/>'
                for n, _ in numbered
            )
            + f'<Relationship Id="st" Type="{office}/styles" Target="styles.xml"/></Relationships>',
        )
        archive.writestr(
            "xl/styles.xml",
            f'<styleSheet xmlns="{main}"><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs>'
            "</styleSheet>",
        )
        for n, name in numbered:
            lines = "".join(
                f'<row r="{r}">' + "".join(cell(value, f"{chr(65 + c)}{r}") for c, value in enumerate(row)) + "</row>"
                for r, row in enumerate(sheets[name], 1)
            )
            archive.writestr(f"xl/worksheets/sheet{n}.xml", SHEET.format(lines))


def test_a_workbook_is_read_with_the_types_of_its_cells(folder: Folder, place: Path) -> None:
    workbook(
        place / "book.xlsx",
        {
            "Sales": [
                ["item", "price", "day", "paid", "code"],
                ["nut", 0.5, (45385,), True, "007"],
                ["bolt", 12, (45386,), False, "12"],
            ]
        },
    )
    assert CalamineWorkbook.from_path(str(place / "book.xlsx")).sheet_names == ["Sales"]
    snapshot = folder.snapshot()
    table = snapshot.tables["book"]
    assert [column.type for column in table.columns] == ["VARCHAR", "DOUBLE", "DATE", "BOOLEAN", "VARCHAR"]
    assert [str(value) for value in rows(snapshot, "book")[0]] == ["nut", "0.5", "2024-04-03", "True", "007"]


def test_each_sheet_is_a_table_and_an_empty_one_is_named(folder: Folder, place: Path) -> None:
    workbook(place / "book.xlsx", {"Q1": [["a"], [1]], "Q 2": [["a"], [2], [3]], "Empty": []})
    snapshot = folder.snapshot()
    assert {name: table.rows for name, table in snapshot.tables.items()} == {"book_Q1": 1, "book_Q_2": 2}
    assert snapshot.tables["book_Q1"].file == "book.xlsx (sheet Q1)"
    assert reasons(snapshot) == {"book.xlsx (sheet Empty)": "The sheet has no cells."}


@pytest.mark.parametrize(
    "content", [b"PK\x03\x04", b"not a workbook", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600]
)
@pytest.mark.parametrize("suffix", [".xlsx", ".xls", ".ods", ".xlsb"])
def test_a_damaged_workbook_is_named_and_hides_nothing(
    folder: Folder, place: Path, content: bytes, suffix: str
) -> None:
    (place / f"bad{suffix}").write_bytes(content)
    (place / "good.csv").write_bytes(ROWS)
    snapshot = folder.snapshot()
    assert snapshot.tables["bad"].error.startswith("This is not a workbook that can be read")
    assert rows(snapshot, "good") == [(1, 2), (3, 4)]


# --- text with a separator


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("bars.txt", "a|b\n1|2\n", [(1, 2)]),
        ("tabs.log", "a\tb\n1\t2\n", [(1, 2)]),
        ("commas.txt", "a,b\n1,2\n", [(1, 2)]),
        ("semicolons.dat", "a;b\n1,5;2\n", [(1.5, 2)]),
        ("tabs.tab", "a\tb\n1\t2\n", [(1, 2)]),
        ("bars.psv", "a|b\n1|2\n", [(1, 2)]),
    ],
)
def test_text_with_a_separator_is_a_table(folder: Folder, place: Path, name: str, text: str, expected: Any) -> None:
    (place / name).write_text(text)
    assert rows(folder.snapshot(), name.partition(".")[0]) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Dear all,\n\nthis is a letter, and not a table.\nRegards, Ann\n",
        "2024-01-01 INFO started\n2024-01-01 WARN slow, very slow\n",
        "one line",
        "- a\n- b\n",
    ],
)
def test_running_text_is_no_table_and_says_so(folder: Folder, place: Path, text: str) -> None:
    (place / "letter.txt").write_text(text)
    snapshot = folder.snapshot()
    assert not snapshot.tables
    assert "no separator" in reasons(snapshot)["letter.txt"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-8-sig"])
def test_byte_orders_and_marks_are_recognised(folder: Folder, place: Path, encoding: str) -> None:
    (place / "t.csv").write_bytes("stadt;n\nMuenchen;1\n".encode(encoding))
    assert rows(folder.snapshot(), "t") == [("Muenchen", 1)]


def test_quoted_fields_with_separators_and_line_ends_survive_ragged_rows(folder: Folder, place: Path) -> None:
    (place / "r.csv").write_text('name,note\n"Doe, Ann","two\nlines"\nBob\n"a ""quoted"" word",x,extra\n')
    snapshot = folder.snapshot()
    assert rows(snapshot, "r") == [
        ("Doe, Ann", "two\nlines", None),
        ("Bob", None, None),
        ('a "quoted" word', "x", "extra"),
    ]
    assert "1 in row 3, 3 in row 4 (2 of 4 rows)" in snapshot.tables["r"].note


def test_ragged_rows_without_a_header_keep_their_first_row(folder: Folder, place: Path) -> None:
    (place / "r.csv").write_text("1,2,3\n4,5\n6,7,8,9\n")
    assert rows(folder.snapshot(), "r") == [(1, 2, 3, None), (4, 5, None, None), (6, 7, 8, 9)]


# --- what is left out


def test_everything_that_is_not_read_has_an_entry(folder: Folder, place: Path) -> None:
    deep = place.joinpath(*"abcdefg"[: MAX_DEPTH + 1])
    deep.mkdir(parents=True)
    (deep / "t.csv").write_bytes(ROWS)
    (place / "picture.png").write_bytes(b"\x89PNG")
    (place / ".hidden.csv").write_bytes(ROWS)
    (place / "dangling.csv").symlink_to(place / "nowhere")
    (place / "elsewhere").symlink_to(place.parent)
    (place / "good.csv").write_bytes(ROWS)
    found = reasons(folder.snapshot())
    assert found.pop("/".join("abcdefg"[: MAX_DEPTH + 1])) == f"Folders below {MAX_DEPTH} levels are not read."
    assert found.pop("picture.png") == "Files of this kind are not read as tables."
    assert found.pop("dangling.csv") == "The file cannot be looked at: it is gone, or a broken link."
    assert found.pop("elsewhere") == "Links to folders are not followed."
    assert found == {"…": "1 hidden files are not read."}


def test_many_files_of_other_kinds_are_counted(place: Path) -> None:
    for number in range(MAX_NAMED + 7):
        (place / f"{number}.png").write_bytes(b"")
    left_out = scan(place).left_out
    assert len(left_out) == MAX_NAMED + 1
    assert left_out[-1].reason == "7 more files of other kinds are not read as tables."


def test_files_beyond_the_bound_are_counted(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILES", 2)
    for number in range(5):
        (place / f"{number}.csv").write_bytes(ROWS)
    found = scan(place)
    assert list(found.files) == ["0.csv", "1.csv"]
    assert [each.reason for each in found.left_out] == ["3 files beyond the first 2 are not read."]


def test_kinds_go_by_the_name_whatever_its_case() -> None:
    assert kind_of("A.CSV.GZ") == "csv"
    assert kind_of("b.XLSX") == "workbook"
    assert kind_of("b.xlsx.gz") == ""
    assert kind_of("c.parquet.zst") == ""
    assert kind_of("notes.md") == ""


def test_files_that_differ_only_in_kind_or_packing_get_names_of_their_own() -> None:
    made = names(["a.csv", "a.csv.gz", "a.txt", "a.xlsx", "b/a.csv"])
    assert len({name.casefold() for name in made.values()}) == 5
    assert all(name.isidentifier() for name in made.values())
