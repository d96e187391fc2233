"""Standing approvals: given by who may, for one caller, counted exactly, and ended by whatever they rest on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from tests.policy.test_policy_approvals import Clock
from workbench.config import Settings
from workbench.events import Call, Caller, MisuseError, Tool
from workbench.policy import ApprovalRefusedError, Approvals, Redactor
from workbench.policy.approvals.approval import ApprovalRequirement
from workbench.policy.approvals.standing_approvals import (
    MAX_ACTIVE,
    MAX_UNSEEN_SECONDS,
    StandingApproval,
    StandingApprovals,
    StandingTerms,
)

pytestmark = pytest.mark.stores("sqlite", "postgres")
change = msgspec.structs.replace
ARGUMENTS = {"id": 7, "email": "a@b.example"}


class Desk:
    """Approvals and standing approvals over one store."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        redactor = Redactor(settings.home)
        self.clock = clock
        self.approvals = Approvals(settings, redactor, clock=clock)
        self.standing = StandingApprovals(settings, redactor, clock=clock)

    def give(
        self,
        call: Call,
        tool: Tool,
        by: Caller,
        needed: ApprovalRequirement = ApprovalRequirement(),
        **terms: Any,
    ) -> StandingApproval:
        approval = self.approvals.request(call, tool, needed)
        prepared = self.standing.prepare(approval, dict(call.arguments), StandingTerms(**(terms or {"uses": 2})), by)
        self.approvals.decide(approval.id, True, by, via="app")
        return self.standing.give(prepared, by, via="app")

    def use(self, call: Call, tool: Tool, may: bool = True) -> StandingApproval | None:
        return self.standing.use(call, tool, lambda _: may).used

    def close(self) -> None:
        self.approvals.close()
        self.standing.close()


@pytest.fixture
def on(settings: Settings) -> Settings:
    return settings.replace(standing_approvals=True, standing_approval_uses=5, standing_approval_seconds=7200.0)


@pytest.fixture
def desk(on: Settings) -> Iterator[Desk]:
    opened = Desk(on, Clock())
    yield opened
    opened.close()


@pytest.fixture
def call(employee: Caller, delete: Tool) -> Call:
    return Call(caller=employee, tool=delete.qualified, arguments=dict(ARGUMENTS), source="mcp")


def test_it_lets_the_caller_repeat_the_call_so_often_and_no_more(
    desk: Desk, call: Call, delete: Tool, owner: Caller
) -> None:
    given = desk.give(call, delete, owner, uses=2)
    assert (given.status, given.left, given.by) == ("active", 2, "ann")
    first, second, third = (desk.use(call, delete) for _ in range(3))
    assert first is not None
    assert first.stated() == {"id": given.id, "uses_left": 1, "until_us": given.until_us, "by": "ann"}
    assert second is not None
    assert (second.left, second.status) == (0, "used_up")
    assert third is None
    assert desk.standing.active("acme") == []


def test_it_ends_with_its_time(desk: Desk, call: Call, delete: Tool, owner: Caller) -> None:
    given = desk.give(call, delete, owner, seconds=60)
    assert given.left == 5, "without a number it has what the setting allows"
    desk.clock.at = given.until_us - 1
    assert desk.use(call, delete) is not None
    desk.clock.at = given.until_us
    assert desk.use(call, delete) is None
    assert desk.standing.active("acme") == []


def test_it_is_for_one_caller_tool_definition_and_call(desk: Desk, call: Call, delete: Tool, owner: Caller) -> None:
    desk.give(call, delete, owner)
    others = [
        change(call, caller=change(call.caller, subject="eve")),
        change(call, caller=change(call.caller, tenant="globex")),
        change(call, caller=owner),
        change(call, arguments={**ARGUMENTS, "id": 8}),
        change(call, arguments={**ARGUMENTS, "force": True}),
        change(call, meta={"_meta": {"example/force": True}}),
        change(call, meta={"task": {"ttl": 5}}),
    ]
    assert [desk.use(other, delete) for other in others] == [None] * len(others)
    assert desk.use(call, change(delete, name="delete_all")) is None
    assert desk.use(change(call, meta={"_meta": {"progressToken": 1}}), delete) is not None


def test_patterns_let_other_arguments_through(desk: Desk, call: Call, delete: Tool, owner: Caller) -> None:
    given = desk.give(call, delete, owner, uses=5, patterns={"/id": {"range": [1, 9]}})
    assert given.patterns == {"/id": {"range": [1, 9]}}
    assert "a@b.example" not in str(given.to_dict())
    assert desk.use(change(call, arguments={**ARGUMENTS, "id": 9}), delete) is not None
    assert desk.use(change(call, arguments={**ARGUMENTS, "id": 10}), delete) is None
    assert desk.use(change(call, arguments={"id": 8, "email": "eve@b.example"}), delete) is None


def test_another_definition_ends_it_for_good(desk: Desk, call: Call, delete: Tool, owner: Caller) -> None:
    given = desk.give(call, delete, owner)
    found = desk.standing.use(call, change(delete, definition_hash="rewritten"), lambda _: True)
    assert found.used is None
    assert [(each.id, each.status) for each in found.voided] == [(given.id, "void")]
    assert "definition" in found.voided[0].why
    assert desk.use(call, delete) is None, "and it does not come back with the old one"
    assert desk.standing.active("acme", {delete.qualified: "rewritten"}) == []


