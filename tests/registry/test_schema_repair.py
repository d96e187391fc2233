"""Repair of schemas, with whatever can be made up: it never fails, and it changes nothing that was right."""

from __future__ import annotations

from typing import Any

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workbench.events import JSON, Tool
from workbench.gateway.argument_validation import SchemaValidators
from workbench.registry import ServerSpec
from workbench.registry.definitions.listing import read_definitions
from workbench.registry.schemas.repair import repair_input_schema, repair_output_schema

FAR = ServerSpec(id="far", kind="url", url="https://far.example/mcp")
GOOD: JSON = {"name": "good", "description": "d", "inputSchema": {"type": "object", "required": ["a"]}}

KEYWORDS = (
    "type", "properties", "required", "items", "prefixItems", "additionalItems", "additionalProperties", "anyOf",
    "oneOf", "allOf", "not", "if", "then", "else", "enum", "const", "$ref", "$defs", "definitions", "$id", "$anchor",
    "$schema", "$dynamicRef", "$dynamicAnchor", "pattern", "patternProperties", "propertyNames", "minimum", "maximum",
    "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "contains",
    "minContains", "maxContains", "uniqueItems", "dependencies", "dependentRequired", "dependentSchemas", "nullable",
    "unevaluatedProperties", "unevaluatedItems", "format", "description", "default", "examples", "_def", "id",
    "$recursiveRef", "contentSchema", "title", "readOnly", "$comment", "$vocabulary", "components", "x",
)  # fmt: skip
TEXTS = (
    "string", "str", "object", "integer", "array", "null", "any", "#", "#/$defs/x", "#/properties/x", "#x", "x", "",
    "true",
    "http://json-schema.org/draft-07/schema#", "http://json-schema.org/draft-04/schema#", "draft-03", "https://e.example/x",
    "^[\\w-.]+$", "(?>a)", "[^]*", "(?<n>a)\\k<n>", "#/definitions/Opt<A>", "1", "-1", "/", "%", "::", "#/items/0",
    "https://json-schema.org/draft/2020-12/schema", "#/anyOf/0", "\\ud83d\\ude00", "Optional[str]",
)  # fmt: skip
scalars = (
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.sampled_from(TEXTS) | st.text(max_size=4)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS) | st.text(max_size=2), inner, max_size=5)
    ),
    max_leaves=25,
)  # fmt: skip


@settings(max_examples=400)
@given(schema=anything, result=anything)
@example(schema={"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}, result=None)
@example(schema={"type": "object", "enum": [{"$ref": "#/enum/0"}], "$ref": "#/enum/0"}, result=[])
def test_any_schema_is_read_or_its_tool_named_as_left_out_and_the_others_stay(schema: Any, result: Any) -> None:
    odd = {"name": "odd", "inputSchema": schema, "outputSchema": result}
    listing = read_definitions(FAR, [odd, GOOD])
    tools = {tool.name: tool for tool in listing.tools}
    assert "good" in tools
    assert ("odd" in tools) != ("odd" in listing.refused)
    for tool in listing.tools:
        assert isinstance(SchemaValidators().problems(tool, {}), list)
        assert tool.input_schema["type"] == "object"
        assert isinstance(tool.input_schema.get("properties", {}), dict)


def _types() -> st.SearchStrategy[JSON]:
    numbers = st.integers(-5, 5)
    counts = st.integers(0, 3)
    return st.one_of(
        st.fixed_dictionaries({"type": st.just("string")}, optional={"minLength": counts, "maxLength": counts}),
        st.fixed_dictionaries({"type": st.just("integer")}, optional={"minimum": numbers, "exclusiveMaximum": numbers}),
        st.fixed_dictionaries({"type": st.just("string"), "pattern": st.sampled_from(["^a+$", r"^\d", "b|c", r"\."])}),
        st.builds(lambda values: {"enum": values}, st.lists(st.text("ab"), min_size=1, max_size=3, unique=True)),
        st.builds(lambda value: {"const": value}, st.integers(0, 2) | st.none()),
        st.builds(lambda names: {"type": names}, st.permutations(["string", "null", "integer"]).map(lambda p: p[:2])),
        st.just({"$ref": "#/$defs/named"}),
        st.booleans(),
        st.just({}),
    )  # fmt: skip


def _larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from("abc"), inner, max_size=3)
    return st.one_of(
        st.builds(lambda parts: {"anyOf": parts}, some),
        st.builds(lambda parts: {"oneOf": parts}, some),
        st.builds(lambda parts: {"allOf": parts}, some),
        st.builds(lambda part: {"not": part}, inner),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda parts, rest: {"type": "array", "prefixItems": parts, "items": rest}, some, inner),
        st.builds(lambda part, n: {"type": "array", "contains": part, "maxContains": n}, inner, st.integers(1, 2)),
        st.builds(
            lambda parts, needed, rest: {
                "type": "object", "properties": parts, "required": needed, "additionalProperties": rest,
            },
            named, st.lists(st.sampled_from("abc"), max_size=2, unique=True), inner,
        ),
    )  # fmt: skip


