"""Whose yes a call needs, to which arguments: several people, roles, and arguments that somebody changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from workbench.config import Settings
from workbench.events import Call, Caller, MisuseError, Tool
from workbench.policy import ApprovalRefusedError, Approvals, Policy, Redactor
from workbench.policy.approvals.approval import ApprovalRequirement
from workbench.policy.approvals.approvals import TTL_US

pytestmark = pytest.mark.stores("sqlite", "postgres")
change = msgspec.structs.replace


class Clock:
    """Microseconds that the test moves."""

    at = 1_800_000_000_000_000

    def __call__(self) -> int:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def desk(settings: Settings, clock: Clock) -> Iterator[Approvals]:
    opened = Approvals(settings, Redactor(settings.home), clock=clock)
    yield opened
    opened.close()


def person(name: str, *roles: str, scopes: tuple[str, ...] = ("approvals:decide", "pii:read")) -> Caller:
    return Caller(tenant="acme", subject=name, roles=roles, scopes=frozenset(scopes))


ANN, CAT, EVE = person("ann", "manager"), person("cat", "manager"), person("eve", "employee")
TWO = ApprovalRequirement(approvers=2)


@pytest.fixture
def asked(employee: Caller, delete: Tool) -> Call:
    return Call(caller=employee, tool=delete.qualified, arguments={"id": 7, "why": "old"}, source="mcp")


# --- several people --------------------------------------------------------------------------------


def test_two_different_people_have_to_say_yes(desk: Approvals, asked: Call, delete: Tool) -> None:
    request = desk.request(asked, delete, TWO)
    first = desk.decide(request.id, True, ANN, "looks right", via="app")
    assert (first.status, [v.by for v in first.votes]) == ("pending", ["ann"])
    assert not desk.consume(request.id, asked, delete)
    assert [a.id for a in desk.pending("acme")] == [request.id]
    with pytest.raises(ApprovalRefusedError, match="ann has said yes already"):
        desk.decide(request.id, True, ANN, via="cli")
    second = desk.decide(request.id, True, CAT, via="cli")
    assert (second.status, second.decided_by) == ("approved", "ann, cat")
    assert [(v.by, v.via, v.note) for v in second.votes] == [("ann", "app", "looks right"), ("cat", "cli", "")]
    with pytest.raises(ApprovalRefusedError, match=r"is approved\.") as late:
        desk.decide(request.id, True, CAT, via="cli")
    assert "Make the same call again" in late.value.hint
    assert desk.consume(request.id, asked, delete)
    assert not desk.consume(request.id, asked, delete)


def test_one_no_is_enough(desk: Approvals, asked: Call, delete: Tool) -> None:
    request = desk.request(asked, delete, TWO)
    desk.decide(request.id, True, ANN)
    assert desk.decide(request.id, False, CAT).status == "denied"
    with pytest.raises(ApprovalRefusedError, match="is denied"):
        desk.decide(request.id, True, EVE)


def test_whoever_asked_is_none_of_several_approvers_not_even_the_owner(desk: Approvals, delete: Tool) -> None:
    owner = Caller(tenant="acme", subject="ann", roles=("owner",), scopes=frozenset({"*"}))
    own = Call(caller=owner, tool=delete.qualified, arguments={})
    request = desk.request(own, delete, TWO)
    with pytest.raises(ApprovalRefusedError, match="none of the 2 people"):
        desk.decide(request.id, True, owner, via="app")
    desk.decide(request.id, True, CAT)
    assert desk.decide(request.id, True, EVE).status == "approved"


def test_a_first_yes_does_not_lengthen_the_time_and_a_late_second_one_counts_for_nothing(
    desk: Approvals, asked: Call, delete: Tool, clock: Clock
) -> None:
    request = desk.request(asked, delete, TWO)
    clock.at += TTL_US - 1
    assert desk.decide(request.id, True, ANN).expires_us == request.expires_us
    clock.at += 1
    with pytest.raises(ApprovalRefusedError, match="is expired"):
        desk.decide(request.id, True, CAT)
    assert not desk.consume(request.id, asked, delete)


def test_of_two_who_say_yes_at_once_neither_is_lost(desk: Approvals, asked: Call, delete: Tool) -> None:
    from workbench.policy.approvals.approval import Vote
    from workbench.policy.approvals.quorum import agreed

    request = desk.request(asked, delete, ApprovalRequirement(approvers=3))
    late = Vote(by="cat", via="app", us=desk._clock())
    stale = agreed(request, CAT, late, None, "")
    desk.decide(request.id, True, ANN)
    assert not desk._agree(request, stale, late), "a yes that did not know of another one was written over it"
    assert [v.by for v in desk.decide(request.id, True, CAT).votes] == ["ann", "cat"]


# --- roles -----------------------------------------------------------------------------------------


def test_who_decides_has_one_of_the_roles(desk: Approvals, asked: Call, delete: Tool) -> None:
    request = desk.request(asked, delete, ApprovalRequirement(roles=("treasurer", "manager")))
    for by in (EVE, person("max"), "max"):
        for yes in (True, False):
            with pytest.raises(ApprovalRefusedError, match="has the role treasurer or manager"):
                desk.decide(request.id, yes, by)
    assert desk.decide(request.id, True, ANN).status == "approved"


def test_a_role_replaces_no_scope(desk: Approvals, asked: Call, delete: Tool) -> None:
    request = desk.request(asked, delete, ApprovalRequirement(roles=("manager",)))
    with pytest.raises(ApprovalRefusedError, match="approvals:decide"):
        desk.decide(request.id, True, person("max", "manager", scopes=("pii:read",)))


# --- changed arguments -----------------------------------------------------------------------------


def test_changed_arguments_have_a_hash_of_their_own_and_both_calls_redeem_them_once(
    desk: Approvals, asked: Call, delete: Tool
) -> None:
    for retry in (asked.arguments, {"id": 8, "why": "old"}):
        request = desk.request(asked, delete)
        decided = desk.decide(request.id, True, ANN, via="app", arguments={"id": 8, "why": "old"})
        assert (decided.status, decided.edited_by, decided.asked_hash) == ("approved", "ann", request.args_hash)
        assert decided.args_hash not in ("", request.args_hash)
        assert decided.arguments == {"id": 8, "why": "old"}
        call = change(asked, arguments=retry)
        taken = desk.take(desk.binding(call, delete), call, delete)
        assert taken is not None
        assert taken[1] == {"id": 8, "why": "old"}, "what runs is what was approved"
        assert not desk.consume(request.id, call, delete)


def test_changed_arguments_are_good_for_no_third_call_caller_tool_or_tenant(
    desk: Approvals, asked: Call, delete: Tool
) -> None:
    request = desk.request(asked, delete)
    desk.decide(request.id, True, ANN, arguments={"id": 8})
    for call, tool in (
        (change(asked, arguments={"id": 9}), delete),
        (change(asked, caller=change(asked.caller, subject="eve")), delete),
        (change(asked, caller=change(asked.caller, tenant="globex")), delete),
        (asked, change(delete, definition_hash="rewritten")),
        (asked, change(delete, name="delete_all")),
    ):
        assert desk.take(request.id, call, tool) is None
        assert desk.take(desk.binding(asked, delete), call, tool) is None
    assert desk.consume(request.id, asked, delete)


def test_whoever_cannot_see_the_arguments_cannot_change_them(desk: Approvals, asked: Call, delete: Tool) -> None:
    request = desk.request(asked, delete)
    for by in (person("max", scopes=("approvals:decide",)), "max"):
        with pytest.raises(ApprovalRefusedError, match="pii:read"):
            desk.decide(request.id, True, by, arguments={"id": 8})
    assert desk.pending("acme")[0].args_hash == request.args_hash


@pytest.mark.parametrize("arguments", [{"id": float("nan")}, {"id": 2**70}, {"id": object()}, {"a": "\ud800"}])
def test_arguments_that_are_no_plain_json_change_nothing(
    desk: Approvals, asked: Call, delete: Tool, arguments: Any
) -> None:
    request = desk.request(asked, delete)
    with pytest.raises(MisuseError):
        desk.decide(request.id, True, ANN, arguments=arguments)
    assert desk.get(request.id) == request


def test_a_change_takes_back_what_was_said_to_other_arguments_and_has_to_be_looked_at(
    desk: Approvals, asked: Call, delete: Tool
) -> None:
    request = desk.request(asked, delete, TWO)
    desk.decide(request.id, True, ANN)
    edited = desk.decide(request.id, True, CAT, arguments={"id": 8})
    assert (edited.status, [v.by for v in edited.votes]) == ("pending", ["cat"])
    with pytest.raises(ApprovalRefusedError, match="cat has changed the arguments"):
        desk.decide(request.id, True, ANN)
    with pytest.raises(ApprovalRefusedError, match="not those that you looked at"):
        desk.decide(request.id, True, ANN, seen=request.args_hash)
    done = desk.decide(request.id, True, ANN, seen=edited.args_hash)
    assert (done.status, done.decided_by, done.edited_by) == ("approved", "cat, ann", "cat")
    assert desk.request(asked, delete).id == request.id, "the call that was asked for is still this one"


def test_two_requests_never_become_one(desk: Approvals, asked: Call, delete: Tool) -> None:
    one, other = desk.request(asked, delete), desk.request(change(asked, arguments={"id": 8}), delete)
    with pytest.raises(ApprovalRefusedError, match=other.id):
        desk.decide(one.id, True, ANN, arguments={"id": 8})
    assert {a.id for a in desk.pending("acme")} == {one.id, other.id}


def test_what_is_no_change_is_a_plain_yes(desk: Approvals, asked: Call, delete: Tool) -> None:
    request = desk.request(asked, delete)
    decided = desk.decide(request.id, True, ANN, arguments=dict(reversed(asked.arguments.items())))
    assert (decided.status, decided.edited_by, decided.asked_hash) == ("approved", "", "")


def test_changed_arguments_are_kept_in_clear_only_while_they_are_needed(
    desk: Approvals, asked: Call, delete: Tool
) -> None:
    request = desk.request(asked, delete)
    desk.decide(request.id, True, ANN, arguments={"to": "secret@b.example"})
    assert desk.arguments(request.id, ANN) == {"to": "secret@b.example"}
    assert "secret@b.example" not in str(desk.get(request.id))
    assert desk.consume(request.id, asked, delete)
    assert "secret@b.example" not in str(desk.store.rows("select * from approvals"))


# --- what the rules say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ApprovalRequirement()),
        ({"servers": {"crm": {"approvers": 2}}}, TWO),
        (
            {"servers": {"crm": {"approvers": 2}}, "tools": {"crm.delete": {"roles": ["dba"]}}},
            ApprovalRequirement(roles=("dba",)),
        ),
        ({"servers": {"other": {"approvers": 2}}, "tools": {"crm.find": {"approvers": 3}}}, ApprovalRequirement()),
    ],
)
async def test_the_data_say_how_many_and_who(
    settings: Settings, tmp_path: Path, asked: Call, delete: Tool, data: Any, expected: ApprovalRequirement
) -> None:
    (tmp_path / "approvals.json").write_bytes(msgspec.json.encode({"workbench": {"approvals": data}}))
    policy = Policy(settings.replace(policy=tmp_path))
    try:
        assert await policy.needed(asked, delete) == expected
    finally:
        policy.close()


@pytest.mark.parametrize("entry", [{"approvers": 0}, {"approvers": "two"}, {"roles": [1]}, {"roles": "manager"}])
async def test_data_that_cannot_be_meant_let_nobody_be_asked(
    settings: Settings, tmp_path: Path, asked: Call, delete: Tool, entry: Any
) -> None:
    data = {"workbench": {"approvals": {"tools": {"crm.delete": entry}}}}
    (tmp_path / "approvals.json").write_bytes(msgspec.json.encode(data))
    policy = Policy(settings.replace(policy=tmp_path))
    try:
        with pytest.raises(MisuseError, match="cannot be found out"):
            await policy.needed(asked, delete)
    finally:
        policy.close()


@pytest.mark.stores("sqlite")
def test_a_table_of_an_earlier_version_is_carried_over(settings: Settings, asked: Call, delete: Tool) -> None:
    from workbench.config import open_control, prepare_home

    db = open_control(prepare_home(settings.home))
    new = ("approvers", "roles", "votes", "asked_hash", "asked_binding", "edited_by")
    first = Approvals(settings.home, Redactor(settings.home))
    waiting = first.request(asked, delete)
    first.close()
    for column in new:
        db.execute(f"alter table approvals drop column {column}")
    db.close()
    again = Approvals(settings.home, Redactor(settings.home))
    assert again.get(waiting.id) == waiting
    assert again.decide(waiting.id, True, ANN).status == "approved"
    again.close()
