"""The shipped rules against an independent reading of them, and against a real OPA where one is installed."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from workbench.events import JSON, Caller, Tool
from workbench.policy.rego import engine_answer, rego_engine

WORDS = ["crm", "crmx", "read", "write", "pii", "*", "", "a"]


def random_scope(rng: random.Random) -> str:
    return rng.choice(["*", ":".join(rng.choice(WORDS) for _ in range(rng.randint(1, 3)))])


def random_case(rng: random.Random) -> tuple[Caller, Tool]:
    needed = tuple(random_scope(rng) for _ in range(rng.choice([0, 1, 1, 2, 3])))
    held = {random_scope(rng) for _ in range(rng.randint(0, 4))}
    if needed and rng.random() < 0.5:  # make a hit likely enough
        held |= {rng.choice([s, s.split(":")[0] + ":*", s + ":*"]) for s in needed}
    if rng.random() < 0.2:
        held.add(rng.choice(["pii:read", "pii:*", "pii", "pii:read:x"]))
    caller = Caller(
        tenant=rng.choice(["acme", "globex", ""]) if rng.random() < 0.2 else "acme",
        subject=rng.choice(["ann", "bob", ""]) if rng.random() < 0.2 else "ann",
        roles=("a",) * rng.randint(0, 2),
        scopes=frozenset(held),
    )
    hints = {"readOnlyHint": rng.choice([True, False]), "destructiveHint": rng.choice([True, False])}
    tool = Tool(
        server="crm",
        name=rng.choice(["find", "Ünï", 'quo"te', "back\\slash"]),
        scopes=needed,
        annotations={k: v for k, v in hints.items() if rng.random() < 0.6},
        quarantined=rng.choice(["", "", "", "changed"]),
    )
    return caller, tool


def oracle(caller: Caller, tool: Tool) -> JSON:
    """The rules once more, from their description, without forms and without Rego."""

    def holds(scope: str) -> bool:
        for grant in caller.scopes:
            if grant in ("*", scope):
                return True
            if grant.endswith(":*") and scope.startswith(grant[:-1]):
                return True
        return False

    missing = [i for i, scope in enumerate(tool.scopes) if not holds(scope)]
    if not (caller.tenant and caller.subject):
        rule = "no_caller"
    elif tool.quarantined:
        rule = "quarantined"
    elif not tool.scopes:
        rule = "unlabelled"
    elif missing:
        rule = "missing_scopes"
    else:
        rule = "allow"
    return {
        "allow": rule == "allow",
        "rule": rule,
        "missing": missing,
        "approval": tool.annotations.get("destructiveHint") is True
        and tool.annotations.get("readOnlyHint") is not True,
        "redact": ["email", "phone", "ssn"],
        "redact_declared": not holds("pii:read"),
        "caps": {"arguments_bytes": 1 << 20, "result_bytes": 0},
    }


def test_thousands_of_random_inputs_get_the_answer_that_the_description_gives() -> None:
    policy = rego_engine.RegoPolicy(rego_engine.PolicyFiles(None).read(), "the package")
    rng = random.Random(20261120)
    rules: dict[str, int] = {}
    for _ in range(4000):
        caller, tool = random_case(rng)
        expected = oracle(caller, tool)
        got = policy.ask(rego_engine.TOOL_SCOPES, engine_answer.document(caller, tool))
        assert got == expected, (caller, tool)
        rules[got["rule"]] = rules.get(got["rule"], 0) + 1
    assert min(rules[r] for r in ("allow", "missing_scopes", "quarantined", "unlabelled", "no_caller")) > 100


def quota_oracle(quotas: JSON, tenant: str, tool: str, used: int) -> JSON:
    own = quotas["tenants"].get(tenant, {})
    limit = own.get(tool, own.get("*", quotas["default"].get(tool, quotas["default"].get("*", 0))))
    if limit == 0:
        return {"allow": True, "rule": "unlimited", "per_minute": 0}
    return {"allow": used < limit, "rule": "within_quota" if used < limit else "quota_used_up", "per_minute": limit}


def with_quotas(quotas: JSON) -> rego_engine.RegoPolicy:
    files = rego_engine.PolicyFiles(None).read()
    data = json.loads(files["data.json"])
    data["workbench"]["quotas"] = quotas
    return rego_engine.RegoPolicy({**files, "data.json": json.dumps(data).encode()}, "the test")


def random_quotas(rng: random.Random) -> JSON:
    def some() -> JSON:
        return {tool: rng.choice([0, 1, 5, 60]) for tool in ("*", "crm.find", "a.b") if rng.random() < 0.5}

    return {"default": some(), "tenants": {t: some() for t in ("acme", "globex") if rng.random() < 0.7}}


def test_random_quotas_get_the_answer_that_the_description_gives() -> None:
    rng = random.Random(7)
    for _ in range(60):
        quotas = random_quotas(rng)
        policy = with_quotas(quotas)
        for tenant in ("acme", "globex", "else"):
            for tool in ("crm.find", "a.b", "x.y"):
                used = rng.choice([0, 1, 4, 5, 59, 60, 61])
                got = policy.ask(rego_engine.TENANT_QUOTA, {"tenant": tenant, "tool": tool, "used": used})
                assert got == quota_oracle(quotas, tenant, tool, used), (quotas, tenant, tool, used)


# --- a real OPA ----------------------------------------------------------------------------------


def opa_answers(opa_binary: str, folder: Path, inputs: list[JSON]) -> list[Any]:
    """What `opa eval` says of all inputs at once: they stand as data and are put in one by one."""
    for name, content in rego_engine.PolicyFiles(None).read().items():
        (folder / name).write_bytes(content)
    (folder / "cases.json").write_text(json.dumps({"cases": inputs}))
    query = "[d | some document in data.cases; d := data.workbench.tool_scopes.decision with input as document]"
    done = subprocess.run(
        [opa_binary, "eval", "--format", "json", "--data", str(folder), query],
        capture_output=True,
        check=True,
        timeout=300,
        text=True,
    )
    answers: list[Any] = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    return answers


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
def test_opa_decides_thousands_of_random_inputs_alike(opa_binary: str, tmp_path: Path) -> None:
    rng = random.Random(31)
    inputs = [engine_answer.document(*random_case(rng)) for _ in range(3000)]
    policy = rego_engine.RegoPolicy(rego_engine.PolicyFiles(None).read(), "the package")
    theirs = opa_answers(opa_binary, tmp_path, inputs)
    assert len(theirs) == len(inputs)
    for document, answer in zip(inputs, theirs, strict=True):
        assert policy.ask(rego_engine.TOOL_SCOPES, document) == answer, document


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
def test_opa_accepts_the_shipped_rules_in_strict_mode(opa_binary: str, tmp_path: Path) -> None:
    for name, content in rego_engine.PolicyFiles(None).read().items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run([opa_binary, "check", "--strict", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
