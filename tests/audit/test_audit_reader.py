"""SQL over the record: fresh, exact, and only reading."""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow
import pytest

from workbench.audit import QueryStoppedError, Reader, SavedQuestion, questions
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.query.reader import TRUNCATED
from workbench.audit.query.saved_questions import read_question
from workbench.audit.query.views import TABLES
from workbench.events import MisuseError

ENDLESS = "select max(hash(i)) from range(1000000000000000) t(i)"
"""Runs on and on, in little memory."""


async def test_the_newest_record_is_visible_to_the_next_query(open_log, make_call, open_reader):
    reader = open_reader()
    async with open_log() as log:
        for number in range(1, 30):
            await log.write("acme", make_call())
            assert reader.sql("select count(*) n from tool_calls").to_pylist() == [{"n": number}]


async def test_the_query_that_everybody_tries_first(open_log, make_call, open_reader):
    async with open_log() as log:
        await log.write("acme", make_call(tool="crm.search_customers"))
        await log.write("acme", make_call(tool="pay.list", kind="timeout"))
        query = "select server, tool, outcome, latency_us from tool_calls order by ts desc limit 10"
        assert open_reader().sql(query).to_pylist() == [
            {"server": "pay", "tool": "list", "outcome": "timeout", "latency_us": 1500},
            {"server": "crm", "tool": "search_customers", "outcome": "ok", "latency_us": 1500},
        ]


async def test_a_row_says_who_what_and_when(open_log, make_call, open_reader):
    async with open_log() as log:
        await log.write("acme", make_call(user="ann", tool="crm.find", arguments={"q": [1, "ä"]}))
        [row] = open_reader().sql("from tool_calls").to_pylist()
    assert (row["user_id"], row["qualified"], row["tool"]) == ("ann", "crm.find", "find")
    assert json.loads(row["args"]) == {"q": [1, "ä"]}
    assert abs(datetime.datetime.now(datetime.UTC).replace(tzinfo=None) - row["ts"]) < datetime.timedelta(minutes=1)


@pytest.mark.parametrize("table", TABLES)
def test_an_empty_record_gives_empty_typed_tables(table, open_reader):
    result = open_reader().sql(f"from {table}")
    assert result.num_rows == 0
    field = "hour" if table == "tool_calls_hourly" else "ts"
    assert result.schema.field(field).type == pyarrow.timestamp("us")
    assert result.schema.field("tenant").type == pyarrow.string()


def test_a_state_folder_that_does_not_exist_yet_reads_as_empty(tmp_path):
    with Reader(tmp_path / "not" / "yet") as reader:
        assert reader.sql("from tool_calls").num_rows == 0


def test_every_table_and_every_column_is_documented(open_reader):
    reader = open_reader()
    tables = {row["name"]: row["meaning"] for row in reader.sql("from tables").to_pylist()}
    assert set(tables) == set(TABLES)
    assert reader.sql("show tables").to_pylist() == reader.sql("from tables").to_pylist()
    columns = reader.sql("from table_columns").to_pylist()
    assert {row["table_name"] for row in columns} == set(TABLES)
    assert [c for c in columns if not c["meaning"]] == []
    assert all(tables.values())


