"""Who is refused is counted: against the rate, on the record in bounded size, and in bytes of the tenant."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import Any

import msgspec
import pytest

from workbench.audit import Reader, questions
from workbench.audit.write import repeated_refusals
from workbench.audit.write.tenant_byte_quota import ByteQuota
from workbench.events import JSON, Call, Caller, MisuseError, NotRecordedError, Outcome
from workbench.gateway.resolve import ToolResolver


def call(house: Any, tool: str, arguments: JSON | None = None, **more: Any) -> Call:
    return Call(caller=more.pop("caller", None) or house.owner, tool=tool, arguments=arguments or {}, **more)


def total(house: Any) -> int:
    """How many calls the records on disk stand for."""
    return sum((r.get("data") or {}).get("repeated", {}).get("count", 1) for r in house.recorded())


def quarantine(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = house.registry.resolve

    def resolve(name: str) -> Any:
        tool, connection = real(name)
        return msgspec.structs.replace(tool, quarantined="It changed."), connection

    monkeypatch.setattr(house.registry, "resolve", resolve)


KINDS: dict[str, tuple[str, JSON, tuple[str, ...], str]] = {
    "an unknown tool": ("calc.nothing", {}, ("owner",), "not_found"),
    "a name that is none": ("", {}, ("owner",), "not_found"),
    "an unknown server": ("nowhere.add", {}, ("owner",), "not_found"),
    "a method of an unknown server": ("nowhere.resources/read", {"uri": "a:b"}, ("owner",), "not_found"),
    "invalid arguments": ("calc.add", {"a": "x"}, ("owner",), "invalid"),
    "arguments that are no JSON": ("calc.add", {"a": "\ud800"}, ("owner",), "invalid"),
    "a denied call": ("calc.add", {"a": 1, "b": 2}, ("viewer",), "denied"),
    "a quarantined tool": ("calc.add", {"a": 1, "b": 2}, ("owner",), "unavailable"),
    "a profile that there is not": ("calc.add", {"a": 1, "b": 2}, ("owner",), "not_found"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_every_refusal_counts_against_the_rate(furnish: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await furnish(rate_per_minute=20)
    tool, arguments, roles, outcome = KINDS[kind]
    if "quarantined" in kind:
        quarantine(house, monkeypatch)
    caller = house.caller(*roles)
    profile = "nobody" if "profile" in kind else ""
    found: Counter[str] = Counter()
    for _ in range(50):
        found[(await house.gateway.call(call(house, tool, arguments, caller=caller, profile=profile))).kind] += 1
    assert found == {outcome: 20, "throttled": 30}
    assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))).kind in ("ok", "unavailable")


async def test_what_a_door_turns_down_counts_too(furnish: Any) -> None:
    house = await furnish(rate_per_minute=5)
    for _ in range(9):
        outcome = await house.gateway.refuse(call(house, "calc.add"), "invalid", "The body cannot be read.")
        assert outcome.kind == "invalid"
    await house.audit.repeats.close()
    assert Counter(house.outcomes()) == {"invalid": 5, "throttled": 4}
    assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))).kind == "throttled"


async def test_who_is_throttled_costs_no_look_for_similar_names(furnish: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    house = await furnish(rate_per_minute=1)
    await house.gateway.call(call(house, "calc.nothing"))
    monkeypatch.setattr(ToolResolver, "resolve", lambda *_: pytest.fail("it was looked for"))
    assert (await house.gateway.call(call(house, "calc.nothing"))).kind == "throttled"


async def test_thousands_of_refusals_are_few_records_that_count_all_of_them(
    furnish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_refusals, "FLUSH_S", 600.0)
    house = await furnish(rate_per_minute=1_000)
    first: Outcome | None = None
    for number in range(2_000):
        outcome = await house.gateway.call(call(house, f"calc.nothing{number}", {"text": "x" * 1000}))
        first = first or outcome
    assert outcome.kind == "throttled"
    await house.audit.repeats.close()
    records = house.recorded()
    assert len(records) <= 2 * (repeated_refusals.SINGLY + 2)
    assert total(house) == 2_000
    counted = [r["data"]["repeated"] for r in records if (r.get("data") or {}).get("repeated")]
    assert {each["count"] for each in counted} == {1_000 - repeated_refusals.SINGLY}
    assert all(each["first_us"] <= each["last_us"] for each in counted)
    calls, _ = house.gateway.tally.of(None)
    assert sum(calls.values()) == 2_000
    reader = Reader(house.settings.home)
    try:
        rows = reader.sql("select outcome, sum(repeated) as n from tool_calls group by 1 order by 1").to_pylist()
        assert [(row["outcome"], row["n"]) for row in rows] == [("not_found", 1_000), ("throttled", 1_000)]
        assert reader.sql("select sum(calls) as n from tool_calls_hourly").to_pylist() == [{"n": 2_000}]
        refusals = next(q for q in questions() if q.name == "refusals")
        found = reader.sql(refusals.sql, refusals.parameters).to_pylist()
        assert sorted((row["why"], row["times"]) for row in found) == [("not_found", 1_000), ("throttled", 1_000)]
    finally:
        reader.close()


async def test_refusals_of_others_and_of_other_kinds_are_not_mixed(
    furnish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repeated_refusals, "FLUSH_S", 600.0)
    house = await furnish()
    callers = [house.caller("owner", subject="ann"), house.caller("owner", subject="bob")]
    for caller in callers:
        for _ in range(repeated_refusals.SINGLY + 5):
            await house.gateway.call(call(house, "calc.add", {"a": "x"}, caller=caller))
            await house.gateway.call(call(house, "calc.nothing", caller=caller))
    await house.audit.repeats.close()
    counted = [r for r in house.recorded() if (r.get("data") or {}).get("repeated")]
    assert Counter((r["user"], r["outcome"], r["data"]["repeated"]["count"]) for r in counted) == {
        (who, outcome, 5): 1 for who in ("ann", "bob") for outcome in ("invalid", "not_found")
    }


async def test_successes_are_recorded_one_by_one_however_many(furnish: Any) -> None:
    house = await furnish()
    for _ in range(repeated_refusals.SINGLY + 20):
        assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))).ok
    assert house.outcomes() == ["ok"] * (repeated_refusals.SINGLY + 20)


@pytest.mark.parametrize("size", [20_000, 200_000])
async def test_large_arguments_of_a_refused_call_are_kept_as_size_and_hash(house: Any, size: int) -> None:
    arguments = {"text": "ann@acme.example " + "x" * size}
    await house.gateway.call(call(house, "calc.nothing", arguments))
    (record,) = house.recorded()
    kept = record["args_redacted"]
    assert kept["omitted"] is True
    assert kept["bytes"] > size
    assert len(json.dumps(kept)) < 4096
    assert "ann@acme" not in json.dumps(record)
    if size > 100_000:
        assert kept["sha256"] == hashlib.sha256(json.dumps(arguments, separators=(",", ":")).encode()).hexdigest()


async def test_a_tenant_that_used_up_its_bytes_is_refused_and_counted_and_others_go_on(furnish: Any) -> None:
    house = await furnish(record_bytes_per_hour=20_000)
    other = Caller(tenant="globex", subject="zoe", roles=("owner",), scopes=frozenset({"*"}), method="key")
    kinds = [(await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))).kind for _ in range(60)]
    assert kinds[0] == "ok"
    refused = await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))
    assert (refused.kind, refused.details["rule"]) == ("throttled", "record_bytes_per_hour")
    assert 1 <= refused.details["retry_after"] <= 3600
    assert "record_bytes_per_hour" not in refused.message or "20,000" in refused.message
    assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}, caller=other))).ok
    assert house.audit.quota.full() == [house.settings.tenant]
    with pytest.raises(NotRecordedError, match="used up"):
        house.audit.quota.check(house.settings.tenant)
    house.audit.quota.check("globex")
    await house.audit.repeats.close()
    calls = [r for r in house.recorded() if r["tenant"] == house.settings.tenant]
    assert sum((r.get("data") or {}).get("repeated", {}).get("count", 1) for r in calls) == 61
    assert house.audit.quota.refused[house.settings.tenant] == kinds.count("throttled") + 2


def test_the_bytes_of_a_tenant_are_free_again_in_the_next_hour() -> None:
    now = [7200.0 - 30]
    quota = ByteQuota(100, clock=lambda: now[0])
    quota.add("acme", 100)
    assert (quota.wait("acme"), quota.wait("globex")) == (30, 0)
    now[0] += 30
    assert quota.wait("acme") == 0
    quota.add("acme", 99)
    assert (quota.wait("acme"), quota.total["acme"], quota.full()) == (0, 199, [])
    assert ByteQuota(0).wait("acme") == 0


async def test_a_setting_of_zero_limits_nothing(furnish: Any) -> None:
    house = await furnish(record_bytes_per_hour=0)
    assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))).ok
    assert house.audit.quota.full() == []


def test_misuse_of_the_setting_is_refused() -> None:
    from workbench.config import Settings

    with pytest.raises(MisuseError, match="record_bytes_per_hour"):
        Settings.load(env={"WORKBENCH_RECORD_BYTES_PER_HOUR": "-1"})
