"""Counters in a real Redis: exact across processes, and a denial when they cannot be reached."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from tests.redis_server import RedisServer
from workbench.config import Settings
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.events import Caller, MisuseError, Tool, UnreachableError
from workbench.policy import Policy
from workbench.policy.limits.redis_limits import SCRIPT, SharedLimits

change = msgspec.structs.replace


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.kill()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keys of their own for each test."""
    return f"t{time.monotonic_ns()}"


def limits(
    redis: RedisServer, prefix: str, per_minute: int = 5, quota: Callable[[str, str], int] = lambda tenant, tool: 0
) -> SharedLimits:
    return SharedLimits(per_minute, quota, url=redis.url, prefix=prefix, timeout=5.0)


async def test_the_limit_is_exact_and_what_is_used_up_is_named(
    redis: RedisServer, prefix: str, owner: Caller, find: Tool
) -> None:
    counting = limits(redis, prefix)
    assert not counting.local
    used = [await counting.use_shared(owner, find) for _ in range(7)]
    assert used[:5] == [None] * 5
    for full in used[5:]:
        assert full is not None
        assert (full.name, full.limit, full.remaining) == ("caller", 5, 0)
        assert 1 <= full.retry_s <= 60
        assert 1 <= full.reset_s <= 60
    await counting.disconnect()


async def test_another_subject_or_tenant_has_counters_of_its_own(
    redis: RedisServer, prefix: str, owner: Caller, find: Tool
) -> None:
    counting = limits(redis, prefix, 1)
    for caller in (owner, change(owner, subject="bob"), change(owner, tenant="globex")):
        assert await counting.use_shared(caller, find) is None
        assert await counting.use_shared(caller, find) is not None
        assert await counting.use_shared(change(caller, credential="another key"), find) is not None
    await counting.disconnect()


async def test_a_quota_of_the_tenant_is_shared_by_its_callers_and_a_refused_call_counts_nowhere(
    redis: RedisServer, prefix: str, owner: Caller, find: Tool
) -> None:
    counting = limits(redis, prefix, 3, lambda tenant, tool: 4 if tool == "crm.find" else 0)
    bob, other = change(owner, subject="bob"), change(find, name="other")
    assert [await counting.use_shared(owner, find) for _ in range(3)] == [None] * 3
    assert await counting.use_shared(bob, find) is None
    full = await counting.use_shared(bob, find)
    assert full is not None
    assert (full.name, full.limit) == ("tool", 4)
    # bob's own window holds one call only, so two more of another tool go on
    assert [await counting.use_shared(bob, other) for _ in range(2)] == [None, None]
    assert await counting.use_shared(bob, other) is not None
    await counting.disconnect()


async def test_a_place_becomes_free_when_its_call_leaves_the_window(redis: RedisServer, prefix: str) -> None:
    counting = limits(redis, prefix)
    script = counting.script.client.register_script(SCRIPT)

    async def count() -> int:
        return int((await script(keys=[f"{prefix}:k"], args=[300_000, f"c{time.monotonic_ns()}", 2]))[0])

    started = time.monotonic()
    assert [await count(), await count(), await count()] == [0, 0, 1] or time.monotonic() - started > 0.3
    async with asyncio.timeout(10):
        while await count():  # noqa: ASYNC110 - the window passes by itself
            await asyncio.sleep(0.02)
    assert time.monotonic() - started >= 0.3
    await counting.disconnect()


async def test_keys_expire_and_name_nobody(redis: RedisServer, prefix: str, owner: Caller, find: Tool) -> None:
    counting = limits(redis, prefix, 5, lambda tenant, tool: 9)
    await counting.use_shared(change(owner, subject="ann@example.com"), find)
    keys = [key.decode() async for key in counting.script.client.scan_iter(f"{prefix}:*")]
    assert len(keys) == 2
    for key in keys:
        assert not any(name in key for name in ("ann", "acme", "find"))
        assert 0 < await counting.script.client.pttl(key) <= 60_000
    await counting.disconnect()


