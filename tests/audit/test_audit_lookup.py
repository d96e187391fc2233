"""One trace, one call, one run: found wherever their events are, without reading the record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.audit import Reader, verify
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.manifest import CurrentFiles, Manifest
from workbench.audit.lake.merge_plan import MAX_ROWS, due, groups
from workbench.audit.write.seals import SealLog

TRACE = "ab" * 16


def ids(table) -> list[str]:
    return table.column("event_id").to_pylist()


@pytest.mark.parametrize("column", ["trace_id", "request_id", "run_id"])
async def test_events_are_found_by_each_id_in_the_log_and_in_the_lake(column, open_log, make_call, open_reader, home):
    reader = open_reader()
    named = {"trace_id": {"trace_id": TRACE}, "request_id": {"id": "call-7"}, "run_id": {"run": "run-7"}}[column]
    value = next(iter(named.values()))
    wanted = []
    for compacted in (True, True, False):
        async with open_log(audit_segment_bytes=1500) as log:
            for number in range(6):
                record = make_call(**(named if number % 3 == 0 else {}))
                await log.write("acme", record)
                wanted += [record["event_id"]] if number % 3 == 0 else []
            assert ids(reader.events_of(column, value)) == wanted
        if compacted:
            Compactor(AuditFolder(home), grace_s=0).run()
        assert ids(reader.events_of(column, value)) == ids(reader.events_of(None, value)) == wanted
    Compactor(AuditFolder(home), grace_s=0).run(today="2999-01-01")
    assert len(Manifest.read(AuditFolder(home)).parts) == 1
    assert ids(reader.events_of(column, value)) == wanted
    assert reader.events_of(column, "nobody").num_rows == 0


async def test_an_id_is_told_of_the_tenant_alone(open_log, make_call, open_reader, home):
    async with open_log() as log:
        for tenant in ("acme", "other"):
            await log.write(tenant, make_call(tenant=tenant, trace_id=TRACE))
        assert open_reader(tenant="acme").trace(TRACE).num_rows == 1
    Compactor(AuditFolder(home)).run()
    assert open_reader(tenant="acme").trace(TRACE).column("tenant").to_pylist() == ["acme"]
    assert open_reader(tenant="nobody").trace(TRACE).num_rows == 0
    assert open_reader().trace(TRACE).num_rows == 2


async def test_an_id_in_the_arguments_of_another_call_is_not_that_id(open_log, make_call, open_reader):
    async with open_log() as log:
        await log.write("acme", make_call(arguments={"trace_id": TRACE, "text": f'"trace_id":"{TRACE}"'}))
        assert open_reader().trace(TRACE).num_rows == 0


async def test_a_line_that_has_an_id_twice_is_found_once(open_log, make_call, open_reader):
    async with open_log() as log:
        await log.write("acme", make_call(trace_id=TRACE, run=TRACE))
        assert open_reader().events_of(None, TRACE).num_rows == 1


@pytest.mark.parametrize("value", ['with "quotes"', "ünïcode", "back\\slash", "line\nfeed", "%_'", ""])
async def test_any_text_may_be_an_id(value, open_log, make_call, open_reader, home):
    reader = open_reader()
    async with open_log() as log:
        await log.write("acme", make_call(run=value))
        found = reader.events_of("run_id", value).num_rows
        assert found == (1 if value else 0)  # a call without a run has none
    Compactor(AuditFolder(home)).run()
    assert reader.events_of("run_id", value).num_rows == found


async def test_what_a_lookup_finds_is_what_a_query_finds(open_log, make_call, open_reader, home):
    async with open_log() as log:
        for number in range(4):
            await log.write("acme", make_call(trace_id=TRACE, kind="denied" if number == 2 else "ok"))
        reader = open_reader()
        query = "from events where trace_id = ? order by ts, seq"
        assert reader.trace(TRACE).to_pylist() == reader.sql(query, [TRACE]).to_pylist()
    Compactor(AuditFolder(home)).run()
    assert reader.trace(TRACE).to_pylist() == reader.sql(query, [TRACE]).to_pylist()


async def test_files_of_an_earlier_version_are_searched_whole_and_indexed_when_they_are_merged(
    open_log, make_call, open_reader, home
):
    folder = AuditFolder(home)
    for _ in range(2):
        async with open_log() as log:
            await log.write("acme", make_call(run="run-7"))
        Compactor(folder).run()
    manifest = Manifest.read(folder)
    for index in manifest.indexes:
        del index["ids"]
    published = json.loads(folder.seals.read_bytes().splitlines()[-1])
    SealLog(folder).append({**published, "added": [], "lines": [], "manifest_sha256": manifest.digest()})
    manifest.publish(folder)
    assert len(CurrentFiles(folder).unindexed) == 2
    assert open_reader().events_of("run_id", "run-7").num_rows == 2
    Compactor(folder).run(today="2999-01-01")
    assert CurrentFiles(folder).unindexed == []
    assert open_reader().events_of("run_id", "run-7").num_rows == 2
    assert verify(home, deep=True).ok


async def test_a_torn_line_is_left_to_its_writer(open_log, make_call, open_reader, home: Path):
    async with open_log() as log:
        await log.write("acme", make_call(run="run-7"))
        [(_, _, segment)] = AuditFolder(home).segments()
        whole = segment.read_bytes()
        reader = open_reader()
        segment.write_bytes(whole + whole[:-1])
        assert reader.events_of("run_id", "run-7").num_rows == 1
        segment.write_bytes(b"")
        assert reader.events_of("run_id", "run-7").num_rows == 0
        segment.write_bytes(whole)


@settings(deadline=None)
@given(st.lists(st.integers(0, 2 * MAX_ROWS), max_size=60), st.booleans())
def test_merging_never_sorts_more_rows_at_once_than_it_may(rows: list[int], over: bool):
    parts = [{"path": f"lake/date=d/part-{number}.parquet", "rows": each} for number, each in enumerate(rows)]
    chosen = due(parts, over=over)
    assert all(len(group) > 1 for group in chosen)
    assert all(sum(part["rows"] for part in group) <= MAX_ROWS for group in chosen)
    names = [part["path"] for group in chosen for part in group]
    assert len(names) == len(set(names))
    assert sorted(part["path"] for group in groups(parts) for part in group) == sorted(part["path"] for part in parts)


def test_a_busy_day_never_has_more_than_a_few_dozen_files():
    parts: list[dict] = []
    rewritten = 0
    for number in range(1440):  # one compaction a minute
        parts.append({"path": f"lake/date=d/part-{number:08d}-0.parquet", "rows": 6000})
        while chosen := due(parts, over=False):
            for place, group in enumerate(chosen):
                parts = [part for part in parts if part not in group]
                rows = sum(part["rows"] for part in group)
                rewritten += rows
                parts.append({"path": f"lake/date=d/part-{number:08d}-{place + 1}.parquet", "rows": rows})
        assert len(parts) <= 40
    assert rewritten <= 4 * 1440 * 6000


async def test_a_reader_over_nothing_finds_nothing(home: Path):
    with Reader(home) as reader:
        assert reader.trace(TRACE).num_rows == 0
