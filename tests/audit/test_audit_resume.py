"""Starting over years of seals: only their end is read, and nothing is believed that the signature does not confirm."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.audit import verify
from workbench.audit.format import records
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.merkle_tree import Frontier
from workbench.audit.write.recovery import recover
from workbench.audit.write.seals import SealLog, newest_seals, read_seals
from workbench.audit.write.tree_checkpoint import TreeState
from workbench.config import prepare_home

YEAR = 365 * 24 * 360
"""Seals of a year in which something happened every ten seconds."""


def lake(number: int) -> dict:
    return {"v": 1, "type": "lake", "added": [], "removed": [], "manifest_sha256": "", "sealed_us": number}


@pytest.fixture
def folder(home: Path) -> AuditFolder:
    prepare_home(home)
    folder = AuditFolder(home)
    folder.prepare()
    return folder


def signed_whole(folder: AuditFolder) -> int:
    """How many seals are signed, when nothing speaks against them."""
    found = verify(folder.home)
    assert [str(finding) for finding in found.findings if finding.where in ("seals.jsonl", "checkpoint")] == []
    return found.signed


class Counted(Frontier):
    """Counts how many seals were taken in one by one."""

    taken = 0

    def append(self, entry: bytes) -> None:
        Counted.taken += 1
        super().append(entry)


@pytest.fixture
def counted(monkeypatch) -> type[Counted]:
    monkeypatch.setattr("workbench.audit.write.seals.Frontier", Counted)
    monkeypatch.setattr("workbench.audit.write.tree_checkpoint.Frontier", Counted)
    Counted.taken = 0
    return Counted


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(0, 40))
def test_a_frontier_goes_on_where_it_was_kept(size: int, more: int):
    whole = Frontier()
    for number in range(size):
        whole.append(b"%d" % number)
    kept = Frontier.of(size, whole.peaks)
    for number in range(size, size + more):
        whole.append(b"%d" % number)
        kept.append(b"%d" % number)
    assert (kept.size, kept.root(), kept.peaks) == (whole.size, whole.root(), whole.peaks)
    with pytest.raises(ValueError, match="zip"):
        Frontier.of(kept.size, [*kept.peaks, b"one too many"])


def test_a_start_reads_no_seal_that_was_signed_before(folder, counted):
    SealLog(folder).append(*(lake(number) for number in range(50)))
    counted.taken = 0
    seals = SealLog(folder)
    seals.sign()
    assert counted.taken == 0
    seals.append(lake(50))
    assert counted.taken == 1
    assert signed_whole(folder) == 51


def test_several_processes_go_on_with_what_the_others_appended(folder):
    first, second = SealLog(folder), SealLog(folder)
    for number in range(6):
        (first, second, SealLog(folder))[number % 3].append(lake(number))
    assert signed_whole(folder) == len(read_seals(folder)) == 6


def altered_seal(folder: AuditFolder) -> None:
    content = folder.seals.read_bytes()
    folder.seals.write_bytes(content.replace(b'"sealed_us":3', b'"sealed_us":4', 1))


def cut_seals(folder: AuditFolder) -> None:
    os.truncate(folder.seals, folder.seals.read_bytes()[:-1].rfind(b"\n") + 1)


@pytest.mark.parametrize("alter", [altered_seal, cut_seals])
def test_a_shortcut_over_seals_that_were_altered_is_not_taken(alter, folder):
    SealLog(folder).append(*(lake(number) for number in range(9)))
    note = folder.checkpoint.read_text()
    alter(folder)
    SealLog(folder).append(lake(9))
    assert folder.checkpoint.read_text() == note
    assert "seals.jsonl" in str(verify(folder.home))


@pytest.mark.parametrize(
    "change",
    [
        lambda kept: {**kept, "peaks": [kept["peaks"][0][::-1], *kept["peaks"][1:]]},
        lambda kept: {**kept, "size": kept["size"] + 1},
        lambda kept: {**kept, "size": 2**60, "peaks": []},
        lambda kept: {**kept, "bytes": 0},
        lambda kept: {**kept, "peaks": "no"},
        lambda kept: [],
        lambda kept: {},
    ],
)
def test_a_shortcut_that_was_altered_is_not_taken(change, folder, counted):
    SealLog(folder).append(*(lake(number) for number in range(7)))
    folder.frontier.write_bytes(orjson.dumps(change(orjson.loads(folder.frontier.read_bytes()))))
    counted.taken = 0
    SealLog(folder).append(lake(7))
    assert counted.taken == 8
    assert signed_whole(folder) == 8


def test_without_a_shortcut_everything_is_read(folder, counted):
    SealLog(folder).append(*(lake(number) for number in range(7)))
    folder.frontier.unlink()
    counted.taken = 0
    SealLog(folder).append(lake(7))
    assert counted.taken == 8
    assert TreeState.read(folder) is not None


@settings(deadline=None)
@given(st.lists(st.integers(0, 40), max_size=30), st.binary(max_size=60), st.integers(1, 64))
def test_the_newest_seals_come_first_whatever_their_length(tmp_path_factory, lengths, torn, chunk):
    folder = AuditFolder(tmp_path_factory.mktemp("seals"))
    folder.root.mkdir()
    content = b"".join(b'{"n":%d,"x":"%b"}\n' % (number, b"x" * length) for number, length in enumerate(lengths))
    folder.seals.write_bytes(content + torn.replace(b"\n", b""))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.audit.write.seals._CHUNK", chunk)
        assert [seal["n"] for seal in newest_seals(folder)] == list(reversed(range(len(lengths))))


def test_a_record_without_seals_has_no_newest(folder):
    assert list(newest_seals(folder)) == []


async def test_recovery_reads_no_seal_that_is_older_than_the_writer_it_mends(folder, open_log, make_call, monkeypatch):
    SealLog(folder).append(*({**lake(0), "sealed_us": 1_000_000 + number} for number in range(500)))
    async with open_log(audit_segment_bytes=2000) as log:
        for number in range(12):
            await log.write(f"t{number % 3}", make_call(tenant=f"t{number % 3}"))
    writer, _, last = folder.segments()[-1]
    seals = folder.seals.read_bytes().splitlines(keepends=True)
    folder.seals.write_bytes(b"".join(seals[:-1]))
    folder.checkpoint.unlink()
    (folder.home / "control.db").unlink()
    folder.lock_of(writer).touch(mode=0o600)
    SealLog(folder).sign()
    seen = []
    monkeypatch.setattr(
        "workbench.audit.write.recovery.newest_seals",
        lambda folder: (seen.append(seal) or seal for seal in newest_seals(folder)),
    )
    [mended] = recover(folder)
    assert mended.segments == 1
    assert len(seen) < 60
    assert verify(folder.home, deep=True).rows == 12
    assert last.exists()


async def test_health_checks_and_metrics_alone_do_not_make_a_seal_every_few_seconds(open_log, make_call, home):
    async with open_log(audit_segment_seconds=10) as log:
        for _ in range(5):
            await log.write("acme", records.health_check("crm", True, 900, "", tenant="acme"))
            await log.write("acme", records.metric("m", 1.0, tenant="acme"))
        assert log._segments._due > time.monotonic() + 60
        await log.write("acme", make_call())
        assert log._segments._due <= time.monotonic() + 10
        assert read_seals(AuditFolder(home)) == []
    assert verify(home, deep=True).rows == 11


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_start_over_a_year_of_seals_is_quick_and_small_and_verify_still_reads_them_all(folder, counted):
    seals = SealLog(folder)
    for month in range(12):
        seals.append(*(lake(month * YEAR // 12 + number) for number in range(YEAR // 12)))
    assert counted.taken == YEAR // 12 * 12
    counted.taken = 0
    tracemalloc.start()
    SealLog(folder).sign()
    recover(folder)
    SealLog(folder).append(lake(YEAR))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert counted.taken == 1
    assert peak < 4 << 20
    assert signed_whole(folder) == YEAR // 12 * 12 + 1
    altered_seal(folder)
    assert "are not those that checkpoint signs" in str(verify(folder.home))
