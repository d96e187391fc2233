"""From the log to Parquet by day: complete, bounded, and only what was sealed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from workbench.audit import Reader, verify
from workbench.audit.compact import main
from workbench.audit.format.columns import COLUMNS
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.segment_checks import LakeRefusedError
from workbench.events import MisuseError

DAY_US = 86_400_000_000
JUNE_1 = 1_780_272_000_000_000  # 2026-06-01T00:00:00Z


async def record_days(open_log, make_call, days: int, per_day: int = 6, segment_bytes: int = 4000) -> None:
    async with open_log(audit_segment_bytes=segment_bytes) as log:
        for number in range(days * per_day):
            tenant = f"t{number % 2}"
            moment = JUNE_1 + (number % days) * DAY_US + number
            await log.write(tenant, {**make_call(tenant=tenant, kind="ok"), "timestamp": moment})


def ids(home: Path) -> list[str]:
    with Reader(home) as reader:
        return sorted(reader.sql("select event_id from events").column(0).to_pylist())


async def test_every_day_has_its_own_sorted_files(open_log, make_call, home):
    await record_days(open_log, make_call, days=3)
    before = ids(home)
    done = Compactor(AuditFolder(home)).run()
    assert done is not None
    assert (done.rows, done.merged_days) == (18, 0)
    manifest = Manifest.read(AuditFolder(home))
    assert sorted({part["date"] for part in manifest.parts}) == ["2026-06-01", "2026-06-02", "2026-06-03"]
    for part in manifest.parts:
        table = pq.read_table(home / "audit" / part["path"], partitioning=None)
        assert table.column_names == [column.name for column in COLUMNS]
        keys = list(zip(table["tenant"].to_pylist(), table["ts"].to_pylist(), strict=True))
        assert keys == sorted(keys)
        assert {str(moment.date()) for _, moment in keys} == {part["date"]}
    assert ids(home) == before
    assert verify(home, deep=True).ok


async def test_finished_days_are_merged_into_one_file_each(open_log, make_call, home):
    for _ in range(3):
        await record_days(open_log, make_call, days=2)
        Compactor(AuditFolder(home)).run(today="2026-06-01")
    before = ids(home)
    with Reader(home) as reader:
        [hourly] = reader.sql("select sum(calls) calls, sum(latency_us_sum) us from tool_calls_hourly").to_pylist()
    done = Compactor(AuditFolder(home)).run(today="2026-06-02")
    assert done is not None
    assert done.merged_days == 1
    manifest = Manifest.read(AuditFolder(home))
    assert [part["date"] for part in manifest.parts].count("2026-06-01") == 1
    assert [part["date"] for part in manifest.parts].count("2026-06-02") > 1
    assert ids(home) == before
    with Reader(home) as reader:
        assert reader.sql("select sum(calls) calls, sum(latency_us_sum) us from tool_calls_hourly").to_pylist() == [
            hourly
        ]
    assert verify(home, deep=True).ok


async def test_small_files_of_a_day_that_is_not_finished_become_a_larger_one(open_log, make_call, home, monkeypatch):
    monkeypatch.setattr("workbench.audit.lake.merge_plan._STEP", 3)
    await record_days(open_log, make_call, days=1, segment_bytes=1)
    done = Compactor(AuditFolder(home), batch_bytes=1).run(today="2026-06-01")
    assert done is not None
    assert (done.segments, done.merged_days) == (6, 1)
    assert len(Manifest.read(AuditFolder(home)).parts) == 1
    assert len(ids(home)) == 6


async def test_files_that_count_no_more_are_removed_after_the_grace_time(open_log, make_call, home):
    folder = AuditFolder(home)
    await record_days(open_log, make_call, days=1)
    segments = len(folder.segments())
    assert segments > 1
    Compactor(folder, grace_s=3600).run()
    assert len(folder.segments()) == segments
    done = Compactor(folder, grace_s=0).run(today="2026-01-01")
    assert done is not None
    assert done.removed_files == segments
    assert folder.segments() == []
    assert len(folder.lineages()) == 2
    assert verify(home, deep=True).rows == 6


async def test_a_segment_whose_lines_are_not_in_the_lineage_is_never_removed(open_log, make_call, home):
    folder = AuditFolder(home)
    await record_days(open_log, make_call, days=1, segment_bytes=1 << 20)
    Compactor(folder).run()
    lost, cut = folder.lineages()
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    done = Compactor(folder, grace_s=0).run()
    assert done is not None
    assert done.removed_files == 0
    assert len(folder.segments()) == 1


async def test_a_segment_that_was_altered_is_not_published(open_log, make_call, home):
    folder = AuditFolder(home)
    await record_days(open_log, make_call, days=1, segment_bytes=1 << 20)
    [(_, _, path)] = folder.segments()
    whole = path.read_bytes()
    for content in (whole.replace(b'"ok"', b'"no"', 1), whole[:-50], b""):
        path.write_bytes(content)
        with pytest.raises(LakeRefusedError, match="is not what its seal says"):
            Compactor(folder).run()
    path.unlink()
    with pytest.raises(LakeRefusedError, match="is not what its seal says"):
        Compactor(folder).run()
    assert Manifest.read(folder).parts == []
    path.write_bytes(whole)
    assert Compactor(folder).run() is not None
    assert verify(home).ok


async def test_only_one_compactor_works_at_a_time(open_log, make_call, home):
    import fcntl

    await record_days(open_log, make_call, days=1)
    with (home / "audit" / "compactor.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Compactor(AuditFolder(home)).run() is None
    assert Compactor(AuditFolder(home)).run() is not None


async def test_small_batches_publish_the_same_as_one(open_log, make_call, home):
    await record_days(open_log, make_call, days=2, per_day=20)
    before = ids(home)
    done = Compactor(AuditFolder(home), batch_bytes=1).run(today="2026-01-01")
    assert done is not None
    assert Manifest.read(AuditFolder(home)).generation == done.segments + done.merged_days > 5
    assert ids(home) == before
    assert verify(home, deep=True).ok


async def test_leftovers_of_a_killed_compactor_do_not_count(open_log, make_call, home):
    await record_days(open_log, make_call, days=1)
    folder = AuditFolder(home)
    day = folder.lake / "date=2026-06-01"
    day.mkdir(parents=True)
    (day / "part-00000001.tmp").write_bytes(b"half")
    (day / "part-00000001.parquet").write_bytes(b"published by nobody")
    assert len(ids(home)) == 6
    Compactor(folder).run()
    assert len(ids(home)) == 6
    assert verify(home).ok


async def test_the_command_compacts_once_and_says_what_it_did(open_log, make_call, home, capsys):
    await record_days(open_log, make_call, days=1)
    assert main([str(home), "--witness", str(home / "witness")]) == 0
    assert "6 rows" in capsys.readouterr().out
    assert (home / "audit.duckdb").exists()
    assert verify(home, witness=home / "witness").ok
    assert main([str(home)]) == 0
    assert capsys.readouterr().out == ""


async def test_the_command_reports_what_it_must_not_publish(open_log, make_call, home, capsys):
    await record_days(open_log, make_call, days=1)
    AuditFolder(home).segments()[0][2].unlink()
    assert main([str(home)]) == 1
    assert "is not what its seal says" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", '{"unknown": 1}', '{"generation"'])
async def test_a_damaged_manifest_is_said_to_be_and_never_overwritten(content, open_log, make_call, home, capsys):
    await record_days(open_log, make_call, days=1)
    AuditFolder(home).manifest.write_text(content)
    with Reader(home) as reader, pytest.raises(MisuseError, match=r"MANIFEST\.json is damaged"):
        reader.sql("from events")
    assert main([str(home)]) == 1
    assert "is damaged" in capsys.readouterr().err
    assert AuditFolder(home).manifest.read_text() == content


@pytest.mark.slow
async def test_the_command_repeats_until_it_is_told_to_stop(open_log, make_call, home):
    command = [sys.executable, "-m", "workbench.audit.compact", str(home), "--every", "0.05"]
    await record_days(open_log, make_call, days=1)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert process.stdout is not None
    assert "6 rows" in process.stdout.readline()
    assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)
    await record_days(open_log, make_call, days=1)
    assert "6 rows" in process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    process.stdout.close()


async def test_the_manifest_names_every_file_with_its_digest(open_log, make_call, home):
    import hashlib

    await record_days(open_log, make_call, days=2)
    Compactor(AuditFolder(home)).run()
    manifest = json.loads((home / "audit" / "MANIFEST.json").read_text())
    for item in (*manifest["parts"], *manifest["rollups"], *manifest["indexes"]):
        content = (home / "audit" / item["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (item["bytes"], item["sha256"])


async def test_a_day_too_large_to_sort_at_once_is_merged_in_pieces(open_log, make_call, home, monkeypatch):
    """Each piece is sorted within the memory that the compactor may use; a second run has nothing left to merge."""
    monkeypatch.setattr("workbench.audit.lake.merge_plan.MAX_ROWS", 10)
    folder = AuditFolder(home)
    for _ in range(7):
        async with open_log() as log:
            for _ in range(4):
                await log.write("acme", make_call())
        Compactor(folder, grace_s=0).run()
    assert len(Manifest.read(folder).parts) == 7
    done = Compactor(folder, grace_s=0).run(today="2999-01-01")
    assert done is not None
    assert done.merged_days == 1
    manifest = Manifest.read(folder)
    assert sorted(part["rows"] for part in manifest.parts) == [4, 8, 8, 8]
    assert [p["path"].split("/", 1)[1] for p in manifest.parts] == [
        i["path"].split("/", 1)[1] for i in manifest.indexes
    ]
    again = Compactor(folder, grace_s=0).run(today="2999-01-01")
    assert again is not None
    assert again.merged_days == 0
    with Reader(home) as reader:
        assert reader.sql("select count(*) as n from tool_calls").to_pylist() == [{"n": 28}]
    assert verify(home, deep=True).ok
