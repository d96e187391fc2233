"""What a person asked and got is readable with their key, and gone with it; the record verifies before and after."""

from __future__ import annotations

import io
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from workbench.audit import verify
from workbench.audit.compact import compact
from workbench.audit.format import records
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.erasure import forget
from workbench.audit.query.export import export
from workbench.audit.write.subject_keys import FILE, FORGOTTEN, MARK, SubjectKeys
from workbench.events import Caller, MisuseError, NotRecordedError, RunDone, RunStarted, Usage

SECRET = "my blood pressure is 180"


@pytest.fixture
async def recorded(open_log, make_call, home: Path) -> AuditFolder:
    """Ann's and Bob's secrets, in the lake and in the log, in calls, runs and approvals."""
    ann = Caller(tenant="acme", subject="ann")
    for round in range(2):
        async with open_log(audit_encrypt=True) as log:
            for user in ("ann", "bob"):
                call = make_call(
                    user=user, kind="tool_error", arguments={"q": f"{SECRET} {user}"}, result={"a": SECRET}
                )
                await log.write("acme", {**call, "error_message": f"not found: {SECRET}"})
            started = RunStarted(run="r", question=SECRET, provider="p", model="m", is_llm=False, why="")
            usage = Usage()
            done = RunDone(run="r", status="answered", answer=SECRET, turns=1, calls=1, usage=usage, elapsed_us=1)
            await log.write("acme", records.run(started, done, ann, source="cli"))
            approval = {
                "id": "a",
                "tool": "crm.drop",
                "subject": "ann",
                "arguments": {"q": SECRET},
                "args_hash": "h" * 64,
            }
            await log.write("acme", records.approval(approval, "requested", tenant="acme"))
            await log.write("acme", records.health_check("crm", True, 1, "", tenant="acme"))
        if round == 0:
            compact(home)
    return AuditFolder(home)


async def test_no_file_of_the_record_holds_the_secret(recorded, home):
    for path in (*recorded.root.rglob("*.jsonl"), *recorded.root.rglob("*.parquet"), home / "audit.duckdb"):
        assert SECRET.encode() not in path.read_bytes(), path
    with duckdb.connect() as plain:
        parts = plain.sql(f"from '{recorded.lake}/*/*.parquet' select args").fetchall()
    assert any(MARK in str(row) for row in parts)
    assert (home / FILE).stat().st_mode & 0o077 == 0


async def test_sql_shows_it_in_clear_to_who_has_the_keys(recorded, open_reader):
    reader = open_reader()
    rows = reader.sql(
        "select user_id, args ->> '$.q' as q, result ->> '$.a' as a, error_message from tool_calls order by ts"
    ).to_pylist()
    assert [row["q"] for row in rows] == [f"{SECRET} ann", f"{SECRET} bob"] * 2
    assert {row["a"] for row in rows} == {SECRET}
    assert {row["error_message"] for row in rows} == {f"not found: {SECRET}"}
    assert set(reader.sql("select question from runs").column(0).to_pylist()) == {SECRET}
    assert set(reader.sql("select answer from runs").column(0).to_pylist()) == {SECRET}
    assert SECRET in str(reader.sql("select details from approvals").to_pylist())
    assert reader.sql("select count(*) as n from health_checks").to_pylist() == [{"n": 2}]
    assert reader.sql("select 1 from tool_calls where args like '%180 bob%'").num_rows == 2


async def test_hashes_of_arguments_cannot_be_guessed_but_still_join(recorded, open_reader, make_call):
    known = make_call(arguments={"q": f"{SECRET} ann"})["args_sha256"]
    rows = open_reader().sql("select distinct user_id, args_sha256 from tool_calls").to_pylist()
    assert len(rows) == 2
    assert known not in {row["args_sha256"] for row in rows}
    assert b"h" * 64 not in b"".join(path.read_bytes() for path in recorded.root.rglob("*.jsonl"))


async def test_traces_and_exports_are_in_clear_as_well(recorded, home, open_reader):
    reader = open_reader()
    trace = reader.sql("select trace_id from tool_calls limit 1").column(0)[0].as_py()
    assert SECRET in str(reader.trace(trace).to_pylist())
    output = io.BytesIO()
    export(home, output, format="jsonl")
    assert output.getvalue().count(SECRET.encode()) >= 8


async def test_a_forgotten_person_is_unreadable_and_everybody_else_is_not(recorded, home, settings, open_reader):
    assert verify(home, deep=True).ok
    reader = open_reader()
    assert reader.sql("select 1 from tool_calls where args like '%180 ann%'").num_rows == 2
    assert await forget(settings.replace(audit_min_free_bytes=1), "acme", "ann") == 1
    for found in (reader, open_reader()):
        rows = found.sql("select user_id, args, result, error_message from tool_calls order by ts").to_pylist()
        assert {(row["args"], row["error_message"]) for row in rows if row["user_id"] == "ann"} == {
            (f'"{FORGOTTEN}"', FORGOTTEN)
        }
        assert SECRET in str([row for row in rows if row["user_id"] == "bob"])
        assert found.sql("select distinct question from runs").to_pylist() == [{"question": FORGOTTEN}]
    assert verify(home, deep=True).ok
    [row] = reader.sql("select action, details from administration").to_pylist()
    assert (row["action"], orjson.loads(row["details"])) == ("forget", {"subject": "ann"})


