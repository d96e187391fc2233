"""Checkpoints reach a place that the platform cannot rewrite, and that place contradicts a rewritten past."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.audit import AuditLog, verify
from workbench.audit.format.folder import AuditFolder
from workbench.audit.verification.witness_server import CheckpointRefusedError, CheckpointStore, WitnessServer
from workbench.audit.write.seals import SealLog
from workbench.audit.write.witness import CheckpointStatement, HttpWitness, WitnessRefusedError, read_witness_key
from workbench.events import MisuseError, UnreachableError


async def record(open_log, make_call, count: int = 3, **changes: object) -> AuditLog:
    async with open_log(audit_segment_bytes=1, **changes) as log:
        for _ in range(count):
            await log.write("acme", make_call())
    return log


@pytest.fixture
async def served(open_log, make_call, home: Path, tmp_path: Path) -> Iterator[WitnessServer]:
    """A witness that trusts the record of the test."""
    await record(open_log, make_call, 1)
    store = CheckpointStore(tmp_path / "store", [AuditFolder(home).public_key.read_text()])
    with WitnessServer(store, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_the_setting_names_a_folder_that_gets_every_checkpoint(open_log, make_call, home, tmp_path):
    await record(open_log, make_call, audit_witness=str(tmp_path / "other disk"))
    found = verify(home, witness=str(tmp_path / "other disk"))
    assert found.ok
    assert found.witnessed == found.signed == 3


async def test_a_witness_folder_shows_that_the_end_was_cut_off(open_log, make_call, home, tmp_path):
    await record(open_log, make_call)
    shutil.copytree(home, tmp_path / "older")
    await record(open_log, make_call, audit_witness=str(tmp_path / "witness"))
    assert verify(tmp_path / "older").ok
    assert "were removed" in str(verify(tmp_path / "older", witness=str(tmp_path / "witness")))


async def test_a_server_takes_checkpoints_in_and_signs_them(served, open_log, make_call, home):
    log = await record(open_log, make_call, audit_witness=served.url)
    assert log.unwitnessed == ""
    cosigned = AuditFolder(home).root / "cosigned"
    assert CheckpointStatement.of(cosigned.read_text()).size == 4
    assert len(cosigned.read_text().partition("\n\n")[2].splitlines()) == 2  # ours and the witness's
    found = verify(home, witness=served.url)
    assert found.ok
    assert found.witnessed == 4


async def test_the_server_is_brought_up_to_date_by_the_verification(served, open_log, make_call, home):
    await record(open_log, make_call, audit_witness=served.url)
    await record(open_log, make_call)
    assert verify(home, witness=served.url).witnessed == 7
    assert verify(home, witness=served.url).ok


async def test_the_server_shows_that_the_end_was_cut_off(served, open_log, make_call, home, tmp_path):
    shutil.copytree(home, tmp_path / "older")
    await record(open_log, make_call, audit_witness=served.url)
    said = str(verify(tmp_path / "older", witness=served.url))
    assert "the witness saw 4 seals; 3 of them were removed" in said


async def test_a_past_rewritten_with_the_key_itself_is_refused(served, open_log, make_call, home, tmp_path, settings):
    await record(open_log, make_call, audit_witness=served.url)
    folder = AuditFolder(home)
    key = folder.key.read_bytes()
    shutil.rmtree(folder.root)
    (home / "control.db").unlink()
    folder.prepare()
    folder.key.write_bytes(key)
    log = await record(open_log, make_call, 6, audit_witness=served.url)
    assert "refuses the checkpoint" in log.unwitnessed
    assert verify(home).ok  # nothing on this machine gives it away
    assert not verify(home, witness=served.url).ok


async def test_a_rewritten_past_of_the_same_length_is_refused(served, open_log, make_call, home):
    await record(open_log, make_call, audit_witness=served.url)
    folder = AuditFolder(home)
    key = folder.key.read_bytes()
    shutil.rmtree(folder.root)
    (home / "control.db").unlink()
    folder.prepare()
    folder.key.write_bytes(key)
    await record(open_log, make_call, 4)
    assert "the witness saw another tree of 4 seals" in str(verify(home, witness=served.url))


async def test_a_witness_that_is_away_does_not_stop_the_record_and_is_said(open_log, make_call, home, tmp_path):
    (tmp_path / "file").write_text("")
    async with open_log(audit_segment_bytes=1, audit_witness=str(tmp_path / "file" / "folder")) as log:
        await log.write("acme", make_call())
        for _ in range(400):
            if log.unwitnessed:
                break
            await asyncio.sleep(0.01)
        assert "file" in log.unwitnessed
        await log.write("acme", make_call())
        assert not log.failed
    assert verify(home).ok


async def test_what_a_witness_missed_is_sent_when_it_is_back(open_log, make_call, home, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.audit.write.witness._RETRY_PAUSE_S", 0.01)
    (tmp_path / "away").write_text("")
    async with open_log(audit_segment_bytes=1, audit_witness=str(tmp_path / "away" / "folder")) as log:
        await log.write("acme", make_call())
        for _ in range(400):
            if log.unwitnessed:
                break
            await asyncio.sleep(0.01)
        (tmp_path / "away").unlink()
        for _ in range(400):
            if not log.unwitnessed:
                break
            await asyncio.sleep(0.01)
        assert not log.unwitnessed
    assert verify(home, witness=tmp_path / "away" / "folder").witnessed == 1


async def test_verifying_against_a_witness_that_does_not_answer_is_no_success(open_log, make_call, home):
    await record(open_log, make_call)
    assert "does not answer" in str(verify(home, witness="http://127.0.0.1:9"))


@pytest.mark.parametrize("target", ["ftp://somewhere/", "s3://bucket"])
async def test_other_schemes_are_refused_at_the_start(open_log, target):
    with pytest.raises(MisuseError, match="audit_witness"):
        async with open_log(audit_witness=target):
            pass


async def test_a_file_cannot_be_a_witness(open_log, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MisuseError, match="names the file"):
        async with open_log(audit_witness=str(tmp_path / "file")):
            pass


async def test_the_store_answers_as_the_specification_says(served, open_log, make_call, home):
    folder = AuditFolder(home)
    note = folder.checkpoint.read_text()
    store = served.store

    def refused(body: bytes) -> int:
        with pytest.raises(CheckpointRefusedError) as said:
            store.add(body)
        return said.value.status

    assert refused(b"nonsense") == 400
    assert refused(b"old 9\n\n" + note.encode()) == 400
    assert refused(b"old 0\n\n" + note.replace("mcp-workbench", "other", 1).encode()) == 404
    assert refused(b"old 0\n\n" + note.replace("\n1\n", "\n2\n", 1).encode()) == 403
    assert store.add(b"old 0\n\n" + note.encode()).startswith("— ")
    assert refused(b"old 0\n\n" + note.encode()) == 409
    await record(open_log, make_call, 2)
    assert refused(b"old 1\nAAAA\n\n" + folder.checkpoint.read_bytes()) == 422


async def test_a_record_that_the_witness_does_not_know_is_refused(served, open_log, make_call, tmp_path, settings):
    other = settings.replace(home=tmp_path / "other", audit_min_free_bytes=1)
    log = await AuditLog.open(other)
    await log.write("acme", make_call())
    await log.close()
    folder = AuditFolder(other.home)
    with pytest.raises(WitnessRefusedError, match="404"):
        HttpWitness(folder, served.url).send(folder.checkpoint.read_text())
    with pytest.raises(UnreachableError):
        HttpWitness(folder, "http://127.0.0.1:9").send(folder.checkpoint.read_text())


async def test_new_records_are_sealed_and_signed_within_ten_seconds_by_default(settings, open_log, make_call, home):
    assert settings.audit_segment_seconds <= 10
    async with open_log(audit_segment_seconds=0.01) as log:
        await log.write("acme", make_call())
        for _ in range(400):
            if AuditFolder(home).checkpoint.exists():
                break
            await asyncio.sleep(0.01)
        assert CheckpointStatement.of(AuditFolder(home).checkpoint.read_text()).size == 1
        SealLog(AuditFolder(home)).sign()


# --- the signature of the witness, without the witness -------------------------------------------------


async def test_the_signature_of_a_witness_is_demanded_where_its_key_is_known(served, open_log, make_call, home):
    await record(open_log, make_call, audit_witness=served.url)
    key = served.store.public_key.read_text()
    found = verify(home, witness_key=key)
    assert found.ok, str(found)
    assert found.cosigned == found.witnessed == found.signed == 4
    assert "The witness signed 4 seals at 20" in str(found)
    await record(open_log, make_call)  # the witness is away: what it signed before is still true
    assert verify(home, witness_key=key).cosigned == 4


async def test_a_past_rewritten_with_the_key_of_the_record_lacks_the_signature_of_the_witness(
    served, open_log, make_call, home
):
    await record(open_log, make_call, audit_witness=served.url)
    folder = AuditFolder(home)
    kept = {path: path.read_bytes() for path in (folder.key, folder.public_key, folder.cosigned)}
    shutil.rmtree(folder.root)
    (home / "control.db").unlink()
    folder.prepare()
    for path, content in kept.items():
        path.write_bytes(content)
    await record(open_log, make_call, 4)
    assert verify(home).ok
    found = verify(home, witness_key=served.store.public_key.read_text())
    assert "the first 4 seals are not those that cosigned signs" in str(found)
    folder.cosigned.write_bytes(folder.checkpoint.read_bytes())
    found = verify(home, witness_key=served.store.public_key.read_text())
    assert "not what the witness signed" in str(found)
    folder.cosigned.unlink()
    found = verify(home, witness_key=served.store.public_key.read_text())
    assert "there is no checkpoint with the signature of the witness" in str(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda key: "",
        lambda key: key.replace("witness", "other", 1),
        lambda key: key[:-6] + "!!!!",
        lambda key: key.split("+")[0] + "+00000000+AAAA",
    ],
)
async def test_what_is_no_key_of_a_witness_is_refused(change, served, home):
    with pytest.raises(MisuseError, match="key of a witness"):
        verify(home, witness_key=change(served.store.public_key.read_text()))
    with pytest.raises(MisuseError, match="key of a witness"):
        verify(home, witness_key=AuditFolder(home).public_key.read_text())


async def test_the_key_of_the_witness_may_be_a_setting(served, open_log, make_call, home, tmp_path):
    assert read_witness_key(None) is None
    assert read_witness_key(served.store.public_key) == served.store.public_key.read_text()
    with pytest.raises(MisuseError, match="cannot be read"):
        read_witness_key(tmp_path / "nothing.pub")
