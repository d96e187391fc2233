"""Servers of several replicas, and replicas that are killed, hung, cut off and drained: real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import Browser, until
from workbench.config import Settings
from workbench.events import JSON, Call, Outcome
from workbench.registry import ServerSpec, ServerState
from workbench.testing import GatewayHarness

CHILD = str(Path(__file__).with_name("replica_child.py"))

Mill = Callable[..., Awaitable[GatewayHarness]]


@pytest.fixture
async def mill(settings: Settings) -> AsyncIterator[Mill]:
    """`await mill(replicas=2)` opens a gateway over that many processes of one server, `mill`."""
    async with AsyncExitStack() as stack:

        async def open_mill(*specs: ServerSpec, replicas: int = 1, **more: Any) -> GatewayHarness:
            changed = settings.replace(
                replicas={"mill": replicas}, **{"health_interval": 60.0, "restart_backoff": 0.05, **more}
            )
            ours = ServerSpec(id="mill", kind="bundled", command=(sys.executable, CHILD), source="tests")
            servers = {spec.id: spec for spec in specs or [ours]}
            harness = await stack.enter_async_context(GatewayHarness(servers, base=changed))
            assert all(state.status == "ready" for state in harness.registry.servers())
            return harness

        yield open_mill


async def ask(house: GatewayHarness, tool: str = "who", arguments: JSON | None = None, **more: Any) -> Outcome:
    return await house.gateway.call(Call(caller=house.owner, tool=f"mill.{tool}", arguments=arguments or {}, **more))


def state(house: GatewayHarness) -> ServerState:
    found = house.registry.state("mill")
    assert found is not None
    return found


def events(house: GatewayHarness) -> list[str]:
    return [record["outcome"] for record in house.recorded("registry_event")]


async def said(house: GatewayHarness, tool: str = "who", **more: Any) -> Any:
    outcome = await ask(house, tool, **more)
    assert outcome.ok, outcome.message
    return outcome.data["said"]


async def test_calls_go_to_the_replica_with_least_to_do(mill: Mill, tmp_path: Path) -> None:
    house = await mill(replicas=2)
    pids = {replica.pid for replica in state(house).replicas}
    assert len(pids) == 2
    assert {await said(house) for _ in range(4)} == pids
    begun, end = tmp_path / "begun", tmp_path / "end"
    slow = asyncio.create_task(ask(house, "wait", {"begun": str(begun), "until": str(end)}))
    await until(begun.exists)
    assert sorted(replica.under_way for replica in state(house).replicas) == [0, 1]
    quick = {await said(house) for _ in range(6)}
    end.touch()
    assert quick == pids - {(await slow).data["said"]}


async def test_a_killed_replica_costs_no_call_that_may_be_repeated(mill: Mill) -> None:
    house = await mill(replicas=2)
    victim = state(house).replicas[0].pid
    os.kill(victim, signal.SIGKILL)
    answers = [await said(house) for _ in range(20)]
    assert victim not in answers[1:]
    await until(lambda: all(r.status == "ready" for r in state(house).replicas) and state(house).restarts == 1)
    renewed = state(house).replicas[0].pid
    await until_true(lambda: _answers(house, renewed))
    assert state(house).status == "ready"


async def _answers(house: GatewayHarness, pid: int) -> bool:
    return bool(await said(house) == pid)


async def until_true(condition: Callable[[], Awaitable[bool]], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            pass


@pytest.mark.slow
async def test_a_hung_replica_is_left_alone_until_it_answers_its_health_check(mill: Mill) -> None:
    house = await mill(replicas=2, tool_timeouts={"mill.*": 1.0})
    victim = state(house).replicas[0].pid
    os.kill(victim, signal.SIGSTOP)
    try:
        outcomes = await asyncio.gather(*(ask(house) for _ in range(10)))
        assert [o.kind for o in outcomes].count("timeout") == 5
        assert state(house).replicas[0].breaker == "open"
        assert state(house).breaker == "closed"  # the server as a whole can be called
        assert victim not in [await said(house) for _ in range(10)]
    finally:
        os.kill(victim, signal.SIGCONT)
    await until(lambda: state(house).replicas[0].breaker == "half-open")
    await until_true(lambda: _answers(house, victim))
    assert state(house).replicas[0].breaker == "closed"
    # It returns slowly: a burst does not go half and half.
    share = (await asyncio.gather(*(said(house) for _ in range(20)))).count(victim)
    assert 0 < share < 8
    await house.audit.close()
    moved = [r for r in house.recorded("registry_event") if r["outcome"].startswith("breaker_")]
    assert [r["outcome"] for r in moved] == ["breaker_open", "breaker_half_open", "breaker_closed"]
    assert {r["data"]["replica"] for r in moved} == {0}


async def test_answers_cut_off_open_the_breaker_and_it_recovers(mill: Mill) -> None:
    house = await mill(replicas=1)
    browser = Browser(house)
    for _ in range(5):
        outcome = await ask(house, "cut")
        assert outcome.kind == "unavailable"
        assert "broke off" in outcome.message
    assert state(house).breaker == "open"
    refused = await browser.modern("tools/call", {"name": "mill.who", "arguments": {}})
    assert refused.status == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.error["data"]["rule"] == "breaker"
    await until(lambda: state(house).breaker == "half-open")
    assert (await browser.modern("tools/call", {"name": "mill.who", "arguments": {}})).status == 200
    assert state(house).breaker == "closed"
    assert state(house).restarts == 0
    await house.audit.close()
    assert house.outcomes() == ["unavailable"] * 6 + ["ok"]
    assert events(house)[-3:] == ["breaker_open", "breaker_half_open", "breaker_closed"]


async def test_a_trial_that_is_cancelled_leaves_room_for_the_next(mill: Mill, tmp_path: Path) -> None:
    house = await mill(replicas=1)
    for _ in range(5):
        await ask(house, "cut")
    await until(lambda: state(house).breaker == "half-open")
    begun = tmp_path / "begun"
    trial = asyncio.create_task(ask(house, "wait", {"begun": str(begun), "until": str(tmp_path / "never")}))
    await until(begun.exists)
    assert (await ask(house)).details["rule"] == "breaker"  # one at a time
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert await said(house)
    assert state(house).breaker == "closed"
    (tmp_path / "never").touch()


async def test_a_restart_drains_one_replica_after_the_other(mill: Mill, tmp_path: Path) -> None:
    house = await mill(replicas=2)
    before = {replica.pid for replica in state(house).replicas}
    begun, end = tmp_path / "begun", tmp_path / "end"
    slow = asyncio.create_task(ask(house, "wait", {"begun": str(begun), "until": str(end)}))
    await until(begun.exists)
    restart = asyncio.create_task(house.registry.restart("mill"))
    while not restart.done():
        assert await said(house)
        if any(replica.draining for replica in state(house).replicas):
            end.touch()
    assert (await slow).ok
    assert not before & {replica.pid for replica in state(house).replicas}
    await house.audit.close()
    assert set(house.outcomes()) == {"ok"}


def start_alone() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, CHILD, "--port", "0"], stdout=subprocess.PIPE, text=True)


async def test_several_addresses_are_replicas(mill: Mill) -> None:
    children = [start_alone(), start_alone()]
    try:
        urls = [f"http://127.0.0.1:{int(child.stdout.readline())}/mcp" for child in children if child.stdout]
        house = await mill(ServerSpec(id="mill", kind="url", url=urls[0], more_urls=(urls[1],), source="tests"))
        assert {await said(house) for _ in range(4)} == {child.pid for child in children}
        children[1].kill()
        children[1].wait()
        assert {await said(house) for _ in range(4)} == {children[0].pid}
    finally:
        for child in children:
            child.kill()
            child.wait()
            assert child.stdout is not None
            child.stdout.close()


async def test_single_tools_have_their_own_longest_time(mill: Mill, tmp_path: Path) -> None:
    house = await mill(tool_timeouts={"mill.wait": 0.05, "mill.*": 20.0})
    outcome = await ask(house, "wait", {"begun": str(tmp_path / "begun"), "until": str(tmp_path / "end")})
    (tmp_path / "end").touch()
    assert outcome.kind == "timeout"
    assert outcome.details["timeout_s"] == 0.05
    assert await said(house)
    assert (
        house.gateway.dispatch.timeout(Call(caller=house.owner, tool="mill.who"), house.registry.resolve("mill.who")[0])
        == 20.0
    )


async def test_a_remembered_answer_is_governed_recorded_and_marked(mill: Mill) -> None:
    house = await mill()
    first, again = await ask(house, "count"), await ask(house, "count")
    assert (first.data, again.data) == ({"said": 1}, {"said": 1})
    assert "cached" not in first.details
    assert again.details["cached"] is True
    other = house.caller("owner", subject="bob")
    theirs = await house.gateway.call(Call(caller=other, tool="mill.count"))
    assert theirs.data == {"said": 2}  # private answers belong to one caller
    denied = await house.gateway.call(Call(caller=house.caller("owner", scopes=("crm:read",)), tool="mill.count"))
    assert denied.kind == "denied"
    await house.audit.close()
    assert house.outcomes() == ["ok", "ok", "ok", "denied"]
    aside = [record["data"] for record in house.recorded()[:2]]
    assert [{k: v for k, v in data.items() if k != "judged"} for data in aside] == [
        {},
        {"cached": True, "age_ms": again.details["age_ms"]},
    ]


async def test_many_who_ask_the_same_at_once_are_one_question(mill: Mill) -> None:
    house = await mill()
    calls = [asyncio.create_task(ask(house, "count")) for _ in range(20)]
    outcomes = await asyncio.gather(*calls)
    assert {outcome.data["said"] for outcome in outcomes} == {1}
    assert sum(outcome.details.get("cached", False) for outcome in outcomes) == 19
    await house.audit.close()
    assert house.outcomes() == ["ok"] * 20
