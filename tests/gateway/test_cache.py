"""Remembered answers: what may be remembered, for whom, how long, and how much."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from workbench.events import JSON, Call, Caller, Tool
from workbench.gateway.results.result_cache import MAX_ENTRY_BYTES, ResultCache

ANN = Caller(tenant="local", subject="ann", roles=("viewer",))
BOB = Caller(tenant="local", subject="bob", roles=("viewer",))
STRANGER = Caller(tenant="elsewhere", subject="ann", roles=("viewer",))


def tool(cache: Any = None, *, read_only: bool = True) -> Tool:
    definition: JSON = {"_meta": {"workbench/cache": cache}} if cache is not None else {}
    return Tool(
        server="s", name="t", definition=definition, definition_hash=f"hash {cache}",
        annotations={"readOnlyHint": read_only},
    )  # fmt: skip


def call(caller: Caller = ANN, meta: JSON | None = None, **arguments: Any) -> Call:
    return Call(caller=caller, tool="s.t", arguments=arguments, meta=meta or {})


def said(value: Any = 1, **more: Any) -> JSON:
    return {"content": [], "structuredContent": {"value": value}, **more}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> ResultCache:
    return ResultCache(10_000, clock=clock)


def found(cache: ResultCache, asked: Call, of: Tool) -> JSON | None:
    key = cache.key(asked, of)
    got = cache.get(key) if key is not None else None
    return got[0] if got else None


def test_an_answer_is_kept_as_long_as_the_tool_says(cache: ResultCache, clock: Clock) -> None:
    declared = tool({"ttl_ms": 1000})
    cache.learn(call(x=1), declared, said())
    clock.now = 0.999
    assert found(cache, call(x=1), declared) == said()
    assert found(cache, call(x=2), declared) is None
    clock.now = 1.0
    assert found(cache, call(x=1), declared) is None


@pytest.mark.parametrize(
    ("declared", "read_only"),
    [(None, True), ({"ttl_ms": 1000}, False), ({"ttl_ms": -1}, True), ({"ttl_ms": True}, True), ("always", True)],
)
def test_what_does_not_declare_itself_is_not_remembered(cache: ResultCache, declared: Any, read_only: bool) -> None:
    of = tool(declared, read_only=read_only)
    cache.learn(call(), of, said())
    assert found(cache, call(), of) is None


@pytest.mark.parametrize(
    ("scope", "whose", "shared"),
    [("private", BOB, False), (None, BOB, False), ("public", BOB, True), ("public", STRANGER, False)],
)
def test_answers_belong_to_a_caller_or_to_the_tenant(
    cache: ResultCache, scope: Any, whose: Caller, shared: bool
) -> None:
    declared = tool({"ttl_ms": 1000, "scope": scope})
    cache.learn(call(), declared, said())
    assert (found(cache, call(whose), declared) is not None) is shared


def test_a_hint_of_the_protocol_in_a_result_is_enough_and_can_only_shorten(cache: ResultCache, clock: Clock) -> None:
    plain, declared = tool(), tool({"ttl_ms": 1000, "scope": "public"})
    cache.learn(call(), plain, said(ttlMs=500, cacheScope="private"))
    cache.learn(call(), declared, said(ttlMs=99_000, cacheScope="public"))
    assert found(cache, call(), plain) is not None
    clock.now = 0.6
    assert found(cache, call(), plain) is None
    assert found(cache, call(), declared) is not None
    clock.now = 1.1
    assert found(cache, call(), declared) is None


@pytest.mark.parametrize("result", [said(isError=True), said(resultType="task", ttlMs=10), said("x" * MAX_ENTRY_BYTES)])
def test_failures_unfinished_and_huge_answers_are_not_remembered(cache: ResultCache, result: JSON) -> None:
    declared = tool({"ttl_ms": 1000})
    cache.learn(call(), declared, result)
    assert found(cache, call(), declared) is None


def test_what_travels_beside_the_arguments_counts(cache: ResultCache) -> None:
    declared = tool({"ttl_ms": 1000})
    cache.learn(call(meta={"_meta": {"traceparent": "00-a"}}), declared, said())
    assert found(cache, call(meta={"_meta": {"traceparent": "00-b"}}), declared) is not None
    assert found(cache, call(meta={"_meta": {"locale": "de"}}), declared) is None
    assert found(cache, call(meta={"requestState": "sealed"}), declared) is None


def test_the_least_recently_used_is_dropped_first(cache: ResultCache) -> None:
    declared = tool({"ttl_ms": 1000})
    for n in range(3):
        cache.learn(call(n=n), declared, said("x" * 3000))
        found(cache, call(n=0), declared)
    cache.learn(call(n=3), declared, said("x" * 3000))
    assert [found(cache, call(n=n), declared) is not None for n in range(4)] == [True, False, True, True]


async def test_a_question_is_given_up_when_nobody_waits_for_it_any_more(cache: ResultCache) -> None:
    declared = tool({"ttl_ms": 1000})
    key = cache.key(call(), declared)
    assert key is not None
    asking: asyncio.Future[JSON] = asyncio.get_running_loop().create_future()
    cache.fly(key, asking)
    with cache.waiting(key):
        with cache.waiting(key):
            pass
        assert not asking.cancelled()
    assert asking.cancelled()
    assert cache.flights == {}  # who comes now asks anew
