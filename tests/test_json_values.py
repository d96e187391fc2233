"""How deep JSON may be, and what becomes of what is no JSON: one table, and that no stop refuses what another took."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent import parameter_schema
from workbench.config import Settings
from workbench.endpoint.http.jsonrpc import BadMessageError, parse
from workbench.events import Call, Caller, MisuseError, Tool
from workbench.json_values import (
    MAX_DEFINITION_DEPTH,
    MAX_DEPTH,
    MAX_RECORDED_DEPTH,
    UnportableError,
    bounded,
    deeper_than,
    joined_surrogates,
    plain,
    portable,
    replaced_surrogates,
)
from workbench.policy.approvals.approval import bind
from workbench.policy.redaction.redactor import Redactor
from workbench.policy.redaction.walker import WITHHELD
from workbench.policy.rego import rego_guard
from workbench.registry import ServerSpec
from workbench.registry.configuration import jsonc
from workbench.registry.definitions.listing import read_definitions
from workbench.registry.definitions.poisoning_signals import of_definition
from workbench.registry.schemas import walk

ENCODER_DEPTH = 254
"""Levels that orjson writes."""

BOUNDS = [
    ("documents for the policy engine, which hold no arguments", rego_guard.MAX_DEPTH, 32),
    ("schemas that a model is shown", parameter_schema.MAX_DEPTH, 60),
    ("requests, arguments, results that are searched, configuration files", MAX_DEPTH, 64),
    ("what is no JSON, in the record", MAX_RECORDED_DEPTH, 100),
    ("subschemas that are checked", walk.MAX_LEVELS, 150),
    ("definitions of tools", MAX_DEFINITION_DEPTH, 200),
    ("what encoders write", ENCODER_DEPTH, 254),
]

TOOL = Tool(server="s", name="t", description="", input_schema={"type": "object"})


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"x": 1}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def listed(levels: int) -> dict[str, Any]:
    """A list inside of lists, `levels` with the object around it."""
    value: list[Any] = []
    for _ in range(levels - 2):
        value = [value]
    return {"a": value}


def call(arguments: dict[str, Any]) -> Call:
    return Call(caller=Caller(tenant="acme", subject="ann", scopes=frozenset()), tool="s.t", arguments=arguments)


@pytest.fixture
def redacted(settings: Settings) -> Callable[[Any], Any]:
    redactor = Redactor(settings.home)
    return lambda value: redactor.record(value, "acme")


def test_the_bounds_are_these_and_grow_from_stop_to_stop() -> None:
    for name, bound, expected in BOUNDS:
        assert bound == expected, name
    assert [bound for _, bound, _ in BOUNDS] == sorted(bound for _, bound, _ in BOUNDS)


@pytest.mark.parametrize("value", [nested(MAX_DEPTH), listed(MAX_DEPTH)], ids=["objects", "lists"])
def test_what_is_as_deep_as_a_request_may_be_passes_every_stop(
    value: dict[str, Any], redacted: Callable[[Any], Any]
) -> None:
    text = orjson.dumps(value)
    assert parse(text) == value
    assert portable(value) is value
    assert bind(call(value), TOOL).arguments
    assert redacted(value) == value
    assert bounded(value) == plain(value) == value
    found = jsonc.parse(text.decode())
    assert (found.value, list(found.notices)) == (value, [])


@pytest.mark.parametrize("value", [nested(MAX_DEPTH + 1), listed(MAX_DEPTH + 1)], ids=["objects", "lists"])
def test_one_level_more_is_refused_where_it_comes_in_and_never_shown_unread(
    value: dict[str, Any], redacted: Callable[[Any], Any]
) -> None:
    with pytest.raises(BadMessageError, match="deeper than 64 levels"):
        parse(orjson.dumps(value))
    with pytest.raises(UnportableError, match="deeper than 64 levels"):
        portable(value)
    with pytest.raises(MisuseError, match="deeper than 64 levels"):
        bind(call(value), TOOL)
    assert WITHHELD in str(redacted(value))
    assert "64" in str(jsonc.parse(orjson.dumps(value).decode()).notices)


@pytest.mark.parametrize(
    "arguments",
    [{"a": "x\0y"}, {"a": list(range(20_000))}, {"a": -(2**63)}, {"a\0": 1}],
    ids=["NUL", "many values", "the least integer", "a key with NUL"],
)
def test_what_a_door_takes_can_be_approved(arguments: dict[str, Any]) -> None:
    assert parse(orjson.dumps(arguments)) == arguments
    assert bind(call(arguments), TOOL).arguments == bind(call(dict(arguments)), TOOL).arguments


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 2**64, "\ud83d", {1: 2}, b"x", object()],
    ids=["NaN", "infinity", "2**64", "surrogate", "number as key", "bytes", "object"],
)
def test_what_no_door_would_take_cannot_be_approved(value: Any) -> None:
    with pytest.raises(UnportableError):
        portable({"a": value})
    with pytest.raises(MisuseError, match="cannot be bound to an approval"):
        bind(call({"a": value}), TOOL)


def test_tuples_count_as_lists() -> None:
    value: Any = ()
    for _ in range(MAX_DEPTH):
        value = (value,)
    assert deeper_than(value, MAX_DEPTH)
    assert not deeper_than(value, MAX_DEPTH + 1)


def test_of_what_is_no_json_the_levels_of_the_record_are_kept() -> None:
    value = nested(MAX_RECORDED_DEPTH)
    assert plain(value) == value
    assert "nested deeper than 100 levels" in str(plain(nested(MAX_RECORDED_DEPTH + 1)))


def test_the_deepest_definition_that_is_listed_is_searched_to_its_end() -> None:
    levels = MAX_DEFINITION_DEPTH - 2  # the definition and its schema are the first two
    inner: dict[str, Any] = {"description": "pay \u202enow"}
    for _ in range(levels - 1):
        inner = {"d": inner}
    definition = {"name": "t", "inputSchema": {"type": "object", "x": inner}}
    assert not deeper_than(definition, MAX_DEFINITION_DEPTH)
    assert [signal.kind for signal in of_definition(definition)] == ["hidden_characters"]
    deeper = {"name": "t", "inputSchema": {"type": "object", "x": {"d": inner}}}
    refused = read_definitions(ServerSpec(id="s", kind="url"), [deeper]).refused
    assert "deeper than 200 levels" in str(refused)


@given(st.text(st.characters(categories=("Cs", "Lu", "So"))))
def test_halves_of_characters_are_joined_or_replaced(text: str) -> None:
    found = replaced_surrogates(joined_surrogates(text))
    assert found == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert found.encode().decode() == found


def test_two_halves_are_the_character_and_one_is_replaced() -> None:
    assert joined_surrogates("a\ud83d\ude00b\ud83d") == "a\U0001f600b\ud83d"
    assert replaced_surrogates("a\ud83d\ude00") == "a\ufffd\ufffd"
