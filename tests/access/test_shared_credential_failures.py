"""Wrong credentials, counted by several gateways in a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.redis_server import RedisServer
from workbench.access.failed_credentials import CredentialFailure, TooManyFailuresError
from workbench.access.redis_failed_credentials import SharedCredentialFailures, credential_failures
from workbench.config import Settings
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.events import UnauthenticatedError, UnreachableError

Opened = Callable[..., SharedCredentialFailures]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.kill()


@pytest.fixture
async def gateway(redis: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Opened]:
    opened: list[SharedCredentialFailures] = []

    def make(per_minute: int = 4, **more: Any) -> SharedCredentialFailures:
        more = {"url": redis.url, "timeout": 5.0, "prefix": request.node.name, **more}
        opened.append(SharedCredentialFailures(per_minute, **more))
        return opened[-1]

    yield make
    for each in opened:
        await each.disconnect()


def shown(n: int) -> str:
    return f"Bearer token-number-{n:012d}"


async def test_two_gateways_share_the_count_of_an_address(gateway: Opened) -> None:
    first, second = gateway(), gateway()
    told: list[CredentialFailure] = []
    second.on_failure = told.append
    assert [await first.add_shared("a", shown(n), "mcp", "no") for n in range(2)] == [0, 0]
    assert [await second.add_shared("a", shown(n), "mcp", "no") for n in range(2, 4)] == [0, 0]
    # whoever counted the last one knows at once, the other one with the next wrong credential
    assert 1 <= await second.wait_shared("a", shown(9)) <= 60
    assert await first.wait_shared("a", shown(9)) == 0
    assert 1 <= await first.add_shared("a", shown(9), "mcp", "no") <= 60
    assert 1 <= await first.wait_shared("a", shown(9)) <= 60
    assert await first.wait_shared("b", shown(9)) == 0
    assert await first.add_shared("b", shown(9), "mcp", "no") == 0
    await second.add_shared("a", shown(9), "mcp", "not looked at")
    assert [each.throttled for each in told] == [False, False, True]
    assert second.counts == {("mcp", "refused"): 2, ("mcp", "throttled"): 1}


async def test_two_gateways_share_the_count_of_one_credential_and_others_of_the_address_do_not_wait(
    gateway: Opened,
) -> None:
    first, second = gateway(), gateway()
    wrong = "Bearer mk_abcdefghijkl_wrong"
    assert await first.add_shared("a", wrong, "mcp", "no") == 0
    assert await second.add_shared("a", wrong, "mcp", "no") == 0
    assert await first.add_shared("a", wrong, "mcp", "no") > 0
    assert await first.wait_shared("a", wrong) > 0
    assert await first.wait_shared("a", shown(1)) == 0
    assert await second.add_shared("a", shown(1), "mcp", "no") == 0
    # refused ones of that credential count against the address, too
    assert await second.wait_shared("a", shown(2)) > 0


async def test_gateways_that_race_let_no_more_through_than_the_number(gateway: Opened) -> None:
    gateways = [gateway(10) for _ in range(4)]
    found = await asyncio.gather(*(
        each.add_shared("a", shown(20 * g + n), "mcp", "no") for g, each in enumerate(gateways) for n in range(10)
    ))  # fmt: skip
    assert found.count(0) == 10
    assert len(found) == 40


async def test_an_address_that_is_known_to_wait_costs_redis_nothing(gateway: Opened, redis: RedisServer) -> None:
    first = gateway()
    for n in range(4):
        await first.add_shared("a", shown(n), "mcp", "no")
    before = (await first.script.client.info("commandstats"))["cmdstat_evalsha"]["calls"]
    for n in range(20):
        assert await first.wait_shared("a", shown(n)) > 0
        assert await first.add_shared("a", shown(n), "mcp", "not looked at") > 0
    assert (await first.script.client.info("commandstats"))["cmdstat_evalsha"]["calls"] == before


async def test_keys_expire_and_name_nobody(gateway: Opened) -> None:
    first = gateway(prefix="named")
    await first.add_shared("203.0.113.9", "Bearer mk_abcdefghijkl_wrong", "mcp", "no")
    keys = [key.decode() async for key in first.script.client.scan_iter("named:*")]
    assert len(keys) == 2
    for key in keys:
        assert "203" not in key.partition("{")[0]
        assert not any(name in key for name in ("203.0.113.9", "mk_abcdefghijkl", "wrong"))
        assert 0 < await first.script.client.pttl(key) <= 60_000


async def test_while_redis_is_away_an_address_whose_wrong_credential_is_not_counted_is_refused(
    open_access: Any, tmp_path: Path
) -> None:
    access = open_access(failed_credentials_per_minute=3)
    door = access.admission
    door.failures = SharedCredentialFailures(3, url=f"unix://{tmp_path}/nobody.sock")
    _, key = access.create_key("ann", roles=("viewer",))
    scope, other = ({"client": (host, 1), "headers": []} for host in ("203.0.113.9", "198.51.100.7"))
    with pytest.raises(UnauthenticatedError) as caught:
        await door.authenticate(scope, shown(1), door="mcp")
    assert not isinstance(caught.value, TooManyFailuresError)
    with pytest.raises(UnreachableError, match="wrong credentials"):
        await door.authenticate(scope, shown(2), door="mcp")
    with pytest.raises(UnauthenticatedError):  # an address that has shown nothing wrong is looked at
        await door.authenticate(other, shown(2), door="mcp")
    assert (await door.authenticate(scope, f"Bearer {key}", door="mcp")).subject == "ann"


async def test_with_memory_a_gateway_counts_by_itself_while_redis_is_away(gateway: Opened, tmp_path: Path) -> None:
    alone = gateway(url=f"unix://{tmp_path}/nobody.sock", when_down="memory", clock=lambda: 1000.0)
    found = []
    for n in range(6):
        assert await alone.wait_shared("a", shown(n)) == found.count(0) // 4 * 60
        found.append(await alone.add_shared("a", shown(n), "mcp", "no"))
    assert found == [0, 0, 0, 0, 60, 60]


async def test_what_was_not_counted_is_counted_once_when_redis_is_back(
    tmp_path_factory: pytest.TempPathFactory, gateway: Opened
) -> None:
    server = RedisServer(tmp_path_factory.mktemp("b"))
    first, second = (gateway(url=server.url, breaker=CircuitBreaker(99)) for _ in range(2))
    server.kill()
    try:
        for _ in range(2):
            assert await first.add_shared("a", "Bearer mk_abcdefghijkl_wrong", "mcp", "no") == 0
        with pytest.raises(UnreachableError):
            await first.wait_shared("a", shown(1))
        server.start()
        assert await asyncio.gather(*(first.wait_shared("a", shown(1)) for _ in range(3))) == [0, 0, 0]
        assert first._uncounted == {}
        assert [await second.add_shared("a", shown(n), "mcp", "no") for n in range(3)][-1] > 0
        assert await second.add_shared("a", "Bearer mk_abcdefghijkl_wrong", "mcp", "no") > 0
    finally:
        await asyncio.gather(first.disconnect(), second.disconnect())
        server.kill()


async def test_what_is_remembered_of_failures_is_bounded(
    gateway: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.access.redis_failed_credentials.MAX_REMEMBERED", 16)
    away, counting = gateway(url=f"unix://{tmp_path}/nobody.sock"), gateway(2)
    for n in range(40):
        await away.add_shared(str(n), shown(n), "mcp", "no")
        await away.add_shared("39", shown(n), "mcp", "no")
        await counting.add_shared(str(n), shown(n), "mcp", "no")
    assert len(away._uncounted) <= 16
    assert len(away._uncounted["39"]) <= 4
    assert len(counting._until) <= 16


def test_without_redis_a_process_counts_alone(settings: Settings) -> None:
    assert type(credential_failures(settings)).__name__ == "CredentialFailures"
