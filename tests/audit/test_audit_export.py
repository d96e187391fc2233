"""Exports hold what the tables hold, in every format, and a file appears whole or not at all."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from workbench.audit.compact import compact
from workbench.audit.format import records
from workbench.audit.query.export import FORMATS, export, export_file, main
from workbench.events import MisuseError, now_us


def rows_of(format: str, content: bytes) -> list[dict[str, Any]]:
    if format == "csv":
        return list(csv.DictReader(io.StringIO(content.decode())))
    if format == "jsonl":
        return [json.loads(line) for line in content.splitlines()]
    return parquet.read_table(io.BytesIO(content)).to_pylist()


@pytest.fixture
async def recorded(open_log, make_call, home: Path) -> int:
    """Calls of two days and two tenants, partly compacted; returns when the second day began."""
    day = 86_400_000_000
    today = now_us()
    async with open_log() as log:
        for number in range(6):
            record = make_call(tenant="ab"[number % 2], arguments={"n": number, "text": 'a "b",\nc'})
            record["timestamp"] = today - day
            await log.write(record["tenant"], record)
    compact(home)
    async with open_log() as log:
        for number in range(6, 9):
            await log.write("a", make_call(tenant="a", kind="denied", arguments={"n": number}))
        await log.write("a", records.health_check("crm", True, 5, "", tenant="a"))
    return today


@pytest.mark.parametrize("format", FORMATS)
async def test_every_row_arrives_in_every_format(recorded, home, format):
    output = io.BytesIO()
    seen = []
    assert export(home, output, format=format, progress=lambda done, total: seen.append((done, total))) == 9
    rows = rows_of(format, output.getvalue())
    assert sorted(json.loads(row["args"])["n"] for row in rows) == list(range(9))
    assert [row["outcome"] for row in rows] == ["ok"] * 6 + ["denied"] * 3  # days are in order
    assert seen[-1] == (9, 9)


@pytest.mark.parametrize("format", FORMATS)
async def test_an_export_of_nothing_still_has_columns_or_is_empty(home, settings, format):
    output = io.BytesIO()
    assert export(home, output, format=format) == 0
    assert rows_of(format, output.getvalue()) == []
    assert (b"user_id" in output.getvalue()) == (format != "jsonl")


async def test_time_and_tenant_narrow_it(recorded, home):
    def count(**options: Any) -> int:
        return export(home, io.BytesIO(), **options)

    assert count(since_us=recorded) == 3
    assert count(until_us=recorded) == 6
    assert count(tenant="b") == 3
    assert count(tenant="nobody") == 0
    assert count(table="health_checks") == 1


async def test_tables_that_are_none_are_refused(home, settings):
    for name in ("nothing", "tool_calls_hourly", "tool_calls; drop table x", "live"):
        with pytest.raises(MisuseError, match="no table"):
            export(home, io.BytesIO(), table=name)


async def test_a_file_that_cannot_be_finished_is_not_left_behind(recorded, home, tmp_path):
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_file(home, tmp_path / "calls.csv", progress=stop)
    assert not list(tmp_path.glob("*calls*"))
    assert export_file(home, tmp_path / "calls.csv") == 9
    assert len(rows_of("csv", (tmp_path / "calls.csv").read_bytes())) == 9


async def test_the_command_writes_to_standard_output_and_says_what_is_wrong(recorded, home, capfdbinary):
    assert main([str(home), "--format", "jsonl", "--tenant", "b"]) == 0
    assert len(capfdbinary.readouterr().out.splitlines()) == 3
    assert main([str(home), "--table", "nothing"]) == 2
    assert b"no table" in capfdbinary.readouterr().err


@pytest.mark.slow
async def test_memory_stays_bounded(open_log, make_call, home):
    """Four hundred megabytes of calls are exported by a process that does not grow by half as much."""
    async with open_log() as log:
        for _ in range(4000):
            await log.write("a", make_call(tenant="a", result={"text": "x" * 100_000}))
    code = (
        "import io, os, sys, resource; from pathlib import Path; from workbench.audit.query.export import export\n"
        "sink = open(os.devnull, 'wb')\n"
        "export(Path(sys.argv[1]), sink, format='jsonl', until_us=1)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert export(Path(sys.argv[1]), sink, format='jsonl') == 4000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    command = [sys.executable, "-c", code, str(home)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 200 << 10


def test_no_progress_is_drawn_where_answers_are_written(open_reader):
    bar = open_reader()._connection.execute("select current_setting('enable_progress_bar')").fetchall()
    assert bar == [(False,)]
