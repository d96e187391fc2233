"""Writing the record: acknowledged means there, and what cannot be written is refused."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import threading
from pathlib import Path

import pytest

from workbench.audit import AuditLog, verify
from workbench.audit.format.folder import AuditFolder, tenant_name
from workbench.audit.write.recovery import recover
from workbench.config import Settings
from workbench.events import MisuseError, NotRecordedError


async def until(condition) -> None:
    """Wait for the writer thread; a test that waits too long fails."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the thread has no event to offer
            await asyncio.sleep(0.001)


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["os", "fsync", "strict"])
async def test_an_acknowledged_record_is_in_the_log_and_in_the_lineage(mode, open_log, make_call, home):
    async with open_log(audit_mode=mode) as log:
        record = make_call()
        await log.write("acme", record)
        [(_, _, segment)] = AuditFolder(home).segments()
        found = lines_of(segment)
        assert [line["event_id"] for line in found] == [record["event_id"]]
    [lineage] = AuditFolder(home).lineages()
    assert lineage.read_bytes() == segment.read_bytes()


async def test_nobody_waits_in_async_mode_and_closing_writes_everything(open_log, make_call, home):
    async with open_log(audit_mode="async") as log:
        assert all(log.put("acme", make_call()) is None for _ in range(50))
    [lineage] = AuditFolder(home).lineages()
    assert [line["seq"] for line in lines_of(lineage)] == list(range(50))


async def test_records_put_together_are_written_in_one_piece(open_log, make_call):
    async with open_log() as log:
        waiting = [log.put("acme", make_call()) for _ in range(500)]
        await asyncio.gather(*waiting)
        assert log.acknowledged == 500
        assert log.commits < 250


async def test_every_tenant_has_a_chain_of_its_own(open_log, make_call, home):
    async with open_log() as log:
        for number in range(9):
            await log.write(f"t{number % 3}", make_call(tenant=f"t{number % 3}"))
    for path in AuditFolder(home).lineages():
        assert [line["seq"] for line in lines_of(path)] == [0, 1, 2]
    assert verify(home, deep=True).ok


async def test_the_tenant_of_a_record_is_the_one_it_was_put_for(open_log, make_call, home):
    async with open_log() as log:
        await log.write("right", make_call(tenant="wrong"))
    [lineage] = AuditFolder(home).lineages()
    assert lines_of(lineage)[0]["tenant"] == "right"


@pytest.mark.parametrize(
    "tenant", ["../../evil", "a/b", "", ".", "..", "CON", "Ünï", "a\x00b", "x" * 500, "a b", "~", "%"]
)
async def test_any_tenant_name_is_a_safe_folder_name(tenant, open_log, make_call, home):
    async with open_log() as log:
        await log.write(tenant, make_call(tenant=tenant))
    [lineage] = AuditFolder(home).lineages()
    assert lineage.parent.parent == AuditFolder(home).lineage
    assert verify(home, deep=True).ok


def test_different_tenants_never_share_a_folder_even_where_case_is_folded():
    names = ["a", "A", "a ", "%41", "%", "", "x" * 500, "x" * 501, "X" * 500]
    assert len({tenant_name(name).casefold() for name in names}) == len(names)


async def test_a_new_writer_never_continues_the_chain_of_an_old_one(open_log, make_call, home):
    for _ in range(2):
        async with open_log() as log:
            await log.write("acme", make_call())
    assert len(AuditFolder(home).lineages()) == 2
    assert verify(home, deep=True).rows == 2


async def test_a_full_queue_refuses_and_what_was_queued_is_still_written(open_log, make_call, monkeypatch):
    async with open_log(audit_queue_bytes=20_000) as log:
        gate = threading.Event()
        commit = log._segments.commit
        monkeypatch.setattr(log._segments, "commit", lambda batch: gate.wait(10) and commit(batch))
        waiting = []
        with pytest.raises(NotRecordedError, match="20000 bytes are already waiting"):  # noqa: PT012 - which put is open
            while True:
                waiting.append(log.put("acme", make_call()))
        gate.set()
        await asyncio.gather(*waiting)
        assert log.acknowledged == len(waiting) > 5
        await log.write("acme", make_call())


async def test_a_failed_write_is_final_and_fails_everybody_who_waits(open_log, make_call, monkeypatch):
    async with open_log() as log:
        await log.write("acme", make_call())

        gate = threading.Event()

        def broken(batch):
            gate.wait(10)
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(log._segments, "commit", broken)
        waiting = [log.put("acme", make_call()) for _ in range(20)]
        gate.set()
        results = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
        assert {type(result) for result in results} == {NotRecordedError}
        assert "Input/output error" in log.failed
        monkeypatch.undo()
        with pytest.raises(NotRecordedError, match="Input/output error"):
            log.put("acme", make_call())


async def test_a_lineage_that_cannot_be_written_stops_the_log(open_log, make_call, home):
    async with open_log() as log:
        AuditFolder(home).lineage.joinpath("tenant=acme").write_text("in the way")
        await log.write("acme", make_call())  # the log itself holds it
        await until(lambda: log.failed)
        with pytest.raises(NotRecordedError):
            log.put("acme", make_call())
    AuditFolder(home).lineage.joinpath("tenant=acme").unlink()
    [mended] = recover(AuditFolder(home))
    assert mended.lineage_lines_added == 1
    assert verify(home, deep=True).rows == 1


