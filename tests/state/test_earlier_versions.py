"""A state folder of an earlier version opens without a word, and its record goes on.

The archives in `states/` were written by the versions they are named after, by a platform that was killed: calls, a
question, keys, a pending approval, an accepted foreign server, sealed and compacted records, and some that were not
sealed yet. Private keys are not among the files; the one that signs checkpoints was made from a sentence.
"""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

import pytest

from tests.sample_company import sample_workbench
from workbench.audit import verify
from workbench.config import Settings
from workbench.control import open_store
from workbench.state.backup import back_up, restore

STATES = sorted((Path(__file__).parent / "states").glob("*.tar.gz"))


@pytest.fixture(params=STATES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A state folder as that version left it."""
    version = request.param.name.removesuffix(".tar.gz")
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    key = tmp_path / "home" / "audit" / "checkpoint.key"
    key.touch(0o600)
    key.write_bytes(hashlib.sha256(f"checkpoint key of the {version} test state".encode()).digest())
    return tmp_path / "home"


def test_there_is_a_state_of_the_first_version() -> None:
    assert STATES[0].name == "0.1.0.tar.gz"


def test_the_record_verifies_before_and_after_it_goes_on(home: Path) -> None:
    before = verify(home, deep=True)
    assert before.ok, before
    with sample_workbench(home, "crm") as wb:
        rows = wb.sql("select tool, outcome from tool_calls order by ts").to_dict("records")
        assert [(row["tool"], row["outcome"]) for row in rows][:4] == [
            ("search_customers", "ok"),
            ("echo", "ok"),
            ("search_customers", "invalid"),
            ("close_ticket", "approval_required"),
        ]
        assert len(wb.sql("select * from runs")) == 1
        assert wb.call("crm.search_customers", query="smith").ok
        assert len(wb.sql("select * from tool_calls")) == len(rows) + 1
    after = verify(home, deep=True)
    assert after.ok, after
    assert after.signed > before.signed


def test_keys_approvals_and_accepted_servers_are_still_there(home: Path, tmp_path: Path) -> None:
    settings = Settings.load(env={}, cwd=tmp_path, home=home)
    with sample_workbench(home, "tickets") as wb:
        assert wb.approvals() == [], "it has expired since"
    store = open_store(settings)
    try:
        assert ("ann",) in store.rows("select subject from api_keys where revoked_us is null")
        assert ("tickets.close_ticket", "expired") in store.rows("select tool, status from approvals")
        assert store.rows("select * from registry_pins where server = 'echo'")
    finally:
        store.close()


def test_a_backup_of_it_can_be_restored(home: Path, tmp_path: Path) -> None:
    back_up(home, tmp_path / "state.tar.gz", version="test")
    found = restore(tmp_path / "state.tar.gz", tmp_path / "restored", deep=True)
    assert found.record.startswith("Verified")