async def test_a_torn_last_line_is_not_seen_and_hides_nothing(open_log, make_call, open_reader, home):
    async with open_log() as log:
        await log.write("acme", make_call())
        [(_, _, path)] = AuditFolder(home).segments()
        whole = path.read_bytes()
        reader = open_reader()
        for cut in (1, 15, 70, len(whole) // 2, len(whole) - 2):
            path.write_bytes(whole + whole[:cut])
            assert reader.sql("from tool_calls").num_rows == 1
        path.write_bytes(whole)


async def test_live_and_compacted_rows_are_seen_exactly_once(open_log, make_call, open_reader, home):
    reader = open_reader()
    async with open_log(audit_segment_bytes=4000) as log:
        for number in range(1, 40):
            await log.write("acme", make_call())
            if number % 7 == 0:
                Compactor(AuditFolder(home), grace_s=0).run()
            [row] = reader.sql("select count(*) n, count(distinct event_id) ids from events").to_pylist()
            assert row == {"n": number, "ids": number}
            [summed] = reader.sql("select sum(calls)::int n from tool_calls_hourly").to_pylist()
            assert summed == {"n": number}


async def test_a_trace_is_found_wherever_its_events_are(open_log, make_call, open_reader, home):
    trace = "ab" * 16
    async with open_log(audit_segment_bytes=1) as log:
        await log.write("acme", make_call(trace_id=trace))
        await log.write("other", make_call(tenant="other", trace_id=trace))
        await log.write("acme", make_call())
    Compactor(AuditFolder(home)).run()
    async with open_log() as log:
        await log.write("acme", make_call(trace_id=trace))
        assert open_reader().trace(trace).num_rows == 3
        assert open_reader(tenant="acme").trace(trace).num_rows == 2
        assert open_reader().trace("cd" * 16).num_rows == 0


async def test_parameters_by_place_and_by_name(open_log, make_call, open_reader):
    async with open_log() as log:
        await log.write("acme", make_call(user="o'neil"))
        reader = open_reader()
        assert reader.sql("from tool_calls where user_id = ?", ["o'neil"]).num_rows == 1
        assert reader.sql("from tool_calls where user_id = $u", {"u": "o'neil"}).num_rows == 1
        assert reader.sql("from tool_calls where user_id = $u", {"u": "' or 1=1 --"}).num_rows == 0


def test_a_result_is_cut_at_max_rows_and_says_so(open_reader):
    reader = open_reader()
    cut = reader.sql("select * from range(100000)", max_rows=7)
    assert cut.num_rows == 7
    assert cut.schema.metadata == {TRUNCATED: b"true"}
    assert reader.sql("select * from range(7)", max_rows=7).schema.metadata is None


@pytest.mark.parametrize(
    "query",
    [
        ENDLESS,
        "with recursive n as (select 1 i union all select i + 1 from n) select max(i) from n",
    ],
)
def test_an_endless_query_is_stopped_in_time(query, open_reader):
    with pytest.raises(QueryStoppedError, match=r"longer than 0\.05 s"):
        open_reader().sql(query, timeout_s=0.05)


def test_a_query_can_be_cancelled_from_another_thread(open_reader):
    reader = open_reader()
    stopped = threading.Event()

    def cancel() -> None:  # again and again: it may come before the query runs
        while not stopped.wait(0.02):
            reader.interrupt()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    try:
        with pytest.raises(QueryStoppedError, match="cancelled"):
            reader.sql(ENDLESS)
    finally:
        stopped.set()
        canceller.join()
    assert reader.sql("select 1 as one").to_pylist() == [{"one": 1}]


LONG = "select * from range(1000000000000) t(i)"
"""Its first rows are there at once, and its last ones never."""


@pytest.mark.parametrize("read", ["sql", "batches"])
def test_a_query_whose_rows_already_arrive_is_stopped_in_time_all_the_same(read, open_reader):
    reader = open_reader()
    with pytest.raises(QueryStoppedError, match=r"longer than 0\.05 s"):
        for _ in getattr(reader, read)(LONG, timeout_s=0.05):
            pass
    assert reader.sql("select 1 as one").to_pylist() == [{"one": 1}]


@pytest.mark.parametrize("rows", [0, 500_000])
@pytest.mark.parametrize("read", ["sql", "batches"])
def test_a_value_that_cannot_be_converted_is_named_also_after_many_rows(read, rows, open_reader):
    query = f"select (case when i = {rows} then 'x' else '1' end)::int as n from range(1000000) t(i)"
    with pytest.raises(MisuseError, match="Could not convert string 'x'"):
        for _ in getattr(open_reader(), read)(query):
            pass


def test_a_query_that_needs_too_much_memory_is_stopped(open_reader):
    with pytest.raises(QueryStoppedError, match="memory"):
        open_reader(memory="64MB").sql("select list(i) from range(100000000) t(i)")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("selec 1", 'syntax error at or near "selec"'),
        ("select 1\nfrom tool_calls\nwhere nope = 1", "LINE 3: where nope = 1"),
        ("select nofunction(1)", "nofunction does not exist"),
        ("select * from tool_call", "Did you mean tool_calls"),
        ("select 'x'::int", "Could not convert"),
        ("from tool_calls where user_id = $u", "u"),
    ],
)
def test_an_error_in_the_sql_says_what_and_where(query, expected, open_reader):
    with pytest.raises(MisuseError) as raised:
        open_reader().sql(query)
    assert expected in str(raised.value)


