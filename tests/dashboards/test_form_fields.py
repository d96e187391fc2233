"""The form of a tool: every schema gives fields, and no field loses or changes a value."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parts.fields import MISSING, Field, fields_of, fitting, parse, state_of, value_of, with_others

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.dates().map(str),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c", "z"]), inner, max_size=3)
    ),
    max_leaves=6,
)
SIMPLE: list[dict[str, Any]] = [
    {"type": "string"},
    {"type": "string", "maxLength": 5000},
    {"type": "string", "format": "date"},
    {"type": "integer", "minimum": 1, "maximum": 100},
    {"type": "integer"},
    {"type": "number", "minimum": -5.5},
    {"type": "boolean"},
    {"enum": ["low", "high", 1, True]},
    {"const": "only"},
    {"type": "array", "items": {"type": "string"}},
    {"type": "array", "items": {"type": "integer"}},
    {"type": "array", "items": {"type": "number"}},
    {"type": "array", "items": {"enum": ["x", "y"]}},
    {"type": "array"},
    {},
    {"anyOf": [{"type": "string"}, {"type": "integer"}]},
    {"anyOf": [{"type": "string"}, {"type": "null"}]},
    {"type": ["integer", "null"]},
]
SCHEMAS = st.recursive(
    st.sampled_from(SIMPLE),
    lambda inner: st.builds(
        lambda p, r: {"type": "object", "properties": p, "required": [n for n in r if n in p]},
        st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, min_size=1, max_size=3),
        st.lists(st.sampled_from(["a", "b", "c"]), max_size=3),
    ),
    max_leaves=6,
)


def through_the_form(field: Field, value: Any) -> Any:
    """What a form gives back when it is filled with `value` and not touched."""
    field = fitting(field, value)
    if field.kind != "group":
        return value_of(field, state_of(field, value))
    given = {} if value is MISSING else value
    found = {}
    for child in with_others(field.children, given):
        inner = through_the_form(child, given.get(child.name, MISSING))
        if inner is not MISSING and not (inner is None and child.required and child.nullable):
            found[child.name] = inner
    if found:
        found |= {c.name: None for c in field.children if c.required and c.nullable and c.name not in found}
    return found or (None if field.required and field.nullable else MISSING)


def same(left: Any, right: Any) -> bool:
    """Equal as JSON: numbers by value, but true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return (type(left) in (int, float) and type(right) in (int, float) and left == right) or left == right


def without_missing_nulls(field: Field, value: Any) -> Any:
    """`value`, with the nulls that a required member may be when it is not given."""
    if field.kind != "group" or not isinstance(value, dict) or all(v is None for v in value.values()):
        return value
    full = {k: without_missing_nulls(c, value[k]) for c in field.children for k in [c.name] if k in value}
    rest = {k: v for k, v in value.items() if k not in full}
    return {
        **full,
        **rest,
        **{c.name: None for c in field.children if c.required and c.nullable and c.name not in value},
    }


@given(schema=SCHEMAS, value=VALUES, required=st.booleans())
def test_a_form_gives_back_exactly_what_it_was_filled_with(schema: Any, value: Any, required: bool) -> None:
    root = {"type": "object", "properties": {"it": schema}, "required": ["it"] if required else []}
    (field,) = fields_of(root)
    assert same(through_the_form(field, value), without_missing_nulls(field, value))


@given(schema=SCHEMAS)
def test_an_untouched_optional_field_is_not_sent(schema: Any) -> None:
    (field,) = fields_of({"type": "object", "properties": {"it": schema}})
    assert through_the_form(field, MISSING) is MISSING


@given(schema=VALUES)
def test_any_schema_gives_fields_or_none(schema: Any) -> None:
    root = {"type": "object", "properties": {"it": schema, "other": {"$ref": "#/properties/it"}}}
    assert [f.name for f in fields_of(root)] == ["it", "other"]


def kinds(**properties: Any) -> dict[str, str]:
    return {f.name: f.kind for f in fields_of({"type": "object", "properties": properties})}


def test_each_kind_of_schema_has_its_widget() -> None:
    assert kinds(
        a={"type": "string"},
        b={"enum": ["x", "y"]},
        c={"type": "integer"},
        d={"type": "array", "items": {"type": "string"}},
        e={"type": "string", "format": "date"},
        f={"type": "object", "properties": {"g": {"type": "boolean"}}},
        h={"type": "array", "items": {"enum": ["x"]}},
        i={"type": "array", "items": {"type": "array"}},
        j={"type": "object"},
    ) == {
        "a": "text",
        "b": "choice",
        "c": "integer",
        "d": "lines",
        "e": "date",
        "f": "group",
        "h": "many",
        "i": "json",
        "j": "json",
    }


def test_references_are_followed_and_circles_end() -> None:
    root = {
        "type": "object",
        "properties": {
            "status": {"$ref": "#/$defs/Status"},
            "tree": {"$ref": "#/$defs/Tree"},
            "round": {"$ref": "#/x"},
        },
        "$defs": {
            "Status": {"enum": ["open", "closed"]},
            "Tree": {"type": "object", "properties": {"child": {"$ref": "#/$defs/Tree"}}},
        },
        "x": {"$ref": "#/x"},
    }
    found = {f.name: f for f in fields_of(root)}
    assert found["status"].options == ("open", "closed")
    assert found["tree"].children[0].children[0].kind == "json"
    assert found["round"].kind == "json"


def test_required_fields_come_first() -> None:
    root = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "required": ["c"]}
    assert [f.name for f in fields_of(root)] == ["c", "a", "b"]


def test_a_required_nullable_field_left_empty_sends_null() -> None:
    root = {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]}
    assert value_of(fields_of(root)[0], None) is None


def test_an_integer_no_browser_can_hold_is_edited_as_json() -> None:
    (field,) = fields_of({"type": "object", "properties": {"n": {"type": "integer"}}})
    assert fitting(field, 2**53).kind == "json"
    assert fitting(field, 2**53 - 1).kind == "integer"
    assert fitting(field, True).kind == "json"


def test_a_text_with_line_breaks_gets_a_larger_box() -> None:
    (field,) = fields_of({"type": "object", "properties": {"sql": {"type": "string"}}})
    assert fitting(field, "select 1\nfrom t").kind == "prose"


def test_what_stands_in_a_date_field_is_sent_as_iso_text() -> None:
    (field,) = fields_of({"type": "object", "properties": {"day": {"type": "string", "format": "date"}}})
    assert value_of(field, date(2026, 1, 31)) == "2026-01-31"
    assert fitting(field, "yesterday").kind == "json"


def test_a_line_that_is_no_number_says_which() -> None:
    root = {"type": "object", "properties": {"n": {"type": "array", "items": {"type": "integer"}}}}
    with pytest.raises(ValueError, match="line 2 is 'two', expected a whole number"):
        value_of(fields_of(root)[0], "1\ntwo")


@pytest.mark.parametrize("text", ["{", "[1,", "NaN", '{"a": Infinity}'])
def test_what_is_not_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not JSON"):
        parse(text)


def test_arguments_that_the_schema_does_not_know_get_a_field_of_their_own() -> None:
    fields = with_others(fields_of({"type": "object", "properties": {"a": {}}}), {"a": 1, "more": [1]})
    assert [(f.name, f.kind) for f in fields] == [("a", "json"), ("more", "json")]