async def test_a_disk_that_hangs_does_not_hang_the_callers(open_log, make_call, monkeypatch):
    monkeypatch.setattr("workbench.audit.write.log._STALLED_S", 0.05)
    gate = threading.Event()
    async with open_log() as log:
        commit = log._segments.commit
        monkeypatch.setattr(log._segments, "commit", lambda batch: gate.wait(10) and commit(batch))
        with pytest.raises(NotRecordedError, match="did not answer"):
            await asyncio.wait_for(log.write("acme", make_call()), 10)
        gate.set()


async def test_a_disk_without_room_refuses_until_there_is_room_again(open_log, make_call, monkeypatch):
    async with open_log() as log:
        log._min_free = 1 << 62
        await log.write("acme", make_call())  # notices the disk while writing
        await until(lambda: log.failed)
        with pytest.raises(NotRecordedError, match="MiB are free"):
            log.put("acme", make_call())
        assert "must stay free" in log.failed
        log._min_free = 1
        log._wake.set()
        await until(lambda: not log.failed)
        await log.write("acme", make_call())


async def test_a_disk_without_room_refuses_from_the_start(open_log, make_call):
    async with open_log(audit_min_free_bytes=1 << 62) as log:
        with pytest.raises(NotRecordedError, match="Nothing is answered unrecorded"):
            log.put("acme", make_call())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_an_unwritable_folder_is_refused_at_the_start(settings: Settings):
    settings.home.chmod(0o500)
    try:
        with pytest.raises(NotRecordedError, match="cannot be opened"):
            await AuditLog.open(settings)
    finally:
        settings.home.chmod(0o700)


async def test_a_file_where_a_folder_belongs_is_refused_at_the_start(settings: Settings):
    (settings.home / "audit").write_text("in the way")
    with pytest.raises(NotRecordedError, match=r"cannot be opened.*Make the folder writable"):
        await AuditLog.open(settings)


async def test_a_closed_log_refuses(open_log, make_call):
    async with open_log() as log:
        pass
    assert log.failed == "it is closed"
    with pytest.raises(NotRecordedError, match="it is closed"):
        log.put("acme", make_call())
    await log.close()


async def test_a_record_of_no_known_kind_is_refused(open_log):
    async with open_log() as log:
        with pytest.raises(MisuseError, match="kind 'gossip'"):
            log.put("acme", {"kind": "gossip"})


async def test_a_record_that_no_reader_could_hold_is_refused(open_log, make_call):
    async with open_log() as log:
        with pytest.raises(MisuseError, match="is the most"):
            log.put("acme", {**make_call(), "data": {"x": "y" * (16 << 20)}})
        await log.write("acme", make_call())


async def test_segments_are_sealed_by_size(open_log, make_call, home):
    async with open_log(audit_segment_bytes=5_000) as log:
        for _ in range(30):
            await log.write("acme", make_call())
    found = verify(home, deep=True)
    assert found.ok
    assert found.segments > 3
    assert found.rows == 30


async def test_segments_are_sealed_by_age(open_log, make_call, home):
    async with open_log(audit_segment_seconds=0.01) as log:
        await log.write("acme", make_call())
        await until(lambda: AuditFolder(home).seals.exists() and AuditFolder(home).seals.stat().st_size)
        await log.write("acme", make_call())
    assert verify(home).segments == 2


async def test_a_log_that_wrote_nothing_leaves_nothing(open_log, home):
    async with open_log():
        pass
    folder = AuditFolder(home)
    assert folder.segments() == []
    assert list(folder.writers.iterdir()) == []
    assert verify(home).ok


async def test_more_tenants_than_open_files(open_log, make_call, home, monkeypatch):
    monkeypatch.setattr("workbench.audit.write.writer._MAX_OPEN", 4)
    async with open_log() as log:
        for number in range(40):
            await log.write(f"t{number % 10}", make_call(tenant=f"t{number % 10}"))
    found = verify(home, deep=True)
    assert found.ok
    assert found.rows == 40


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_forked_child_cannot_write_and_does_not_keep_the_parent_alive(open_log, make_call, home):
    async with open_log() as log:
        await log.write("acme", make_call())
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:  # the child only reports and goes
            os.write(write_end, log.failed.encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            assert "forked" in pipe.read()
        await asyncio.to_thread(os.waitpid, child, 0)
        assert log.failed == ""
        await log.write("acme", make_call())
    assert verify(home, deep=True).rows == 2


async def test_everything_is_readable_by_the_owner_alone(open_log, make_call, home):
    async with open_log() as log:
        await log.write("acme", make_call())
    for path in AuditFolder(home).root.rglob("*"):
        if path.name not in ("checkpoint", "checkpoint.pub"):  # meant to be given away
            assert path.stat().st_mode & 0o077 == 0, path


async def test_two_processes_may_write_to_one_home(settings, open_log, make_call, home):
    async with open_log() as first, open_log() as second:
        for _ in range(20):
            await first.write("acme", make_call())
            await second.write("acme", make_call())
    found = verify(home, deep=True)
    assert found.ok
    assert (found.rows, found.segments) == (40, 2)


async def test_a_living_writer_is_left_alone_by_recovery(open_log, make_call, home):
    async with open_log() as log:
        await log.write("acme", make_call())
        assert recover(AuditFolder(home)) == []
        await log.write("acme", make_call())
    assert verify(home, deep=True).rows == 2


async def test_the_lock_of_a_writer_is_held_while_it_lives(open_log, home):
    async with open_log() as log:
        with AuditFolder(home).lock_of(log.writer).open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
