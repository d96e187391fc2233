"""Schemas of any server in a form that every provider takes, without losing what they say."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from workbench.agent.parameter_schema import PARAMETER, Arguments, const_as_enum, normalise, rename_parameters

FORBIDDEN_ANYWHERE = {"$schema", "$id", "definitions", "$anchor"}
FORBIDDEN_AT_ROOT = {"anyOf", "oneOf", "allOf", "not", "enum", "const"}


def subschemas(schema: Any) -> list[dict[str, Any]]:
    """Every schema within `schema`, data such as defaults left out."""
    if not isinstance(schema, dict):
        return []
    found = [schema]
    for key, value in schema.items():
        if key in ("properties", "patternProperties", "$defs", "dependentSchemas") and isinstance(value, dict):
            found += [inner for child in value.values() for inner in subschemas(child)]
        elif key in ("allOf", "anyOf", "oneOf", "prefixItems"):
            found += [inner for child in value for inner in subschemas(child)]
        elif key in ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"):
            found += subschemas(value)
    return found


def check_form(schema: dict[str, Any]) -> None:
    """What OpenAI, Anthropic and Gemini demand of the schema of a tool."""
    assert schema["type"] == "object"
    assert isinstance(schema["properties"], dict)
    assert not FORBIDDEN_AT_ROOT & schema.keys()
    for inner in subschemas(schema):
        assert not FORBIDDEN_ANYWHERE & inner.keys()
        if inner.get("type") == "array":
            assert "items" in inner or "prefixItems" in inner
        if "$ref" in inner:
            assert inner["$ref"].startswith("#/$defs/")
            assert inner["$ref"].removeprefix("#/$defs/") in schema["$defs"]
    jsonschema_rs.validator_for(schema, offline=True)


def accepts(schema: Any, value: Any) -> bool:
    return jsonschema_rs.validator_for(schema, offline=True).is_valid(value)


# --- by example --------------------------------------------------------------


@pytest.mark.parametrize("schema", [None, True, False, [], "x", 5, {}])
def test_no_schema_at_all_takes_no_particular_arguments(schema: Any) -> None:
    assert normalise(schema) == {"type": "object", "properties": {}}


def test_references_are_inlined_with_what_stands_beside_them() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "from": {"$ref": "#/$defs/Place", "description": "where it starts"},
            "to": {"$ref": "#/$defs/Place", "maxLength": 3},
        },
        "$defs": {"Place": {"type": "string", "description": "a place", "examples": [{"$ref": "just data"}]}},
    }
    place = {"type": "string", "examples": [{"$ref": "just data"}]}
    assert normalise(schema) == {
        "type": "object",
        "properties": {
            "from": {**place, "description": "where it starts"},
            "to": {"allOf": [{**place, "description": "a place"}, {"maxLength": 3}]},
        },
    }


def test_recursive_references_stay_references() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/definitions/node"}, "v": {"type": "integer"}}}
    schema = {"properties": {"list": {"$ref": "#/definitions/node"}}, "definitions": {"node": node}}
    normal = normalise(schema)
    check_form(normal)
    good, bad = {"list": {"next": {"next": {"v": 1}}}}, {"list": {"next": {"next": {"v": "x"}}}}
    assert accepts(normal, good)
    assert not accepts(normal, bad)


def test_a_schema_that_contains_itself_stays_finite() -> None:
    normal = normalise({"type": "object", "properties": {"child": {"$ref": "#"}, "n": {"type": "integer"}}})
    check_form(normal)
    assert not accepts(normal, {"child": {"child": {"n": "x"}}})


def test_two_definitions_of_one_name_are_kept_apart() -> None:
    loop = {"properties": {"again": {"$ref": "#/properties/a/x"}}, "type": "object"}
    other = {"properties": {"more": {"$ref": "#/properties/b/x"}}, "type": "array"}
    normal = normalise(
        {"properties": {"a": {"x": loop, "$ref": "#/properties/a/x"}, "b": {"x": other, "$ref": "#/properties/b/x"}}}
    )
    assert len(normal["$defs"]) == 2


def test_shared_definitions_do_not_explode() -> None:
    definitions: dict[str, Any] = {"d0": {"type": "string"}}
    for n in range(1, 30):
        again = {"$ref": f"#/$defs/d{n - 1}"}
        definitions[f"d{n}"] = {"type": "object", "properties": {"a": again, "b": again}}
    normal = normalise({"properties": {"x": {"$ref": "#/$defs/d29"}}, "$defs": definitions})
    check_form(normal)
    assert len(json.dumps(normal)) < 200_000


def test_nesting_beyond_reason_becomes_anything() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(500):
        schema = {"type": "array", "items": schema}
    check_form(normalise({"properties": {"deep": schema}}))


@pytest.mark.parametrize(
    "pointer", ["https://example.org/x", "#/nowhere", "other.json#/a", "#gone", "#/properties/a/0/x"]
)
def test_a_reference_to_elsewhere_is_never_followed_and_accepts_anything(pointer: str) -> None:
    assert normalise({"properties": {"a": {"$ref": pointer}}})["properties"]["a"] == {}


def test_anchors_and_escaped_pointers_are_found() -> None:
    schema = {
        "properties": {"a": {"$ref": "#spot"}, "b": {"$ref": "#/$defs/x~1y"}, "c": {"$ref": "#/$defs/list/anyOf/1"}},
        "$defs": {
            "p": {"$anchor": "spot", "type": "string"},
            "x/y": {"type": "integer"},
            "list": {"anyOf": [{}, {"type": "null"}]},
        },
    }
    assert normalise(schema)["properties"] == {"a": {"type": "string"}, "b": {"type": "integer"}, "c": {"type": "null"}}


def test_tuples_of_draft_7_become_prefix_items() -> None:
    schema = {"properties": {"t": {"type": "array", "items": [{"type": "string"}, True], "additionalItems": False}}}
    assert normalise(schema)["properties"]["t"] == {
        "type": "array",
        "prefixItems": [{"type": "string"}, {}],
        "items": {"not": {}},
    }


def test_arrays_say_what_is_in_them_and_boolean_schemas_become_objects() -> None:
    schema = {"properties": {"a": {"type": "array"}, "b": {"type": ["array", "null"]}, "c": True, "d": False}}
    assert normalise(schema)["properties"] == {
        "a": {"type": "array", "items": {}},
        "b": {"type": ["array", "null"], "items": {}},
        "c": {},
        "d": {"not": {}},
    }


def test_closed_and_free_form_objects_stay_what_they_are() -> None:
    closed = {"type": "object", "properties": {"x": {"type": "string"}}, "additionalProperties": False}
    free = {"type": "object", "additionalProperties": True}
    typed = {"type": "object", "additionalProperties": {"type": "integer"}}
    schema = {**closed, "properties": {"closed": closed, "free": free, "typed": typed}}
    assert normalise(schema) == schema


def test_alternatives_at_the_root_are_folded_and_told() -> None:
    schema = {
        "description": "Find a person.",
        "properties": {"id": {"type": "integer"}},
        "anyOf": [
            {"required": ["id", "why"], "properties": {"why": {"type": "string"}}},
            {"required": ["name", "why"], "properties": {"name": {"type": "string"}, "why": {"type": "null"}}},
        ],
        "allOf": [{"title": "Person", "properties": {"tenant": {"type": "string"}}, "required": ["tenant"]}],
        "additionalProperties": False,
    }
    normal = normalise(schema)
    check_form(normal)
    assert set(normal["properties"]) == {"id", "why", "name", "tenant"}
    assert normal["properties"]["why"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert sorted(normal["required"]) == ["tenant", "why"]
    assert "additionalProperties" not in normal
    assert normal["title"] == "Person"
    assert normal["description"].startswith("Find a person. The arguments must also satisfy {")


def test_what_one_alternative_leaves_open_stays_open() -> None:
    closed, open_ = {"properties": {"a": {"type": "object"}}}, {"properties": {"a": {}}}
    for branches in ([closed, open_], [open_, closed]):
        assert normalise({"anyOf": branches})["properties"] == {"a": {}}
    base = {"properties": {"a": {"type": "string"}}, "anyOf": [{"properties": {"a": {"maxLength": 3}}}, open_]}
    assert normalise(base)["properties"] == {"a": {"type": "string"}}


def test_dependencies_of_draft_7_keep_their_meaning() -> None:
    inner = {"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}
    assert normalise({"properties": {"x": inner}})["properties"]["x"] == {
        "dependentRequired": {"a": ["b"]},
        "dependentSchemas": {"c": {"required": ["d"]}},
    }


def test_older_drafts_and_slips_of_real_servers_are_mended() -> None:
    schema = {
        "properties": {
            "a": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            "b": {"type": "integer", "maximum": 9, "exclusiveMaximum": False},
            "c": {"type": "any", "required": True},
            "d": {"type": ["string", "file"], "enum": []},
            "e": {"type": {}, "enum": "x"},
        },
        "required": ["a", "a", 5],
    }
    assert normalise(schema) == {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "exclusiveMinimum": 0},
            "b": {"type": "integer", "maximum": 9},
            "c": {},
            "d": {"type": "string"},
            "e": {},
        },
        "required": ["a"],
    }


def test_what_is_no_schema_where_one_should_stand_is_left_out() -> None:
    assert normalise({"properties": {"a": {"items": 5, "anyOf": "x"}}})["properties"]["a"] == {}


def test_gemini_gets_an_enum_for_a_constant_also_in_definitions() -> None:
    node = {"type": "object", "properties": {"kind": {"const": "n"}, "next": {"$ref": "#/$defs/n"}}}
    schema = normalise({"properties": {"a": {"const": 1}, "b": {"$ref": "#/$defs/n"}}, "$defs": {"n": node}})
    told = const_as_enum(schema)
    assert told["properties"]["a"] == {"enum": [1]}
    assert told["$defs"]["n"]["properties"]["kind"] == {"enum": ["n"]}
    assert schema["properties"]["a"] == {"const": 1}, "the neutral form is not changed"


def test_parameters_that_no_provider_takes_get_another_name() -> None:
    names = ["@type", "_type", "größe", "größe!", "a-b", "1st", "ok", "x" * 80, "日本", "日语"]
    schema = {"type": "object", "properties": {name: {"title": name} for name in names}, "required": ["@type", "ok"]}
    changed, back = rename_parameters(schema)
    assert len(changed["properties"]) == len(names)
    assert all(PARAMETER.fullmatch(name) for name in changed["properties"])
    assert {back.get(name, name) for name in changed["properties"]} == set(names)
    assert [back.get(name, name) for name in changed["required"]] == ["@type", "ok"]
    assert all(schema["title"] == back.get(name, name) for name, schema in changed["properties"].items())


def test_good_names_are_left_alone() -> None:
    schema = {"type": "object", "properties": {"a_b": {}, "C9": {}}}
    assert rename_parameters(schema) == (schema, {})


# --- arguments ---------------------------------------------------------------


def test_wrong_arguments_are_told_by_path() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}}, "required": ["b"]}
    wrong = Arguments().check(schema, {"a": [1, "x"]})
    assert {error["path"] for error in wrong} == {"", "a/1"}


def test_no_more_than_five_complaints_are_made_at_once() -> None:
    schema = {"additionalProperties": {"type": "integer"}}
    assert len(Arguments().check(schema, {f"k{n}": "x" for n in range(50)})) == 5


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "https://example.org/schema.json"}])
def test_a_broken_schema_judges_nothing_and_fetches_nothing(schema: dict[str, Any]) -> None:
    arguments = Arguments()
    assert arguments.check(schema, {"a": 1}) == []
    assert arguments.check(schema, {"a": 1}) == []


# --- any schema --------------------------------------------------------------

words = st.sampled_from(["a", "b", "c", "@x", "ü"])
scalars = st.sampled_from([None, True, 0, 1, 2.5, "", "x", "long"])
leaves = st.one_of(
    st.just({}),
    st.booleans(),
    st.builds(
        lambda t: {"type": t}, st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
    ),
    st.builds(lambda t: {"type": t}, st.lists(st.sampled_from(["string", "null", "array"]), min_size=1, unique=True)),
    st.builds(lambda v: {"const": v}, scalars),
    st.builds(lambda v: {"enum": v}, st.lists(scalars, min_size=1, max_size=3)),
    st.builds(lambda n: {"$ref": f"#/$defs/{n}", "description": "referred"}, st.sampled_from(["p", "q", "r"])),
    st.builds(lambda n: {"$ref": f"#/$defs/{n}"}, st.sampled_from(["p", "q", "r"])),
)


def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(words, inner, max_size=3)
    return st.one_of(
        st.builds(
            lambda p, r, a: {"type": "object", "properties": p, "required": r, "additionalProperties": a},
            properties,
            st.lists(words, max_size=2, unique=True),
            inner,
        ),
        st.builds(lambda i: {"type": "array", "items": i}, inner),
        st.builds(lambda i: {"prefixItems": i}, st.lists(inner, min_size=1, max_size=2)),
        st.builds(
            lambda k, i: {k: i}, st.sampled_from(["anyOf", "oneOf", "allOf"]), st.lists(inner, min_size=1, max_size=2)
        ),
        st.builds(lambda i: {"not": i}, inner),
        st.builds(lambda i, j: {"if": i, "then": j}, inner, inner),
    )


any_schema = st.recursive(leaves, grown, max_leaves=6)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=2) | st.dictionaries(words, v, max_size=2), max_leaves=5)
documents = st.builds(
    lambda p, r, d, a: {"type": "object", "properties": p, "required": r, "$defs": d, "additionalProperties": a},
    st.dictionaries(words, any_schema, max_size=3),
    st.lists(words, max_size=2, unique=True),
    st.fixed_dictionaries({"p": any_schema, "q": any_schema, "r": any_schema}),
    st.booleans(),
)


def validator(schema: Any) -> Any:
    """None where the document refers to itself without end; no server can publish that."""
    try:
        return jsonschema_rs.validator_for(schema, offline=True)
    except (ValueError, RecursionError):
        return None


def endless(document: dict[str, Any]) -> bool:
    """Whether following references alone comes back to the same definition."""

    def reaches(node: Any) -> set[str]:
        if not isinstance(node, dict):
            return set()
        found = {node["$ref"].rsplit("/", 1)[-1]} if "$ref" in node else set()
        for key in ("anyOf", "oneOf", "allOf"):
            found |= {name for child in node.get(key, []) for name in reaches(child)}
        for key in ("not", "if", "then"):
            found |= reaches(node.get(key))
        return found

    edges = {name: reaches(node) for name, node in document["$defs"].items()}
    for start in edges:
        seen, todo = set(), set(edges[start])
        while todo:
            name = todo.pop()
            if name == start:
                return True
            if name not in seen:
                seen.add(name)
                todo |= edges[name]
    return False


@hypothesis_settings(max_examples=150, deadline=None)
@given(document=documents, arguments=st.dictionaries(words, values, max_size=3))
def test_any_schema_takes_the_form_and_accepts_the_same_arguments(document: Any, arguments: Any) -> None:
    assume(not endless(document))
    original = validator(document)
    assume(original is not None)
    normal = normalise(document)
    check_form(normal)
    assert accepts(normal, arguments) == original.is_valid(arguments)
    check_form(const_as_enum(normal))
    assert accepts(const_as_enum(normal), arguments) == accepts(normal, arguments)


@hypothesis_settings(max_examples=100, deadline=None)
@given(document=documents, arguments=st.dictionaries(words, values, max_size=3))
def test_renamed_arguments_are_judged_as_before(document: Any, arguments: Any) -> None:
    assume(not endless(document))
    normal = normalise(document)
    changed, back = rename_parameters(normal)
    forth = {name: safe for safe, name in back.items()}
    check_form(changed)
    assert accepts(changed, {forth.get(name, name): value for name, value in arguments.items()}) == accepts(
        normal, arguments
    )


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    branches=st.lists(
        st.builds(
            lambda p, r: {"properties": p, "required": r, "additionalProperties": False},
            st.fixed_dictionaries({"a": any_schema, "b": any_schema}),
            st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True),
        ),
        min_size=1,
        max_size=3,
    ),
    keyword=st.sampled_from(["anyOf", "oneOf", "allOf"]),
    arguments=st.dictionaries(st.sampled_from(["a", "b"]), values, max_size=2),
)
def test_folding_alternatives_never_forbids_what_the_tool_accepts(
    branches: list[Any], keyword: str, arguments: dict[str, Any]
) -> None:
    document = {"type": "object", keyword: branches, "$defs": {"p": {}, "q": {"type": "string"}, "r": {"type": "null"}}}
    normal = normalise(document)
    check_form(normal)
    if accepts(document, arguments):
        assert accepts(normal, arguments)


# --- real schemas ------------------------------------------------------------

CATALOGUE = os.environ.get("LIVEMCP_TOOLS", "")


@pytest.mark.skipif(not CATALOGUE, reason="LIVEMCP_TOOLS does not name the file of the LiveMCPBench catalogue")
def test_every_schema_of_a_public_catalogue_takes_the_form() -> None:
    from workbench.agent.wire_tool_names import NAME, NameMap
    from workbench.events import Tool

    tools: list[Tool] = []
    for server, entry in catalogue(Path(CATALOGUE)):
        tools.append(
            Tool(
                server=server,
                name=entry["name"],
                description=entry.get("description") or "",
                input_schema=entry["inputSchema"],
            )
        )
    assert len(tools) > 500
    names = NameMap(tools)
    for tool in tools:
        spec = names.spec(tool)
        assert NAME.fullmatch(spec.name)
        assert names.find(spec.name) is spec
        assert len(spec.description) <= 1024
        check_form(spec.schema)
        check_form(const_as_enum(spec.schema))


def catalogue(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Server and tool, for every distinct tool in the file."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in json.loads(path.read_text()):
        for server, listed in (entry.get("tools") or {}).items():
            for tool in listed.get("tools", []):
                found.setdefault((server, tool["name"]), tool)
    return [(server, tool) for (server, _), tool in found.items()]
