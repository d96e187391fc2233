"""Tests of a policy: cases as data, run by the engine that decides; and Rego unit tests, run by `opa` itself.

A case says what goes in and what must come out: `{"name", "rule": "tool_scopes" | "tenant_quota", "input": {...},
"expect": {...}}`. Of the answer, what `expect` names must be equal. Cases lie in files `*.cases.json` beside the rules,
Rego tests in files `*_test.rego`; neither kind is ever loaded to decide.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from workbench.events import JSON, MisuseError, Record
from workbench.policy.rego import rego_engine

ENTRYPOINTS = {"tool_scopes": rego_engine.TOOL_SCOPES, "tenant_quota": rego_engine.TENANT_QUOTA}
Ask = Callable[[str, JSON], JSON]
"""Entry point and input → the answer; raises `Broken`."""


class CaseResult(Record, frozen=True, kw_only=True):
    """How one test of a policy ended."""

    file: str
    name: str
    passed: bool
    message: str = ""
    """What came out instead; empty when it passed."""


def run_cases(files: rego_engine.PolicyFiles, ask: Ask) -> list[CaseResult]:
    """Put every case of every case file to `ask`.

    Raises:
        MisuseError: a case file is not of the agreed form.
    """
    tests = files.read_tests(rego_engine.CASES)
    return [_run(file, case, ask) for file, content in tests.items() for case in _cases(file, content, files.where)]


def run_rego_tests(files: rego_engine.PolicyFiles, executable: str) -> list[CaseResult]:
    """Run every Rego unit test with `opa test`, over the same rules and data as are in force.

    The embedded engine ends its process over some uses of `with`, which unit tests need, so it does not run them.

    Args:
        executable: `opa`.

    Raises:
        MisuseError: `opa` cannot run them.
    """
    tests = files.read_tests(rego_engine.REGO_TESTS)
    if not tests:
        return []
    with tempfile.TemporaryDirectory(prefix="workbench-policy-") as folder:
        for name, content in {**files.read(), **tests}.items():
            (Path(folder) / name).write_bytes(content)
        done = subprocess.run(
            [executable, "test", "--format", "json", folder], capture_output=True, text=True, timeout=120, check=False
        )
    try:
        results = json.loads(done.stdout)
        return [
            CaseResult(
                file=Path(str(r["location"]["file"])).name,
                name=str(r["name"]),
                passed=not r.get("fail") and not r.get("error") and not r.get("skip"),
                message="fails" if r.get("fail") else "is skipped" if r.get("skip") else str(r.get("error") or ""),
            )
            for r in results
        ]
    except (ValueError, KeyError, TypeError) as e:
        why = (done.stderr or done.stdout).strip()[:500]
        raise MisuseError(f"`opa test` could not run the tests: {why}", hint="Mend the file.") from e


def _cases(file: str, content: bytes, where: str) -> list[JSON]:
    try:
        cases = orjson.loads(content)
    except orjson.JSONDecodeError as e:
        raise MisuseError(f"{file} in {where} is no JSON: {e}.", hint="Mend the file.") from e
    if not isinstance(cases, list):
        raise MisuseError(
            f"{file} in {where} holds no list of cases.", hint="Expected [{name, rule, input, expect}, …]."
        )
    for at, case in enumerate(cases):
        agreed = isinstance(case, dict) and case.keys() == {"name", "rule", "input", "expect"}
        if not agreed or case["rule"] not in ENTRYPOINTS or not isinstance(case["expect"], dict) or not case["expect"]:
            raise MisuseError(
                f"Case {at + 1} of {file} in {where} is not of the agreed form.",
                hint=f"Expected name, rule ({' or '.join(ENTRYPOINTS)}), input, and expect with at least one field.",
            )
    return cases


def _run(file: str, case: JSON, ask: Ask) -> CaseResult:
    name = str(case["name"])
    try:
        answer = ask(ENTRYPOINTS[case["rule"]], case["input"])
    except rego_engine.BrokenPolicyError as e:
        return CaseResult(file=file, name=name, passed=False, message=f"no answer: {e}")
    wrong = [
        f"{field} is {_short(answer.get(field))}, expected {_short(expected)}"
        for field, expected in case["expect"].items()
        if field not in answer or _differs(answer[field], expected)
    ]
    return CaseResult(file=file, name=name, passed=not wrong, message="; ".join(wrong))


def _differs(got: Any, expected: Any) -> bool:
    """Types count: in JSON, true is not 1."""
    return type(got) is not type(expected) or bool(got != expected)


def _short(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:200]