async def test_no_byte_of_a_destroyed_key_stays_in_the_file(recorded, home, settings):
    with sqlite3.connect(home / FILE) as db:
        key = db.execute("select key from keys where subject = 'ann'").fetchone()[0]
    db.close()
    assert key in (home / FILE).read_bytes()
    await forget(settings.replace(audit_min_free_bytes=1), "acme", "ann")
    assert key not in (home / FILE).read_bytes()


async def test_who_comes_back_gets_a_new_key_and_a_running_log_notices(
    open_log, make_call, home, settings, open_reader
):
    async with open_log(audit_encrypt=True) as log:
        await log.write("acme", make_call(arguments={"q": "before"}))
        await forget(settings.replace(audit_min_free_bytes=1), "acme", "ann")
        await log.write("acme", make_call(arguments={"q": "after"}))
        rows = open_reader().sql("select args from tool_calls order by ts").to_pylist()
    assert [row["args"] for row in rows] == [f'"{FORGOTTEN}"', '{"q":"after"}']


async def test_another_tenants_keys_and_values_copied_from_elsewhere_stay_closed(
    open_log, make_call, home, open_reader
):
    async with open_log(audit_encrypt=True) as log:
        await log.write("acme", make_call(arguments={"q": SECRET}))
    stolen = orjson.loads(AuditFolder(home).lineages()[0].read_bytes())["args_redacted"]
    async with open_log() as log:
        await log.write("evil", make_call(tenant="evil", user="eve", arguments={"q": stolen}))
    for tenant in ("evil", None):
        rows = open_reader(tenant=tenant).sql("select args from tool_calls where user_id = 'eve'").to_pylist()
        assert rows == [{"args": orjson.dumps({"q": stolen}).decode()}]
    with pytest.raises(MisuseError, match="__reveal"):
        open_reader(tenant="evil").sql("select __reveal('x', 'y')")


async def test_it_is_off_unless_set(open_log, make_call, home):
    async with open_log() as log:
        await log.write("acme", make_call(arguments={"q": SECRET}))
    assert not (home / FILE).exists()
    assert SECRET.encode() in AuditFolder(home).lineages()[0].read_bytes()


async def test_only_a_person_with_a_key_can_be_forgotten(recorded, settings, tmp_path):
    changed = settings.replace(audit_min_free_bytes=1)
    with pytest.raises(MisuseError, match="no key of 'nobody'"):
        await forget(changed, "acme", "nobody")
    await forget(changed, "acme", "ann")
    with pytest.raises(MisuseError, match="no key"):
        await forget(changed, "acme", "ann")
    (tmp_path / "other").mkdir()
    with pytest.raises(MisuseError, match="Nothing is encrypted"):
        await forget(changed.replace(home=tmp_path / "other"), "acme", "ann")


async def test_without_keys_nothing_is_recorded(open_log, make_call, home, monkeypatch: pytest.MonkeyPatch):
    async with open_log(audit_encrypt=True) as log:

        def broken(*_: Any) -> Any:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(SubjectKeys, "protect", broken)
        with pytest.raises(NotRecordedError, match="disk I/O error"):
            log.put("acme", make_call())


async def test_a_value_too_large_to_keep_is_encrypted_with_its_beginning(open_log, home, open_reader):
    async with open_log(audit_encrypt=True) as log:
        approval = {"id": "a", "subject": "ann", "arguments": SECRET + "x" * (1 << 21)}
        await log.write("acme", records.approval(approval, "requested", tenant="acme"))
    assert SECRET.encode() not in AuditFolder(home).lineages()[0].read_bytes()
    assert SECRET in str(open_reader().sql("select details from approvals").to_pylist())


def test_text_that_only_looks_encrypted_is_shown_as_it_is(home, settings):
    keys = SubjectKeys(home)
    for text in (f"{MARK}x", f'{{"a":"{MARK}k:AAAA"}}', f"say {MARK}", None, "plain", f'["{MARK}", 1, null]'):
        found = keys.reveal("e", text)
        assert found == text or orjson.loads(found or "") == orjson.loads(text or "")
    assert keys.protect("acme", {"user": "ann", "args_redacted": {1, 2}})["args_redacted"].startswith(MARK)
    assert keys.protect("acme", {"user": None, "args_redacted": 1}) == {"user": None, "args_redacted": 1}
    keys.close()
