"""What people's runs may use: exact for tokens whoever races, said in words, counted here or in a real Redis."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.redis_server import RedisServer
from workbench.config import Settings
from workbench.events import Caller, MisuseError, Usage
from workbench.policy import Policy
from workbench.policy.limits.budgets import BudgetLedger, BudgetLimits
from workbench.policy.rego.rego_engine import BrokenPolicyError

pytestmark = pytest.mark.stores("sqlite", "postgres")

change = msgspec.structs.replace
NOTHING = Usage()


class Day:
    """A clock that the test moves."""

    at = 1_800_000_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.kill()


@pytest.fixture(params=["control store", "redis"])
def where(request: pytest.FixtureRequest, settings: Settings) -> Settings:
    if request.param == "redis":
        server = request.getfixturevalue("redis")
        return settings.replace(redis_url=server.url)
    return settings


@pytest.fixture
def day() -> Day:
    return Day()


@pytest.fixture
async def spending(where: Settings, day: Day) -> AsyncIterator[BudgetLedger]:
    opened = BudgetLedger(
        where.replace(user_tokens_per_day=1000, user_cost_per_day=0.5), lambda _: BudgetLimits(), clock=day
    )
    if opened._redis is not None:
        await opened._redis.flushall()
    yield opened
    await opened.disconnect()
    opened.close()


def used(tokens: int = 0, cost: float = 0.0) -> Usage:
    return Usage(input_tokens=tokens, cost_usd=cost)


async def test_what_was_set_aside_is_settled_and_the_rest_can_be_used(spending: BudgetLedger, owner: Caller) -> None:
    first = await spending.reserve(owner, NOTHING, 100, 900)
    assert first.tokens == 900
    assert (await spending.reserve(owner, NOTHING, 200, 300)).tokens == 0, "nobody uses what is set aside"
    assert (await spending.reserve(owner, NOTHING, 50, 300)).tokens == 100, "as many as are left"
    await spending.settle(owner, first, used(400, 0.1))
    assert await spending.used(owner) == (500, 0.1)
    again = await spending.reserve(owner, NOTHING, 100, 900)
    assert again.tokens == 500
    refused = await spending.reserve(owner, NOTHING, 1, 10)
    assert (refused.tokens, refused.why) == (0, "Your budget of 1000 tokens for today (UTC) is used up.")


async def test_money_ends_runs_once_it_is_used_up(spending: BudgetLedger, owner: Caller) -> None:
    granted = await spending.reserve(owner, NOTHING, 1, 10)
    await spending.settle(owner, granted, used(10, 0.499999))
    granted = await spending.reserve(owner, NOTHING, 1, 10)
    assert granted.tokens == 10
    await spending.settle(owner, granted, used(10, 0.000001))
    assert (await spending.reserve(owner, NOTHING, 1, 10)).why == "Your budget of $0.50 for today (UTC) is used up."


async def test_a_budget_is_of_one_person_of_one_tenant_and_of_one_day(
    spending: BudgetLedger, owner: Caller, day: Day
) -> None:
    await spending.reserve(owner, NOTHING, 1, 1000)
    for other in (change(owner, subject="bob"), change(owner, tenant="globex")):
        assert (await spending.reserve(other, NOTHING, 1000, 1000)).tokens == 1000
    assert (await spending.reserve(change(owner, credential="another key"), NOTHING, 1, 1)).tokens == 0
    day.at += 24 * 3600
    assert (await spending.reserve(owner, NOTHING, 1000, 1000)).tokens == 1000


async def test_the_password_of_redis_may_be_a_secret(
    settings: Settings, redis: RedisServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE_REDIS_IS", redis.url)
    spending = BudgetLedger(
        settings.replace(redis_url="secret:env:WHERE_REDIS_IS", user_tokens_per_day=1000), lambda _: BudgetLimits()
    )
    granted = await spending.reserve(change(owner, subject="whoever"), NOTHING, 5, 5)
    assert granted.tokens == 5
    await spending.disconnect()
    spending.close()


async def test_runs_that_race_never_use_more_than_the_limit_together(spending: BudgetLedger, owner: Caller) -> None:
    granted = await asyncio.gather(*(spending.reserve(owner, NOTHING, 30, 70) for _ in range(40)))
    assert 970 < sum(g.tokens for g in granted) <= 1000
    assert all(g.tokens >= 30 or (g.tokens == 0 and g.why) for g in granted)


RACER = """
import asyncio, json, sys
from pathlib import Path
from workbench.config import Settings
from workbench.events import Caller, Usage
from workbench.policy.limits.budgets import BudgetLedger, BudgetLimits
store = json.loads(sys.argv[3])
settings = Settings.load(env={}, home=Path(sys.argv[1]), redis_url=sys.argv[2], user_tokens_per_day=1000, **store)
async def race():
    spending = BudgetLedger(settings, lambda _: BudgetLimits(), clock=lambda: 1_800_000_000.0)
    who, total = Caller(tenant="acme", subject=sys.argv[1]), 0
    for _ in range(100):
        granted = await spending.reserve(who, Usage(), 7, 7)
        total += granted.tokens
    await spending.disconnect()
    spending.close()
    print(total)
