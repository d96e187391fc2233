"""The record over HTTP: one's own tenant's rows, as JSON, Arrow or files, never computed in the gateway's process."""

from __future__ import annotations

import asyncio
import io
import json
import os
from typing import Any

import pyarrow as pa
import pytest

from workbench.audit import QueryStoppedError
from workbench.client import Workbench
from workbench.events import MisuseError, UnreachableError
from workbench.platform.platform import Platform
from workbench.platform.sql_process import SqlProcess

SQL, EXPORT = "/api/platform/sql", "/api/platform/audit/export"


@pytest.fixture(scope="module")
def called(wb: Workbench) -> Workbench:
    for name in ("smith", "jones"):
        wb.call("crm.search_customers", query=name)
    return wb


@pytest.fixture(scope="module")
def stranger(platform: Platform) -> str:
    """A key of another tenant that may read its own record."""
    return platform.access.create_key("eve", roles=("manager",), tenant="elsewhere")[1]


def ask(api: Any, sql: str, **more: Any) -> Any:
    token, headers = more.pop("token", ""), more.pop("headers", {})
    return api("POST", SQL, token=token, json={"sql": sql, **more}, headers=headers)


def test_rows_come_as_json_with_their_types(called, api) -> None:
    found = ask(
        api,
        "select tool, count(*) as n, max(ts) as last from tool_calls where server = $server group by tool",
        parameters={"server": "crm"},
    ).json()
    assert [c["name"] for c in found["columns"]] == ["tool", "n", "last"]
    assert found["rows"][0]["tool"] == "search_customers"
    assert found["rows"][0]["n"] >= 2
    assert found["rows"][0]["last"].endswith("Z")
    assert found["truncated"] is False


def test_values_that_json_has_no_form_for_come_as_text(called, api) -> None:
    [row] = ask(api, "select 'a'::blob as b, 1.5::decimal(5,2) as d, interval 1 hour as i, uuid() as u").json()["rows"]
    assert row["b"] == "61"
    assert row["d"] == "1.50"
    assert len(row["u"]) == 36


def test_rows_come_as_an_arrow_stream(called, api) -> None:
    answer = ask(api, "select tool from tool_calls limit 1", headers={"Accept": "application/vnd.apache.arrow.stream"})
    assert answer.headers["content-type"] == "application/vnd.apache.arrow.stream"
    assert pa.ipc.open_stream(answer.content).read_all().column_names == ["tool"]


def test_a_long_answer_is_cut_and_says_so(called, api) -> None:
    found = ask(api, "select * from range(100)", max_rows=7).json()
    assert (len(found["rows"]), found["truncated"]) == (7, True)


@pytest.mark.parametrize(
    "statement",
    ["drop view tool_calls", "select 1; select 2", "from read_csv('/etc/passwd')", "selec", "copy tool_calls to '/x'"],
)
def test_what_is_no_reading_statement_is_refused(api, statement: str) -> None:
    answer = ask(api, statement)
    assert answer.status_code == 400
    assert answer.json()["error"]["kind"] == "Misuse"


def test_a_statement_that_takes_too_long_is_stopped(api) -> None:
    answer = ask(api, "select count(*) from range(100000000) a, range(100000) b", timeout_s=0.2)
    assert answer.status_code == 400
    assert "longer than 0.2 s" in answer.json()["error"]["message"]


def test_limits_outside_of_the_possible_are_refused(api) -> None:
    assert ask(api, "select 1", timeout_s=0).status_code == 422
    assert ask(api, "select 1", max_rows=10**9).status_code == 422


def test_only_ones_own_tenant_is_seen(called, api, stranger) -> None:
    found = ask(api, "select distinct tenant from events", token=stranger).json()["rows"]
    assert found in ([], [{"tenant": "elsewhere"}])
    exported = api("GET", EXPORT, token=stranger, params={"format": "jsonl"})
    assert exported.content == b""


def test_who_may_not_read_the_record_is_refused(platform, api) -> None:
    viewer = platform.access.create_key("bob", roles=("viewer",))[1]
    assert ask(api, "select 1", token=viewer).status_code == 403
    assert api("GET", EXPORT, token=viewer).status_code == 403
    assert ask(api, "select 1", token=None).status_code == 401


def test_that_it_was_asked_is_on_the_record(called, api) -> None:
    ask(api, "select 4711 as marker")
    api("GET", EXPORT, params={"table": "runs", "format": "jsonl"})
    query = "select action, user_id, details from administration where details like '%{}%'"
    asked = called.sql(query.format("4711"))
    assert list(asked["action"]) == ["sql"]
    assert list(called.sql(query.format('"table":"runs"'))["action"]) == ["export"]


@pytest.mark.parametrize("format", ["csv", "parquet", "jsonl"])
def test_a_table_is_exported_as_a_file(called, api, format: str) -> None:
    answer = api("GET", EXPORT, params={"format": format, "from": "2020-01-01"})
    assert answer.status_code == 200
    assert f"calls.{format}" in answer.headers["content-disposition"]
    if format == "parquet":
        from pyarrow import parquet

        assert "search_customers" in parquet.read_table(io.BytesIO(answer.content))["tool"].to_pylist()
    elif format == "jsonl":
        assert "search_customers" in {json.loads(line)["tool"] for line in answer.content.splitlines()}
    else:
        assert b"search_customers" in answer.content


def test_an_export_that_cannot_be_meant_is_refused_before_it_begins(api) -> None:
    assert api("GET", EXPORT, params={"table": "nothing"}).status_code == 400
    assert api("GET", EXPORT, params={"from": "yesterday"}).status_code == 400
    assert api("GET", EXPORT, params={"format": "xls"}).status_code == 422


# --- the processes behind it ----------------------------------------------------


async def test_a_cancelled_query_ends_its_process_and_the_next_one_runs(settings) -> None:
    process = SqlProcess(settings.home)
    try:
        assert (await process.query("select 1 as a", tenant=None)).to_pylist() == [{"a": 1}]
        [pid] = [c._process.pid for c in process._children if c._process]
        query = "select count(*) from range(100000000) a, range(100000) b"
        running = asyncio.ensure_future(process.query(query, tenant=None))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert (await process.query("select 2 as a", tenant=None)).to_pylist() == [{"a": 2}]
    finally:
        await process.close()


async def test_one_long_query_does_not_keep_others_waiting(settings) -> None:
    process = SqlProcess(settings.home)
    try:
        long = asyncio.ensure_future(
            process.query("select count(*) from range(100000000) a, range(100000) b", tenant="a", timeout_s=60)
        )
        assert (await process.query("select 2 as a", tenant="b")).to_pylist() == [{"a": 2}]
        assert not long.done()
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
    finally:
        await process.close()


async def test_too_many_queries_are_turned_away_and_too_large_answers_refused(settings, monkeypatch) -> None:
    monkeypatch.setattr("workbench.platform.sql_process.MAX_WAITING", 0)
    process = SqlProcess(settings.home)
    try:
        asked = [process.query("select 1 as a", tenant=None) for _ in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(f) for f in found].count(UnreachableError) == 1
        with pytest.raises(QueryStoppedError, match="MiB"):
            await process.query("select repeat('x', 1000000) as a from range(80)", tenant=None)
        with pytest.raises(MisuseError):
            await process.query("nonsense", tenant=None)
        for tenant in range(10):
            assert (await process.query("select 1 as a", tenant=str(tenant))).num_rows == 1
    finally:
        await process.close()