async def test_several_threads_may_share_a_reader(open_log, make_call, open_reader):
    reader = open_reader()
    async with open_log() as log:
        await log.write("acme", make_call())
        results = await asyncio.gather(
            *(asyncio.to_thread(reader.sql, "select count(*) n from events") for _ in range(8))
        )
    assert [table.to_pylist() for table in results] == [[{"n": 1}]] * 8


def test_a_reader_that_was_forgotten_leaves_quietly(home):
    code = f"from workbench.audit import Reader; r = Reader({str(home)!r}); print(r.sql('select 1 as one').to_pylist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[{'one': 1}]\n", "")


def test_a_closed_reader_may_be_closed_again(home):
    reader = Reader(home)
    reader.close()
    reader.close()
    with pytest.raises(MisuseError, match="closed"):
        reader.sql("select 1")


# --- saved questions ---------------------------------------------------------


@pytest.mark.parametrize("question", questions(), ids=lambda q: q.name)
async def test_every_saved_question_runs(question: SavedQuestion, open_log, make_call, open_reader):
    assert question.description.endswith(".")
    async with open_log() as log:
        for kind in ("ok", "denied", "timeout"):
            await log.write("acme", make_call(kind=kind))
        reader = open_reader(tenant="acme")
        as_text = {name: str(value) for name, value in question.parameters.items()}  # as a command line gives them
        for parameters in (question.parameters, as_text):
            table = reader.sql(question.sql, parameters or None)
            assert table.num_columns > 2
    if "FROM tool_calls" in question.sql and "$id" not in question.sql:
        assert table.num_rows >= 1


async def test_what_happened_follows_one_call(open_log, make_call, open_reader):
    async with open_log() as log:
        record = make_call(kind="denied")
        await log.write("acme", record)
        await log.write("acme", make_call())
        question = next(q for q in questions() if q.name == "what_happened")
        [row] = open_reader().sql(question.sql, {"id": record["request_id"]}).to_pylist()
    assert row["outcome"] == "denied"


async def test_failure_rates_count_what_failed(open_log, make_call, open_reader):
    async with open_log() as log:
        for kind in ("ok", "ok", "ok", "tool_error"):
            await log.write("acme", make_call(kind=kind))
        question = next(q for q in questions() if q.name == "failure_rates")
        [row] = open_reader().sql(question.sql, question.parameters).to_pylist()
    assert (row["calls"], row["failed_percent"], row["tool_errors"]) == (4, 25.0, 1)


def test_there_are_enough_questions_and_their_parameters_are_used():
    known = questions()
    assert len(known) >= 10
    for question in known:
        for name in question.parameters:
            assert f"${name}" in question.sql


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("select 1", "no description"),
        ("-- $hours = 3\nselect 1", "no description"),
        ("-- x\n-- $h = abc\nselect $h", "abc"),
    ],
)
def test_a_question_file_that_is_wrong_says_how(text, complaint):
    with pytest.raises(MisuseError, match=complaint):
        read_question("mine", text)


# --- any DuckDB client ---------------------------------------------------------


async def test_any_duckdb_client_reads_the_record_while_it_is_written(open_log, make_call, home):
    import duckdb

    from workbench.audit.compact import compact

    async with open_log(audit_segment_bytes=2500) as log:
        compact(home)
        with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as client:
            for number in range(1, 12):
                await log.write("acme", make_call())
                if number % 4 == 0:
                    compact(home)
                assert client.execute("select count(*), count(distinct event_id) from tool_calls").fetchall() == [
                    (number, number)
                ]
                assert client.execute("select sum(calls) from tool_calls_hourly").fetchall() == [(number,)]
            documented = client.execute("select comment from duckdb_views() where view_name = 'tool_calls'").fetchall()
    assert "One row for every call" in documented[0][0]


def test_the_views_file_is_written_again_after_a_move(home: Path, tmp_path):
    import duckdb

    from workbench.audit.query.views_file import write_views_file

    AuditFolder(home).prepare()
    assert write_views_file(AuditFolder(home)) is True
    assert write_views_file(AuditFolder(home)) is False
    moved = tmp_path / "moved"
    home.rename(moved)
    assert write_views_file(AuditFolder(moved)) is True
    with duckdb.connect(str(moved / "audit.duckdb"), read_only=True) as client:
        assert client.execute("select count(*) from events").fetchall() == [(0,)]