async def test_a_quota_that_cannot_be_found_out_counts_as_used_up(
    redis: RedisServer, prefix: str, owner: Caller, find: Tool
) -> None:
    def broken(tenant: str, tool: str) -> int:
        raise RuntimeError("undefined")

    counting = limits(redis, prefix, 5, broken)
    assert await counting.use_shared(owner, find) is not None
    await counting.disconnect()


RACER = """
import asyncio, sys
from workbench.events import Caller, Tool
from workbench.policy.limits.redis_limits import SharedLimits

async def main(url, prefix):
    counting = SharedLimits(100, lambda tenant, tool: 0, url=url, prefix=prefix, timeout=20.0)
    caller, tool = Caller(tenant="acme", subject="ann"), Tool(server="crm", name="find")
    await counting.probe()
    print("ready", flush=True)
    sys.stdin.readline()
    found = await asyncio.gather(*(counting.use_shared(caller, tool) for _ in range(60)))
    print(sum(used is None for used in found), flush=True)
    await counting.disconnect()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.slow
def test_processes_that_race_never_get_more_than_the_limit_together(redis: RedisServer, prefix: str) -> None:
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, redis.url, prefix],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(4)
    ]  # fmt: skip
    try:
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        accepted = [int(racer.communicate(timeout=50)[0]) for racer in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.wait()
    assert sum(accepted) == 100, accepted


async def test_without_redis_calls_are_denied_or_counted_here_as_the_setting_says(
    tmp_path: Path, owner: Caller, find: Tool
) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    denying = SharedLimits(2, lambda tenant, tool: 0, url=url)
    with pytest.raises(UnreachableError, match="Redis does not count calls"):
        await denying.use_shared(owner, find)
    assert denying.problem
    counting = SharedLimits(2, lambda tenant, tool: 0, url=url, when_down="memory")
    assert [await counting.use_shared(owner, find) for _ in range(2)] == [None, None]
    assert await counting.use_shared(owner, find) is not None
    assert "Redis" in await counting.probe()


@pytest.mark.slow
async def test_a_redis_that_dies_denies_and_counts_again_when_it_is_back(
    tmp_path_factory: pytest.TempPathFactory, owner: Caller, find: Tool
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("d"))
    counting = SharedLimits(50, lambda tenant, tool: 0, url=server.url, breaker=CircuitBreaker(3, 0.05, 0.1))
    assert await counting.use_shared(owner, find) is None
    server.kill()
    for _ in range(6):
        with pytest.raises(UnreachableError):
            await counting.use_shared(owner, find)
    assert counting.script.breaker.state != "closed"
    server.start()
    try:
        async with asyncio.timeout(20):
            while await counting.probe():  # noqa: ASYNC110 - the pause of the breaker
                await asyncio.sleep(0.02)
        assert await counting.use_shared(owner, find) is None
        assert counting.problem == ""
    finally:
        await counting.disconnect()
        server.kill()


@pytest.mark.parametrize("url", ["localhost:6379", "http://x", "mysql://user:hunter2@x"])
def test_an_address_that_cannot_be_meant_is_refused_and_never_repeated(settings: Settings, url: str) -> None:
    with pytest.raises(MisuseError, match="redis_url") as refused:
        Policy(settings.replace(redis_url=url))
    assert "hunter2" not in str(refused.value)


async def test_the_setting_puts_redis_into_the_policy(
    settings: Settings, redis: RedisServer, owner: Caller, find: Tool
) -> None:
    policy = Policy(settings.replace(redis_url=redis.url, rate_per_minute=1))
    assert not policy.limits.local
    assert await policy.probe() == ""
    await policy.disconnect()
    policy.close()


async def test_a_credential_with_a_rate_of_its_own_is_measured_by_that(
    redis: RedisServer, prefix: str, owner: Caller, find: Tool
) -> None:
    counting = limits(redis, prefix, 1)
    wide = change(owner, rate_per_minute=3)
    used = [await counting.use_shared(wide, find) for _ in range(4)]
    assert used[:3] == [None] * 3
    assert used[3] is not None
    assert used[3].limit == 3
    await counting.disconnect()
