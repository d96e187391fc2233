"""`workbench doctor --security`: each verdict can turn, and no secret is ever printed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from workbench.access import Access
from workbench.cli import cli
from workbench.cli.security import SecurityCheck, examine_security
from workbench.config import Settings, prepare_home
from workbench.events import now_us
from workbench.platform.run_file import RunningPlatform, announce, as_started, process_started, told, withdraw
from workbench.registry.definitions.definition_pins import DefinitionPins
from workbench.registry.server import ServerSpec


def found(settings: Settings, **changes: Any) -> dict[str, SecurityCheck]:
    checks = list(examine_security(settings.replace(**changes)))
    worst = {"ok": 0, "warning": 1, "problem": 2}
    return {c.name: c for c in sorted(checks, key=lambda c: worst[c.verdict])}


def test_a_fresh_workbench_has_no_problem_and_says_that_nobody_witnesses_it(settings: Settings) -> None:
    checks = found(settings)
    assert {name for name, c in checks.items() if c.verdict != "ok"} == {"witness"}
    assert {"authentication", "address", "files", "keys", "policy", "redaction", "record", "proof"} <= checks.keys()
    assert all(c.finding for c in checks.values())
    assert all(c.hint for c in checks.values() if c.verdict != "ok")


@pytest.mark.parametrize(
    ("changes", "name", "verdict"),
    [
        ({"authentication": False}, "authentication", "warning"),
        ({"host": "0.0.0.0"}, "address", "problem"),
        ({"host": "0.0.0.0", "public_url": "https://tools.example"}, "address", "ok"),
        ({"allowed_origins": ("*",)}, "origins", "problem"),
        ({"allowed_hosts": ("*.example",)}, "origins", "problem"),
        ({"oauth_issuers": ("http://login.example",)}, "token issuers", "problem"),
        ({"oauth_algorithms": ("HS256",)}, "token issuers", "problem"),
        ({"oauth_issuers": ("https://login.example",)}, "token issuers", "ok"),
        ({"policy": Path("/nowhere/at/all")}, "policy", "problem"),
        ({"opa_url": "http://127.0.0.1:1"}, "policy", "problem"),
        ({"redis_url": "redis://127.0.0.1:1", "redis_down": "memory"}, "rate limits", "warning"),
        ({"slack_channel": "C1"}, "approvals", "problem"),
        ({"audit_mode": "async"}, "record", "warning"),
        ({"audit_witness": "/mnt/witness"}, "witness", "ok"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_verdict_turns_with_its_setting(
    settings: Settings, changes: dict[str, Any], name: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORKBENCH_SLACK_BOT_TOKEN", raising=False)
    assert found(settings, **changes)[name].verdict == verdict


def test_files_that_others_may_read_are_named_with_the_command_that_mends_it(settings: Settings) -> None:
    Access(settings).close()
    secret = settings.home / "redaction.key"
    secret.write_bytes(b"x" * 32)
    secret.chmod(0o644)
    check = found(settings)["files"]
    assert (check.verdict, "redaction.key (644)" in check.finding) == ("problem", True)
    assert check.hint == f"chmod go-rwx {secret}"
    secret.chmod(0o600)
    settings.home.chmod(0o755)
    assert "state folder (755)" in found(settings)["files"].finding


def test_keys_are_counted_and_those_that_never_end_are_warned_of(settings: Settings) -> None:
    access = Access(settings)
    access.local_key()
    assert found(settings)["keys"].verdict == "ok"
    access.create_key("ann", roles=("viewer",), expires_us=now_us() + 10**12)
    assert found(settings)["keys"].verdict == "ok"
    info, _ = access.create_key("bob", roles=("owner",))
    check = found(settings)["keys"]
    assert (check.verdict, check.finding[:8]) == ("warning", "3 usable")
    access.revoke(info.id)
    assert found(settings)["keys"].verdict == "ok"
    access.close()


def test_foreign_servers_are_listed_without_their_secrets(settings: Settings, tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    servers = {"notes": {"command": "notes-server", "env": {"NOTES_TOKEN": "hunter2"}}}
    config.write_text(json.dumps({"mcpServers": servers}))
    pins = DefinitionPins(prepare_home(settings.home))
    pins.register(ServerSpec(id="far", kind="url", url="http://far.example/mcp", headers={"X-Key": "hunter2"}))
    pins.close()
    checks = [c for c in examine_security(settings.replace(mcp_config=config)) if c.name == "foreign server"]
    assert [c.verdict for c in checks] == ["ok", "warning"]
    assert "runs a command of this user" in checks[0].finding
    assert "https" in checks[1].hint
    assert "hunter2" not in str(checks)


def test_what_is_looked_at_is_what_the_running_platform_was_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mcp.json").write_text(json.dumps({"mcpServers": {"notes": {"command": "notes-server"}}}))
    began = Settings.load(
        env={"WORKBENCH_REDIS_URL": "redis://:hunter2@cache/0"}, home=settings.home, host="0.0.0.0",
        mcp_config=Path("mcp.json"), tool_timeouts="crm.search=5", servers=("crm",),
    )  # fmt: skip
    started = process_started(os.getpid())
    assert started is not None
    announce(
        prepare_home(settings.home),
        RunningPlatform(url="http://127.0.0.1:1", pid=os.getpid(), started=started, settings=told(began)),
    )
    assert "hunter2" not in (settings.home / "run.json").read_text()
    monkeypatch.chdir("/")
    seen = as_started(Settings.load(env={}, home=settings.home))
    assert (seen.host, seen.mcp_config, seen.servers) == ("0.0.0.0", tmp_path / "mcp.json", ("crm",))
    assert (seen.tool_timeouts, seen.source_of("host")) == ({"crm.search": 5.0}, "the running platform")
    checks = {check.name: check for check in examine_security(seen)}
    assert checks["address"].verdict == "problem"
    assert checks["foreign server"].finding.startswith("notes ")
    withdraw(settings.home)
    assert as_started(settings) == settings


def test_a_broken_record_and_a_foreign_folder_are_problems_not_tracebacks(settings: Settings) -> None:
    (settings.home / "FORMAT").write_text("something else\n")
    checks = found(settings)
    assert {"problem"} == {checks[name].verdict for name in ("keys", "policy")}


def test_no_secret_is_printed_and_a_problem_is_exit_code_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-hunter2")
    monkeypatch.setenv("WORKBENCH_REDIS_URL", "redis://user:hunter2@127.0.0.1:1/0")
    monkeypatch.setenv("WORKBENCH_AUDIT_WITNESS", "https://user:hunter2@witness.example")
    for words in (["--security"], ["--security", "--json"], [], ["--json"]):
        result = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "doctor", *words])
        assert result.exit_code == 1, result.output
        assert "hunter2" not in result.output
    result = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "doctor", "--security", "--json"])
    checks = {c["name"]: c for c in json.loads(result.output)["checks"]}
    assert "Redis does not count" in checks["policy"]["finding"]
    assert "OPENAI_API_KEY" in checks["secrets"]["finding"]


def test_a_password_in_a_settings_file_is_warned_of(tmp_path: Path) -> None:
    (tmp_path / "workbench.toml").write_text('redis_url = "redis://:hunter2@127.0.0.1:1"\n')
    settings = Settings.load(env={}, cwd=tmp_path, home=tmp_path / "home")
    check = found(settings)["secrets"]
    assert (check.verdict, "hunter2" in str(check)) == ("warning", False)
    assert "WORKBENCH_REDIS_URL" in check.hint
