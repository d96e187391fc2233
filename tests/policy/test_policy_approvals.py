"""Approvals: bound to one call, decided by somebody else, used once, whoever races."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from workbench.config import Settings
from workbench.events import Call, Caller, MisuseError, Tool
from workbench.json_values import MAX_DEPTH
from workbench.policy import Approval, ApprovalRefusedError, Approvals, Redactor
from workbench.policy.approvals import approvals
from workbench.policy.approvals.approvals import TTL_US

pytestmark = pytest.mark.stores("sqlite", "postgres")
change = msgspec.structs.replace


class Clock:
    """Microseconds that the test moves."""

    def __init__(self) -> None:
        self.at = 1_800_000_000_000_000

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


@pytest.fixture
def asked(employee: Caller, delete: Tool) -> Call:
    return Call(caller=employee, tool=delete.qualified, arguments={"id": 7, "email": "a@b.example"}, source="mcp")


def approved(desk: Approvals, asked: Call, delete: Tool, by: Caller) -> Approval:
    return desk.decide(desk.request(asked, delete).id, True, by, via="app")


def test_an_approved_call_runs_once(desk: Approvals, asked: Call, delete: Tool, owner: Caller) -> None:
    request = desk.request(asked, delete)
    assert request.status == "pending"
    assert [a.id for a in desk.pending("acme")] == [request.id]
    assert not desk.consume(request.id, asked, delete)
    decided = desk.decide(request.id, True, owner, "fine", via="app")
    assert (decided.status, decided.decided_by, decided.decided_via, decided.note) == ("approved", "ann", "app", "fine")
    assert desk.pending("acme") == []
    assert desk.consume(request.id, asked, delete)
    assert not desk.consume(request.id, asked, delete)
    after = desk.get(request.id)
    assert after is not None
    assert after.status == "used"
    assert after.used_us > 0


def test_the_binding_of_the_call_serves_as_well_as_the_id(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller
) -> None:
    approved(desk, asked, delete, owner)
    again = Call(caller=asked.caller, tool=asked.tool, arguments=dict(asked.arguments), source="rest")
    key = desk.binding(again, delete)
    used = desk.redeem(key, again, delete)
    assert used is not None
    assert (used.status, used.decided_by) == ("used", "ann")
    assert desk.redeem(key, again, delete) is None
    assert not desk.consume(key, again, delete)


@pytest.mark.parametrize(
    "other",
    [
        {"arguments": {"id": 8, "email": "a@b.example"}},
        {"arguments": {"id": "7", "email": "a@b.example"}},
        {"arguments": {"id": 7.0, "email": "a@b.example"}},
        {"arguments": {"id": 7, "email": "a@b.example", "force": True}},
        {"arguments": {"id": 7}},
        {"arguments": {"id": float("nan")}},
        pytest.param({"arguments": {"id": object()}}, id="an object"),
    ],
    ids=str,
)
def test_other_arguments_are_another_call(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller, other: dict[str, Any]
) -> None:
    id = approved(desk, asked, delete, owner).id
    assert not desk.consume(id, change(asked, **other), delete)
    assert desk.consume(id, asked, delete)


def test_another_tenant_caller_tool_or_definition_is_another_call(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller
) -> None:
    id = approved(desk, asked, delete, owner).id
    binding = desk.binding(asked, delete)
    for caller in (change(asked.caller, tenant="globex"), change(asked.caller, subject="eve")):
        assert not desk.consume(id, change(asked, caller=caller), delete)
        assert not desk.consume(binding, change(asked, caller=caller), delete)
    assert not desk.consume(id, asked, change(delete, definition_hash="rewritten"))
    assert not desk.consume(id, asked, change(delete, name="delete_all"))
    assert not desk.consume("apr_nosuch", asked, delete)
    assert not desk.consume("", asked, delete)
    assert desk.consume(id, asked, delete)


def test_a_tool_without_a_hash_is_bound_to_everything_it_says(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller
) -> None:
    plain = change(delete, definition_hash="")
    id = approved(desk, asked, plain, owner).id
    assert not desk.consume(id, asked, change(plain, description="now harmless"))
    assert desk.consume(id, asked, plain)


def test_the_order_of_the_arguments_does_not_matter(desk: Approvals, asked: Call, delete: Tool, owner: Caller) -> None:
    id = approved(desk, asked, delete, owner).id
    assert desk.consume(id, change(asked, arguments={"email": "a@b.example", "id": 7}), delete)


def test_the_same_call_asked_twice_is_one_request(desk: Approvals, asked: Call, delete: Tool, owner: Caller) -> None:
    first = desk.request(asked, delete)
    assert desk.request(change(asked, id="another"), delete).id == first.id
    desk.decide(first.id, True, owner, via="app")
    assert desk.request(asked, delete).status == "approved"
    assert desk.consume(first.id, asked, delete)
    assert desk.request(asked, delete).id != first.id


def test_a_caller_cannot_flood_the_inbox(
    desk: Approvals, asked: Call, delete: Tool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "MAX_WAITING", 3)
    made = [desk.request(change(asked, arguments={"id": i}), delete) for i in range(3)]
    with pytest.raises(MisuseError, match="3 approvals waiting"):
        desk.request(change(asked, arguments={"id": 99}), delete)
    assert desk.request(change(asked, arguments={"id": 1}), delete).id == made[1].id
    other = change(asked, caller=change(asked.caller, subject="cy"))
    assert desk.request(other, delete).status == "pending"


def test_arguments_that_cannot_be_bound_are_no_request(desk: Approvals, asked: Call, delete: Tool) -> None:
    for wrong in ({"a": float("nan")}, {"a": object()}, {"a": 2**70}, {"a": "\ud83d"}):
        with pytest.raises(MisuseError, match="cannot be bound"):
            desk.request(change(asked, arguments=wrong), delete)


def test_arguments_that_any_call_may_have_are_approved_and_used_as_they_are(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller
) -> None:
    deep: dict[str, Any] = {"x": 1}
    for _ in range(MAX_DEPTH - 1):
        deep = {"a": deep}
    for arguments in (deep, {"a": "x\0y"}, {"a": list(range(20_000))}):
        call = change(asked, arguments=arguments)
        request = approved(desk, call, delete, owner)
        taken = desk.take(request.id, call, delete)
        assert taken is not None
        assert taken[1] == arguments


# --- time ----------------------------------------------------------------------------------------


def test_a_request_that_nobody_decides_ends_after_fifteen_minutes(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller, clock: Clock
) -> None:
    request = desk.request(asked, delete)
    clock.at += TTL_US - 1
    assert desk.expire() == []
    clock.at += 1
    assert desk.pending("acme") == []
    assert desk.arguments(request.id, owner) == request.arguments
    with pytest.raises(ApprovalRefusedError, match="is expired"):
        desk.decide(request.id, True, owner, via="app")
    assert not desk.consume(request.id, asked, delete)


def test_an_approval_that_nobody_uses_ends_fifteen_minutes_after_the_decision(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller, clock: Clock
) -> None:
    request = desk.request(asked, delete)
    clock.at += TTL_US - 1
    decided = desk.decide(request.id, True, owner, via="app")
    assert decided.expires_us == clock.at + TTL_US
    clock.at += TTL_US
    assert not desk.consume(request.id, asked, delete)
    assert [(a.id, a.status) for a in desk.expire()] == [(request.id, "expired")]
    assert desk.expire() == []


@pytest.mark.parametrize("way", ["asked again", "listed", "waited for"])
async def test_what_ended_by_the_way_is_wiped_and_told_once_to_whoever_keeps_the_record(
    desk: Approvals, asked: Call, delete: Tool, clock: Clock, way: str
) -> None:
    first = desk.request(asked, delete)
    clock.at += TTL_US
    if way == "asked again":
        assert desk.request(asked, delete).id != first.id
    elif way == "listed":
        assert desk.pending("acme") == []
    else:
        ended = await desk.wait(first.id, 10)
        assert ended is not None
        assert ended.status == "expired"
    kept = desk.store.row("select status, clear from approvals where id = ?", first.id)
    assert kept == ("expired", None)
    assert [(a.id, a.status) for a in desk.expire()] == [(first.id, "expired")]
    assert desk.expire() == []


# --- who may decide ------------------------------------------------------------------------------


def test_no_is_no(desk: Approvals, asked: Call, delete: Tool, owner: Caller) -> None:
    request = desk.request(asked, delete)
    assert desk.decide(request.id, False, owner, via="app").status == "denied"
    assert not desk.consume(request.id, asked, delete)
    with pytest.raises(ApprovalRefusedError, match="is denied"):
        desk.decide(request.id, True, owner, via="app")


@pytest.mark.parametrize("answer", ["yes", 1, None, "true"])
def test_only_true_is_a_yes(desk: Approvals, asked: Call, delete: Tool, owner: Caller, answer: Any) -> None:
    assert desk.decide(desk.request(asked, delete).id, answer, owner, via="app").status == "denied"


def test_a_decision_needs_the_scope_and_the_tenant(desk: Approvals, asked: Call, delete: Tool, owner: Caller) -> None:
    request = desk.request(asked, delete)
    clerk = Caller(tenant="acme", subject="cy", scopes=frozenset({"crm:*"}))
    with pytest.raises(ApprovalRefusedError, match="approvals:decide"):
        desk.decide(request.id, True, clerk, via="app")
    with pytest.raises(ApprovalRefusedError, match="no approval"):
        desk.decide(request.id, True, change(owner, tenant="globex"), via="app")
    with pytest.raises(ApprovalRefusedError, match="no approval"):
        desk.decide("apr_nosuch", True, owner, via="app")
    with pytest.raises(ApprovalRefusedError, match="by somebody"):
        desk.decide(request.id, True, "", via="app")
    manager = change(clerk, scopes=frozenset({"approvals:decide"}))
    assert desk.decide(request.id, True, manager, via="rest").status == "approved"


def test_nobody_approves_their_own_call_but_the_owner_at_a_door_with_a_person(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller
) -> None:
    request = desk.request(asked, delete)
    manager = change(asked.caller, scopes=frozenset({"approvals:decide"}))
    with pytest.raises(ApprovalRefusedError, match="may not decide it"):
        desk.decide(request.id, True, manager, via="app")
    with pytest.raises(ApprovalRefusedError, match="may not decide it"):
        desk.decide(request.id, True, "bob", via="app")

    mine = desk.request(change(asked, caller=owner), delete)
    for door in ("", "mcp", "rest", "agent", "notebook", "load"):
        with pytest.raises(ApprovalRefusedError, match="at the app or the command line"):
            desk.decide(mine.id, True, owner, via=door)
    assert desk.decide(mine.id, True, owner, via="cli").decided_via == "cli"


def test_the_inbox_of_a_tenant_is_its_own(desk: Approvals, asked: Call, delete: Tool, owner: Caller) -> None:
    request = desk.request(asked, delete)
    assert desk.pending("globex") == []
    assert desk.arguments(request.id, change(owner, tenant="globex")) is None


# --- what is kept --------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["used", "denied", "expired"])
def test_arguments_are_kept_in_clear_only_while_somebody_has_to_decide(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller, clock: Clock, end: str, settings: Settings
) -> None:
    request = desk.request(asked, delete)
    assert request.arguments["email"].startswith("<EMAIL:")
    assert "a@b.example" not in str(request.to_dict())
    assert desk.arguments(request.id, owner) == asked.arguments
    clerk = Caller(tenant="acme", subject="cy", scopes=frozenset({"approvals:decide"}))
    assert desk.arguments(request.id, clerk) == request.arguments
    if end == "expired":
        clock.at += TTL_US
        desk.expire()
    else:
        desk.decide(request.id, end == "used", owner, via="app")
        assert desk.consume(request.id, asked, delete) is (end == "used")
    assert desk.arguments(request.id, owner) == request.arguments
    ended = desk.get(request.id)
    assert ended is not None
    assert ended.status == end
    assert "a@b.example" not in str(desk.store.rows("select * from approvals"))


# --- races ---------------------------------------------------------------------------------------


def test_of_many_threads_exactly_one_uses_an_approval(
    settings: Settings, asked: Call, delete: Tool, owner: Caller, desk: Approvals, clock: Clock
) -> None:
    id = approved(desk, asked, delete, owner).id
    desks = [Approvals(settings, Redactor(settings.home), clock=clock) for _ in range(3)] + [desk] * 3
    start = threading.Barrier(len(desks))
    won: list[bool] = []

    def use(at: Approvals) -> None:
        start.wait()
        won.append(at.consume(id, asked, delete))

    threads = [threading.Thread(target=use, args=(d,)) for d in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * (len(desks) - 1) + [True]
    for opened in desks[:3]:
        opened.close()


def test_of_two_deciders_exactly_one_is_heard(desk: Approvals, asked: Call, delete: Tool, owner: Caller) -> None:
    id = desk.request(asked, delete).id
    start = threading.Barrier(6)
    heard: list[str] = []

    def decide(approve: bool) -> None:
        start.wait()
        try:
            heard.append(desk.decide(id, approve, owner, via="app").status)
        except ApprovalRefusedError:
            return

    threads = [threading.Thread(target=decide, args=(i % 2 == 0,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = desk.get(id)
    assert after is not None
    assert heard == [after.status]


USE = """
import json, sys, msgspec
from pathlib import Path
from workbench.config import Settings
from workbench.events import Call, Tool
from workbench.policy import Approvals, Redactor
home, id = Path(sys.argv[1]), sys.argv[2]
settings = Settings.load(env={}, cwd=home.parent, home=home, **json.loads(sys.argv[5]))
call, tool = msgspec.json.decode(sys.argv[3], type=Call), msgspec.json.decode(sys.argv[4], type=Tool)
desk = Approvals(settings, Redactor(home))
print("ready", flush=True)
sys.stdin.readline()
print(desk.consume(id, call, tool))
"""


@pytest.mark.slow
def test_of_many_processes_exactly_one_uses_an_approval(
    settings: Settings, asked: Call, delete: Tool, owner: Caller, store: dict[str, str]
) -> None:
    desk = Approvals(settings, Redactor(settings.home))
    id = approved(desk, asked, delete, owner).id
    arguments = [str(settings.home), id, msgspec.json.encode(asked).decode(), msgspec.json.encode(delete).decode()]
    arguments.append(json.dumps(store))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", USE, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = sorted(process.communicate(timeout=30)[0].strip() for process in started)
    assert answers == ["False", "False", "False", "True"]
    desk.close()


# --- waiting -------------------------------------------------------------------------------------


async def test_whoever_waits_is_woken_by_the_decision(
    desk: Approvals, asked: Call, delete: Tool, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(approvals, "POLL_INTERVAL_S", 3600.0)  # so that only the wake-up can end the wait
    id = desk.request(asked, delete).id
    waiting = asyncio.create_task(desk.wait(id, 30))
    await asyncio.sleep(0)  # it runs up to its first pause
    assert id in desk._waiting
    await asyncio.to_thread(desk.decide, id, True, owner, via="app")
    decided = await asyncio.wait_for(waiting, 10)
    assert decided is not None
    assert decided.status == "approved"
    assert desk._waiting == {}


async def test_a_decision_made_elsewhere_is_seen(
    settings: Settings, desk: Approvals, asked: Call, delete: Tool, owner: Caller, clock: Clock
) -> None:
    elsewhere = Approvals(settings, Redactor(settings.home), clock=clock)
    id = desk.request(asked, delete).id
    waiting = asyncio.create_task(desk.wait(id, 30))
    await asyncio.sleep(0)  # it runs up to its first pause
    assert id in desk._waiting
    elsewhere.decide(id, False, owner, via="cli")
    decided = await asyncio.wait_for(waiting, 10)
    assert decided is not None
    assert decided.status == "denied"
    elsewhere.close()


async def test_waiting_ends_with_the_time_given_and_with_the_request(
    desk: Approvals, asked: Call, delete: Tool, clock: Clock
) -> None:
    id = desk.request(asked, delete).id
    still = await desk.wait(id, 0)
    assert still is not None
    assert still.status == "pending"
    assert await desk.wait("apr_nosuch", 10) is None
    clock.at += TTL_US
    ended = await desk.wait(id, 10)
    assert ended is not None
    assert ended.status == "expired"


async def test_a_cancelled_wait_leaves_nothing_behind(desk: Approvals, asked: Call, delete: Tool) -> None:
    id = desk.request(asked, delete).id
    waiting = asyncio.create_task(desk.wait(id, 30))
    await asyncio.sleep(0)  # it runs up to its first pause
    assert id in desk._waiting
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert desk._waiting == {}
