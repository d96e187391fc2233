"""Every call that enters the gateway ends in exactly one record, whatever its arguments hold."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import Call, Caller
from workbench.gateway.results.portability import readable
from workbench.json_values import unportable
from workbench.policy.redaction.redactor import Redactor


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"deeper": [value]}
    return value


_CALLER = Caller(subject="ann", tenant="acme")
ENDLESS: dict[str, Any] = {}
ENDLESS["self"] = ENDLESS


@pytest.mark.parametrize(
    "arguments",
    [
        {"a": "\ud800"},
        {"\udfff": 1},
        {"a": 1 << 70},
        {"a": math.nan},
        {"a": [{"b": -math.inf}]},
        nested(40),
        nested(5_000),
        ENDLESS,
        {"a": object()},
        {5: "a key that is no text"},
    ],
    ids=["surrogate", "surrogate key", "huge", "nan", "infinite", "deep", "deeper", "endless", "object", "number key"],
)
async def test_arguments_that_cannot_travel_are_refused_and_recorded_once(house: Any, arguments: Any) -> None:
    outcome = await house.gateway.call(Call(caller=house.owner, tool="calc.add", arguments=arguments))
    assert outcome.kind == "invalid"
    assert "calc.add" in outcome.message
    assert house.calc.calls == []
    assert house.outcomes() == ["invalid"]


async def test_a_name_that_is_no_unicode_is_refused_and_recorded_once(house: Any) -> None:
    outcome = await house.gateway.call(Call(caller=house.owner, tool="calc.\ud800"))
    assert (outcome.kind, outcome.tool) == ("invalid", "calc.\ufffd")
    assert house.outcomes() == ["invalid"]


async def test_what_cannot_be_redacted_is_left_out_of_the_record_but_the_call_is_not(
    house: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Redactor, value: Any, tenant: str) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(Redactor, "record", broken)
    outcome = await house.gateway.call(Call(caller=house.owner, tool="calc.add", arguments={"a": 1, "b": 2}))
    assert outcome.ok
    (record,) = house.recorded()
    assert record["args_redacted"]["omitted"] is True


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=5), JSON_VALUES, max_size=5))
def test_what_is_left_of_any_arguments_can_travel(arguments: Any) -> None:
    call, problem, size = readable(Call(caller=_CALLER, tool="a.b", arguments=arguments))
    assert size == len(orjson.dumps(call.arguments))
    assert bool(problem) == bool(unportable(arguments))
    assert unportable(call.arguments) == ""
