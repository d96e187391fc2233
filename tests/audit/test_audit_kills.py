"""Nothing that was acknowledged is lost: processes are killed, disks are full, power fails."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workbench.audit import Reader, verify
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.hash_chain import LINE
from workbench.audit.lake.compactor import Compactor
from workbench.audit.write.recovery import recover

ROUNDS = int(os.environ.get("AUDIT_KILL_ROUNDS", "100"))
"""How often writers are killed in the mode that is the default."""


class Child:
    """A writing process and what it said was acknowledged."""

    def __init__(self, home: Path, mode: str = "os", segment_bytes: int = 200_000, file_limit: int = 0) -> None:
        script = Path(__file__).with_name("writing_child.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), str(home), mode, str(segment_bytes), str(file_limit)], stdout=subprocess.PIPE
        )
        self.said = b""
        self.first = threading.Event()
        self.reader = threading.Thread(target=self._listen)
        self.reader.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self.said += chunk
                self.first.set()

    def kill(self, after_s: float) -> None:
        assert self.first.wait(30)
        time.sleep(after_s)  # the moment of the kill is meant to be arbitrary
        self.process.send_signal(signal.SIGKILL)
        self.wait()

    def wait(self) -> None:
        self.process.wait(30)
        self.reader.join(30)

    @property
    def acknowledged(self) -> set[str]:
        whole = self.said[: self.said.rfind(b"\n") + 1].decode()
        return set(re.findall(r"^[0-9a-f-]{36}$", whole, re.M))


def in_sql(home: Path) -> list[str]:
    with Reader(home) as reader:
        return reader.sql("select event_id from events").column(0).to_pylist()


def in_lineage(home: Path) -> list[str]:
    found: list[str] = []
    for path in AuditFolder(home).lineages():
        found += re.findall(r'"event_id":"([0-9a-f-]{36})"', path.read_text())
    return found


def assert_all_there_once(home: Path, acknowledged: set[str]) -> None:
    for found in (in_sql(home), in_lineage(home)):
        assert len(found) == len(set(found))
        assert acknowledged <= set(found)
    result = verify(home, deep=True)
    assert result.ok, str(result)
    assert result.unsealed_rows == 0
    assert result.rows == len(in_lineage(home))


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * ROUNDS)
@pytest.mark.parametrize(("mode", "rounds"), [("os", ROUNDS), ("fsync", min(ROUNDS, 10))], ids=["os", "fsync"])
def test_a_killed_writer_loses_nothing_that_was_acknowledged(mode: str, rounds: int, home: Path, record_property):
    chance = random.Random(7)
    acknowledged: set[str] = set()
    killed = 0
    for number in range(rounds):
        child = Child(home, mode, segment_bytes=chance.choice([20_000, 200_000, 10_000_000]))
        child.kill(chance.uniform(0, 0.3))
        killed += child.process.returncode == -signal.SIGKILL
        acknowledged |= child.acknowledged
        if number % 10 < 2:
            assert acknowledged <= set(in_sql(home))  # visible even before anything is mended
        if number % 2:
            recover(AuditFolder(home))
            Compactor(AuditFolder(home), grace_s=0).run()
    recover(AuditFolder(home))
    assert killed == rounds
    assert len(acknowledged) > 10 * rounds
    assert_all_there_once(home, acknowledged)
    for name, value in (("killed", killed), ("acknowledged", len(acknowledged)), ("recorded", len(in_sql(home)))):
        record_property(name, value)
    print(f"{killed} writers killed, {len(acknowledged)} records acknowledged, 0 lost, {mode} mode")


@pytest.mark.slow
def test_a_writer_on_a_full_disk_refuses_and_keeps_what_it_acknowledged(home: Path):
    child = Child(home, file_limit=150_000)
    child.wait()
    assert b"refused The audit log cannot record this: OSError" in child.said
    assert child.acknowledged
    recover(AuditFolder(home))
    assert_all_there_once(home, child.acknowledged)


@pytest.mark.slow
def test_a_killed_compactor_leaves_everything_as_it_was(home: Path):
    chance = random.Random(3)
    child = Child(home, segment_bytes=30_000)
    command = [sys.executable, "-m", "workbench.audit.compact", str(home), "--grace", "5"]
    with Reader(home) as reader:
        seen = 0
        for _ in range(min(ROUNDS, 6)):  # the child writes all the while, and every query reads all of it
            compactor = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            deadline = time.monotonic() + chance.uniform(0.25, 0.9)
            while time.monotonic() < deadline:
                [row] = reader.sql("select count(*) n, count(distinct event_id) ids from events").to_pylist()
                assert row["n"] == row["ids"] >= seen
                seen = row["n"]
            compactor.kill()
            compactor.wait()
    child.kill(0)
    recover(AuditFolder(home))
    done = Compactor(AuditFolder(home), grace_s=0).run()
    assert done is not None
    assert_all_there_once(home, child.acknowledged)


@pytest.mark.slow
def test_readers_see_every_row_once_while_writers_and_the_compactor_work(home: Path):
    children = [Child(home, segment_bytes=100_000) for _ in range(2)]
    command = [sys.executable, "-m", "workbench.audit.compact", str(home), "--every", "0.2", "--grace", "60"]
    compactor = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    assert all(child.first.wait(30) for child in children)
    with Reader(home) as reader:
        seen = 0
        end = time.monotonic() + 3
        while time.monotonic() < end:
            known = set().union(*(child.acknowledged for child in children))
            ids = reader.sql("select event_id from events").column(0).to_pylist()
            assert len(ids) == len(set(ids)) >= seen
            assert known <= set(ids)
            seen = len(ids)
    for child in children:
        child.kill(0)
    compactor.terminate()
    assert compactor.wait(30) == 0
    recover(AuditFolder(home))
    assert_all_there_once(home, set().union(*(child.acknowledged for child in children)))


# --- what a loss of power leaves, built by hand ---------------------------------------------------


async def written(open_log, make_call, count: int = 8) -> None:
    async with open_log() as log:
        for number in range(count):
            await log.write(f"t{number % 2}", make_call(tenant=f"t{number % 2}"))


def unseal(home: Path) -> tuple[AuditFolder, Path, str]:
    """The folder as a killed writer leaves it: no seal, a lock file that nobody holds."""
    folder = AuditFolder(home)
    (home / "control.db").unlink()  # written with the seal
    folder.seals.unlink()
    folder.checkpoint.unlink()
    [(writer, _, segment)] = folder.segments()
    folder.lock_of(writer).touch(mode=0o600)
    return folder, segment, writer


async def test_a_torn_last_line_is_put_aside(open_log, make_call, home):
    await written(open_log, make_call)
    folder, segment, _ = unseal(home)
    with segment.open("ab") as file:
        file.write(b'{"seq":9,"prev":"')
    [mended] = recover(folder)
    assert mended.torn_bytes == 17
    assert [path.read_bytes() for path in folder.quarantine.iterdir()] == [b'{"seq":9,"prev":"']
    assert verify(home, deep=True).rows == 8
    assert list(folder.writers.iterdir()) == []


async def test_zeros_after_a_loss_of_power_are_put_aside(open_log, make_call, home):
    await written(open_log, make_call)
    folder, segment, _ = unseal(home)
    for path in (segment, folder.lineages()[0]):
        with path.open("ab") as file:
            file.write(b"\0" * 4096)
    [mended] = recover(folder)
    assert mended.torn_bytes == 8192
    assert verify(home, deep=True).rows == 8


async def test_a_lineage_that_lost_its_end_is_filled_from_the_log(open_log, make_call, home):
    await written(open_log, make_call)
    folder, _, _ = unseal(home)
    first, second = folder.lineages()
    first.write_bytes(first.read_bytes()[:-20])
    second.unlink()
    [mended] = recover(folder)
    assert mended.lineage_lines_added == 5
    assert verify(home, deep=True).rows == 8


async def test_a_log_that_lost_its_end_is_filled_from_the_lineage(open_log, make_call, home):
    await written(open_log, make_call)
    folder, segment, writer = unseal(home)
    before = set(in_sql(home))
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:3]))
    [mended] = recover(folder)
    assert mended.log_lines_added == 5
    assert set(in_sql(home)) == before
    assert [number for _, number, _ in folder.segments()] == [0, 1]
    assert all(w == writer for w, _, _ in folder.segments())
    assert verify(home, deep=True).ok


async def test_a_log_that_is_gone_is_restored_from_the_lineage(open_log, make_call, home):
    await written(open_log, make_call)
    folder, segment, _ = unseal(home)
    before = set(in_sql(home))
    segment.unlink()
    [mended] = recover(folder)
    assert mended.log_lines_added == 8
    assert set(in_sql(home)) == before
    assert verify(home, deep=True).ok


async def test_recovery_after_a_kill_between_two_segments(open_log, make_call, home):
    async with open_log(audit_segment_bytes=3000) as log:
        for _ in range(10):
            await log.write("acme", make_call())
    folder = AuditFolder(home)
    segments = folder.segments()
    seals = folder.seals.read_bytes().splitlines(keepends=True)
    assert len(segments) == len(seals) >= 3
    folder.seals.write_bytes(b"".join(seals[:1]))
    folder.checkpoint.unlink()
    folder.lock_of(segments[0][0]).touch(mode=0o600)
    [mended] = recover(folder)
    assert mended.segments == len(segments) - 1
    assert verify(home, deep=True).rows == 10


async def test_recovery_twice_changes_nothing(open_log, make_call, home):
    await written(open_log, make_call)
    folder, _, _ = unseal(home)
    recover(folder)
    after = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    assert recover(folder) == []
    assert {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()} == after


async def test_a_torn_seal_is_cut_off_and_signed_again(open_log, make_call, home):
    await written(open_log, make_call)
    folder = AuditFolder(home)
    folder.seals.write_bytes(folder.seals.read_bytes() + b'{"v":1,"type":"seg')
    await written(open_log, make_call)
    assert verify(home, deep=True).seals == 2


async def test_a_seal_that_a_killed_writer_did_not_sign_is_signed_at_the_next_start(open_log, make_call, home):
    await written(open_log, make_call)
    folder = AuditFolder(home)
    note = folder.checkpoint.read_bytes()
    await written(open_log, make_call)
    folder.checkpoint.write_bytes(note)
    assert "the last 1 seals are not signed" in str(verify(home))
    recover(folder)
    assert verify(home, deep=True).ok


async def test_every_line_says_its_number_and_its_predecessor_first(open_log, make_call, home):
    await written(open_log, make_call)
    for path in AuditFolder(home).lineages():
        assert all(LINE.match(line) for line in path.read_bytes().splitlines())
