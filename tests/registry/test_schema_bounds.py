"""What the schemas of a server can cost: patterns and contradictions that would take seconds to look at."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from workbench.events import JSON
from workbench.registry.schemas.pattern_cost import MAX_SCHEMA_COST, pattern_cost
from workbench.registry.schemas.repair import repair_input_schema
from workbench.registry.schemas.satisfiability import MAX_PARTS, essence

INTEGER = {"type": "integer"}


def of(properties: JSON, **more: Any) -> JSON:
    return {"type": "object", "properties": properties, **more}


@pytest.mark.parametrize(
    ("dear", "cheap"),
    [
        (r"\p{L}{100}", r"\p{L}{10}"),
        (r"((a{99}){99}){99}", r"((a{9}){9}){9}"),
        (r"[^a]{1000}", r"[a]{1000}"),
        (r"[\p{L}]{9}", r"[a-z]{9}"),
        (r".{0,5000}", r".{0,50}"),
        (r"\S{99}", r"\w{99}"),
        (r"(a|b{50}){50}", r"a|b{50}"),
    ],
)
def test_repetition_and_unicode_make_a_pattern_dear(dear: str, cheap: str) -> None:
    assert pattern_cost(dear) > 4 * (pattern_cost(cheap) - pattern_cost(""))


@pytest.mark.parametrize("text", ["", "[", "]", ")", "(", "\\", "{", "{,}", "a{999999999999}", "[^", "[]", "(?<"])
def test_no_text_breaks_the_estimate(text: str) -> None:
    assert pattern_cost(text) > 0


def test_patterns_beyond_what_one_schema_may_cost_are_not_checked_and_named() -> None:
    schema = of({f"p{n}": {"type": "string", "pattern": rf"^\p{{Nd}}{{{90 + n}}}$"} for n in range(20)})
    found = repair_input_schema(schema)
    unchecked = {repair.where.split("/")[3] for repair in found.repairs}
    assert "p0" not in unchecked
    assert "p19" in unchecked
    assert found.schema["properties"]["p19"] == {"type": "string"}
    assert (
        sum(pattern_cost(p["pattern"]) for p in found.schema["properties"].values() if "pattern" in p)
        <= MAX_SCHEMA_COST
    )


def test_a_contradiction_is_looked_for_in_a_small_part_of_the_schema() -> None:
    choices = [
        {"anyOf": [of({f"a{n}": {}}, required=[f"a{n}"]), of({f"b{n}": {"type": "integer"}})]} for n in range(25)
    ]
    schema = {"type": "object", "not": {"allOf": choices}, "oneOf": [of({f"c{n}": {}}) for n in range(60)]}
    assert repair_input_schema(schema).never == ""  # all of it would take longer than the universe is old
    small = essence(of({f"p{n}": {"type": "string"} for n in range(5000)}, required=[f"p{n}" for n in range(5000)]))
    assert sum(isinstance(part, dict) for part in small["properties"].values()) <= MAX_PARTS


@pytest.mark.parametrize(
    "schema",
    [
        of({"a": {"type": "array", "minItems": 1, "items": False}}, required=["a"]),
        of({"a": {"type": "array", "minItems": 1, "prefixItems": [False]}}, required=["a"]),
        of({"a": {"$ref": "#/$defs/A", "type": "string"}}, required=["a"], **{"$defs": {"A": {"type": "null"}}}),
        of({"a": {"oneOf": [{"type": "string"}, {"type": "null"}], "type": "integer"}}, required=["a"]),
        of({"a": False}, minProperties=1, additionalProperties=False),
        of({"a": {"not": {}}}, required=["a"]),
    ],
)
def test_contradictions_that_bear_on_every_call_are_found(schema: JSON) -> None:
    assert repair_input_schema(schema).never


@pytest.mark.parametrize(
    "schema",
    [
        of(
            {"a": {"$ref": "#/definitions/A", "type": "string"}}, required=["a"], definitions={"A": {"type": "null"}},
            **{"$schema": "http://json-schema.org/draft-07/schema#"},
        ),
        of({"a": {"$ref": "#/properties/a"}}, required=["a"]),
        of({}, required=["a"], patternProperties={"a": {}}, additionalProperties=False),
        of({"a": {"enum": [*range(200)], "type": "integer"}}, required=["a"]),
    ],
)  # fmt: skip
def test_what_only_looks_like_a_contradiction_is_none(schema: JSON) -> None:
    assert repair_input_schema(schema).never == ""


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"properties": {"a": {"pattern": "(?>a)"}}, "unevaluatedProperties": False}, True),
        ({"allOf": [{"$ref": "#/gone"}], "unevaluatedProperties": False}, False),
        ({"$ref": "#/$defs/A", "unevaluatedProperties": False, "$defs": {"A": {"$ref": "#/gone"}}}, False),
        ({"properties": {"b": {}}, "unevaluatedProperties": False, "$defs": {"A": {"$ref": "#/gone"}}}, True),
    ],
)
def test_what_nobody_evaluated_stays_refused_where_that_is_certain(schema: JSON, kept: bool) -> None:
    found = repair_input_schema({"type": "object", **schema}).schema
    assert found.get("unevaluatedProperties", True) is not kept
    assert jsonschema_rs.validator_for(found).is_valid({"zzz": 1}) is not kept
