"""The embedded engine: what it refuses to load, what it accepts as an answer, and threads."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import regopy

from workbench.events import JSON, MisuseError
from workbench.policy.rego import rego_engine
from workbench.policy.rego.rego_input import rego_input

SHIPPED = rego_engine.PolicyFiles(None).read()


def tool_input(**tool: Any) -> JSON:
    base = {
        "qualified": "crm.find",
        "scopes": [{"name": "crm:read", "forms": ["crm:read", "crm:*", "*"]}],
        "read_only": True,
        "destructive": False,
        "quarantined": False,
    }
    caller = {"tenant": "acme", "subject": "ann", "roles": [], "scopes": ["crm:read"], "method": "key"}
    return {"caller": caller, "tool": {**base, **tool}}


def policy_with(**files: str) -> rego_engine.RegoPolicy:
    replaced = {name.replace("__", "."): text.encode() for name, text in files.items()}
    return rego_engine.RegoPolicy({**SHIPPED, **replaced}, "the test")


def answering(document: str) -> rego_engine.RegoPolicy:
    return policy_with(tool_scopes__rego=f"package workbench.tool_scopes\ndecision := {document}\n")


GOOD = {
    "allow": False,
    "rule": "x",
    "missing": [],
    "approval": False,
    "redact": [],
    "redact_declared": True,
    "caps": {"arguments_bytes": 0, "result_bytes": 0},
}


def test_the_shipped_policy_answers_in_the_agreed_form() -> None:
    policy = rego_engine.RegoPolicy(SHIPPED, "the package")
    answer = policy.ask(rego_engine.TOOL_SCOPES, tool_input())
    assert answer["allow"] is True
    assert answer["rule"] == "allow"
    assert policy.ask(rego_engine.TENANT_QUOTA, {"tenant": "a", "tool": "b.c", "used": 0})["per_minute"] == 0
    assert answering(json.dumps(GOOD)).ask(rego_engine.TOOL_SCOPES, tool_input()) == GOOD


@pytest.mark.parametrize(
    "change",
    [
        {"allow": "true"},
        {"allow": 1},
        {"allow": None},
        {"rule": 5},
        {"missing": "crm:read"},
        {"missing": None},
        {"approval": "no"},
        {"redact": {"email": True}},
        {"redact_declared": 1},
        {"caps": []},
        {"more": 1},
    ],
    ids=str,
)
def test_an_answer_that_is_almost_right_is_none(change: JSON) -> None:
    with pytest.raises(MisuseError, match=r"no usable rule workbench\.tool_scopes\.decision"):
        answering(json.dumps({**GOOD, **change}))


@pytest.mark.parametrize("field", list(GOOD))
def test_an_answer_with_a_field_missing_is_none(field: str) -> None:
    with pytest.raises(MisuseError, match="exactly the agreed fields"):
        answering(json.dumps({k: v for k, v in GOOD.items() if k != field}))


def test_an_undefined_answer_is_refused_at_load_and_broken_later() -> None:
    good = json.dumps(GOOD)
    with pytest.raises(MisuseError, match="undefined"):
        policy_with(tool_scopes__rego=f"package workbench.tool_scopes\ndecision := {good} if input.never\n")
    sometimes = policy_with(
        tool_scopes__rego=f"package workbench.tool_scopes\ndecision := {good} if not input_is_odd\n"
        'input_is_odd if input.tool.qualified == "odd.tool"\n'
    )
    with pytest.raises(rego_engine.BrokenPolicyError, match="undefined"):
        sometimes.ask(rego_engine.TOOL_SCOPES, tool_input(qualified="odd.tool"))


def test_two_answers_at_once_are_no_answer() -> None:
    good, other = json.dumps(GOOD), json.dumps({**GOOD, "allow": True})
    split = policy_with(
        tool_scopes__rego=f"package workbench.tool_scopes\ndecision := {good}\n"
        f'decision := {other} if input.tool.qualified == "odd.tool"\n'
    )
    with pytest.raises(rego_engine.BrokenPolicyError):
        split.ask(rego_engine.TOOL_SCOPES, tool_input(qualified="odd.tool"))


@pytest.mark.parametrize("echoed", ['a"b', "a\\b", "a\nb"])
def test_an_answer_that_repeats_awkward_text_is_broken_or_exact_but_never_another(echoed: str) -> None:
    """The engine writes such texts unescaped; what does not parse as the same text again is no answer."""
    good = json.dumps({**GOOD, "rule": "x"})[:-1]
    echo = policy_with(
        tool_scopes__rego="package workbench.tool_scopes\n"
        f'decision := object.union({good}}}, {{"rule": input.tool.qualified}})\n'
    )
    try:
        answer = echo.ask(rego_engine.TOOL_SCOPES, tool_input(qualified=echoed))
    except rego_engine.BrokenPolicyError:
        return
    assert answer["allow"] is False


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tool_scopes__rego": "package workbench.tool_scopes\nallow if {"}, "no valid Rego"),
        ({"tool_scopes__rego": "package workbench.tool_scopes\nallow if nosuch(1)"}, "neither a function"),
        ({"tool_scopes__rego": "package workbench.elsewhere\nx := 1"}, "policy in the test"),
        ({"tenant_quota__rego": "package workbench.tenant_quota\ndecision := 1"}, "workbench.tenant_quota.decision"),
        ({"tool_scopes__rego": "package workbench.tool_scopes\ndecision := f(1)\nf(x) := f(x + 1)"}, "recursion"),
        ({"extra__rego": "package workbench.tool_scopes\nx if input.caller.scopes[_] in data.a"}, "does not compile"),
        ({"data__json": "{"}, "no usable JSON"),
        ({"data__json": "[]"}, "holds no object"),
        ({"data__json": '{"a": "x\\u0000y"}'}, "no usable JSON"),
        ({"data__json": '{"workbench": {"pii": {}}}'}, "policy in the test"),
        ({"more__json": '{"workbench": {"caps": {"default": 5}}}'}, "another file sets too"),
    ],
)
def test_a_policy_that_cannot_be_trusted_is_refused_with_a_reason(files: dict[str, str], message: str) -> None:
    with pytest.raises(MisuseError, match=message):
        policy_with(**files)


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(MisuseError, match="no valid Rego"):
        rego_engine.RegoPolicy({**SHIPPED, "tool_scopes.rego": b"\xff\xfe"}, "the test")


def test_an_input_that_the_engine_would_misread_is_broken() -> None:
    policy = rego_engine.RegoPolicy(SHIPPED, "the package")
    for wrong in ("crm\0evil", "\ud83d"):
        with pytest.raises(rego_engine.BrokenPolicyError):
            policy.ask(rego_engine.TOOL_SCOPES, tool_input(qualified=wrong))
    with pytest.raises(rego_engine.BrokenPolicyError, match="64 bits"):
        policy.ask(rego_engine.TENANT_QUOTA, {"tenant": "a", "tool": "b", "used": 2**64})


def test_a_further_file_of_data_is_merged_and_the_revision_follows_every_byte() -> None:
    shipped = rego_engine.RegoPolicy(SHIPPED, "the package")
    more = policy_with(own__json='{"own": {"a": 1}, "workbench": {"own": 2}}')
    assert more.data["own"] == {"a": 1}
    assert more.data["workbench"]["own"] == 2
    assert more.data["workbench"]["pii"] == shipped.data["workbench"]["pii"]
    revisions = {
        shipped.revision,
        more.revision,
        policy_with(own__json="{} ").revision,
        policy_with(own__json="{}").revision,
    }
    assert len(revisions) == 4


def test_files_of_a_folder_replace_those_of_the_same_name_only(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("not a policy")
    (tmp_path / "own.rego").write_text("package own\nx := 1\n")
    files = rego_engine.PolicyFiles(tmp_path)
    read = files.read()
    assert read["data.json"] == b"{}"
    assert read["tool_scopes.rego"] == SHIPPED["tool_scopes.rego"]
    assert sorted(read) == [
        "approvers.rego",
        "budgets.rego",
        "data.json",
        "own.rego",
        "tenant_quota.rego",
        "tool_scopes.rego",
    ]
    before = files.fingerprint()
    (tmp_path / "own.rego").write_text("package own\nx := 12\n")
    assert files.fingerprint() != before
    assert rego_engine.PolicyFiles(None).fingerprint() == ()


def test_a_folder_that_is_not_there_is_misuse(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="cannot be read"):
        rego_engine.PolicyFiles(tmp_path / "nowhere").read()


def test_threads_share_one_policy_and_get_their_own_answers() -> None:
    policy = rego_engine.RegoPolicy(SHIPPED, "the package")
    wrong: list[str] = []

    def ask(scope: str) -> None:
        for _ in range(50):
            tool = tool_input(scopes=[{"name": scope, "forms": [scope]}])
            if policy.ask(rego_engine.TOOL_SCOPES, tool)["allow"] is not (scope == "crm:read"):
                wrong.append(scope)

    threads = [threading.Thread(target=ask, args=(s,)) for s in ("crm:read", "crm:write") * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -1, 2**63 - 1, -(2**63) + 1, 1.5, -0.25, True, False, None, "", "ü"]},
        {"": {}, "nested": {"list": [[], [[]], {}], "tuple": (1, ("two",))}},
        {"ü": "käse", "x" * 300: "y" * 5000},
        [],
    ],
)
def test_an_input_means_to_the_engine_what_its_own_conversion_means(value: Any) -> None:
    said = []
    for made in (rego_input(value), regopy.Input(value)):
        interpreter = rego_engine._interpreter()
        interpreter.set_input(made)
        said.append(str(interpreter.query("input")))
    assert said[0] == said[1]
    assert said[0] != "undefined"


@pytest.mark.parametrize("text", ['quo"te', "back\\slash", "line\nbreak", "\x01\x7f", "ü😀", "\u2028"])
def test_an_awkward_text_enters_as_it_is(text: str) -> None:
    interpreter = rego_engine._interpreter()
    interpreter.set_input(rego_input({"text": text, "same": [text], "other": text + "x"}))
    for query, answer in (("count(input.text)", len(text)), ("input.text in input.same", True)):
        assert interpreter.query(query).results[0].expressions == [answer]
    assert interpreter.query("input.text != input.other").results[0].expressions == [True]


def test_what_is_no_json_is_no_input() -> None:
    for value in ({1, 2}, {"a": object()}, [b"bytes"]):
        with pytest.raises(TypeError):
            rego_input(value)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_duckdb_allocates_beside_the_engine_is_freed() -> None:
    program = (
        "from workbench.policy.rego import rego_engine\n"
        "import duckdb\n"
        "def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096 >> 20\n"
        "def connect(): duckdb.connect(':memory:').close()\n"
        "connect(); before = resident()\n"
        "for _ in range(10): connect()\n"
        "print(resident() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50  # MB; each connection kept 15 of them
