"""Decisions: what is allowed and why not; anything broken is a denial; files that change."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workbench.config import Settings
from workbench.events import Call, Caller, Decision, MisuseError, Tool
from workbench.policy import Policy
from workbench.policy.engines import embedded_engine
from workbench.policy.rego import loaded_rules, rego_engine

change = msgspec.structs.replace


def call(caller: Caller, tool: Tool, **more: Any) -> Call:
    return Call(caller=caller, tool=tool.qualified, **more)


def test_an_allowed_call_names_rule_revision_and_engine(policy: Policy, employee: Caller, find: Tool) -> None:
    decision = policy.decide(call(employee, find), find)
    assert (decision.allow, decision.rule, decision.reason) == (True, "tool_scopes.allow", "")
    assert decision.revision == policy.revision
    assert decision.engine == "embedded-rego"


def test_a_missing_scope_is_named_with_who_lacks_it(policy: Policy, employee: Caller, find: Tool) -> None:
    tool = change(find, scopes=("crm:read", "crm:write", "billing:read"))
    decision = policy.decide(call(employee, tool), tool)
    assert (decision.allow, decision.rule) == (False, "tool_scopes.missing_scopes")
    assert decision.missing_scopes == ("crm:write", "billing:read")
    assert decision.reason == "bob (employee) lacks crm:write, billing:read for crm.find."


@pytest.mark.parametrize(
    ("held", "needed", "allowed"),
    [
        ({"*"}, "crm:read", True),
        ({"crm:*"}, "crm:read", True),
        ({"crm:*"}, "crm:read:pii", True),
        ({"crm:read:*"}, "crm:read:pii", True),
        ({"crm:read:*"}, "crm:read", False),
        ({"crm:read"}, "crm:read:pii", False),
        ({"crm:*"}, "crm", False),
        ({"crm:*"}, "crmx:read", False),
        ({"cr*"}, "crm:read", False),
        ({"*:read"}, "crm:read", False),
        ({"CRM:read"}, "crm:read", False),
        ({"crm:read "}, "crm:read", False),
        ({"crm:*"}, "*", False),
        ({"*"}, "*", True),
        (set(), "crm:read", False),
    ],
)
def test_scopes_are_hierarchical(policy: Policy, find: Tool, held: set[str], needed: str, allowed: bool) -> None:
    caller = Caller(tenant="t", subject="s", scopes=frozenset(held))
    tool = change(find, scopes=(needed,))
    assert policy.decide(call(caller, tool), tool).allow is allowed
    assert policy.visible(caller, tool) is allowed
    assert caller.has(needed) is allowed


def test_a_tool_without_labels_is_nobodys(policy: Policy, owner: Caller, find: Tool) -> None:
    tool = change(find, scopes=())
    assert policy.decide(call(owner, tool), tool).rule == "tool_scopes.unlabelled"


def test_a_quarantined_tool_is_refused_to_everybody(policy: Policy, owner: Caller, find: Tool) -> None:
    tool = change(find, quarantined="Its definition changed.")
    decision = policy.decide(call(owner, tool), tool)
    assert (decision.allow, decision.rule) == (False, "tool_scopes.quarantined")
    assert "Its definition changed." in decision.reason
    assert not policy.visible(owner, tool)


@pytest.mark.parametrize("nobody", [{"tenant": ""}, {"subject": ""}])
def test_a_caller_without_tenant_or_name_is_nobody(policy: Policy, owner: Caller, find: Tool, nobody: Any) -> None:
    caller = change(owner, **nobody)
    assert policy.decide(call(caller, find), find).rule == "tool_scopes.no_caller"


# --- approval ------------------------------------------------------------------------------------


def test_a_destructive_tool_waits_for_a_human_even_for_the_owner(policy: Policy, owner: Caller, delete: Tool) -> None:
    waiting = policy.decide(call(owner, delete), delete)
    assert (waiting.allow, waiting.approval, waiting.rule) == (False, True, "tool_scopes.approval")
    approved = policy.decide(call(owner, delete), delete, approved=True)
    assert (approved.allow, approved.approval) == (True, True)
    assert policy.visible(owner, delete)


def test_who_lacks_the_scope_is_not_even_offered_an_approval(policy: Policy, delete: Tool) -> None:
    stranger = Caller(tenant="acme", subject="eve", scopes=frozenset({"tickets:read"}))
    for approved in (False, True):
        decision = policy.decide(call(stranger, delete), delete, approved=approved)
        assert (decision.allow, decision.approval) == (False, False)


@pytest.mark.parametrize("approved", ["yes", 1, object(), [1], "True"])
def test_only_true_itself_is_an_approval(policy: Policy, owner: Caller, delete: Tool, approved: Any) -> None:
    assert policy.decide(call(owner, delete), delete, approved=approved).allow is False


@pytest.mark.parametrize(
    ("annotations", "needs"),
    [
        ({}, False),
        ({"readOnlyHint": True, "destructiveHint": True}, False),
        ({"destructiveHint": "true"}, False),
        ({"readOnlyHint": False, "destructiveHint": True}, True),
    ],
)
def test_only_an_explicit_hint_makes_a_tool_destructive(
    policy: Policy, owner: Caller, delete: Tool, annotations: Any, needs: bool
) -> None:
    tool = change(delete, annotations=annotations)
    assert policy.decide(call(owner, tool), tool).approval is needs


# --- obligations ---------------------------------------------------------------------------------


def test_personal_columns_are_withheld_unless_the_caller_may_see_them(
    policy: Policy, employee: Caller, find: Tool
) -> None:
    assert policy.decide(call(employee, find), find).redact == ("email", "phone", "ssn", "contact_line")
    for scope in ("pii:read", "pii:*", "*"):
        seeing = change(employee, scopes=employee.scopes | {scope})
        assert policy.decide(call(seeing, find), find).redact == ()
    for scope in ("pii:write", "pii", "pii:read:some"):
        other = change(employee, scopes=employee.scopes | {scope})
        assert "email" in policy.decide(call(other, find), find).redact


@pytest.mark.parametrize("declared", [None, 5, "email", {"email": 1, 7: "x"}, ["email", 5], {}])
def test_a_malformed_declaration_of_columns_never_takes_columns_away(
    policy: Policy, employee: Caller, find: Tool, declared: Any
) -> None:
    tool = change(find, definition={"_meta": {"workbench/pii": declared}})
    assert set(policy.decide(call(employee, tool), tool).redact) >= {"email", "phone", "ssn"}
    tool = change(find, definition={"_meta": declared})
    assert set(policy.decide(call(employee, tool), tool).redact) >= {"email", "phone", "ssn"}


def with_data(settings: Settings, tmp_path: Path, **workbench: Any) -> Policy:
    data = json.loads(rego_engine.PolicyFiles(None).read()["data.json"])
    data["workbench"].update(workbench)
    folder = tmp_path / "rules"
    folder.mkdir(exist_ok=True)
    (folder / "data.json").write_text(json.dumps(data))
    return Policy(settings.replace(policy=folder))


def test_caps_come_from_the_data_per_tool(settings: Settings, tmp_path: Path, owner: Caller, find: Tool) -> None:
    caps = {
        "default": {"arguments_bytes": 0, "result_bytes": 7},
        "tools": {"crm.find": {"arguments_bytes": 20, "result_bytes": 100}},
    }
    policy = with_data(settings, tmp_path, caps=caps)
    assert policy.decide(call(owner, find, arguments={"q": "1234567890"}), find).max_result_bytes == 100
    too_long = policy.decide(call(owner, find, arguments={"q": "1234567890abcdef"}), find)
    assert (too_long.allow, too_long.rule) == (False, "tool_scopes.arguments_bytes")
    assert "at most 20" in too_long.reason
    other = change(find, name="other")
    assert policy.decide(call(owner, other, arguments={"q": "x" * 5000}), other).max_result_bytes == 7
    delete = change(find, annotations={"destructiveHint": True})
    hopeless = policy.decide(call(owner, delete, arguments={"q": "1234567890abcdef"}), delete)
    assert (hopeless.allow, hopeless.approval, hopeless.rule) == (False, False, "tool_scopes.arguments_bytes")
    policy.close()


def test_a_file_beside_the_shipped_data_adds_quotas_and_caps(
    settings: Settings, tmp_path: Path, owner: Caller, find: Tool
) -> None:
    own = {
        "quotas": {"tenants": {"acme": {"crm.find": 2}}},
        "caps": {"tools": {"crm.find": {"arguments_bytes": 9, "result_bytes": 5}}},
    }
    (tmp_path / "ours.json").write_text(json.dumps({"workbench": own}))
    policy = Policy(settings.replace(policy=tmp_path))
    assert policy.quota("acme", "crm.find") == 2
    assert policy.quota("acme", "crm.other") == 0
    assert policy.decide(call(owner, find), find).max_result_bytes == 5
    assert [policy.limits.check(owner, find) is None for _ in range(3)] == [True, True, False]
    policy.close()


@pytest.mark.parametrize("caps", [{"default": {}}, {"default": {"arguments_bytes": -1, "result_bytes": 0}}])
def test_broken_caps_deny(settings: Settings, tmp_path: Path, owner: Caller, find: Tool, caps: Any) -> None:
    policy = with_data(settings, tmp_path, caps=caps)
    assert policy.decide(call(owner, find), find).rule == "default_deny"
    policy.close()


def test_the_most_specific_quota_counts(settings: Settings, tmp_path: Path, owner: Caller, find: Tool) -> None:
    quotas = {
        "default": {"*": 40, "crm.find": 30},
        "tenants": {"acme": {"*": 20, "crm.find": 10}, "globex": {"*": 5}, "free": {"crm.find": 0}},
    }
    policy = with_data(settings, tmp_path, quotas=quotas)
    expected = {
        ("acme", "crm.find"): 10,
        ("acme", "crm.other"): 20,
        ("globex", "crm.find"): 5,
        ("else", "crm.find"): 30,
        ("else", "crm.other"): 40,
        ("free", "crm.find"): 0,
    }
    assert {key: policy.quota(*key) for key in expected} == expected
    assert policy.decide_by_rules(call(owner, find), find, usage={"calls_last_minute": 9}).allow
    used_up = policy.decide_by_rules(call(owner, find), find, usage={"calls_last_minute": 10})
    assert (used_up.allow, used_up.rule) == (False, "tenant_quota.quota_used_up")
    assert used_up.reason == "Tenant acme has used its 10 calls per minute of crm.find."
    policy.close()


@pytest.mark.parametrize(
    "usage", [{}, {"calls_last_minute": -1}, {"calls_last_minute": "0"}, {"calls_last_minute": True}, 5]
)
def test_a_usage_that_is_no_count_is_a_denial(policy: Policy, owner: Caller, find: Tool, usage: Any) -> None:
    decision = policy.decide_by_rules(call(owner, find), find, usage=usage)
    assert (decision.allow, decision.rule) == (False, "default_deny")


# --- never raises, never yes ---------------------------------------------------------------------

GARBAGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.text(), max_size=3),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.frozensets(st.one_of(st.text(), st.integers()), max_size=3),
    st.tuples(st.one_of(st.text(), st.none())),
    st.sampled_from(["*", "crm:*", ("*",), frozenset({"*"}), ["*"], {"*"}, "a\0b", "\ud83d", 2**64]),
)
_policies: dict[str, Policy] = {}


def shared_policy(factory: pytest.TempPathFactory) -> Policy:
    if "one" not in _policies:
        home = factory.mktemp("h") / "home"
        _policies["one"] = Policy(Settings.load(env={}, cwd=home.parent, home=home))
    return _policies["one"]


@given(GARBAGE, GARBAGE, GARBAGE, GARBAGE)
@hypothesis_settings(max_examples=150, deadline=None)
def test_garbage_is_denied_and_never_raises(
    tmp_path_factory: pytest.TempPathFactory, a: Any, b: Any, c: Any, d: Any
) -> None:
    policy = shared_policy(tmp_path_factory)
    for decision in (policy.decide(a, b, approved=c), policy.decide_by_rules(a, b, approved=c, usage=d)):
        assert type(decision) is Decision
        assert decision.allow is False
    assert shared_policy(tmp_path_factory).visible(a, b) is False


@given(st.sampled_from(["tenant", "subject", "roles", "scopes", "method"]), GARBAGE)
@hypothesis_settings(max_examples=300, deadline=None)
def test_a_caller_with_a_field_of_garbage_is_judged_by_what_it_really_holds(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any
) -> None:
    caller = change(Caller(tenant="t", subject="s", scopes=frozenset({"crm:read"})), **{field: value})
    tool = Tool(server="crm", name="find", scopes=("crm:read",))
    decision = shared_policy(tmp_path_factory).decide(call(caller, tool), tool)
    well_formed = {
        "tenant": type(value) is str and value != "",
        "subject": type(value) is str and value != "",
        "method": type(value) is str,
        "roles": type(value) is tuple and all(type(v) is str for v in value),
        "scopes": type(value) is frozenset and bool(value & {"crm:read", "crm:*", "*"}),
    }
    assert not decision.allow or well_formed[field]


@given(
    st.sampled_from(["server", "name", "scopes", "annotations", "definition", "quarantined", "definition_hash"]),
    GARBAGE,
)
@hypothesis_settings(max_examples=300, deadline=None)
def test_a_tool_with_a_field_of_garbage_opens_nothing(
    tmp_path_factory: pytest.TempPathFactory, field: str, value: Any
) -> None:
    caller = Caller(tenant="t", subject="s", scopes=frozenset({"crm:read"}))
    tool = change(Tool(server="crm", name="find", scopes=("crm:read",)), **{field: value})
    decision = shared_policy(tmp_path_factory).decide(Call(caller=caller, tool=f"{tool.server}.{tool.name}"), tool)
    if field == "scopes":
        assert not decision.allow
    if field == "quarantined":
        assert decision.allow is (value == "")


def test_a_call_that_names_another_tool_is_denied(policy: Policy, owner: Caller, find: Tool) -> None:
    assert policy.decide(call(owner, find), change(find, name="other")).rule == "default_deny"


def test_arguments_that_are_no_json_are_denied(policy: Policy, owner: Caller, find: Tool) -> None:
    for wrong in ({"a": object()}, {"a": 2**70}, {"a": "\ud83d"}, {1: 2}):
        assert policy.decide(call(owner, find, arguments=wrong), find).rule == "default_deny"


def test_an_engine_that_breaks_denies_and_tells_nothing_of_the_call(
    policy: Policy, owner: Caller, find: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: Any) -> Any:
        raise ZeroDivisionError("secret of the call")

    monkeypatch.setattr(rego_engine.RegoPolicy, "ask", breaks)
    decision = policy.decide(call(owner, find), find)
    assert (decision.allow, decision.rule) == (False, "default_deny")
    assert "secret" not in decision.reason
    assert not policy.visible(owner, find)


# --- the cache -----------------------------------------------------------------------------------


def test_the_engine_is_asked_once_for_the_same_caller_and_tool(
    policy: Policy, employee: Caller, find: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    ask = rego_engine.RegoPolicy.ask

    def counting(self: rego_engine.RegoPolicy, entrypoint: str, document: Any) -> Any:
        asked.append(entrypoint)
        return ask(self, entrypoint, document)

    monkeypatch.setattr(rego_engine.RegoPolicy, "ask", counting)
    for _ in range(3):
        assert policy.decide(call(employee, find), find).allow
    assert asked == [rego_engine.TOOL_SCOPES]
    for other in (
        change(employee, subject="cy"),
        change(employee, tenant="globex"),
        change(employee, roles=("viewer",)),
        change(employee, scopes=frozenset({"crm:read"})),
        change(employee, method="jwt"),
    ):
        policy.decide(call(other, find), find)
    policy.decide(call(employee, find), change(find, quarantined="changed"))
    assert len(asked) == 7


def test_a_tool_that_was_listed_anew_is_judged_anew(policy: Policy, owner: Caller, find: Tool) -> None:
    assert policy.decide(call(owner, find), find).allow
    for again in range(20):
        fresh = Tool(server="crm", name="find", scopes=("crm:read",), quarantined="x" if again % 2 else "")
        assert policy.decide(call(owner, fresh), fresh).allow is (again % 2 == 0)
        del fresh
        gc.collect(0)


def test_the_cache_is_bounded(policy: Policy, employee: Caller, find: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_engine, "_MAX_CACHED", 4)
    monkeypatch.setattr(loaded_rules, "_MAX_QUOTAS", 4)
    assert isinstance(policy.engine, embedded_engine.EmbeddedEngine)
    for i in range(20):
        caller = change(employee, subject=f"u{i}", tenant=f"t{i}")
        assert policy.decide(call(caller, find), find).allow
        policy.quota(f"t{i}", "crm.find")
        assert len(policy.engine._cache.verdicts) <= 4
        assert len(policy.rules._revision.quotas) <= 4


def test_threads_get_the_same_decisions(policy: Policy, employee: Caller, owner: Caller, find: Tool) -> None:
    tool = change(find, scopes=("crm:write",))
    seen: set[tuple[str, bool]] = set()

    def ask(caller: Caller) -> None:
        for _ in range(100):
            seen.add((caller.subject, policy.decide(call(caller, tool), tool).allow))

    threads = [threading.Thread(target=ask, args=(c,)) for c in (employee, owner) * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {("bob", False), ("ann", True)}


# --- files that change ---------------------------------------------------------------------------

NOTHING_GOES = """package workbench.tool_scopes
decision := {
	"allow": false, "rule": "closed_today", "missing": [], "approval": false, "redact": [], "redact_declared": true,
	"caps": data.workbench.caps["default"],
}
"""


def test_a_changed_file_is_put_in_force_at_once_and_a_broken_one_is_not(
    settings: Settings, tmp_path: Path, owner: Caller, find: Tool
) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    policy = Policy(settings.replace(policy=folder))
    first = policy.revision
    assert policy.decide(call(owner, find), find).allow

    (folder / "tool_scopes.rego").write_text(NOTHING_GOES)
    policy.reload()
    closed = policy.decide(call(owner, find), find)
    assert (closed.allow, closed.rule) == (False, "tool_scopes.closed_today")
    assert closed.reason == "Rule closed_today denies crm.find to ann (owner)."
    assert closed.revision == policy.revision != first

    (folder / "tool_scopes.rego").write_text(NOTHING_GOES + "deny if nosuch(input.x)\n")
    with pytest.raises(MisuseError, match="nosuch"):
        policy.reload()
    assert policy.revision == closed.revision
    assert "still is" in policy.problem
    assert "nosuch" in policy.problem
    assert policy.decide(call(owner, find), find).rule == "tool_scopes.closed_today"

    (folder / "tool_scopes.rego").unlink()
    policy.reload()
    assert (policy.revision, policy.problem) == (first, "")
    assert policy.decide(call(owner, find), find).allow
    policy.close()


def test_the_watcher_sees_a_change_and_tries_a_broken_file_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_rules, "_WATCH_INTERVAL_S", 0.01)
    folder = tmp_path / "rules"
    folder.mkdir()
    tried = threading.Semaphore(0)
    reload = loaded_rules.LoadedRules.reload

    def noticed(self: loaded_rules.LoadedRules) -> None:
        try:
            reload(self)
        finally:
            tried.release()

    monkeypatch.setattr(loaded_rules.LoadedRules, "reload", noticed)
    policy = Policy(settings.replace(policy=folder))
    first = policy.revision
    (folder / "broken.rego").write_text("package x\ny if {")
    assert tried.acquire(timeout=10)
    assert policy.problem
    assert policy.revision == first
    (folder / "broken.rego").write_text("package x\ny := 1\n")
    assert tried.acquire(timeout=10)
    assert policy.problem == ""
    assert policy.revision != first
    policy.close()


def test_a_folder_that_goes_away_and_comes_back_is_a_problem_only_while_it_is_gone(
    settings: Settings, tmp_path: Path, owner: Caller, find: Tool
) -> None:
    folder, aside = tmp_path / "rules", tmp_path / "aside"
    folder.mkdir()
    policy = Policy(settings.replace(policy=folder))
    policy.rules._closed.set()  # the test takes the watcher's steps itself

    class Once(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            passed, self.passed = getattr(self, "passed", False), True
            return passed

    folder.rename(aside)
    loaded_rules._watch(weakref.ref(policy.rules), Once())
    assert "stays in force" in policy.problem
    assert "cannot be read" in policy.problem
    assert policy.decide(call(owner, find), find).allow
    aside.rename(folder)
    loaded_rules._watch(weakref.ref(policy.rules), Once())
    assert policy.problem == ""
    policy.close()


def test_a_policy_that_nobody_holds_any_more_is_not_kept_by_its_watcher(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded_rules, "_WATCH_INTERVAL_S", 0.01)
    folder = tmp_path / "rules"
    folder.mkdir()
    policy = Policy(settings.replace(policy=folder))
    gone = weakref.ref(policy)
    watcher = next(t for t in threading.enumerate() if t.name == "policy-watch")
    policy.approvals.close()
    del policy
    gc.collect()
    watcher.join(timeout=10)
    assert not watcher.is_alive()
    assert gone() is None


def test_a_policy_that_does_not_load_starts_nothing(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "tool_scopes.rego").write_text("package workbench.tool_scopes\n")
    with pytest.raises(MisuseError, match="no usable rule"):
        Policy(settings.replace(policy=folder))
    with pytest.raises(MisuseError, match="cannot be read"):
        Policy(settings.replace(policy=tmp_path / "nowhere"))