valid = st.builds(
    lambda properties, named, required: {
        "type": "object", "properties": properties, "$defs": {"named": named}, "required": required,
    },
    st.dictionaries(st.sampled_from("abc"), st.recursive(_types(), _larger, max_leaves=6), max_size=3),
    _types().filter(lambda part: part != {"$ref": "#/$defs/named"}),
    st.lists(st.sampled_from("abc"), max_size=2, unique=True),
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-6, 6) | st.text("abc1.", max_size=4) | st.floats(-5, 5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
arguments = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@settings(max_examples=300)
@given(schema=valid, given_=st.lists(arguments, min_size=1, max_size=8))
def test_a_schema_that_is_right_stays_as_it_is_with_the_verdicts_of_any_validator(
    schema: JSON, given_: list[JSON]
) -> None:
    found = repair_input_schema(schema)
    assert found.repairs == ()
    assert found.schema == schema
    ours = SchemaValidators()
    tool = Tool(server="s", name="t", input_schema=found.schema, definition_hash="h")
    plain, other = jsonschema_rs.validator_for(schema), jsonschema.Draft202012Validator(schema)
    for each in given_:
        fits = ours.problems(tool, each) == []
        assert fits == plain.is_valid(each) == other.is_valid(each)
        assert not (fits and found.never), "said to fit nothing"


SLIPS: dict[str, Any] = {"string": "str", "integer": "Int", "array": "list", "object": "Dict", "null": None}


def _with_slips(node: Any) -> Any:
    """`node` as people write it who do not know JSON Schema well; it means the same."""
    if isinstance(node, list):
        return [_with_slips(part) for part in node]
    if not isinstance(node, dict):
        return node
    slipped: JSON = {"description": None, "format": None, "minLength": None} if "type" in node else {}
    for key, value in node.items():
        if key in ("enum", "const"):
            slipped[key] = value * 2 if key == "enum" else value
        elif key == "type" and isinstance(value, list):
            slipped[key] = [SLIPS[name] for name in value] * 2
        elif key == "type":
            slipped[key] = SLIPS[value]
        elif key == "minLength" or key == "maxLength":
            slipped[key] = str(value)
        elif key == "exclusiveMaximum":
            slipped |= {"maximum": value, "exclusiveMaximum": True}
        elif key == "prefixItems":
            slipped |= {"items": _with_slips(value), "additionalItems": _with_slips(node["items"])}
        elif key == "items" and "prefixItems" in node:
            continue
        elif key == "$ref":
            slipped[key] = value.replace("$defs", "definitions")
        elif key == "required" and isinstance(value, list):
            slipped[key] = value * 2
        else:
            slipped[key] = _with_slips(value)
    return slipped


@settings(max_examples=300)
@given(schema=valid, given_=st.lists(arguments, min_size=1, max_size=8))
def test_slips_are_read_as_what_they_mean_neither_looser_nor_tighter(schema: JSON, given_: list[JSON]) -> None:
    found = repair_input_schema(_with_slips(schema))
    plain = jsonschema_rs.validator_for(schema)
    repaired = jsonschema_rs.validator_for(found.schema)
    for each in given_:
        assert plain.is_valid(each) == repaired.is_valid(each)


def _with_holes(node: Any) -> Any:
    """`node` with every pattern one that nobody can compile."""
    if isinstance(node, list):
        return [_with_holes(part) for part in node]
    if not isinstance(node, dict):
        return node
    return {key: "(?>a)" if key == "pattern" else _with_holes(part) for key, part in node.items()}


@settings(max_examples=300)
@given(schema=valid, given_=st.lists(arguments, min_size=1, max_size=8))
def test_what_cannot_be_understood_never_refuses(schema: JSON, given_: list[JSON]) -> None:
    repaired = jsonschema_rs.validator_for(repair_input_schema(_with_holes(schema)).schema)
    plain = jsonschema_rs.validator_for(schema)
    for each in given_:
        assert repaired.is_valid(each) or not plain.is_valid(each)


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (False, "allows nothing"),
        ({"not": {}}, "allows nothing"),
        ({"type": "array"}, "would have to be array"),
        ({"type": "str"}, "would have to be string"),
        ({"type": ["string", "null"]}, "would have to be string or null"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "/inputSchema/properties/a contradicts"),
        ({"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}, "required": ["a"]}, "properties/a"),
        ({"type": "object", "properties": {"a": {"type": "int", "minimum": 5, "maximum": 4}}, "required": ["a"]}, "a"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "contradicts"),
        ({"type": "object", "minProperties": 2, "maxProperties": 1}, "contradicts"),
        ({"type": "object", "allOf": [{"type": "string"}]}, "contradicts"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "array"}}}, "contradicts"),
    ],
)
def test_a_tool_that_no_call_can_reach_is_left_out_with_the_reason(schema: Any, why: str) -> None:
    listing = read_definitions(FAR, [{"name": "never", "inputSchema": schema}, GOOD])
    assert [tool.name for tool in listing.tools] == ["good"]
    assert why in listing.refused["never"]


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": False}},
        {"type": "object", "properties": {"a": {"type": "string", "enum": [1]}}},
    ],
)
def test_a_contradiction_that_can_be_left_out_leaves_the_tool(schema: JSON) -> None:
    (tool,) = read_definitions(FAR, [{"name": "t", "inputSchema": schema}]).tools
    assert SchemaValidators().problems(tool, {}) == []
    assert SchemaValidators().problems(tool, {"a": "b"})


