"""A destructive call that may be repeated: it runs, it says so, it counts, and it ends with whatever it rests on."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from tests.gateway.test_approved_params import Recording
from workbench.events import JSON, Call, Caller
from workbench.policy.approvals.standing_approvals import StandingTerms

pytestmark = pytest.mark.stores("sqlite", "postgres")
TOOL = "vault.empty"


@pytest.fixture
async def vault(furnish: Any) -> tuple[Any, Recording]:
    server = Recording()
    return await furnish(servers={"vault": server}, standing_approvals=True), server


def call(house: Any, what: str = "all", caller: Caller | None = None, **meta: Any) -> Call:
    return Call(caller=caller or house.owner, tool=TOOL, arguments={"what": what}, source="mcp", meta=meta)


async def give(house: Any, by: Caller, asked: Call, **terms: Any) -> str:
    """Say yes to `asked`, let it be repeated, and run it the first time; the id of the standing approval."""
    policy = house.policy
    id = (await house.gateway.call(asked)).details["approval"]
    prepared = policy.standing.prepare(policy.approvals.get(id), asked.arguments, StandingTerms(**terms), by)
    policy.approvals.decide(id, True, by, via="app")
    given = policy.standing.give(prepared, by, via="app")
    first = await house.gateway.call(asked)
    assert (first.ok, first.details["approval_id"]) == (True, id), "the first call uses the approval itself"
    return str(given.id)


@pytest.fixture
def giver(vault: tuple[Any, Recording]) -> Caller:
    found = vault[0].caller("owner", subject="mary")
    assert isinstance(found, Caller)
    return found


async def test_repeats_say_what_let_them_through_and_how_many_are_left(
    vault: tuple[Any, Recording], giver: Caller
) -> None:
    house, server = vault
    id = await give(house, giver, call(house), uses=2)
    outcomes = [await house.gateway.call(call(house)) for _ in range(3)]
    assert [outcome.kind for outcome in outcomes] == ["ok", "ok", "approval_required"]
    assert len(server.reached) == 3
    said = outcomes[0].result["_meta"]["workbench/standing_approval"]
    assert (said["id"], said["uses_left"], said["by"]) == (id, 1, "mary")
    recorded = house.recorded()[-3:-1]
    assert [(r["approval_id"], r["data"]["standing"]["uses_left"]) for r in recorded] == [(id, 1), (id, 0)]
    used = [r for r in house.recorded("approval") if r["outcome"] == "standing_used"]
    assert [(r["approval_id"], r["request_id"], r["data"]["used"]) for r in used] == [
        (id, recorded[0]["request_id"], 1),
        (id, recorded[1]["request_id"], 2),
    ]


async def test_other_arguments_callers_and_params_ask_as_ever(vault: tuple[Any, Recording], giver: Caller) -> None:
    house, server = vault
    await give(house, giver, call(house), uses=5, patterns={"/what": {"enum": ["all", "some"]}})
    before = len(server.reached)
    assert (await house.gateway.call(call(house, "some"))).ok
    eve = house.caller("owner", subject="eve")
    for other in (call(house, "everything"), call(house, caller=eve), call(house, task={"ttl": 1})):
        assert (await house.gateway.call(other)).kind == "approval_required"
    assert len(server.reached) == before + 1


async def test_what_it_does_not_cover_does_not_reach_the_tool(vault: tuple[Any, Recording], giver: Caller) -> None:
    house, server = vault
    await give(house, giver, call(house), uses=5)
    assert (await house.gateway.call(call(house, _meta={"baggage": "x=y", "progressToken": 1}))).ok
    assert "baggage" not in server.reached[-1][1]


async def test_an_approval_that_is_named_is_used_before(vault: tuple[Any, Recording], giver: Caller) -> None:
    house, _ = vault
    await give(house, giver, call(house), uses=5)
    named: JSON = {"_meta": {"workbench/approval": "apr_of_another_call"}}
    assert (await house.gateway.call(call(house, **named))).kind == "approval_required"


@pytest.mark.parametrize("how", ["key", "role", "revoked"])
async def test_it_ends_with_the_rights_of_who_gave_it(vault: tuple[Any, Recording], how: str) -> None:
    house, server = vault
    house.access.create_key("mary", roles=("owner",), scopes=("approvals:decide",))  # of another kind
    id, token = house.access.create_key("mary", roles=("owner",))
    mary = house.access.authenticate(f"Bearer {token}")
    standing = await give(house, mary, call(house), uses=5)
    assert (await house.gateway.call(call(house))).ok
    before = len(server.reached)
    if how == "key":
        house.access.revoke(id.id if hasattr(id, "id") else id)
    elif how == "role":
        (house.settings.home / "policy").mkdir(exist_ok=True)
        (house.settings.home / "policy" / "roles.toml").write_text(
            '[owner]\nscopes = ["vault:*", "approvals:decide"]\n'
        )
        house.access._ticks = lambda: float("inf")
        house.access._look_for_changes()
    else:
        house.policy.standing.revoke(standing, mary)
    kept = msgspec.structs.replace(house.owner, scopes=frozenset({"*"}))
    assert (await house.gateway.call(call(house, caller=kept))).kind == "approval_required"
    assert len(server.reached) == before
    if how != "revoked":
        assert house.recorded("approval")[-2]["outcome"] == "standing_void"


async def test_it_ends_with_the_rights_of_the_caller(vault: tuple[Any, Recording], giver: Caller) -> None:
    house, server = vault
    bob = house.caller("owner", subject="bob")
    await give(house, giver, call(house, caller=bob), uses=5)
    before = len(server.reached)
    less = msgspec.structs.replace(bob, scopes=frozenset({"calc:*"}))
    assert (await house.gateway.call(call(house, caller=less))).kind == "denied"
    assert len(server.reached) == before


async def test_a_changed_definition_ends_it(vault: tuple[Any, Recording], giver: Caller) -> None:
    house, server = vault
    id = await give(house, giver, call(house), uses=5)
    tool = next(t for t in house.registry.tools() if t.qualified == TOOL)
    changed = msgspec.structs.replace(tool, definition_hash="0" * 64)
    found = await house.gateway.approving._standing.of(call(house), changed)
    assert found is None
    (void,) = [r for r in house.recorded("approval") if r["outcome"] == "standing_void"]
    assert (void["approval_id"], "definition" in void["data"]["why"]) == (id, True)
    assert (await house.gateway.call(call(house))).kind == "approval_required"
    assert len(server.reached) == 1


async def test_at_once_no_more_run_than_were_agreed(vault: tuple[Any, Recording], giver: Caller) -> None:
    house, server = vault
    await give(house, giver, call(house), uses=3)
    kinds = [o.kind for o in await asyncio.gather(*(house.gateway.call(call(house)) for _ in range(12)))]
    assert kinds.count("ok") == 3
    assert set(kinds) == {"ok", "approval_required"}
    assert len(server.reached) == 4


async def test_switched_off_none_counts(furnish: Any) -> None:
    server = Recording()
    house = await furnish(servers={"vault": server})
    assert not house.policy.standing.on
    assert (await house.gateway.call(call(house))).kind == "approval_required"


async def test_a_certificate_or_token_gives_by_its_roles(vault: tuple[Any, Recording]) -> None:
    house, server = vault
    robot = Caller(tenant=house.owner.tenant, subject="ci", roles=("owner",), scopes=frozenset({"*"}), method="jwt")
    await give(house, robot, call(house), uses=2)
    assert (await house.gateway.call(call(house))).ok
    weak = msgspec.structs.replace(robot, roles=("viewer",))
    await give(house, weak, call(house, "other"), uses=2)
    assert (await house.gateway.call(call(house, "other"))).kind == "approval_required"
    assert len(server.reached) == 3
