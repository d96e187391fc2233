"""`workbench audit` and `workbench export` on a record that nobody writes to at the moment."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from workbench.audit import AuditLog
from workbench.audit.compact import compact
from workbench.audit.format import records
from workbench.audit.format.folder import AuditFolder
from workbench.audit.verification.witness_server import CheckpointStore
from workbench.cli import cli
from workbench.config import Settings
from workbench.events import Call, Caller, MisuseError, Outcome, Tool

Command = Callable[..., Result]


@pytest.fixture
def calls(settings: Settings) -> list[str]:
    """Ids of five recorded, compacted calls."""
    made = asyncio.run(_record(settings))
    compact(settings.home)
    return made


async def _record(settings: Settings) -> list[str]:
    log = await AuditLog.open(settings.replace(audit_min_free_bytes=1, audit_segment_bytes=2000))
    made = []
    for number in range(5):
        call = Call(caller=Caller(tenant="local", subject="ann"), tool="crm.find", arguments={"n": number})
        outcome = Outcome(kind="ok", call=call.id, tool="crm.find", server="crm")
        await log.write(
            "local",
            records.call(
                call,
                Tool(server="crm", name="find"),
                outcome,
                args_redacted=call.arguments,
                response_redacted={"found": number},
            ),
        )
        made.append(call.id)
    await log.close()
    return made


@pytest.fixture
def run(settings: Settings) -> Command:
    def command(*arguments: str, **more: str) -> Result:
        return CliRunner(env=more).invoke(
            cli, ["--home", str(settings.home), *arguments], standalone_mode=False, catch_exceptions=False
        )

    return command


def code(result: Result) -> int:
    return result.return_value if isinstance(result.return_value, int) else result.exit_code


def test_a_call_is_proved_and_the_proof_checked_without_the_record(calls, run, settings, tmp_path):
    proof = tmp_path / "proof.json"
    assert code(run("audit", "prove", calls[2], "-o", str(proof))) == 0
    key = tmp_path / "checkpoint.pub"
    key.write_text(AuditFolder(settings.home).public_key.read_text())
    elsewhere = CliRunner().invoke(
        cli, ["audit", "check", str(proof), "--key", str(key)], standalone_mode=False, catch_exceptions=False
    )
    assert f"Proved: call {calls[2]} of crm.find by ann" in elsewhere.stdout
    assert json.loads(run("audit", "check", str(proof), "--json").stdout)[0]["args_redacted"] == {"n": 2}
    assert calls[1] not in proof.read_text()


def test_a_proof_that_was_altered_proves_nothing(calls, run, tmp_path):
    proof = tmp_path / "proof.json"
    proof.write_text(run("audit", "prove", calls[0]).stdout.replace('\\"found\\":0', '\\"found\\":9'))
    with pytest.raises(MisuseError, match="proves nothing"):
        run("audit", "check", str(proof))
    proof.write_text("{")
    with pytest.raises(MisuseError, match="no proof"):
        run("audit", "check", str(proof))


def test_a_call_that_is_not_there_cannot_be_proved(calls, run):
    with pytest.raises(MisuseError, match="no call"):
        run("audit", "prove", "nothing")


def test_verify_since_leaves_older_seals_to_their_signature(calls, run, settings):
    everything = json.loads(run("audit", "verify", "--json").stdout)
    later = json.loads(run("audit", "verify", "--json", "--since", "2999-01-01").stdout)
    assert everything["ok"]
    assert later["ok"]
    assert later["bytes"] < everything["bytes"]
    with pytest.raises(MisuseError, match="no time"):
        run("audit", "verify", "--since", "yesterday")


def test_verify_names_what_was_altered_and_says_so_in_the_exit_code(calls, run, settings):
    [lineage] = AuditFolder(settings.home).lineages()
    lineage.write_bytes(lineage.read_bytes().replace(b'"n":3', b'"n":4'))
    result = run("audit", "verify", "--deep")
    assert code(result) == 1
    assert "seq 3" in result.stdout


def test_verify_asks_the_witness_of_the_setting(calls, run, tmp_path):
    with pytest.raises(MisuseError, match="is no folder"):
        run("audit", "verify", WORKBENCH_AUDIT_WITNESS=str(tmp_path / "nothing"))


@pytest.mark.slow
def test_a_witness_is_served_until_ctrl_c(calls, settings, tmp_path):
    key = AuditFolder(settings.home).public_key
    with subprocess.Popen(
        [
            *(sys.executable, "-c", "from workbench.cli import main; main()", "audit", "witness"),
            *(str(tmp_path / "store"), "--trust", str(key), "--port", "0"),
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        guard = threading.Timer(20, process.kill)
        guard.start()
        url = process.stderr.readline().split("=")[1].split(" ")[0]
        from workbench.audit import verify

        assert verify(settings.home, witness=url.rstrip(";")).witnessed
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        guard.cancel()
    assert list((tmp_path / "store").glob("*/*.checkpoint"))


def test_a_check_that_is_interrupted_says_so(calls, settings: Settings, run, monkeypatch: pytest.MonkeyPatch):
    from workbench.cli import audit as commands

    monkeypatch.setattr(
        commands.ProgressMeter, "__call__", lambda self, done, total: signal.raise_signal(signal.SIGINT)
    )
    result = run("audit", "verify")
    assert "Cancelled" in result.stdout
    assert code(result) == 130


def test_progress_goes_to_standard_error(
    calls, run, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
):
    from workbench.cli import audit as commands

    monkeypatch.setattr(commands, "_PROGRESS_AFTER_S", 0.0)
    result = run("audit", "verify")
    assert "100 %" in result.stderr
    assert "%" not in result.stdout


def test_calls_are_exported_to_a_file_and_to_standard_output(calls, run, tmp_path):
    result = run("export", "calls", "--format", "jsonl", "-o", str(tmp_path / "calls.jsonl"), "--since", "2020-01-01")
    assert "5 rows" in result.stderr
    assert result.stdout == ""
    assert {json.loads(line)["request_id"] for line in (tmp_path / "calls.jsonl").read_text().splitlines()} == set(
        calls
    )
    assert len(run("export", "--tenant", "nobody").stdout.splitlines()) == 1
    with pytest.raises(MisuseError, match="no table"):
        run("export", "nothing")


def test_retention_needs_rules_and_says_what_it_would_remove(calls, run, settings):
    with pytest.raises(MisuseError, match=r"retention\.toml"):
        run("audit", "retain")
    (settings.home / "retention.toml").write_text("default = 1")
    assert "0 rows would be removed" in run("audit", "retain", "--dry-run").stderr
    assert "0 rows removed" in run("audit", "retain").stderr
    assert json.loads(run("audit", "retain", "--json").stdout) == []


def test_forgetting_asks_first_and_says_what_it_destroyed(settings, run, monkeypatch):
    with pytest.raises(MisuseError, match="Nothing is encrypted"):
        run("audit", "forget", "ann", "--yes")
    asyncio.run(_record(settings.replace(audit_encrypt=True)))
    with pytest.raises(click.Abort):
        run("audit", "forget", "ann")
    assert json.loads(run("sql", "select args from tool_calls limit 1", "--json").stdout)[0]["args"] == '{"n":0}'
    assert run("audit", "forget", "ann", "--yes").stdout == "1 keys destroyed.\n"
    assert "[forgotten]" in run("sql", "select args from tool_calls limit 1").stdout


def test_a_record_is_fetched_from_its_store_and_verified(calls, run, settings, tmp_path):
    from workbench.audit.lake.replication import ship
    from workbench.audit.lake.segment_store import open_store

    ship(AuditFolder(settings.home), open_store(str(tmp_path / "store")))
    result = run("audit", "fetch", str(tmp_path / "store"), str(tmp_path / "other"))
    assert code(result) == 0
    assert "Verified" in result.stdout


def test_find_shows_all_events_of_one_call(calls: list[str], run: Command) -> None:
    found = run("audit", "find", calls[2], "--json")
    assert [row["request_id"] for row in json.loads(found.output)] == [calls[2]]
    assert calls[2] in run("audit", "find", calls[2], COLUMNS="400").output


def test_find_says_when_nothing_has_the_id(calls: list[str], run: Command) -> None:
    with pytest.raises(MisuseError, match="Nothing on the record has the id 'nobody'"):
        run("audit", "find", "nobody")


def test_verify_demands_the_signature_of_a_witness_whose_key_is_given(
    calls: list[str], run: Command, settings: Settings, tmp_path: Path
) -> None:
    folder = AuditFolder(settings.home)
    store = CheckpointStore(tmp_path / "store", [folder.public_key.read_text()])
    assert "no checkpoint with the signature" in run("audit", "verify", "--witness-key", str(store.public_key)).output
    note = folder.checkpoint.read_text()
    folder.cosigned.write_text(note + store.add(b"old 0\n\n" + note.encode()))
    done = run("audit", "verify", WORKBENCH_AUDIT_WITNESS_KEY=str(store.public_key))
    assert (done.exit_code, "The witness signed" in done.output) == (0, True)