@pytest.mark.parametrize(
    "schema",
    [True, {}, [], "x", 7, False, {"type": "array"}, {"type": "object", "required": ["a"], "properties": {"a": False}}],
)
def test_a_schema_of_results_that_says_nothing_or_allows_nothing_is_not_shown(schema: Any) -> None:
    (tool,) = read_definitions(FAR, [GOOD | {"outputSchema": schema}]).tools
    assert tool.output_schema is None
    (note,) = tool.repairs
    assert note["where"] == "/outputSchema"
    assert note["read_as"].startswith("none: ")


def test_a_schema_of_results_is_repaired_like_that_of_arguments() -> None:
    found = repair_output_schema({"type": "object", "properties": {"n": {"type": "int", "required": True}}})
    assert found.schema["properties"]["n"] == {"type": "integer"}
    assert found.schema["required"] == ["n"]
    assert found.repairs[0].where == "/outputSchema/properties/n/type"


def test_hints_are_not_guessed() -> None:
    annotations = {"readOnlyHint": "true", "idempotentHint": 1, "destructiveHint": True, "title": 5}
    (tool,) = read_definitions(FAR, [GOOD | {"annotations": annotations}]).tools
    assert not tool.read_only
    assert tool.destructive
    assert tool.annotations == {"destructiveHint": True, "title": "5"} or tool.title == "5"
    assert {note["where"] for note in tool.repairs} >= {"/annotations/readOnlyHint", "/annotations/idempotentHint"}


def test_a_schema_with_thousands_of_slips_lists_some_and_counts_the_rest() -> None:
    schema = {"type": "object", "properties": {f"p{n}": {"type": "str"} for n in range(1000)}}
    found = repair_input_schema(schema)
    assert len(found.repairs) == 201
    assert found.repairs[-1].read_as == "800 more parts are read otherwise"
    assert found.schema["properties"]["p999"] == {"type": "string"}
