"""A state folder is backed up while it is in use, and restored only when everything in the backup verifies."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import sqlite3
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workbench
from tests.sample_company import sample_workbench
from workbench.audit import verify
from workbench.config import Settings
from workbench.events import MisuseError, UnreachableError
from workbench.state import snapshot as snapshots
from workbench.state.backup import MANIFEST, BackupError, back_up, restore, try_restore

VERSION = "0.1.0"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder with calls, keys and a setting of its own."""
    home = tmp_path_factory.mktemp("used") / "home"
    with sample_workbench(home, "crm") as wb:
        for number in range(5):
            wb.call("crm.search_customers", query=f"customer {number}")
    (home / "config.toml").write_text("max_turns = 7\n")
    (home / "policy").mkdir()
    (home / "policy" / "note.txt").write_text("ours")
    (home / "run.json").write_text("{}")
    (home / "token").touch(0o600)
    (home / "token").write_text("mk_made_up")
    (home / "audit" / "compactor.lock").touch(0o600)  # of a platform that compacted
    return home


@pytest.fixture(scope="module")
def archive(used: Path) -> Path:
    target = used.parent / "state.tar.gz"
    back_up(used, target, version=VERSION)
    return target


def calls(home: Path) -> int:
    with workbench.open(home=home, servers=(), attach=False) as wb:
        return len(wb.sql("select ts from tool_calls where outcome = 'ok'"))


def test_a_restored_folder_is_the_one_that_was_backed_up(archive: Path, used: Path, tmp_path: Path) -> None:
    home = tmp_path / "restored"
    found = restore(archive, home, deep=True)
    assert found.databases == 1
    assert found.record.startswith("Verified")
    assert (home / "token").read_text() == (used / "token").read_text()
    assert Settings.load(env={}, cwd=tmp_path, home=home).max_turns == 7
    assert (home / "policy" / "note.txt").read_text() == "ours"
    assert verify(home, deep=True).ok
    assert calls(home) == 5
    assert verify(home, deep=True).ok, "the record goes on where it stood"


def test_what_belongs_to_a_running_platform_is_not_in_the_backup(archive: Path) -> None:
    with tarfile.open(archive) as opened:
        names = opened.getnames()
    assert names[0] == MANIFEST
    assert not {"run.json", "audit.duckdb"} & set(names)
    assert not [name for name in names if name.endswith(("-wal", "-shm"))]


def test_archive_and_restored_secrets_are_readable_by_their_owner_alone(archive: Path, tmp_path: Path) -> None:
    assert archive.stat().st_mode & 0o777 == 0o600
    restore(archive, tmp_path / "restored")
    for name in ("token", "control.db", "redaction.key", "audit/checkpoint.key"):
        assert (tmp_path / "restored" / name).stat().st_mode & 0o077 == 0, name


