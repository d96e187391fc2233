"""A copy of the record in a folder or a bucket is complete, provable, and never written over."""

from __future__ import annotations

import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from workbench.audit import Reader, verify
from workbench.audit.compact import main
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.replication import fetch, ship
from workbench.audit.lake.retention import DAY_US, RetentionRules, retain
from workbench.audit.lake.segment_checks import LakeRefusedError
from workbench.audit.lake.segment_store import FolderStore, SegmentStore, StoreConflictError, open_store
from workbench.events import MisuseError, UnreachableError, now_us


@pytest.fixture(params=["folder", pytest.param("bucket", marks=[pytest.mark.interop, pytest.mark.timeout(180)])])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SegmentStore:
    """An empty store of either kind."""
    if request.param == "folder":
        return open_store(str(tmp_path / "place"))
    url = request.getfixturevalue("bucket_server")
    for name, value in {
        "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    name = f"bucket-{os.urandom(4).hex()}"
    urllib.request.urlopen(urllib.request.Request(f"{url}/{name}", method="PUT"), timeout=20).close()
    return open_store(f"s3://{name}/some/prefix")


async def record(open_log, make_call, home: Path, count: int = 6, **changes: Any) -> AuditFolder:
    async with open_log(audit_segment_bytes=3000, **changes) as log:
        for number in range(count):
            tenant = "ab"[number % 2]
            await log.write(tenant, make_call(tenant=tenant, arguments={"n": number}))
    return AuditFolder(home)


def calls(home: Path) -> list[Any]:
    with Reader(home) as reader:
        return reader.sql("select * from events order by ts, tenant, seq").to_pylist()


def test_a_name_is_written_once(place):
    place.put("x/1", b"one")
    place.put("x/1", b"one")
    with pytest.raises(StoreConflictError, match="x/1"):
        place.put("x/1", b"two")
    assert place.get("x/1") == b"one"
    assert place.get("x/2") is None
    place.put("x/2", Path(__file__))
    assert place.get("x/2") == Path(__file__).read_bytes()
    assert place.names("x/") == ["x/1", "x/2"]
    place.delete("x/1")
    place.delete("x/1")
    assert place.names("x/") == ["x/2"]
    assert place.names("y/") == []


async def test_what_was_shipped_is_fetched_elsewhere_verifies_and_answers_the_same(
    place, open_log, make_call, home, tmp_path
):
    folder = await record(open_log, make_call, home)
    Compactor(folder, grace_s=0).run()
    shipped = ship(folder, place)
    assert shipped is not None
    assert shipped.seals > 2
    assert ship(folder, place) == (0, 0)
    await record(open_log, make_call, home)
    Compactor(folder, grace_s=0).run(today="2999-01-01")  # also merges, so that files of the first copy are gone
    assert ship(folder, place)
    other = tmp_path / "other"
    key = folder.public_key.read_text()
    assert fetch(place, other, key) > shipped.seals
    assert verify(other, deep=True).ok
    assert calls(other) == calls(home)
    assert len(calls(other)) == 12
    assert len(place.names("lake/")) == 1


async def test_what_is_sealed_but_not_compacted_is_in_the_copy_too(place, open_log, make_call, home, tmp_path):
    folder = await record(open_log, make_call, home)
    compactor = Compactor(folder, batch_bytes=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compactor, "_next_batch", _once(Compactor._next_batch))
        compactor.run()
    assert ship(folder, place)
    fetch(place, tmp_path / "other")
    assert verify(tmp_path / "other", deep=True).ok


def _once(function: Any) -> Any:
    calls_made: list[int] = []

    def limited(self: Any) -> Any:
        calls_made.append(1)
        return function(self) if len(calls_made) == 1 else None

    return limited


async def test_two_records_cannot_share_a_store(place, open_log, make_call, home, settings, tmp_path):
    folder = await record(open_log, make_call, home)
    Compactor(folder).run()
    ship(folder, place)
    shutil.move(home, tmp_path / "first")
    again = await record(open_log, make_call, home, 12)
    Compactor(again, batch_bytes=1).run()
    with pytest.raises(StoreConflictError):
        ship(again, place)


async def test_what_retention_removed_leaves_the_store_as_well(place, open_log, make_call, home, tmp_path, monkeypatch):
    then = now_us() - 40 * DAY_US
    with monkeypatch.context() as past:
        past.setattr("workbench.audit.write.writer.now_us", lambda: then)
        async with open_log() as log:
            await log.write("a", {**make_call(tenant="a", arguments={"q": "hunter2"}), "timestamp": then})
            await log.write("b", {**make_call(tenant="b"), "timestamp": then})
    folder = AuditFolder(home)
    Compactor(folder, grace_s=0).run()
    Compactor(folder, grace_s=0).run()
    ship(folder, place)
    retain(folder, RetentionRules({"a": 10}), grace_s=0)
    ship(folder, place)
    assert not [n for n in place.names("lineage/") if "tenant=a" in n]
    fetch(place, tmp_path / "other")
    found = verify(tmp_path / "other", deep=True)
    assert found.ok
    assert found.removed_rows == 1
    assert [row["tenant"] for row in calls(tmp_path / "other")] == ["b"]


async def test_what_was_altered_here_is_not_copied(place, open_log, make_call, home):
    folder = await record(open_log, make_call, home)
    Compactor(folder).run()
    path = folder.lineages()[0]
    path.write_bytes(path.read_bytes().replace(b'"n":0', b'"n":9'))
    with pytest.raises(LakeRefusedError):
        ship(folder, place)
    assert place.names("heads/") == []


async def test_a_copy_with_objects_missing_or_of_another_key_is_refused(place, open_log, make_call, home, tmp_path):
    with pytest.raises(MisuseError, match="no record"):
        fetch(place, tmp_path / "none")
    folder = await record(open_log, make_call, home)
    Compactor(folder).run()
    ship(folder, place)
    with pytest.raises(MisuseError, match="another key"):
        fetch(place, tmp_path / "wrong", key="mcp-workbench/audit/x+00000000+AAAA")
    with pytest.raises(MisuseError, match="holds a record"):
        fetch(place, home)
    place.delete(place.names("lineage/")[0])
    with pytest.raises(MisuseError, match="is missing"):
        fetch(place, tmp_path / "partly")


async def test_nothing_is_shipped_while_the_compactor_works(open_log, make_call, home, tmp_path):
    folder = await record(open_log, make_call, home)
    with Compactor(folder).alone():
        assert ship(folder, FolderStore(tmp_path / "place")) is None


def test_places_that_are_none_are_refused(tmp_path, monkeypatch):
    for wrong in ("ftp://x", "http://x"):
        with pytest.raises(MisuseError, match="names no store"):
            open_store(wrong)
    (tmp_path / "file").write_text("")
    with pytest.raises(UnreachableError):
        FolderStore(tmp_path / "file").put("a", b"")
    monkeypatch.setitem(__import__("sys").modules, "obstore.store", None)
    with pytest.raises(MisuseError, match="obstore is missing"):
        open_store("s3://bucket")


def test_a_bucket_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setattr("workbench.audit.lake.segment_store._RETRIES", {"max_retries": 0})
    place = open_store("s3://bucket/prefix")
    for use in (
        lambda: place.put("a", b""),
        lambda: place.get("a"),
        lambda: place.names("a"),
        lambda: place.delete("a"),
    ):
        with pytest.raises(UnreachableError):
            use()


async def test_the_compactors_process_ships_to_the_store_of_the_setting(
    open_log, make_call, home, tmp_path, monkeypatch, capsys
):
    await record(open_log, make_call, home)
    monkeypatch.setenv("WORKBENCH_AUDIT_STORE", str(tmp_path / "place"))

    def once() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("threading.Event.wait", lambda *_: True)
            assert main([str(home), "--every", "60"]) == 0

    once()
    assert "seals" in capsys.readouterr().out
    fetch(open_store(str(tmp_path / "place")), tmp_path / "other")
    assert verify(tmp_path / "other").ok
    monkeypatch.setenv("WORKBENCH_AUDIT_STORE", "ftp://x")
    once()
    assert "Setting audit_store is 'ftp://x'" in capsys.readouterr().err
