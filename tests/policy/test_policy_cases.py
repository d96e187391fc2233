"""Tests of a policy, and the explanation of a recorded decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from workbench.config import Settings
from workbench.events import JSON, Call, Caller, MisuseError, Tool
from workbench.policy import Policy
from workbench.policy.rego import engine_answer, rego_engine
from workbench.policy.rego.explain import explain
from workbench.policy.rego.policy_tests import run_cases, run_rego_tests

change = msgspec.structs.replace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "rules"
    made.mkdir()
    return made


def run(folder: Path | None) -> dict[str, tuple[bool, str]]:
    files = rego_engine.PolicyFiles(folder)
    rego = rego_engine.RegoPolicy(files.read(), files.where)
    return {r.name: (r.passed, r.message) for r in run_cases(files, rego.ask)}


def test_the_shipped_cases_pass() -> None:
    results = run(None)
    assert len(results) >= 8
    assert all(passed for passed, _ in results.values()), results


QUOTA: JSON = {"rule": "tenant_quota", "input": {"tenant": "acme", "tool": "a.b", "used": 5}}


def test_cases_of_the_folder_are_held_against_its_rules_and_say_what_came_out(folder: Path) -> None:
    quotas = {"workbench": {"quotas": {"tenants": {"acme": {"a.b": 5}}}}}
    (folder / "ours.json").write_text(json.dumps(quotas))
    cases = [
        {"name": "full", **QUOTA, "expect": {"allow": False, "rule": "quota_used_up", "per_minute": 5}},
        {"name": "wrong", **QUOTA, "expect": {"allow": True, "nothing": 1}},
        {"name": "types count", **QUOTA, "expect": {"allow": 0}},
        {"name": "no input", "rule": "tenant_quota", "input": {"tenant": "a\0", "tool": "a"}, "expect": {"allow": 1}},
    ]
    (folder / "ours.cases.json").write_text(json.dumps(cases))
    results = run(folder)
    assert results["full"] == (True, "")
    assert results["wrong"] == (False, "allow is false, expected true; nothing is null, expected 1")
    assert results["types count"] == (False, "allow is false, expected 0")
    assert results["no input"][0] is False
    assert "no answer" in results["no input"][1]


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        "[1]",
        '[{"name": "x"}]',
        json.dumps([{"name": "x", **QUOTA, "rule": "other", "expect": {"allow": True}}]),
        json.dumps([{"name": "x", **QUOTA, "expect": {}}]),
    ],
)
def test_a_case_that_tests_nothing_is_refused(folder: Path, content: str) -> None:
    (folder / "x.cases.json").write_text(content)
    with pytest.raises(MisuseError, match=r"x\.cases\.json"):
        run(folder)


def test_tests_are_never_loaded_to_decide(folder: Path, settings: Settings) -> None:
    (folder / "x.cases.json").write_text("[]")
    (folder / "x_test.rego").write_text("this is no Rego")
    with_tests = Policy(settings.replace(policy=folder))
    without = Policy(settings)
    assert with_tests.revision == without.revision
    with_tests.close()
    without.close()


def test_a_rule_with_with_is_refused_because_the_engine_may_end_its_process(folder: Path, settings: Settings) -> None:
    source = 'package ours\nx := 1\np if { x == 1 with input as {"a": 1} }\n'
    (folder / "ours.rego").write_text(source)
    with pytest.raises(MisuseError, match=r"ours\.rego:3: `with` may only stand in tests"):
        Policy(settings.replace(policy=folder))


# --- explaining ------------------------------------------------------------------------------------


def row(caller: Caller, tool: Tool, **more: Any) -> JSON:
    base = {
        "request_id": "c1", "tenant": caller.tenant, "user_id": caller.subject, "server": tool.server,
        "tool": tool.name, "qualified": tool.qualified, "args": '{"a": 1}', "credential": caller.credential,
        "definition_hash": tool.definition_hash, "policy_decision": "allow", "policy_rule": "tool_scopes.allow",
        "policy_reason": None, "policy_revision": "", "policy_engine": "embedded-rego",
    }  # fmt: skip
    return {**base, **more}


def test_a_denial_is_explained_scope_by_scope(policy: Policy, employee: Caller, find: Tool) -> None:
    tool = change(find, scopes=("crm:read", "crm:write"))
    found = explain(policy, row(employee, tool, policy_revision=policy.revision), employee, tool, used=0)
    assert found.now.rule == "tool_scopes.missing_scopes"
    told = {(s.rule, s.holds): s.finding for s in found.steps}
    assert told["tool_scopes.missing_scopes", True] == "crm:read is held as crm:read"
    assert told["tool_scopes.missing_scopes", False] == "crm:write is not held"
    assert len(found.caveats) == 1


def test_a_rule_of_ones_own_that_denies_is_among_the_steps(
    folder: Path, settings: Settings, employee: Caller, find: Tool
) -> None:
    shipped = (Path(rego_engine.__file__).parent / "tool_scopes.rego").read_text("utf-8")
    own = shipped.replace(
        "default allow := false", 'bob_may_not_find if input.tool.qualified != ""\n\ndefault allow := false'
    )
    own = own.replace("\tnot quarantined\n}", "\tnot quarantined\n\tnot bob_may_not_find\n}", 1)
    (folder / "tool_scopes.rego").write_text(own.replace('} else := "missing_scopes"', '} else := "bob_may_not_find"'))
    policy = Policy(settings.replace(policy=folder))
    told = {"policy_decision": "deny", "policy_rule": "tool_scopes.bob_may_not_find", "policy_reason": "Not Bob."}
    found = explain(policy, row(employee, find, **told), employee, find, used=0)
    assert found.now.allow is False
    denying = [step for step in found.steps if step.holds is False]
    assert [step.rule for step in denying] == ["tool_scopes.bob_may_not_find"] * 2
    assert denying[0].finding == "denied the call when it was made: Not Bob."
    assert "a condition that was added" in denying[1].finding
    policy.close()


def test_what_is_not_on_the_record_is_said(policy: Policy, employee: Caller, find: Tool) -> None:
    found = explain(policy, row(employee, find, policy_revision="old", policy_engine="opa"), None, None, used=0)
    told = " ".join(found.caveats)
    for words in ("stands for nobody", "No server lists the tool", "revision old", "engine opa decided"):
        assert words in told
    assert found.now.allow is False
    changed = explain(policy, row(employee, find, definition_hash="other"), employee, find, used=0)
    assert any("definition of the tool has changed" in caveat for caveat in changed.caveats)


def test_an_approved_call_and_a_used_up_quota_are_explained(
    folder: Path, settings: Settings, owner: Caller, delete: Tool
) -> None:
    (folder / "ours.json").write_text(json.dumps({"workbench": {"quotas": {"default": {"*": 3}}}}))
    policy = Policy(settings.replace(policy=folder))
    found = explain(policy, row(owner, delete, policy_decision="approval"), owner, delete, used=3)
    steps = {s.rule: s for s in found.steps}
    assert steps["tool_scopes.approval"].holds is True
    assert (steps["tenant_quota"].holds, steps["tenant_quota"].finding) == (False, "3 of 3 calls in the minute before")
    assert found.now.rule == "tenant_quota.quota_used_up"
    waiting = explain(policy, row(owner, delete, policy_decision="deny"), owner, delete, used=0)
    assert {s.rule: s.holds for s in waiting.steps}["tool_scopes.approval"] is False
    policy.close()


def test_a_call_is_explained_by_what_its_caller_held_then_not_by_what_they_hold_now(
    policy: Policy, employee: Caller, find: Tool
) -> None:
    judged = {
        "roles": ["auditor"], "scopes": ["audit:read"], "method": "key", "needed": ["crm:read"], "read_only": True,
        "destructive": False,
    }  # fmt: skip
    kept = row(employee, find, policy_decision="deny", policy_rule="tool_scopes.missing_scopes",
               policy_revision=policy.revision, data=json.dumps({"judged": judged}))  # fmt: skip
    assert employee.has("crm:read"), "now they may"
    for caller, tool in ((employee, find), (None, None), (employee, change(find, scopes=("other:read",)))):
        found = explain(policy, kept, caller, tool, used=0)
        assert found.now.rule == "tool_scopes.missing_scopes"
        told = {(s.rule, s.holds): s.finding for s in found.steps}
        assert told["tool_scopes.missing_scopes", False] == "crm:read is not held"
        assert found.caveats == ()
    changed = explain(policy, {**kept, "definition_hash": "other"}, employee, find, used=0)
    assert changed.caveats == ("The definition of the tool has changed since; scopes and hints are those of then.",)


def test_what_the_record_keeps_of_a_decision_is_what_the_rules_were_told(
    policy: Policy, employee: Caller, find: Tool
) -> None:
    from workbench.audit.format import records
    from workbench.events import Outcome

    asked = Call(caller=employee, tool=find.qualified)
    outcome = Outcome(kind="ok", call=asked.id, tool=find.qualified, decision=policy.decide(asked, find))
    judged = records.call(asked, find, outcome, args_redacted={}, response_redacted={})["data"]["judged"]
    document = engine_answer.document(employee, find)
    assert judged["scopes"] == document["caller"]["scopes"]
    assert judged["roles"] == document["caller"]["roles"]
    assert judged["needed"] == [scope["name"] for scope in document["tool"]["scopes"]]
    assert (judged["read_only"], judged["destructive"]) == (True, False)


# --- with a real opa -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
def test_opa_runs_the_rego_tests_and_a_failing_one_is_named(opa_binary: str, folder: Path) -> None:
    assert all(r.passed for r in run_rego_tests(rego_engine.PolicyFiles(None), opa_binary))
    (folder / "ours_test.rego").write_text(
        "package ours_test\nimport data.workbench.tenant_quota\n"
        'test_wrong if { tenant_quota.allow == false with input as {"tenant": "a", "tool": "b", "used": 0} }\n'
    )
    results = {r.name: r.passed for r in run_rego_tests(rego_engine.PolicyFiles(folder), opa_binary)}
    assert results["test_wrong"] is False
    assert results["test_each_form_of_the_scope_allows"] is True
    (folder / "ours_test.rego").write_text("this is no Rego")
    with pytest.raises(MisuseError, match="could not run"):
        run_rego_tests(rego_engine.PolicyFiles(folder), opa_binary)