def test_a_backup_while_calls_are_recorded_verifies(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with sample_workbench(home, "crm") as wb:
        ended = threading.Event()

        def busy() -> None:
            while not ended.is_set():
                wb.call("crm.search_customers", query="smith")

        thread = threading.Thread(target=busy)
        thread.start()
        try:
            for number in range(4):
                back_up(home, tmp_path / f"{number}.tar.gz", version=VERSION)
        finally:
            ended.set()
            thread.join()
    counts = []
    for number in range(4):
        restored = tmp_path / f"restored-{number}"
        restore(tmp_path / f"{number}.tar.gz", restored, deep=True)
        counts.append(calls(restored))
        assert verify(restored, deep=True).ok
    assert counts == sorted(counts)
    assert not list(home.glob(f"{snapshots.PREFIX}*"))


def test_an_uncommitted_change_to_a_database_is_not_in_the_backup(used: Path, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(used / "control.db", isolation_level=None)) as db:
        db.execute("create table if not exists probe (n integer)")
        db.execute("delete from probe")
        db.execute("insert into probe values (1)")
        db.execute("begin immediate")
        db.execute("insert into probe values (2)")
        back_up(used, tmp_path / "state.tar.gz", version=VERSION)
        db.execute("rollback")
        db.execute("drop table probe")
    restore(tmp_path / "state.tar.gz", tmp_path / "restored")
    with contextlib.closing(sqlite3.connect(tmp_path / "restored" / "control.db")) as db:
        assert db.execute("select n from probe").fetchall() == [(1,)]


def test_a_compaction_that_does_not_end_is_not_waited_for_for_ever(
    used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "LOCK_TIMEOUT_S", 0.1)
    with (used / "audit" / "compactor.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UnreachableError, match="being compacted"):
            back_up(used, tmp_path / "state.tar.gz", version=VERSION)
    assert not list(tmp_path.iterdir())
    assert not list(used.glob(f"{snapshots.PREFIX}*"))


def test_without_hard_links_the_files_are_copied(used: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def refused(source: Any, target: Any, **given: Any) -> None:
        if used in Path(source).parents:
            raise OSError(1, "Operation not permitted")
        link(source, target, **given)

    monkeypatch.setattr(os, "link", refused)
    back_up(used, tmp_path / "state.tar.gz", version=VERSION)
    assert try_restore(tmp_path / "state.tar.gz").record.startswith("Verified")


def test_a_backup_never_replaces_a_file(used: Path, archive: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(MisuseError, match="exists"):
        back_up(used, archive, version=VERSION)
    assert archive.read_bytes() == before


def test_a_folder_that_is_no_state_folder_is_not_backed_up(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="not a state folder"):
        back_up(tmp_path, tmp_path / "state.tar.gz", version=VERSION)


def test_a_restore_never_writes_into_a_folder_in_use(archive: Path, used: Path, tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="is not empty"):
        restore(archive, used)
    (tmp_path / "empty").mkdir()
    restore(archive, tmp_path / "empty")
    assert (tmp_path / "empty" / "FORMAT").exists()


# --- damaged and foreign archives

Change = Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]


def rewritten(source: Path, target: Path, change: Change) -> Path:
    """A copy of an archive after `change` to its members."""
    with tarfile.open(source) as opened:
        members = [(member, opened.extractfile(member).read()) for member in opened]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(target, "w:gz") as out:
        for member, content in members:
            member.size = len(content) if member.isreg() else 0
            out.addfile(member, io.BytesIO(content))
    return target


def a_changed_byte(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    at = next(n for n, (member, _) in enumerate(members) if member.name == "audit/seals.jsonl")
    members[at] = (members[at][0], members[at][1][:-2] + b"x\n")


def a_missing_file(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.pop()


def an_additional_file(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.append((tarfile.TarInfo("policy/evil.rego"), b"allow := true"))


def a_file_outside(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    manifest = json.loads(members[0][1])
    manifest["files"]["../escaped"] = {"bytes": 1, "sha256": "ab", "mode": 0o644}
    members[0] = (members[0][0], json.dumps(manifest).encode())
    members.append((tarfile.TarInfo("../escaped"), b"x"))


def a_link(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    at = next(n for n, (member, _) in enumerate(members) if member.name == "token")
    link = tarfile.TarInfo("token")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[at] = (link, b"")


def a_forged_record(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """The manifest fits the changed seals: only the verification of the record can see it."""
    import hashlib

    a_changed_byte(members)
    content = next(content for member, content in members if member.name == "audit/seals.jsonl")
    manifest = json.loads(members[0][1])
    manifest["files"]["audit/seals.jsonl"] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    members[0] = (members[0][0], json.dumps(manifest).encode())


def a_manifest_that_is_none(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[0] = (members[0][0], b"[]")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (a_changed_byte, "is damaged: its SHA-256 differs"),
        (a_missing_file, "of the manifest are missing"),
        (an_additional_file, "which its manifest does not name"),
        (a_file_outside, "which its manifest does not name"),
        (a_link, "which its manifest does not name"),
        (a_forged_record, "does not verify"),
        (a_manifest_that_is_none, "cannot be read"),
    ],
)
def test_an_archive_that_was_changed_is_refused_and_nothing_is_put_into_place(
    archive: Path, tmp_path: Path, change: Change, says: str
) -> None:
    changed = rewritten(archive, tmp_path / "changed.tar.gz", change)
    with pytest.raises(BackupError, match=says):
        restore(changed, tmp_path / "sub" / "restored")
    assert not list((tmp_path / "sub").iterdir())
    assert not (tmp_path / "escaped").exists()


def test_a_torn_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(BackupError):
        restore(torn, tmp_path / "restored")
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(BackupError, match="is damaged"):
        try_restore(tmp_path / "text")


def test_an_archive_of_something_else_and_of_another_version_is_refused(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar.gz", "w:gz") as other:
        other.addfile(tarfile.TarInfo("README"))
    with pytest.raises(MisuseError, match="not a backup"):
        try_restore(tmp_path / "other.tar.gz")

    def of_the_future(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        manifest = json.loads(members[0][1]) | {"state_format": "mcp-workbench state, format 99", "version": "9.0"}
        members[0] = (members[0][0], json.dumps(manifest).encode())

    with pytest.raises(MisuseError, match="format 99") as refused:
        try_restore(rewritten(archive, tmp_path / "future.tar.gz", of_the_future))
    assert "version 9.0" in refused.value.hint


# --- the command line


@pytest.fixture
def run() -> Callable[..., Any]:
    from click.testing import CliRunner

    from workbench.cli import cli

    def invoke(*arguments: str) -> Any:
        return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)

    return invoke


def test_the_commands_say_what_they_did(run: Callable[..., Any], used: Path, tmp_path: Path) -> None:
    made = run("--home", str(used), "backup", str(tmp_path / "b.tar.gz"))
    assert made.exit_code == 0
    assert "Restored for a trial: 1 databases are whole. Verified" in made.output
    tried = run("--home", str(tmp_path / "new"), "restore", "--check", "--deep", str(tmp_path / "b.tar.gz"))
    assert "The archive can be restored" in tried.output
    assert not (tmp_path / "new").exists()
    put = run("--home", str(tmp_path / "new"), "restore", "--json", str(tmp_path / "b.tar.gz"))
    assert json.loads(put.output)["home"] == str(tmp_path / "new")
    assert (tmp_path / "new" / "FORMAT").exists()