asyncio.run(race())
"""


@pytest.mark.slow
def test_processes_that_race_never_use_more_than_the_limit_together(where: Settings, store: dict[str, str]) -> None:
    BudgetLedger(where, lambda _: BudgetLimits()).close()  # the state folder is there
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(where.home), where.redis_url, json.dumps(store)],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        for _ in range(3)
    ]  # fmt: skip
    total = sum(int(racer.communicate(timeout=60)[0]) for racer in racers)
    assert 993 < total <= 1000


async def test_the_budget_of_a_run_is_of_that_run(settings: Settings, owner: Caller) -> None:
    spending = BudgetLedger(settings.replace(token_budget=500, cost_budget=0.25), lambda _: BudgetLimits())
    assert (await spending.reserve(owner, used(499), 10, 90)).tokens == 10
    assert "500 tokens of one run" in (await spending.reserve(owner, used(500), 10, 90)).why
    assert "$0.25 of one run" in (await spending.reserve(owner, used(1, 0.25), 10, 90)).why
    assert (await spending.reserve(owner, used(1, 0.24), 10, 90)).tokens == 90
    assert await spending.used(owner) == (0, 0.0), "where no day is limited nothing is counted"
    spending.close()


@pytest.mark.parametrize(
    ("data", "who", "expected"),
    [
        ({}, "ann", BudgetLimits(tokens_per_day=1000, tokens_per_run=200_000)),
        ({"default": {"tokens_per_day": 10}}, "ann", BudgetLimits(tokens_per_day=10, tokens_per_run=200_000)),
        ({"default": {"tokens_per_day": 9999}}, "ann", BudgetLimits(tokens_per_day=1000, tokens_per_run=200_000)),
        (
            {"tenants": {"acme": {"cents_per_run": 5}}, "people": {"acme": {"bob": {"tokens_per_run": 7}}}},
            "ann", BudgetLimits(tokens_per_day=1000, tokens_per_run=200_000, cents_per_run=5),
        ),
        (
            {"tenants": {"acme": {"cents_per_run": 5}}, "people": {"acme": {"bob": {"tokens_per_run": 7}}}},
            "bob", BudgetLimits(tokens_per_day=1000, tokens_per_run=7),
        ),
    ],
)  # fmt: skip
async def test_the_tighter_one_of_settings_and_policy_holds(
    settings: Settings, tmp_path: Path, owner: Caller, data: Any, who: str, expected: BudgetLimits
) -> None:
    (tmp_path / "budgets.json").write_bytes(msgspec.json.encode({"workbench": {"budgets": data}}))
    policy = Policy(settings.replace(policy=tmp_path, user_tokens_per_day=1000))
    assert policy.spending.limits(change(owner, subject=who)) == expected
    policy.close()


@pytest.mark.parametrize("entry", [{"tokens_per_day": "many"}, {"cents_per_run": -1}, {"tokens_per_run": 1.5}])
async def test_data_that_cannot_be_meant_grant_nothing(
    settings: Settings, tmp_path: Path, owner: Caller, entry: Any
) -> None:
    data = {"workbench": {"budgets": {"people": {"acme": {"ann": entry}}}}}
    (tmp_path / "budgets.json").write_bytes(msgspec.json.encode(data))
    policy = Policy(settings.replace(policy=tmp_path))
    with pytest.raises(BrokenPolicyError):
        policy.spending.limits(owner)
    assert (await policy.spending.reserve(owner, NOTHING, 1, 1)).why.startswith("What may be used cannot be found out")
    policy.close()


async def test_without_redis_nothing_is_granted_or_counted_here_as_the_setting_says(
    settings: Settings, owner: Caller
) -> None:
    gone = settings.replace(redis_url="redis://127.0.0.1:1/0", user_tokens_per_day=100)
    for down, tokens in (("deny", 0), ("memory", 50)):
        spending = BudgetLedger(gone.replace(redis_down=down), lambda _: BudgetLimits())
        granted = await spending.reserve(owner, NOTHING, 50, 50)
        assert granted.tokens == tokens
        assert bool(granted.why) is (tokens == 0)
        await spending.settle(owner, granted, used(10))
        await spending.disconnect()
        spending.close()


@pytest.mark.parametrize("name", ["cost_budget", "user_tokens_per_day", "user_cost_per_day"])
def test_a_negative_budget_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MisuseError, match=name):
        Settings.load(env={}, cwd=tmp_path, **{name: -1})


@pytest.mark.parametrize("name", ["cost_budget", "user_cost_per_day"])
async def test_a_limit_below_one_cent_is_a_limit(settings: Settings, owner: Caller, name: str) -> None:
    spending = BudgetLedger(settings.replace(**{name: 0.004}), lambda _: BudgetLimits())
    granted = await spending.reserve(owner, NOTHING, 10, 90)
    await spending.settle(owner, granted, used(10, 0.01))
    assert (await spending.reserve(owner, used(10, 0.01), 10, 90)).tokens == 0
    spending.close()


async def test_what_was_set_aside_in_one_place_does_not_come_back_in_the_other(
    settings: Settings, owner: Caller, redis: RedisServer
) -> None:
    limited = settings.replace(user_tokens_per_day=1000, redis_down="memory")
    there, here = limited.replace(redis_url=redis.url), limited.replace(redis_url="redis://127.0.0.1:1/0")
    spending, cut_off = BudgetLedger(there, lambda _: BudgetLimits()), BudgetLedger(here, lambda _: BudgetLimits())
    assert spending._redis is not None
    await spending._redis.flushall()
    shared, alone = await spending.reserve(owner, NOTHING, 100, 900), await cut_off.reserve(owner, NOTHING, 100, 900)
    await cut_off.settle(owner, shared, used(1))
    await spending.settle(owner, alone, used(1))
    assert (await spending.reserve(owner, NOTHING, 1, 1000)).tokens == 100
    assert (await cut_off.reserve(owner, NOTHING, 1, 1000)).tokens == 999
    for each in (spending, cut_off):
        await each.disconnect()
        each.close()