def test_the_end_of_the_givers_rights_ends_it(desk: Desk, call: Call, delete: Tool, owner: Caller) -> None:
    desk.give(call, delete, owner)
    assert desk.use(call, delete, may=False) is None
    assert desk.use(call, delete) is None


def test_it_is_revoked_at_once_by_who_may_decide_in_the_tenant(
    desk: Desk, call: Call, delete: Tool, owner: Caller
) -> None:
    given = desk.give(call, delete, owner)
    for other in (change(owner, tenant="globex"), call.caller):
        with pytest.raises(ApprovalRefusedError):
            desk.standing.revoke(given.id, other)
    ended = desk.standing.revoke(given.id, owner)
    assert (ended.status, ended.ended_by) == ("revoked", "ann")
    assert desk.use(call, delete) is None
    with pytest.raises(ApprovalRefusedError, match="in force"):
        desk.standing.revoke(given.id, owner)


def test_switched_off_none_is_given_and_none_counts(
    desk: Desk, settings: Settings, call: Call, delete: Tool, owner: Caller
) -> None:
    desk.give(call, delete, owner)
    off = Desk(settings, desk.clock)
    try:
        assert off.use(call, delete) is None
        with pytest.raises(ApprovalRefusedError, match="switched off"):
            off.give(call, delete, owner)
    finally:
        off.close()


@pytest.mark.parametrize(
    ("scopes", "lacks"),
    [
        (("approvals:decide", "pii:read"), "approvals:standing"),
        (("approvals:standing", "pii:read"), "approvals:standing"),
        (("approvals:decide", "approvals:standing"), "pii:read"),
    ],
)
def test_it_takes_scopes_of_its_own(
    desk: Desk, call: Call, delete: Tool, owner: Caller, scopes: Any, lacks: str
) -> None:
    by = change(owner, scopes=frozenset(scopes))
    with pytest.raises(ApprovalRefusedError) as refused:
        desk.give(call, delete, by)
    assert lacks in refused.value.hint
    assert desk.standing.active("acme") == []


@pytest.mark.parametrize(
    "terms",
    [
        {"uses": 0, "seconds": 0},
        {"uses": 6},
        {"uses": -1},
        {"seconds": 59},
        {"seconds": 7201},
        {"uses": 1, "seconds": -5},
        {"seconds": float("nan")},
    ],
)
def test_its_end_is_stated_and_within_what_the_setting_allows(
    desk: Desk, call: Call, delete: Tool, owner: Caller, terms: Any
) -> None:
    with pytest.raises(MisuseError) as refused:
        desk.give(call, delete, owner, **terms)
    assert refused.value.hint
    assert desk.approvals.pending("acme"), "and nothing was decided"


def test_who_comes_with_a_token_gives_it_for_an_hour_at_most(
    desk: Desk, call: Call, delete: Tool, owner: Caller
) -> None:
    by = change(owner, method="jwt")
    with pytest.raises(MisuseError, match="cannot be given"):
        desk.give(call, delete, by, seconds=MAX_UNSEEN_SECONDS + 1)
    with pytest.raises(ApprovalRefusedError, match="while their token is shown"):
        desk.give(call, delete, change(by, roles=()))
    assert desk.give(call, delete, by, uses=1).seconds == MAX_UNSEEN_SECONDS


def test_four_eyes_need_as_many_who_agree_to_the_same(desk: Desk, call: Call, delete: Tool, owner: Caller) -> None:
    two = ApprovalRequirement(approvers=2)
    cat = change(owner, subject="cat")
    given = desk.give(call, delete, owner, two, uses=2)
    assert (given.status, given.until_us) == ("pending", 0)
    assert desk.use(call, delete) is None
    with pytest.raises(ApprovalRefusedError, match="other terms"):
        desk.give(call, delete, cat, two, uses=3)
    both = desk.give(call, delete, cat, two, uses=2)
    assert (both.id, both.status, both.by) == (given.id, "active", "ann, cat")
    assert desk.use(call, delete) is not None


def test_one_of_two_does_not_make_it_count(desk: Desk, call: Call, delete: Tool, owner: Caller) -> None:
    two, cat = ApprovalRequirement(approvers=2), change(owner, subject="cat")
    given = desk.give(call, delete, owner, two)
    desk.approvals.decide(given.approval, True, cat, via="app")  # a yes to the call alone
    assert desk.use(call, delete) is None
    desk.clock.at += 15 * 60 * 1_000_000
    assert desk.standing.active("acme") == []


def test_of_many_who_use_it_at_once_no_more_come_through_than_were_agreed(
    on: Settings, call: Call, delete: Tool, owner: Caller
) -> None:
    clock = Clock()
    gateways = [Desk(on, clock) for _ in range(3)]
    try:
        gateways[0].give(call, delete, owner, uses=5)
        through: list[int] = []
        start = threading.Barrier(9)

        def call_often(desk: Desk) -> None:
            start.wait()
            found = [desk.use(call, delete) for _ in range(4)]
            through.extend(used.left for used in found if used is not None)

        threads = [threading.Thread(target=call_often, args=(gateways[n % 3],)) for n in range(9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(through) == [0, 1, 2, 3, 4]
    finally:
        for desk in gateways:
            desk.close()


def test_a_tenant_has_so_many_at_a_time(
    desk: Desk, call: Call, delete: Tool, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.policy.approvals.standing_approvals.MAX_ACTIVE", 1)
    assert MAX_ACTIVE > 1
    desk.give(call, delete, owner)
    with pytest.raises(MisuseError, match="are active"):
        desk.give(change(call, arguments={"id": 8}), delete, owner)
