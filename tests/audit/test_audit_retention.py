"""What a rule of retention removes is gone, what it removed is proved, and nothing else may be missing."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from workbench.audit import verify
from workbench.audit.compact import compact, main
from workbench.audit.format import records
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake import retention as module
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.retention import (
    DAY_US,
    RetentionRemoval,
    RetentionRules,
    enforce,
    erase_stated,
    is_erased,
    plan,
    retain,
)
from workbench.audit.write.seals import SealLog, read_seals
from workbench.events import MisuseError, now_us

DOCUMENT = Path(__file__).parents[2] / "docs" / "audit-format.md"
RULES = RetentionRules({"short": 10}, 100)


@pytest.fixture
async def recorded(open_log, make_call, home: Path, monkeypatch: pytest.MonkeyPatch) -> AuditFolder:
    """Three days of two tenants: 40 days ago, 5 days ago, today; all compacted, the log of it gone."""
    folder = AuditFolder(home)
    for age in (40, 5, 0):
        then = now_us() - age * DAY_US
        with monkeypatch.context() as past:
            past.setattr("workbench.audit.write.writer.now_us", lambda then=then: then)
            async with open_log() as log:
                for number in range(4):
                    for tenant in ("short", "long"):
                        record = make_call(tenant=tenant, arguments={"age": age, "n": number, "secret": "hunter2"})
                        record["timestamp"] = then + number
                        await log.write(tenant, record)
        Compactor(folder, grace_s=0).run(today="2000-01-01")
    Compactor(folder, grace_s=0).run()
    assert verify(home, deep=True).ok
    return folder


def seconds(folder: AuditFolder) -> bytes:
    return b"".join(path.read_bytes() for path in folder.root.rglob("*.jsonl"))


def ages(open_reader: Any, tenant: str) -> list[int]:
    rows = open_reader(tenant=tenant).sql(
        "select distinct cast(args ->> '$.age' as int) as age from tool_calls order by 1"
    )
    return [row["age"] for row in rows.to_pylist()]


def test_rules_are_read_strictly(home, settings):
    def rules(text: str) -> RetentionRules:
        (home / "retention.toml").write_text(text)
        return RetentionRules.read(home)

    assert RetentionRules.read(home) == RetentionRules()
    found = rules('default = 365\n[tenants]\nacme = 30\n"big corp" = 9')
    assert (found.days("acme"), found.days("big corp"), found.days("other")) == (30, 9, 365)
    assert rules("[tenants]\nacme = 30").days("other") is None
    for wrong in ("default = 0", "default = true", "defualt = 3", "[tenants]\na = 1.5", "tenants = 3", "nonsense"):
        with pytest.raises(MisuseError):
            rules(wrong)


async def test_what_is_older_than_the_rule_goes_from_lines_and_lake_and_the_rest_stays(recorded, home, open_reader):
    before = seconds(recorded).count(b'"age":40')
    removals = retain(recorded, RULES, grace_s=0)
    assert [(r.tenant, r.rows, len(r.lineage)) for r in removals] == [("short", 4, 1)]
    assert ages(open_reader, "short") == [0, 5]
    assert ages(open_reader, "long") == [0, 5, 40]
    assert seconds(recorded).count(b'"age":40') == before // 2
    found = verify(home, deep=True)
    assert found.ok
    assert found.removed_rows == 4
    assert "4 records were removed by retention" in str(found)


async def test_the_summaries_and_the_trace_index_go_with_it(recorded, open_reader):
    retain(recorded, RULES, grace_s=0)
    rows = open_reader(tenant="short").sql("select sum(calls) as n from tool_calls_hourly").to_pylist()
    assert rows == [{"n": 8}]


async def test_a_day_that_nobody_keeps_is_gone_altogether(recorded, home):
    retain(recorded, RetentionRules(default=10), grace_s=0)
    assert len({part["date"] for part in Manifest.read(recorded).parts}) == 2
    assert verify(home, deep=True).ok
    assert verify(home).removed_rows == 8


async def test_a_second_run_finds_nothing_to_do_and_later_days_follow(recorded, home):
    assert retain(recorded, RULES, grace_s=0)
    assert retain(recorded, RULES, grace_s=0) == []
    later = retain(recorded, RetentionRules({"short": 3}), grace_s=0)
    assert [(r.tenant, r.rows) for r in later] == [("short", 4)]
    assert verify(home, deep=True).removed_rows == 8


async def test_a_plan_removes_nothing(recorded, home):
    [removal] = plan(recorded, RULES)
    assert (removal.rows, len(removal.dates)) == (4, 1)
    assert re.search(r"short: older than 10 days \(before .*\): 4 rows of 1 days", str(removal))
    assert verify(home).removed_rows == 0
    assert plan(recorded, RetentionRules()) == []


async def test_the_statement_names_rule_and_ranges_and_is_signed(recorded, home):
    retain(recorded, RULES, grace_s=0)
    [statement] = [seal for _, seal in read_seals(recorded) if seal["type"] == "retention"]
    assert (statement["tenant"], statement["days"]) == ("short", 10)
    assert statement["lineage"][0]["rows"] == 4
    assert verify(home).signed == len(read_seals(recorded))


async def test_the_second_verifier_agrees(recorded, home, tmp_path):
    retain(recorded, RULES, grace_s=0)
    [code] = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.S | re.M)
    script = tmp_path / "check_record.py"
    script.write_text(code)

    def check() -> str:
        command = [sys.executable, "-I", str(script), str(home)]
        return subprocess.run(command, capture_output=True, text=True, timeout=50).stdout

    assert await asyncio.to_thread(check) == "The record is as it was signed.\n"
    erase_a_range(recorded, "long", 0)
    assert "tenant=long" in await asyncio.to_thread(check)


# --- more than the rule says ------------------------------------------------------


def part_of(folder: AuditFolder, tenant: str, number: int) -> dict[str, Any]:
    parts = [p for _, s in read_seals(folder) if s["type"] == "segment" for p in s["lineage"] if p["tenant"] == tenant]
    return parts[number]


def erase_a_range(folder: AuditFolder, tenant: str, number: int) -> None:
    part = part_of(folder, tenant, number)
    with (folder.lineage / part["file"]).open("r+b") as file:
        file.seek(part["start"])
        file.write(bytes(part["bytes"] - part["start"]))


@pytest.mark.parametrize(("tenant", "number"), [("long", 0), ("short", 1), ("short", 2)])
async def test_lines_that_no_statement_names_are_missed(recorded, home, tenant, number):
    retain(recorded, RULES, grace_s=0)
    erase_a_range(recorded, tenant, number)
    assert f"tenant={tenant}" in str(verify(home))


async def test_an_altered_line_in_a_removed_range_is_no_removal(recorded, home):
    retain(recorded, RULES, grace_s=0)
    part = part_of(recorded, "short", 0)
    with (recorded.lineage / part["file"]).open("r+b") as file:
        file.write(b'{"seq":0,')
    assert "tenant=short" in str(verify(home))


def state(folder: AuditFolder, **changes: Any) -> None:
    part = part_of(folder, "short", 1)
    now = now_us()
    statement = {
        "v": 1, "type": "retention", "tenant": "short", "days": 10, "before_us": now - 10 * DAY_US,
        "lineage": [{key: part[key] for key in ("file", "start", "bytes", "rows")}], "sealed_us": now, **changes,
    }  # fmt: skip
    SealLog(folder).append(statement)
    erase_stated(folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "younger than its rule allows"),
        ({"before_us": now_us()}, "younger than its rule of 10 days"),
        ({"days": 0, "before_us": now_us()}, "younger than its rule of 0 days"),
        ({"tenant": "long"}, "not a sealed range of long"),
        ({"sealed_us": now_us() + 30 * DAY_US, "before_us": now_us() + 20 * DAY_US}, "in the future"),
    ],
)
async def test_a_statement_that_says_more_than_its_rule_is_found(recorded, home, changes, said):
    state(recorded, **changes)
    assert said in str(verify(home))


async def test_rows_that_leave_the_lake_before_their_time_are_found(recorded, home):
    today = max(part["date"] for part in Manifest.read(recorded).parts)
    compactor = Compactor(recorded, grace_s=0)
    with compactor.alone() as (_, connection):
        compactor.rewrite_day(connection, today, without={"short": 10})
    assert "younger than its rule of 10 days" in str(verify(home))


# --- kills, odd file systems, the ways to it -------------------------------------------


async def test_what_was_stated_but_not_removed_is_removed_by_the_next_run(recorded, home, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(Compactor, "rewrite_day", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            retain(recorded, RULES, grace_s=0)
    assert verify(home, deep=True).ok
    assert verify(home).removed_rows == 0
    retain(recorded, RULES, grace_s=0)
    assert verify(home, deep=True).removed_rows == 4


async def test_where_no_hole_can_be_made_zeros_are_written(recorded, home, monkeypatch):
    monkeypatch.setattr(module, "_punch", lambda *_: None)
    retain(recorded, RULES, grace_s=0)
    assert b'"age":40' in seconds(recorded)  # of the other tenant
    assert verify(home, deep=True).removed_rows == 4
    part = part_of(recorded, "short", 0)
    fd = os.open(recorded.lineage / part["file"], os.O_RDONLY)
    assert is_erased(fd, part["start"], part["bytes"])
    assert not is_erased(fd, part["start"], part["bytes"] + (1 << 20))
    os.close(fd)


async def test_a_running_compactor_is_waited_for_by_the_user(recorded):
    with Compactor(recorded).alone() as (alone, _):
        assert alone
        with pytest.raises(MisuseError, match="compactor"):
            retain(recorded, RULES)


async def test_it_is_on_the_record_of_the_tenant(recorded, home, settings, open_reader):
    (home / "retention.toml").write_text("[tenants]\nshort = 10")
    [removal] = await enforce(settings.replace(audit_min_free_bytes=1))
    [row] = open_reader(tenant="short").sql("select action, details from administration").to_pylist()
    assert row["action"] == "retention"
    assert orjson.loads(row["details"])["rows"] == removal.rows == 4
    assert await enforce(settings) == []


def test_the_compactors_process_applies_the_rules(home, settings, monkeypatch, capsys):
    (home / "retention.toml").write_text("default = 0")
    monkeypatch.setattr("threading.Event.wait", lambda *_: True)
    assert main([str(home), "--every", "60"]) == 0
    assert "keeps default for 0 days" in capsys.readouterr().err

    async def found(_: Any) -> list[RetentionRemoval]:
        return [RetentionRemoval("acme", 3, 0)]

    (home / "retention.toml").write_text("default = 3")
    monkeypatch.setattr("workbench.audit.compact.enforce", found)
    assert main([str(home), "--every", "60"]) == 0
    assert "acme: older than 3 days" in capsys.readouterr().out


async def test_what_is_not_compacted_yet_waits(open_log, make_call, home, monkeypatch):
    then = now_us() - 40 * DAY_US
    monkeypatch.setattr("workbench.audit.write.writer.now_us", lambda: then)
    async with open_log() as log:
        await log.write("short", {**make_call(tenant="short"), "timestamp": then})
        await log.write("short", records.health_check("crm", True, 1, "", tenant="short"))
    assert plan(AuditFolder(home), RULES) == []
    compact(home)
    assert [r.lineage for r in plan(AuditFolder(home), RULES)] == [[]]  # the log still has the lines for a while
