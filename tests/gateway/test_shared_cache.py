"""Answers that all processes remember, in a real Redis: for whom, how long, and what happens when it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from tests.gateway.conftest import Furnish, House
from tests.redis_server import RedisServer
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.events import JSON, Call, Caller, Tool
from workbench.gateway.results.redis_cache import SharedCache
from workbench.gateway.results.result_cache import CacheKey, ResultCache

ANN = Caller(tenant="local", subject="ann", roles=("viewer",), scopes=frozenset({"b", "a"}))
BOB = Caller(tenant="local", subject="bob")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.kill()


def tool(scope: str = "private", ttl_ms: int = 60_000) -> Tool:
    return Tool(
        server="s", name="t", definition={"_meta": {"workbench/cache": {"ttl_ms": ttl_ms, "scope": scope}}},
        definition_hash="hash", annotations={"readOnlyHint": True},
    )  # fmt: skip


def call(caller: Caller = ANN, **arguments: Any) -> Call:
    return Call(caller=caller, tool="s.t", arguments=arguments)


def said(value: Any = 1) -> JSON:
    return {"content": [], "structuredContent": {"value": value}}


@pytest.fixture
async def processes(redis: RedisServer, tmp_path: Path) -> AsyncIterator[list[ResultCache]]:
    """The caches of two processes of one deployment, and of one of another."""
    (tmp_path / "other").mkdir()
    seals = [SealedTokens(home / "session.key", b"x") for home in (tmp_path, tmp_path, tmp_path / "other")]
    # nothing of another test is found, for its key is another
    shared = [SharedCache(redis.url, seal, timeout=5.0) for seal in seals]
    yield [ResultCache(10_000, shared=one) for one in shared]
    for one in shared:
        await one.close()


async def written(cache: ResultCache) -> None:
    assert cache.shared is not None
    await cache.shared._writing.finish()


def key(cache: ResultCache, asked: Call, of: Tool) -> CacheKey:
    found = cache.key(asked, of)
    assert found is not None
    return found


async def test_what_one_process_has_learned_another_knows(processes: list[ResultCache]) -> None:
    one, two, stranger = processes
    one.learn(call(x=1), tool(), said())
    await written(one)
    found = await two.elsewhere(key(two, call(x=1), tool()))
    assert found is not None
    assert found[0] == said()
    assert found[1]["cached"] is True
    assert two.get(key(two, call(x=1), tool())) is not None  # it need not look there again
    assert await two.elsewhere(key(two, call(x=2), tool())) is None
    assert await stranger.elsewhere(key(stranger, call(x=1), tool())) is None
    assert two.shared is not None
    assert (two.shared.hits, two.shared.misses) == (1, 1)


async def test_private_answers_stay_with_their_caller_across_processes(processes: list[ResultCache]) -> None:
    one, two, _ = processes
    for scope, shared in (("private", False), ("public", True)):
        of = tool(scope)
        one.learn(call(x=scope), of, said())
        await written(one)
        assert (await two.elsewhere(key(two, call(BOB, x=scope), of)) is not None) is shared
        assert await two.elsewhere(key(two, call(x=scope), of)) is not None


async def test_an_answer_ends_at_its_time_in_every_process(processes: list[ResultCache], redis: RedisServer) -> None:
    one, two, _ = processes
    of = tool(ttl_ms=50)
    one.learn(call(x="short"), of, said())
    await written(one)
    async with asyncio.timeout(10):
        while await two.elsewhere(key(two, call(x="short"), of)) is not None:  # noqa: ASYNC110 - Redis lets it go
            await asyncio.sleep(0.01)
    assert two.get(key(two, call(x="short"), of)) is None


async def test_nobody_can_read_or_make_up_an_answer_in_redis(processes: list[ResultCache], redis: RedisServer) -> None:
    from redis.asyncio import Redis

    one, two, _ = processes
    secret = "4111 1111 1111 1111"
    one.learn(call(x="mine"), tool(), said(secret))
    one.learn(call(x="other"), tool(), said("other"))
    await written(one)
    assert one.shared is not None
    mine, other = (one.shared._name(key(one, call(x=x), tool()))[0] for x in ("mine", "other"))
    async with Redis.from_url(redis.url) as raw:
        stored = await raw.get(mine)
        assert isinstance(stored, bytes)
        assert secret.encode() not in stored
        await raw.set(mine, await raw.get(other))  # a whole value, in the place of another
        assert await two.elsewhere(key(two, call(x="mine"), tool())) is None
        for forged in (b"", b"\xff", stored[:-8] + b"AAAAAAAA"):
            await raw.set(mine, forged)
            assert await two.elsewhere(key(two, call(x="mine"), tool())) is None


async def test_while_redis_is_down_servers_are_asked_and_redis_is_left_alone(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    clock = [0.0]
    breaker = CircuitBreaker(failures=2, clock=lambda: clock[0])
    shared = SharedCache(redis.url, SealedTokens(tmp_path / "key", b"x"), timeout=5.0, breaker=breaker)
    cache = ResultCache(shared=shared)
    redis.kill()
    for _ in range(4):
        assert await cache.elsewhere(key(cache, call(), tool())) is None
    assert shared.failures == 2
    assert breaker.state == "open"
    redis.start()
    clock[0] += 1.0
    cache.learn(call(), tool(), said())
    await written(cache)
    assert breaker.state == "closed"
    other = ResultCache(shared=shared)
    assert await other.elsewhere(key(other, call(), tool())) is not None
    await shared.close()
    redis.kill()


# --- in the gateway


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def still(asked: list[str]) -> MCPServer:
    mcp = MCPServer("still")

    @mcp.tool(annotations=ToolAnnotations(read_only_hint=True), meta={"workbench/cache": {"ttl_ms": 60_000}})
    async def look(word: str) -> str:
        asked.append(word)
        await asyncio.sleep(0)
        return f"{word} found"

    return mcp


def look(house: House, word: str) -> Call:
    return Call(caller=house.owner, tool="still.look", arguments={"word": word})


async def test_a_second_gateway_answers_what_the_first_was_told(
    furnish: Furnish, still: MCPServer, asked: list[str], redis: RedisServer
) -> None:
    one = await furnish(servers={"still": still}, cache_url=redis.url)
    two = await furnish(servers={"still": still}, cache_url=redis.url)
    assert (await one.gateway.call(look(one, "a"))).details == {}
    assert one.gateway.dispatch.cache.shared is not None
    await one.gateway.dispatch.cache.shared._writing.finish()
    outcomes = await asyncio.gather(*(two.gateway.call(look(two, "a")) for _ in range(5)))
    assert asked == ["a"]
    assert all(outcome.data == {"result": "a found"} and outcome.details["cached"] is True for outcome in outcomes)
    assert [(record.get("data") or {}).get("cached") for record in one.recorded()] == [None, *[True] * 5]


async def test_a_dead_redis_does_not_keep_a_call_from_its_server(
    furnish: Furnish, still: MCPServer, asked: list[str], tmp_path: Path
) -> None:
    house = await furnish(servers={"still": still}, cache_url=f"unix://{tmp_path}/nobody.sock")
    for word in ("a", "a", "b"):
        assert (await house.gateway.call(look(house, word))).ok
    assert asked == ["a", "b"]
