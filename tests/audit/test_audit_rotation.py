"""The key that signs checkpoints is replaced, and everything that it signed stays provable."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import orjson
import pytest

from workbench.audit import verify
from workbench.audit.format.checkpoint import read_verifier_key
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.record_keys import RecordKeys, first_key, read_rotations, rotations_text
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.replication import fetch, ship
from workbench.audit.lake.segment_store import FolderStore
from workbench.audit.verification.proof import check_proof, prove
from workbench.audit.verification.witness_server import CheckpointRefusedError, CheckpointStore, WitnessServer
from workbench.audit.write.checkpoint_signing import open_signer
from workbench.audit.write.seals import SealLog
from workbench.audit.write.witness import CheckpointStatement, HttpWitness
from workbench.events import MisuseError
from workbench.state.backup import back_up, restore

STEPS = [
    "the new key is written",
    "the statement is written",
    "the key is replaced",
    "the public key is replaced",
    "the new key signed a checkpoint",
]


@pytest.fixture
async def folder(open_log, make_call, home: Path) -> AuditFolder:
    """A record of three seals."""
    return await record(open_log, make_call, home)


async def record(open_log, make_call, home: Path, count: int = 3) -> AuditFolder:
    async with open_log(audit_segment_bytes=1) as log:
        for _ in range(count):
            await log.write("acme", make_call())
    return AuditFolder(home)


def rotate(folder: AuditFolder) -> list[str]:
    return list(SealLog(folder).replace_key())


def crash_after(steps: int, folder: AuditFolder) -> None:
    """Do the first steps and no more, as a process does that is killed then."""
    rotation = SealLog(folder).replace_key()
    assert list(islice(rotation, steps)) == STEPS[:steps]
    rotation.close()


async def test_a_new_key_signs_under_the_same_origin_and_the_record_verifies(folder, open_log, make_call, home):
    before, note = folder.public_key.read_text(), folder.checkpoint.read_text()
    assert rotate(folder) == STEPS
    after = folder.public_key.read_text()
    assert read_verifier_key(after)[0] == read_verifier_key(before)[0]
    assert after != before
    assert folder.checkpoint.read_text() != note
    assert folder.key.stat().st_mode & 0o777 == 0o600
    assert not folder.next_key.exists()
    found = verify(home, deep=True, witness=[note, folder.checkpoint.read_text()])
    assert (found.ok, found.notes, found.signed, found.witnessed) == (True, [], 3, 3)
    await record(open_log, make_call, home)
    assert verify(home, deep=True, witness=[note]).signed == 6


async def test_a_key_can_be_replaced_again_and_again(folder, open_log, make_call, home):
    notes, first = [], first_key(folder)
    for _ in range(3):
        notes.append(folder.checkpoint.read_text())
        rotate(folder)
        await record(open_log, make_call, home, 1)
    assert len(read_rotations(rotations_text(folder))) == 3
    assert verify(home, deep=True, witness=notes).ok
    assert first_key(folder) == first == RecordKeys.in_folder(folder).first


async def test_the_key_of_a_record_without_a_seal_can_be_replaced(home):
    folder = AuditFolder(home)
    folder.prepare()
    rotate(folder)
    assert verify(home).ok
    assert RecordKeys.in_folder(folder).rotations[0].checkpoint.size == 0


@pytest.mark.parametrize("steps", range(1, len(STEPS) + 1))
async def test_a_crash_after_any_step_is_mended_by_the_next_start(steps, folder, open_log, make_call, home):
    before, note = folder.public_key.read_text(), folder.checkpoint.read_text()
    crash_after(steps, folder)
    found = verify(home, deep=True, witness=[note])
    assert found.ok, str(found)
    assert bool(found.notes) is (steps in (2, 3))  # stated, and the public key does not say it yet
    await record(open_log, make_call, home, 2)
    assert not folder.next_key.exists()
    assert (folder.public_key.read_text() == before) is (steps == 1)
    found = verify(home, deep=True, witness=[note])
    assert (found.ok, found.notes, found.signed) == (True, [], 5)
    assert rotate(folder) == STEPS
    assert verify(home, deep=True, witness=[note]).ok


@pytest.mark.parametrize("steps", range(1, len(STEPS) + 1))
async def test_opening_the_signer_after_a_crash_gives_the_key_that_counts(steps, folder, home):
    before = folder.public_key.read_text().strip()
    crash_after(steps, folder)
    signer = open_signer(folder)
    assert signer is not None
    assert signer.public == folder.public_key.read_text().strip()
    assert (signer.public == before) is (steps == 1)
    SealLog(folder).sign()
    assert signer.has_signed(folder.checkpoint.read_text())
    assert verify(home).ok


async def test_a_log_that_is_open_meanwhile_goes_on_with_the_new_key(folder, open_log, make_call, home):
    async with open_log(audit_segment_bytes=1) as log:
        await log.write("acme", make_call())
        rotate(folder)
        await log.write("acme", make_call())
    found = verify(home, deep=True)
    assert found.ok, str(found)


async def test_a_log_that_is_open_when_a_rotation_dies_finishes_it(folder, home):
    log = SealLog(folder)
    crash_after(2, folder)
    log.append({"v": 1, "type": "lake", "lines": [], "added": [], "removed": [], "manifest_sha256": ""})
    keys = RecordKeys.in_folder(folder)
    assert not keys.unfinished
    assert keys.read(folder.checkpoint.read_text()).size == 4


async def test_a_record_that_contradicts_its_checkpoint_keeps_its_key(folder):
    lines = folder.seals.read_bytes().splitlines(keepends=True)
    folder.seals.write_bytes(b"".join(lines[:-1]))
    before = folder.key.read_bytes()
    with pytest.raises(MisuseError, match="is not as it was signed"):
        rotate(folder)
    assert folder.key.read_bytes() == before
    assert not folder.rotations.exists()


async def test_a_lost_new_key_is_not_replaced_by_the_old_one(folder, open_log, make_call, home):
    crash_after(2, folder)
    folder.next_key.unlink()
    assert open_signer(folder) is None
    await record(open_log, make_call, home, 1)
    assert "the last 1 seals are not signed" in str(verify(home))


# --- proofs, copies and backups -------------------------------------------------------------------


async def proved(open_log, make_call, home: Path) -> tuple[AuditFolder, str]:
    folder = await record(open_log, make_call, home)
    Compactor(folder, grace_s=0).run()
    line = orjson.loads(folder.lineages()[0].read_bytes().splitlines()[0])
    return folder, line["request_id"]


async def test_a_proof_is_checked_with_the_key_that_its_reader_knows_old_or_new(open_log, make_call, home):
    folder, call = await proved(open_log, make_call, home)
    old = folder.public_key.read_text()
    early = prove(home, call)
    rotate(folder)
    new, late = folder.public_key.read_text(), prove(home, call)
    assert [record["request_id"] for record in check_proof(early, old)] == [call]
    for key in (old, new, None):
        assert [record["request_id"] for record in check_proof(late, key)] == [call]
    with pytest.raises(MisuseError, match="it was made with another key"):
        check_proof(early, new)
    with pytest.raises(MisuseError, match="statement by which the first key was replaced is missing"):
        check_proof({key: value for key, value in late.items() if key != "rotations"}, old)


async def test_a_copy_in_a_store_carries_the_statements(open_log, make_call, home, tmp_path):
    folder, _ = await proved(open_log, make_call, home)
    store = FolderStore(tmp_path / "store")
    old = folder.public_key.read_text()
    assert ship(folder, store)
    rotate(folder)
    await record(open_log, make_call, home)
    Compactor(folder, grace_s=0).run()
    shipped = ship(folder, store)
    assert shipped is not None
    assert shipped.seals > 0
    new = folder.public_key.read_text()
    for number, key in enumerate((old, new, None)):
        assert fetch(store, tmp_path / f"copy {number}", key)
        assert verify(tmp_path / f"copy {number}", deep=True).ok
    assert AuditFolder(tmp_path / "copy 0").public_key.read_text() == new
    assert AuditFolder(tmp_path / "copy 0").rotations.read_bytes() == folder.rotations.read_bytes()
    store.delete("rotations/000000")
    with pytest.raises(MisuseError, match="signed by another key"):
        fetch(store, tmp_path / "another", new)
    with pytest.raises(MisuseError, match="is not valid"):
        fetch(store, tmp_path / "another one")


async def test_a_copy_is_not_made_before_it_has_all_that_the_old_key_signed(open_log, make_call, home, tmp_path):
    folder, _ = await proved(open_log, make_call, home)
    await record(open_log, make_call, home)  # sealed, and not compacted
    rotate(folder)
    store = FolderStore(tmp_path / "store")
    assert ship(folder, store) == (0, 0)
    Compactor(folder, grace_s=0).run()
    assert ship(folder, store)
    fetch(store, tmp_path / "copy")
    assert verify(tmp_path / "copy", deep=True).ok


async def test_a_backup_holds_the_statements_and_the_new_key(folder, open_log, make_call, home, tmp_path):
    rotate(folder)
    back_up(home, tmp_path / "backup.tar.gz", version="0")
    restore(tmp_path / "backup.tar.gz", tmp_path / "restored", deep=True)
    restored = await record(
        lambda **changes: open_log(home=tmp_path / "restored", **changes), make_call, tmp_path / "restored"
    )
    assert restored.rotations.read_bytes() == folder.rotations.read_bytes()
    assert verify(tmp_path / "restored", deep=True).signed == 6


# --- witnesses ------------------------------------------------------------------------------------


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., WitnessServer]]:
    """Starts a witness that trusts these keys; the store is the same each time."""
    running: list[tuple[WitnessServer, threading.Thread]] = []

    def start(*trusted: str) -> WitnessServer:
        server = WitnessServer(CheckpointStore(tmp_path / "store", list(trusted)), "127.0.0.1", 0)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_witness_that_knows_the_first_key_alone_goes_on_signing(serve, folder, open_log, make_call, home):
    server = serve(folder.public_key.read_text())
    first = folder.public_key.read_text()
    HttpWitness(folder, server.url).send(folder.checkpoint.read_text())
    rotate(folder)
    HttpWitness(folder, server.url).send(folder.checkpoint.read_text())  # of the same size
    rotate(folder)
    await record(open_log, make_call, home, 2)
    key = server.store.public_key.read_text()
    found = verify(home, witness=server.url, witness_key=key)  # what it signed of the first two keys still counts
    assert (found.ok, found.witnessed, found.cosigned) == (True, 5, 3), str(found)
    assert verify(home, witness_key=key).cosigned == 5
    again = serve(first)  # it remembers the keys that followed
    await record(open_log, make_call, home, 1)
    HttpWitness(folder, again.url).send(folder.checkpoint.read_text())
    assert CheckpointStatement.of(folder.cosigned.read_text()).size == 6


async def test_a_witness_refuses_what_the_old_key_signs_after_its_end(serve, folder, open_log, make_call, home):
    server, old = serve(folder.public_key.read_text()), open_signer(folder)
    assert old is not None
    shutil.copytree(home, home.with_name("stolen"))
    rotate(folder)
    HttpWitness(folder, server.url).send(folder.checkpoint.read_text())
    stolen = await record(
        lambda **changes: open_log(home=home.with_name("stolen"), **changes), make_call, home.with_name("stolen"), 1
    )
    assert verify(stolen.home).ok  # nothing on that machine contradicts it
    note = stolen.checkpoint.read_text()
    assert old.has_signed(note)
    with pytest.raises(CheckpointRefusedError, match="was replaced at 3 seals"):
        server.store.add(b"old 3\n\n" + note.encode())
    assert "refuses the checkpoint" in str(verify(stolen.home, witness=server.url))


async def test_a_witness_may_be_given_the_new_key_by_name(serve, folder, open_log, make_call, home):
    HttpWitness(folder, serve(folder.public_key.read_text()).url).send(folder.checkpoint.read_text())
    rotate(folder)
    await record(open_log, make_call, home, 1)
    server = serve(folder.public_key.read_text())
    HttpWitness(folder, server.url).send(folder.checkpoint.read_text())
    assert CheckpointStatement.of(folder.cosigned.read_text()).size == 4
