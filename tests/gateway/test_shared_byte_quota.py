"""The bytes that a tenant may record in an hour, counted by several gateways in a real Redis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import until
from tests.redis_server import RedisServer
from workbench.cluster.shared_byte_quota import MIN_UNSETTLED, SharedByteQuota, byte_quota
from workbench.config import Settings
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.events import Call, NotRecordedError, Outcome, UnreachableError

NEVER = 3600.0


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.kill()


def opened(redis: RedisServer, per_hour: int = 100, **more: Any) -> SharedByteQuota:
    return SharedByteQuota(per_hour, url=redis.url, timeout=5.0, **{"settle_s": NEVER, "prefix": "t", **more})


async def add(house: Any, **arguments: int) -> Outcome:
    outcome: Outcome = await house.gateway.call(Call(caller=house.owner, tool="calc.add", arguments=arguments))
    await house.audit.quota.settle()
    return outcome


async def test_two_gateways_share_the_bytes_of_a_tenant(furnish: Any, redis: RedisServer, tmp_path: Path) -> None:
    limit = 20_000
    first = await furnish(redis_url=redis.url, record_bytes_per_hour=limit, home=tmp_path / "first")
    second = await furnish(redis_url=redis.url, record_bytes_per_hour=limit, home=tmp_path / "second")
    tenant = first.settings.tenant
    while first.audit.quota.written.get(tenant, 0) < limit // 2:
        assert (await add(first, a=1, b=2)).ok
    answered = 0
    while (outcome := await add(second, a=1, b=2)).ok:
        answered += 1
    assert (outcome.kind, outcome.details["rule"]) == ("throttled", "record_bytes_per_hour")
    assert answered > 0
    assert second.audit.quota.written[tenant] < limit * 3 // 4
    assert second.audit.quota.full() == [tenant]
    # the first one hears of it with its next settlement
    assert (await add(first, a=1, b=2)).ok
    assert (await add(first, a=1, b=2)).kind == "throttled"
    with pytest.raises(NotRecordedError, match="used up"):
        first.audit.quota.check(tenant)


async def test_a_settlement_that_is_repeated_counts_once_and_a_gateway_that_is_started_again_counts_on(
    redis: RedisServer,
) -> None:
    first, other = opened(redis, prefix="again"), opened(redis, prefix="again")
    first.add("acme", 40)
    await first.settle()
    first._settled.clear()
    first._unsettled.add("acme")
    await first.settle()
    other.add("acme", 10)
    await other.settle()
    assert other.elsewhere == {"acme": 40}
    await first.close()
    again = opened(redis, prefix="again")
    again.add("acme", 50)
    assert again.wait("acme") == 0
    await again.settle()
    assert again.elsewhere == {"acme": 50}
    assert again.wait("acme") > 0
    for quota in (first, other, again):
        await quota.close()


async def test_bytes_are_settled_in_the_background_and_at_once_when_many_come_together(redis: RedisServer) -> None:
    soon = opened(redis, prefix="soon", settle_s=0.001)
    soon.add("acme", 10)
    await until(lambda: not soon.unsettled("acme"))
    hurried = opened(redis, 1 << 30, prefix="soon")
    hurried.add("acme", hurried.unsettled_limit // 4 - 1)
    assert hurried.unsettled("acme")
    hurried.add("acme", 1)
    await until(lambda: not hurried.unsettled("acme"))
    assert hurried.elsewhere == {"acme": 10}
    for quota in (soon, hurried):
        await quota.close()


async def test_closing_settles_what_is_left(redis: RedisServer) -> None:
    first, other = opened(redis, prefix="closing"), opened(redis, prefix="closing")
    first.add("acme", 70)
    await first.close()
    await first.close()
    other.add("acme", 1)
    await other.settle()
    assert other.elsewhere == {"acme": 70}
    await other.close()


async def test_the_next_hour_begins_with_nothing_anywhere(redis: RedisServer) -> None:
    now = [7200.0 - 30]
    first, other = (opened(redis, prefix="hour", clock=lambda: now[0]) for _ in range(2))
    first.add("acme", 100)
    await first.settle()
    other.add("acme", 1)
    await other.settle()
    assert other.wait("acme") == 30
    now[0] += 30
    assert other.wait("acme") == 0
    other.add("acme", 5)
    await other.settle()
    assert (other.elsewhere, other.written, other.wait("acme")) == ({"acme": 0}, {"acme": 5}, 0)
    for quota in (first, other):
        await quota.close()


async def test_bytes_that_are_written_during_a_settlement_wait_for_the_next(redis: RedisServer) -> None:
    quota = opened(redis, 1000, prefix="during")
    ask = quota.script.run_all

    async def slow(calls: Any) -> list[list[int]]:
        answers = await ask(calls)
        quota.add("acme", 7)
        return answers

    quota.add("acme", 10)
    quota.script.run_all = slow  # type: ignore[method-assign]
    await quota.settle()
    assert quota.unsettled("acme") == 7
    quota.script.run_all = ask  # type: ignore[method-assign]
    await quota.settle()
    assert (quota.unsettled("acme"), quota.elsewhere["acme"]) == (0, 0)
    await quota.close()


async def test_many_tenants_are_settled_together(redis: RedisServer) -> None:
    quota, other = opened(redis, prefix="many"), opened(redis, prefix="many")
    names = [f"tenant {n}" for n in range(600)]
    for n, name in enumerate(names):
        quota.add(name, n + 1)
    await quota.settle()
    for name in names:
        other.add(name, 1)
    await other.settle()
    assert other.elsewhere == {name: n + 1 for n, name in enumerate(names)}
    for each in (quota, other):
        await each.close()


async def test_keys_expire_and_name_nobody(redis: RedisServer) -> None:
    quota = opened(redis, prefix="named")
    quota.add("acme", 10)
    await quota.settle()
    (key,) = [key.decode() async for key in quota.script.client.scan_iter("named:*")]
    assert "acme" not in key
    assert key.endswith(f":bytes:{int(time.time()) // 3600}") or time.time() % 3600 < 60
    assert 0 < await quota.script.client.ttl(key) <= 7200
    await quota.close()


async def test_while_redis_is_away_a_tenant_writes_a_bounded_number_of_bytes_and_is_then_refused(
    furnish: Any, tmp_path: Path
) -> None:
    house = await furnish(redis_url=f"unix://{tmp_path}/nobody.sock", record_bytes_per_hour=1 << 30)
    quota, tenant = house.audit.quota, house.settings.tenant
    assert quota.unsettled_limit == 1 << 25
    quota.add(tenant, quota.unsettled_limit - 1 - quota.unsettled(tenant))
    quota.check(tenant)
    quota.add(tenant, 1)
    refused = await house.gateway.call(Call(caller=house.owner, tool="calc.add", arguments={"a": 1, "b": 2}))
    assert (refused.kind, refused.details["rule"]) == ("unavailable", "record_bytes_per_hour")
    assert refused.details["retry_after"] == 1
    with pytest.raises(NotRecordedError, match="Redis has not counted the last"):
        quota.check(tenant)
    quota.check("globex")
    assert quota.full() == []


async def test_a_redis_that_comes_back_hears_of_all_bytes(tmp_path_factory: pytest.TempPathFactory) -> None:
    server = RedisServer(tmp_path_factory.mktemp("b"))
    quota = opened(server, 100 << 20, settle_s=0.001, breaker=CircuitBreaker(2, 0.001, 0.001))
    server.kill()
    quota.add("acme", quota.unsettled_limit)
    await until(lambda: quota.script.problem)
    with pytest.raises(UnreachableError):
        quota.wait("acme")
    server.start()
    try:
        await until(lambda: not quota.unsettled("acme"), 20.0)
        assert quota.wait("acme") == 0
    finally:
        await quota.close()
        server.kill()


async def test_with_memory_each_gateway_counts_by_itself_while_redis_is_away(tmp_path: Path) -> None:
    quota = SharedByteQuota(
        10 * MIN_UNSETTLED, url=f"unix://{tmp_path}/nobody.sock", when_down="memory", settle_s=NEVER
    )
    quota.add("acme", 10 * MIN_UNSETTLED - 1)
    assert quota.wait("acme") == 0
    quota.add("acme", 1)
    assert quota.wait("acme") > 0
    await quota.close()


async def test_no_limit_asks_nobody(tmp_path: Path) -> None:
    quota = SharedByteQuota(0, url=f"unix://{tmp_path}/nobody.sock")
    quota.add("acme", 1 << 40)
    assert quota.wait("acme") == 0
    await quota.close()
    assert quota.script.problem == ""


def test_without_redis_a_process_counts_alone(settings: Settings) -> None:
    assert type(byte_quota(settings)).__name__ == "ByteQuota"
