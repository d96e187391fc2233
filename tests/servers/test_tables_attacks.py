"""Statements that try to write, to read elsewhere, to learn settings or to use everything up: none gets anywhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.tables.folder import Folder
from servers.tables.server import build

Ask = Callable[..., Awaitable[Any]]

PARSER = duckdb.connect(":memory:")
SECRET = "the-secret-of-the-machine"

REFUSED = [
    # writes
    "insert into numbers values (1, 'x')",
    "update numbers set n = 0",
    "delete from numbers",
    "drop table numbers",
    "drop view numbers",
    "alter table numbers add column x int",
    "create table mine as select 1",
    "create temp table mine (a int)",
    "create view v as select 1",
    "create or replace view numbers as select 1",
    "create schema s",
    "create macro f() as 1",
    "create sequence s",
    "create secret s (type s3)",
    "truncate numbers",
    "merge into numbers using numbers as o on true when matched then delete",
    "with gone as (delete from numbers returning *) select * from gone",
    "with new as (insert into numbers values (9, 'z') returning n) select * from new",
    # files and network
    "copy numbers to '{outside}/stolen.csv'",
    "copy (select 1) to '{outside}/stolen.parquet'",
    "copy numbers from '/etc/passwd'",
    "export database '{outside}/dump'",
    "import database '{outside}'",
    "attach '{outside}/new.duckdb' as new",
    "attach '{outside}/secret.duckdb' (read_only)",
    "detach memory",
    "use memory",
    "install httpfs",
    "load httpfs",
    "select * from read_csv('/etc/passwd')",
    "select * from read_csv_auto('/etc/passwd', header = false)",
    "select * from read_text('{outside}/secret.txt')",
    "select * from read_blob('{outside}/secret.txt')",
    "select * from read_parquet('{outside}/*.parquet')",
    "select * from read_json('{outside}/secret.json')",
    "select * from '{outside}/secret.csv'",
    "from '{outside}/secret.csv'",
    'select * from "{outside}/secret.csv"',
    "select * from glob('/etc/*')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from parquet_metadata('{outside}/x.parquet')",
    "select * from 'https://example.com/x.csv'",
    "select (select content from read_text('{outside}/secret.txt')) as x",
    "select * from numbers where word in (select content from read_text('{outside}/secret.txt'))",
    "with x as (from read_text('{outside}/secret.txt')) select * from x",
    "select * from query('select content from read_text(''{outside}/secret.txt'')')",
    "select * from query_table('{outside}/secret.csv')",
    "select * from numbers, lateral (select * from read_text('{outside}/secret.txt'))",
    # settings and what tells of the machine
    "set enable_external_access = true",
    "set memory_limit = '100GB'",
    "reset all",
    "pragma database_list",
    "pragma table_info('numbers')",
    "select current_setting('memory_limit')",
    "select getenv('HOME')",
    "select * from duckdb_settings()",
    "select * from duckdb_databases()",
    "select * from duckdb_secrets()",
    "select * from pragma_database_list()",
    "select * from information_schema.tables",
    "select * from pg_catalog.pg_tables",
    "select * from sqlite_master",
    "show tables",
    "describe numbers",
    "summarize numbers",
    "explain select 1",
    "explain analyze select 1",
    "call duckdb_settings()",
    "checkpoint",
    "vacuum",
    "begin",
    "prepare p as select 1",
    "execute p",
    "set variable x = 1",
    # several statements, nothing, nonsense
    "select 1; select 2",
    "select 1; drop view numbers",
    "",
    ";",
    "-- only a comment",
    "selec 1",
    "select \x00 1",
    "/* open",
    "select * from t1.main.data",
    "select * from memory.main.numbers",
    "select * from main.numbers",
    # more of each
    "create or replace table numbers as select 1",
    "create type t as enum ('a')",
    "create index i on numbers (n)",
    "create function f(x) as x",
    "create table mine as from read_text('{outside}/secret.txt')",
    "comment on view numbers is 'x'",
    "with gone as (update numbers set n = 0 returning *) from gone",
    "insert into numbers select 1, content from read_text('{outside}/secret.txt')",
    "copy (from numbers) to '/dev/stdout'",
    "copy (from numbers) to '{outside}/x' (format parquet)",
    "copy from database memory to memory",
    "attach 'postgres:host=127.0.0.1' as p (type postgres)",
    "attach 'https://example.com/x.duckdb' as x",
    "attach ':memory:' as m",
    "force install httpfs from 'https://example.com'",
    "update extensions",
    "from '{outside}/*.csv'",
    "from 's3://bucket/x.parquet'",
    "from 'hf://datasets/x/y.csv'",
    "select * from '/proc/self/environ'",
    "select * from read_text('/proc/self/environ')",
    "select * from read_text(['{outside}/secret.txt'])",
    "select * from read_csv(getvariable('x'))",
    "select * from READ_TEXT('{outside}/secret.txt')",
    "select * from \"read_text\"('{outside}/secret.txt')",
    "select * from main.read_text('{outside}/secret.txt')",
    "select * from system.main.read_text('{outside}/secret.txt')",
    "select * from (pivot (from read_text('{outside}/secret.txt')) on filename using count(*))",
    "from numbers select (from read_text('{outside}/secret.txt') select content)",
    "from numbers where exists (from glob('/etc/*'))",
    "from numbers order by (select max(content) from read_text('{outside}/secret.txt'))",
    "from numbers limit (select size from read_text('{outside}/secret.txt'))",
    "from numbers join read_text('{outside}/secret.txt') on true",
    "from numbers union all by name from read_text('{outside}/secret.txt')",
    "select list_transform([1], lambda x: (select max(content) from read_text('{outside}/secret.txt')))",
    "values ((select content from read_text('{outside}/secret.txt')))",
    "with recursive r as (select 1 as a union all select a from r, read_text('{outside}/secret.txt')) from r",
    "select * from numbers; copy numbers to '{outside}/x.csv'",
    "select 1;;select 2",
    "select 1 \\; select 2; --",
    "set session memory_limit = '100GB'",
    "set global threads = 64",
    "set lock_configuration = false",
    "reset enable_external_access",
    "pragma enable_profiling",
    "pragma memory_limit = '100GB'",
    "select * from pragma_show('numbers')",
    "select * from duckdb_views()",
    "select * from duckdb_functions()",
    "select * from duckdb_temporary_files()",
    "from duckdb_extensions()",
    "from information_schema.columns",
    "select current_database()",
    "select current_schema()",
    "select pg_get_viewdef(1)",
    "select which_secret('s3://x', 's3')",
    "select nextval('s')",
    "select write_log('x')",
    "select txid_current()",
    "begin transaction; select 1",
    "abort",
    "rollback",
    "deallocate p",
    "load '{outside}/x.duckdb_extension'",
]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    base = tmp_path_factory.mktemp("attack")
    served, outside = base / "served", base / "outside"
    served.mkdir()
    outside.mkdir()
    (served / "numbers.csv").write_text("n,word\n1,one\n2,two\n3,three\n")
    for name in ("secret.txt", "secret.csv", "secret.json"):
        (outside / name).write_text(f"{SECRET}\n")
    folder = Folder(served, memory_mb=128, threads=1)
    yield build(folder, timeout_s=1.0), outside
    folder.close()


@pytest.mark.parametrize("sql", REFUSED)
async def test_it_is_refused_and_nothing_changes(ask: Ask, house: tuple[Any, Path], sql: str) -> None:
    server, outside = house
    before = sorted(p.name for p in outside.iterdir())
    answer = await ask(server, "query", sql=sql.replace("{outside}", str(outside)))
    assert isinstance(answer, str), answer
    assert SECRET not in answer
    assert sorted(p.name for p in outside.iterdir()) == before
    assert (await ask(server, "count_rows", table="numbers"))["count"] == 3


SAFE = {"range", "generate_series", "unnest", "json_each", "json_tree"}
"""They make rows of their arguments alone."""


@pytest.mark.parametrize(
    "name",
    sorted(
        str(row[0])
        for row in PARSER.execute(
            "select distinct function_name from duckdb_functions() where function_type in ('table', 'table_macro', "
            "'pragma')"
        ).fetchall()
    ),
)
def test_of_all_table_functions_that_there_are_only_those_without_a_source_are_allowed(name: str) -> None:
    from mcp.server.mcpserver.exceptions import ToolError

    from servers.tables.statements import checked

    for sql in (
        f"from {name}('x')",
        f"select (select count(*) from {name}(1))",
        f"select * from \"{name.upper()}\"('x')",
    ):
        if name in SAFE:
            assert checked(PARSER, sql, {"numbers"})
        else:
            with pytest.raises(ToolError):
                checked(PARSER, sql, {"numbers"})
    for sql in (f"pragma {name}", f"call {name}('x')"):
        with pytest.raises(ToolError):
            checked(PARSER, sql, {"numbers"})


@pytest.mark.parametrize(
    "sql",
    [
        "select * from read_text('{outside}/secret.txt')",
        "copy (select 1) to '{outside}/stolen.csv'",
        "attach '{outside}/new.duckdb' as new",
        "set enable_external_access = true",
        "insert into t1.main.data values (9, 'z')",
        "install httpfs",
        "export database '{outside}/dump'",
    ],
)
def test_the_connection_itself_refuses_what_the_check_would_have_missed(house: tuple[Any, Path], sql: str) -> None:
    _, outside = house
    folder = Folder(outside.parent / "served", threads=1)
    with pytest.raises(duckdb.Error):
        folder.snapshot().connection.cursor().execute(sql.replace("{outside}", str(outside)))
    assert not (outside / "stolen.csv").exists()
    folder.close()


@pytest.mark.parametrize(
    "sql",
    [
        "with recursive r(n) as (select 1 union all select n + 1 from r) select count(*) from r",
        "select count(*) from range(100000000000) a",
        "select sum(a.range * b.range) from range(1000000) a, range(1000000) b",
        "select list(range) from range(1000000000)",
        "select length(repeat('x', 1000000000))",
        "select string_agg(repeat('x', 1000), '') from range(10000000)",
        "select * from range(100000000) order by hash(range)",
        "select max(len(range(0, 100000000)))",
        "select len(lpad('x', 1000000000, 'y'))",
        "select max(len(list_transform(range(0, 3000000), lambda x: x + 1)))",
    ],
)
@pytest.mark.slow
async def test_a_bomb_ends_by_time_or_memory_and_the_server_lives(ask: Ask, house: tuple[Any, Path], sql: str) -> None:
    server, _ = house
    answer = await ask(server, "query", sql=sql)
    if isinstance(answer, str):
        assert "longer than 1 s" in answer or "memory" in answer or "failed" in answer
    else:
        assert len(str(answer)) < 2_000_000
    assert (await ask(server, "count_rows", table="numbers"))["count"] == 3


async def test_a_large_answer_is_cut_and_says_so(ask: Ask, house: tuple[Any, Path]) -> None:
    server, _ = house
    rows = await ask(server, "query", sql="select * from range(5000)", limit=10)
    assert (rows["row_count"], rows["truncated"]) == (10, True)
    long = await ask(server, "query", sql="select repeat('ä', 1000000) as x, 1 as y")
    assert long["truncated"]
    assert len(long["rows"][0]["x"]) <= 4001
    wide = await ask(server, "query", sql="select repeat('x', 4000) as x from range(1000)", limit=1000)
    assert wide["truncated"]
    assert wide["row_count"] < 400
    nested = await ask(server, "query", sql="select range(0, 100000) as x")
    assert nested["truncated"]
    columns = ", ".join(str(n) for n in range(400))
    assert "at most 300" in await ask(server, "query", sql=f"select {columns}")


@pytest.mark.parametrize(
    ("sql", "parameters", "expected"),
    [
        ("select sum(n) as s from numbers", None, [{"s": 6}]),
        ("select word from numbers where n = ?", [2], [{"word": "two"}]),
        ("select word from numbers where n = $n", {"n": 3}, [{"word": "three"}]),
        ("from numbers select n order by n desc limit 1;", None, [{"n": 3}]),
        ("with a as (select n from numbers) select count(*) as c from a -- done", None, [{"c": 3}]),
        ("select 1 as a, 2 as a", None, [{"a": 1, "a_1": 2}]),
        ("select n from numbers union all select 7 order by 1 limit 1", None, [{"n": 1}]),
        ("select word, row_number() over (order by word) as r from numbers qualify r = 1", None,
         [{"word": "one", "r": 1}]),
        ("select x from (values (1), (2)) as v(x) where x > 1", None, [{"x": 2}]),
        ("select unnest([1, 2]) as u", None, [{"u": 1}, {"u": 2}]),
        ("select ? as nothing", [None], [{"nothing": None}]),
        ("select word from numbers where word like '%''%' or word = 'drop table'", None, []),
    ],
)  # fmt: skip
async def test_honest_queries_are_answered(
    ask: Ask, house: tuple[Any, Path], sql: str, parameters: Any, expected: list[dict[str, Any]]
) -> None:
    answer = await ask(house[0], "query", sql=sql, parameters=parameters)
    assert answer["rows"] == expected


async def test_every_kind_of_value_becomes_json(ask: Ask, house: tuple[Any, Path]) -> None:
    sql = """select true as b, 1.50::decimal(5, 2) as d, 'nan'::double as nan, 'inf'::double as inf,
        date '2013-01-02' as day, timestamp '2013-01-02 03:04:05' as at,
        timestamptz '2013-01-02 03:04:05+00' as zoned,
        '\\xFF'::blob as raw, [1, 2] as l, {'a': {'b': 1}} as s, map {'k': 2} as m,
        170141183460469231731687303715884105727 as big,
        interval 3 day as span, null as nothing, uuid '00000000-0000-0000-0000-000000000001' as id"""
    row = (await ask(house[0], "query", sql=sql))["rows"][0]
    assert row == {
        "b": True, "d": 1.5, "nan": None, "inf": "inf", "day": "2013-01-02", "at": "2013-01-02 03:04:05",
        "zoned": "2013-01-02 03:04:05+00", "raw": "FF", "l": [1, 2], "s": {"a": {"b": 1}}, "m": {"k": 2},
        "big": "170141183460469231731687303715884105727", "span": "3 days", "nothing": None,
        "id": "00000000-0000-0000-0000-000000000001",
    }  # fmt: skip


async def test_wrong_queries_are_explained(ask: Ask, house: tuple[Any, Path]) -> None:
    server, _ = house
    assert "Tables: numbers" in await ask(server, "query", sql="select * from numberz")
    assert '"n"' in await ask(server, "query", sql="select nn from numbers")
    assert "not valid SQL" in await ask(server, "query", sql="selec 1")
    assert "failed" in await ask(server, "query", sql="select ?")
    assert "at most" in await ask(server, "query", sql="select " + "1+" * 15_000 + "1")


@given(sql=st.text(max_size=60))
def test_no_text_is_more_than_a_select(sql: str) -> None:
    import duckdb
    from mcp.server.mcpserver.exceptions import ToolError

    from servers.tables.statements import checked

    try:
        statement = checked(PARSER, sql, {"numbers"})
    except ToolError:
        return
    assert statement
    assert [str(s.type) for s in duckdb.extract_statements(statement)] == ["StatementType.SELECT"]
