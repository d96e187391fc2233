"""`workbench policy`, as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import workbench
from workbench.cli import cli


def run(home: Path, *words: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["--home", str(home), *words])
    return result.exit_code, result.output


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", "/nowhere")  # with opa on PATH, its tests run too
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def test_the_cases_of_the_policy_run_and_what_did_not_run_is_said(home: Path) -> None:
    code, output = run(home, "policy", "test")
    assert code == 0
    assert "ok   tool_scopes.cases.json: a held scope allows" in output
    assert "Not run" in output
    code, output = run(home, "policy", "test", "--json")
    found = json.loads(output)
    assert code == 0
    assert found["passed"] == len(found["results"]) > 5
    assert found["not_run"] == ["tool_scopes_test.rego"]


def test_a_failing_case_is_exit_code_1(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rules = tmp_path / "rules"
    rules.mkdir()
    case = {"name": "no", "rule": "tenant_quota", "input": {"tenant": "a", "tool": "b", "used": 0}}
    (rules / "x.cases.json").write_text(json.dumps([{**case, "expect": {"allow": False}}]))
    monkeypatch.setenv("WORKBENCH_POLICY", str(rules))
    code, output = run(home, "policy", "test")
    assert code == 1
    assert "FAIL x.cases.json: no - allow is true, expected false" in output


def test_the_rules_are_written_out_for_an_opa_and_nothing_is_overwritten(home: Path, tmp_path: Path) -> None:
    code, _ = run(home, "policy", "export", str(tmp_path / "out"))
    assert code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "approvers.rego",
        "budgets.rego",
        "data.json",
        "tenant_quota.rego",
        "tool_scopes.rego",
    ]
    result = CliRunner().invoke(cli, ["--home", str(home), "policy", "export", str(tmp_path / "out")])
    assert result.exit_code != 0


def test_a_recorded_call_is_explained_rule_by_rule(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKBENCH_SERVERS", "crm")
    with workbench.open(home=home, servers=("crm",), attach=False) as wb:
        made = wb.call("crm.search_customers", query="a")
        id = made.outcome.call if hasattr(made, "outcome") else made.call
    code, output = run(home, "policy", "explain", id, "--json")
    assert code == 0, output
    found = json.loads(output[output.index("{") :])
    assert found["recorded"]["rule"] == found["now"]["rule"] == "tool_scopes.allow"
    assert {"rule": "tool_scopes.missing_scopes", "holds": True, "finding": "crm:read is held as *"} in found["steps"]
    code, output = run(home, "policy", "explain", id)
    assert code == 0
    assert "Asked again now: allow by tool_scopes.allow" in output
    result = CliRunner().invoke(cli, ["--home", str(home), "policy", "explain", "nobody"])
    assert result.exit_code != 0
    assert "No recorded call" in str(result.exception)


@pytest.mark.slow
def test_a_running_platform_is_explained_and_examined_too(tmp_path: Path) -> None:
    from tests.platforms import up

    home = tmp_path / "home"
    with up(home, env={"WORKBENCH_SERVERS": "crm"}):
        code, output = run(home, "call", "crm.search_customers", "query=a", "limit:=1", "--json")
        assert code == 0, output
        id = json.loads(output)["call"]
        code, output = run(home, "policy", "explain", id)
        assert code == 0, output
        assert "yes tool_scopes.missing_scopes: crm:read is held as *" in output
        code, output = run(home, "doctor", "--security")
        assert code == 0, output
        assert "definitions as first seen, none quarantined" in output
