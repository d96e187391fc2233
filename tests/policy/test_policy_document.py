"""What `docs/policy.md` shows of rules works as it is shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from tests.guides import patched
from workbench.cli import cli
from workbench.config import Settings
from workbench.events import Call, Caller, Tool
from workbench.policy import Policy

DOCUMENT = (Path(__file__).parents[2] / "docs" / "policy.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.partition("### Denying one tool to one person\n")[2].partition("\n### ")[0]
change = msgspec.structs.replace


def block(language: str) -> str:
    [found] = re.findall(rf"```{language}\n(.*?)```", SECTION, re.S)
    return str(found)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The exported rules with the changes that the document shows."""
    made = tmp_path / "my-policy"
    monkeypatch.delenv("WORKBENCH_POLICY", raising=False)
    exported = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "policy", "export", str(made)])
    assert exported.exit_code == 0, exported.output
    rules = made / "tool_scopes.rego"
    rules.write_text(patched(rules.read_text("utf-8"), block("diff")), "utf-8")
    (made / "ours.cases.json").write_text(block("json"), "utf-8")
    monkeypatch.setenv("WORKBENCH_POLICY", str(made))
    return made


def test_the_case_that_is_shown_passes(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), "policy", "test", "--json"])
    assert result.exit_code == 0, result.output
    found = {each["name"]: each["passed"] for each in json.loads(result.stdout)["results"]}
    assert found["ann may not greet"] is True
    assert all(found.values())


def test_the_rule_that_is_shown_denies_that_tool_to_that_person_alone(
    folder: Path, settings: Settings, employee: Caller, find: Tool
) -> None:
    policy = Policy(settings.replace(policy=folder))
    greet = change(find, server="tiny", name="greet")
    ann = change(employee, tenant="local", subject="ann", scopes=frozenset({"*"}))
    try:
        for caller, tool, rule in (
            (ann, greet, "tool_scopes.denied"),
            (ann, find, "tool_scopes.allow"),
            (change(ann, subject="bob"), greet, "tool_scopes.allow"),
            (change(ann, tenant="other"), greet, "tool_scopes.allow"),
        ):
            decision = policy.decide(Call(caller=caller, tool=tool.qualified, arguments={}), tool)
            assert (decision.rule, decision.allow) == (rule, rule.endswith("allow")), decision.reason
    finally:
        policy.close()
