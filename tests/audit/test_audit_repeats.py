"""Refusals that are alike are counted; nothing of the count is lost, neither by a stop nor by a death."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.audit.verification.verifier import verify
from workbench.audit.write import repeated_refusals
from workbench.audit.write.repeated_refusals import RepeatedRefusals, read_journal
from workbench.config import Settings
from workbench.events import Call, Caller, NotRecordedError, Outcome

CHILD = """
import asyncio, sys, os
from pathlib import Path
from workbench.audit import AuditLog
from workbench.config import Settings
from tests.audit.test_audit_repeats import refusal

async def main():
    log = await AuditLog.open(Settings.load(env={}, home=Path(sys.argv[1]), audit_min_free_bytes=1))
    for _ in range(500):
        if not log.repeats.add("acme", ("ann", "denied"), refusal):
            await log.write("acme", refusal())
    print("counted", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


def refusal(tenant: str = "acme") -> dict[str, Any]:
    call = Call(caller=Caller(tenant=tenant, subject="ann"), tool="crm.find", arguments={"q": "x"})
    outcome = Outcome(kind="denied", call=call.id, tool=call.tool, message="No.")
    return records.call(call, None, outcome, args_redacted={"q": "x"}, response_redacted=None)


def recorded(home: Path) -> list[dict[str, Any]]:
    files = sorted((home / "audit" / "lineage").rglob("*.jsonl"))
    lines = [orjson.loads(line) for file in files for line in file.read_bytes().splitlines()]
    return [line for line in lines if line["kind"] == "call"]


def counts(home: Path) -> int:
    return sum((line.get("data") or {}).get("repeated", {}).get("count", 1) for line in recorded(home))


async def test_a_stop_records_what_was_counted(open_log: Any, home: Path) -> None:
    async with open_log() as log:
        for _ in range(300):
            if not log.repeats.add("acme", ("ann",), refusal):
                await log.write("acme", refusal())
        assert list((home / "audit" / "pending").iterdir())
    assert (len(recorded(home)), counts(home)) == (repeated_refusals.SINGLY + 1, 300)
    assert not list((home / "audit" / "pending").iterdir())
    assert verify(home, deep=True).ok


def test_the_death_of_the_process_loses_nothing(settings: Settings, home: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()

    async def start_again() -> None:
        await (await AuditLog.open(settings)).close()

    asyncio.run(start_again())
    assert counts(home) == 500
    assert not list((home / "audit" / "pending").iterdir())
    assert verify(home, deep=True).ok


async def test_after_a_minute_the_first_are_recorded_one_by_one_again(open_log: Any, home: Path) -> None:
    now = [1_000_000_000_000_000]
    async with open_log() as log:
        counting = RepeatedRefusals(log, home / "other", clock=lambda: now[0])
        singly = sum(not counting.add("acme", ("ann",), refusal) for _ in range(100))
        assert singly == repeated_refusals.SINGLY
        await counting.close()
        assert not sum(not counting.add("acme", ("ann",), refusal) for _ in range(5))
        await counting.close()
        now[0] += repeated_refusals.MINUTE_US
        assert sum(not counting.add("acme", ("ann",), refusal) for _ in range(100)) == repeated_refusals.SINGLY
        assert not counting.add("acme", ("bob",), refusal)
        await counting.close()
    assert counts(home) == 40 + 5 + 40


async def test_what_cannot_be_recorded_now_is_kept_for_later(
    open_log: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_log() as log:
        for _ in range(10):
            assert log.repeats.add("acme", ("ann",), refusal, singly=0)

        def full(*_: Any) -> Any:
            raise NotRecordedError("full")

        with monkeypatch.context() as patched:
            patched.setattr(log, "put", full)
            assert log.repeats.flush() is None
        assert log.repeats.add("acme", ("ann",), refusal, singly=0)
        (journal,) = (home / "audit" / "pending").iterdir()
        assert [kind[2] for kind in read_journal(journal)] == [11]
    assert counts(home) == 11


async def test_kinds_are_bounded_and_forgotten_ones_are_recorded(
    open_log: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_refusals, "MAX_KINDS", 8)
    async with open_log() as log:
        for n in range(100):
            assert log.repeats.add("acme", (str(n),), refusal, singly=0)
            assert len(log.repeats._kinds) <= 8
    assert counts(home) == 100


async def test_a_large_journal_is_recorded_early(open_log: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeated_refusals, "MAX_JOURNAL_BYTES", 2_000)
    async with open_log() as log:
        for _ in range(1_000):
            assert log.repeats.add("acme", ("ann",), refusal, singly=0)
            assert sum(f.stat().st_size for f in (home / "audit" / "pending").iterdir()) < 100_000
    assert counts(home) == 1_000


async def test_where_the_record_is_encrypted_the_journal_holds_nothing_personal(open_log: Any, home: Path) -> None:
    async with open_log(audit_encrypt=True) as log:
        assert log.repeats.add("acme", ("ann",), refusal, singly=0)
        (journal,) = (home / "audit" / "pending").iterdir()
        assert b"args_redacted" not in journal.read_bytes()


def test_a_torn_journal_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "x.pending"
    path.write_bytes(b'[1,"acme",{"kind":"call"},5,0]\n1 6\n1 7\n2 8\nnonsense\n1 9\n[2,"acme",{"ki')
    assert read_journal(path) == [("acme", {"kind": "call"}, 3, 5, 9)]
    assert os.listdir(tmp_path) == ["x.pending"]
