"""Arguments against schemas: what is said of each kind of mistake, and schemas that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import JSON, Tool
from workbench.gateway.argument_validation import BrokenSchemaError, SchemaValidators

SCHEMA: JSON = {
    "type": "object",
    "properties": {
        "customer_id": {"type": "string", "pattern": "^C-[0-9]+$"},
        "status": {"enum": ["open", "closed"]},
        "kind": {"const": "a"},
        "size": {"type": ["integer", "null"], "maximum": 10},
        "address": {"$ref": "#/$defs/address"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["customer_id"],
    "additionalProperties": False,
    "$defs": {"address": {"type": "object", "properties": {"zip": {"type": "string"}}, "required": ["zip"]}},
}


def tool(schema: JSON, hash: str = "h") -> Tool:
    return Tool(server="s", name="t", input_schema=schema, definition_hash=hash)


@pytest.mark.parametrize(
    ("arguments", "path", "given_", "expected", "hint"),
    [
        ({}, "customer_id", "nothing", "string", "required"),
        ({"customer_id": "X"}, "customer_id", '"X"', 'pattern "^C-[0-9]+$"', "X"),
        ({"customer_id": "C-1", "status": "opne"}, "status", '"opne"', 'one of "open", "closed"', ""),
        ({"customer_id": "C-1", "kind": 2}, "kind", "2", '"a"', ""),
        ({"customer_id": "C-1", "size": "L"}, "size", '"L"', "integer or null", ""),
        ({"customer_id": "C-1", "size": 11}, "size", "11", "maximum 10", ""),
        ({"customer_id": "C-1", "custmer": 1}, "custmer", "custmer", "only customer_id", "customer_id"),
        ({"customer_id": "C-1", "zzz": 1}, "zzz", "zzz", "only customer_id", "no such argument"),
        ({"customer_id": "C-1", "address": {}}, "address.zip", "nothing", "string", ""),
        ({"customer_id": "C-1", "tags": ["a", 2]}, "tags.1", "2", "string", ""),
    ],
)
def test_each_mistake_is_named_with_its_place(
    arguments: JSON, path: str, given_: str, expected: str, hint: str
) -> None:
    (problem,) = SchemaValidators().problems(tool(SCHEMA), arguments)
    assert problem["path"] == path
    assert problem["given"] == given_
    assert expected in problem["expected"]
    assert hint in problem["hint"]


def test_no_more_than_five_mistakes_are_listed() -> None:
    schema = {"properties": {f"a{n}": {"type": "string"} for n in range(20)}}
    assert len(SchemaValidators().problems(tool(schema), {f"a{n}": n for n in range(20)})) == 5


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 7},
        {"$ref": "http://127.0.0.1:9/evil.json"},
        {"properties": {"a": {"$ref": "#/nowhere"}}},
        {"properties": {"a": {"pattern": "("}}},
    ],
)
def test_a_schema_that_cannot_be_used_lets_nothing_through(schema: JSON) -> None:
    validators = SchemaValidators()
    for _ in range(2):
        with pytest.raises(BrokenSchemaError, match=r"s\.t"):
            validators.problems(tool(schema), {})


def test_a_hostile_pattern_ends_soon_and_refuses() -> None:
    schema = {"properties": {"a": {"pattern": "^(?=(a+)+$)(a+)+$"}}}
    assert SchemaValidators().problems(tool(schema), {"a": "a" * 60 + "!"})


def test_a_changed_definition_is_compiled_anew_and_old_ones_are_let_go(monkeypatch: Any) -> None:
    monkeypatch.setattr("workbench.gateway.argument_validation._MAX_SCHEMAS", 1)
    validators = SchemaValidators()
    assert validators.problems(tool({"required": ["a"]}, "one"), {})
    assert not validators.problems(tool({}, "two"), {})
    assert validators.problems(tool({"required": ["a"]}, "one"), {})
    assert validators.problems(tool({"required": ["a"]}, ""), {})


@given(
    arguments=st.dictionaries(
        st.sampled_from([*SCHEMA["properties"], "other"]),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
            lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
            max_leaves=4,
        ),
    )
)
def test_no_arguments_break_the_explanation(arguments: JSON) -> None:
    for problem in SchemaValidators().problems(tool(SCHEMA), arguments):
        assert set(problem) == {"path", "given", "expected", "hint"}


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"nam": "Ida"}, "It is required. It has no argument 'nam': was that meant?"),
        ({"colour": "red"}, "It is required. It has no argument 'colour'."),
        ({}, "It is required."),
    ],
)
def test_a_missing_argument_is_told_with_an_unknown_one_that_was_given(arguments: JSON, hint: str) -> None:
    schema: JSON = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    (problem,) = SchemaValidators().problems(tool(schema), arguments)
    assert (problem["path"], problem["hint"]) == ("name", hint)
