"""Schemas as servers list them: which arguments each lets through, which it refuses, and what is said of it."""

# ruff: noqa: E501 - one shape, one line

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from workbench.agent.parameter_schema import const_as_enum, normalise, rename_parameters
from workbench.events import JSON
from workbench.gateway.argument_validation import SchemaValidators
from workbench.registry import ServerSpec
from workbench.registry.definitions.listing import read_definitions

FAR = ServerSpec(id="far", kind="url", url="https://far.example/mcp")
X = "/properties/x"
DRAFT_4 = "http://json-schema.org/draft-04/schema#"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


class Shape(NamedTuple):
    id: str
    schema: Any
    fits: list[Any]
    fails: list[Any]
    notes: dict[str, str]
    """JSON pointer within the schema → words of how it is read."""


def x(id: str, schema: Any, fits: list[Any], fails: list[Any], notes: dict[str, str], **root: Any) -> Shape:
    """A shape of the property `x`; values and pointers are those of `x`."""
    whole = {"type": "object", "properties": {"x": schema}, **root}
    prefixed = {pointer if pointer.startswith("//") else X + pointer: words for pointer, words in notes.items()}
    notes = {pointer.removeprefix("/") if pointer.startswith("//") else pointer: w for pointer, w in prefixed.items()}
    return Shape(id, whole, [{"x": value} for value in fits], [{"x": value} for value in fails], notes)


def deep(levels: int) -> JSON:
    schema: JSON = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


def inside(levels: int, value: Any) -> Any:
    for _ in range(levels):
        value = {"a": value}
    return value


NODE = {"type": "object", "properties": {"v": {"type": "string"}, "next": {"$ref": "#/$defs/Node"}}, "required": ["v"]}
STRING = {"type": "string"}

SHAPES = [
    # --- the root
    Shape("no schema at all", None, [{}, {"a": 1}], [], {"": "any properties"}),
    Shape("an empty schema", {}, [{}, {"a": 1}], [], {"/type": "object"}),
    Shape("the schema true", True, [{}, {"a": 1}], [], {"": "any properties"}),
    Shape("an empty list, as PHP writes an empty map", [], [{"a": 1}], [], {"": "any properties"}),
    Shape("text that holds JSON", '{"type":"object","required":["a"]}', [{"a": 1}], [{}], {"": "JSON that this text"}),
    Shape("text that holds none", "object", [{"a": 1}], [], {"": "any properties"}),
    Shape("no type", {"properties": {"a": STRING}}, [{"a": "b"}], [{"a": 1}], {"/type": "object"}),
    Shape("type null at the root", {"type": None, "properties": {"a": STRING}}, [{}], [{"a": 1}], {"/type": "object"}),
    Shape("type Object", {"type": "Object", "required": ["a"]}, [{"a": 1}], [{}], {"/type": "object"}),
    Shape("type object or null", {"type": ["object", "null"], "required": ["a"]}, [{"a": 1}], [{}], {"/type": "object"}),
    Shape(
        "alternatives at the root",
        {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
        [{"a": 1}, {"b": 1}], [{"c": 1}], {"/type": "object"},
    ),
    Shape("required: true at the root", {"type": "object", "required": True}, [{}], [], {"/required": "nothing"}),
    Shape("required: null", {"type": "object", "properties": {}, "required": None}, [{}], [], {"/required": "nothing"}),
    Shape("properties: null", {"type": "object", "properties": None}, [{"a": 1}], [], {"/properties": "no entries"}),
    Shape("properties: []", {"type": "object", "properties": []}, [{"a": 1}], [], {"/properties": "no entries"}),
    Shape(
        "properties as a list of objects with names",
        {"type": "object", "properties": [{"name": "a", "type": "string", "required": True}]},
        [{"a": "b"}], [{}, {"a": 1}], {"/properties": "of these names", "/properties/a/required": "required ones"},
    ),
    Shape(
        "properties that are no map, beside additionalProperties: false",
        {"type": "object", "properties": "name, size", "additionalProperties": False},
        [{"name": 1}], [], {"/properties": "not checked", "/additionalProperties": "anything"},
    ),
    Shape(
        "a reference at the root",
        {"$schema": DRAFT_7, "$ref": "#/definitions/In", "definitions": {"In": {"type": "object", "required": ["a"]}}},
        [{"a": 1}], [{}], {"/type": "object"},
    ),
    Shape(
        "an object of a schema library",
        {"_def": {"typeName": "ZodObject"}, "~standard": {"vendor": "zod", "version": 1}},
        [{"a": 1}], [], {"": "schema library", "/type": "object"},
    ),
    # --- $schema
    Shape("a dialect without its #", {"$schema": DRAFT_7[:-1], "type": "object", "required": ["a"]}, [{"a": 1}], [{}], {}),
    Shape("a dialect over https", {"$schema": DRAFT_7.replace("http:", "https:"), "type": "object"}, [{}], [], {}),
    Shape("a dialect by its short name", {"$schema": "draft-07", "type": "object"}, [{}], [], {"/$schema": "draft-07/schema"}),
    Shape("an unknown dialect", {"$schema": "urn:x", "type": "object", "required": ["a"]}, [{"a": 1}], [{}], {"/$schema": "2020-12"}),
    Shape("a dialect that is null", {"$schema": None, "type": "object"}, [{}], [], {"/$schema": "2020-12"}),
    Shape(
        "the dialect of OpenAPI", {"$schema": "https://spec.openapis.org/oas/3.1/dialect/base", "type": "object"},
        [{}], [], {"/$schema": "2020-12"},
    ),
    x("a known dialect further down", {"$schema": DRAFT_7, "items": [STRING]}, [["a"], [], 1], [[1]], {"/items": "prefixItems", "/$schema": "whole"}),
    # --- type
    x("type str", {"type": "str"}, ["a"], [1], {"/type": "string"}),
    x("type int", {"type": "int"}, [1], ["a", 1.5], {"/type": "integer"}),
    x("type float", {"type": "float"}, [1, 1.5], ["a"], {"/type": "number"}),
    x("type bool", {"type": "bool"}, [True], [1], {"/type": "boolean"}),
    x("type dict", {"type": "dict"}, [{}], [[]], {"/type": "object"}),
    x("type list", {"type": "list", "items": STRING}, [["a"]], [{}, [1]], {"/type": "array"}),
    x("type String", {"type": "String"}, ["a"], [1], {"/type": "string"}),
    x("type any", {"type": "any"}, [1, "a", None], [], {"/type": "anything"}),
    x("type null as JSON null", {"type": None, "maxLength": 2}, ["a", 1], ["abc"], {"/type": "anything"}),
    x("a type that means nothing", {"type": "date", "maxLength": 2}, ["a", 1], ["abc"], {"/type": "anything"}),
    x("null among the types", {"type": ["string", None]}, ["a", None], [1], {"/type": "string or null"}),
    x("a type twice", {"type": ["string", "string"]}, ["a"], [1], {"/type": "string"}),
    x("no types", {"type": []}, [1, "a"], [], {"/type": "anything"}),
    x("any among the types", {"type": ["string", "any"]}, [1, "a"], [], {"/type": "anything"}),
    x("a union as text", {"type": "string | null"}, ["a", None], [1], {"/type": "string or null"}),
    x("an optional as text", {"type": "Optional[int]"}, [1, None], ["a"], {"/type": "integer or null"}),
    x("a list as text", {"type": "string[]"}, [["a"]], ["a", [1]], {"/type": "array"}),
    x("a schema as type", {"type": {"type": "string"}}, ["a"], [1], {"/type": "allOf"}),
    x("schemas among the types", {"type": ["null", {"type": "object", "required": ["a"]}]}, [None, {"a": 1}], [{}, 1], {"/type": "anyOf"}),
    # --- properties that are no schema
    x("a property that is null", None, [1, "a"], [], {"": "anything"}),
    x("a property that is a type", "string", ["a"], [1], {"": "string"}),
    x("a property that is a description", "The name to look for.", [1, "a"], [], {"": "description"}),
    x("a property that is a list of types", ["string", "null"], ["a", None], [1], {"": "string"}),
    x("a property that is an empty list", [], [1], [], {"": "anything"}),
    x("a property that is a number", 5, [1], [], {"": "anything"}),
    x("properties that are booleans", True, [1], [], {}, required=["x"]),
    # --- required
    x("required: true at a property", {"type": "string", "required": True}, ["a"], [1], {"/required": "required ones"}),
    Shape(
        "required: true makes it required",
        {"type": "object", "properties": {"a": {"type": "string", "required": True}, "b": {"required": False}}},
        [{"a": "x"}], [{}], {"/properties/a/required": "required ones", "/properties/b/required": "nothing"},
    ),
    Shape(
        "required as one name", {"type": "object", "properties": {"a": STRING}, "required": "a"},
        [{"a": "x"}], [{}], {"/required": '["a"]'},
    ),
    Shape(
        "required as names in a row", {"type": "object", "properties": {"a": {}, "b": {}}, "required": "a, b"},
        [{"a": 1, "b": 1}], [{"a": 1}], {"/required": '["a","b"]'},
    ),
    Shape(
        "required as a map", {"type": "object", "properties": {"a": {}, "b": {}}, "required": {"a": True, "b": False}},
        [{"a": 1}], [{"b": 1}], {"/required": '["a"]'},
    ),
    Shape("required twice", {"type": "object", "required": ["a", "a"]}, [{"a": 1}], [{}], {"/required": '["a"]'}),
    Shape("required with a null", {"type": "object", "required": ["a", None]}, [{"a": 1}], [{}], {"/required": '["a"]'}),
    # --- null and enumerations
    x("nullable", {"type": "string", "nullable": True}, ["a", None], [1], {"/nullable": "null is allowed"}),
    x("nullable beside an enumeration", {"type": "string", "enum": ["a"], "nullable": True}, ["a", None], ["b"], {"/nullable": "null"}),
    x(
        "nullable beside a reference", {"$ref": "#/$defs/A", "nullable": True, "description": "d"}, ["a", None], [1],
        {"/nullable": "null"}, **{"$defs": {"A": STRING}},
    ),
    x("nullable: false", {"type": "string", "nullable": False}, ["a"], [None, 1], {}),
    x("enum: null", {"type": "string", "enum": None}, ["a"], [1], {"/enum": "anything"}),
    x("an empty enumeration", {"type": "string", "enum": []}, ["a"], [1], {"/enum": "anything"}),
    x("a value twice", {"enum": ["a", "a", 1, True]}, ["a", 1, True], ["b", 0], {"/enum": '["a",1,true]'}),
    x("const", {"const": 7}, [7], [8], {}),
    # --- texts and other annotations
    x("description: null", {"type": "string", "description": None}, ["a"], [1], {"/description": "left out"}),
    x("a description of lines", {"type": "string", "description": ["a", "b"]}, ["a"], [1], {"/description": "a\\nb"}),
    x("title and default of the wrong type", {"type": "integer", "title": 5, "default": "five"}, [1], ["a"], {"/title": '"5"'}),
    x("one example", {"type": "string", "examples": "a"}, ["a"], [1], {"/examples": "one example"}),
    x("readOnly as text", {"type": "string", "readOnly": "true"}, ["a"], [1], {"/readOnly": "true"}),
    x("an unknown format", {"type": "string", "format": "snowflake"}, ["a"], [1], {}),
    x("format: null", {"type": "string", "format": None}, ["a"], [1], {"/format": "left out"}),
    x("unknown keywords", {"type": "string", "x-order": 1, "widget": {"$ref": "#/nowhere"}}, ["a"], [1], {}),
    # --- bounds
    x("draft 4: exclusive by a flag", {"minimum": 0, "exclusiveMinimum": True}, [1], [0], {"/exclusiveMinimum": "0"}),
    x("a flag that is off", {"maximum": 9, "exclusiveMaximum": False}, [9], [10], {"/exclusiveMaximum": "maximum 9"}),
    x("a flag without a bound", {"type": "number", "exclusiveMinimum": True}, [0], ["a"], {"/exclusiveMinimum": "no bound"}),
    x("draft 4, by name, as it is", {"minimum": 0, "exclusiveMinimum": True}, [1], [0], {}, **{"$schema": DRAFT_4}),
    x("a number in draft 4", {"exclusiveMinimum": 0}, [1], [0], {"/exclusiveMinimum": "minimum 0"}, **{"$schema": DRAFT_4}),
    x("a flag in draft 7", {"minimum": 0, "exclusiveMinimum": True}, [1], [0], {"/exclusiveMinimum": "0"}, **{"$schema": DRAFT_7}),
    x("bounds as text", {"type": "string", "minLength": "2", "maxLength": "3"}, ["ab"], ["a", "abcd"], {"/minLength": "2", "/maxLength": "3"}),
    x("a number as text", {"type": "number", "minimum": "1.5"}, [2], [1], {"/minimum": "1.5"}),
    x("a length below zero", {"type": "string", "minLength": -1}, [""], [1], {"/minLength": "0"}),
    x("a largest length of -1", {"type": "string", "maxLength": -1}, ["a"], [1], {"/maxLength": "not checked"}),
    x("half a character", {"type": "string", "minLength": 1.5, "maxLength": 2.5}, ["ab"], ["a", "abc"], {"/minLength": "2", "/maxLength": "2"}),
    x("bounds of null", {"type": "integer", "minimum": None, "maximum": 5}, [1], [6], {"/minimum": "not checked"}),
    x("a multiple of zero", {"type": "integer", "multipleOf": 0}, [1], ["a"], {"/multipleOf": "not checked"}),
    x("uniqueItems as text", {"type": "array", "uniqueItems": "true"}, [[1, 2]], [[1, 1]], {"/uniqueItems": "true"}),
    # --- arrays
    x("a tuple without a dialect", {"type": "array", "items": [STRING, {"type": "integer"}]}, [["a", 1]], [[1]], {"/items": "prefixItems"}),
    x(
        "a closed tuple", {"type": "array", "items": [STRING], "additionalItems": False}, [["a"]], [["a", 1]],
        {"/items": "prefixItems", "/additionalItems": "items"},
    ),
    x("a tuple of draft 7", {"items": [STRING], "additionalItems": False}, [["a"]], [["a", 1], [1]], {}, **{"$schema": DRAFT_7}),
    x("items: null", {"type": "array", "items": None}, [[1]], [1], {"/items": "anything"}),
    x("items: []", {"type": "array", "items": []}, [[1]], [1], {"/items": "anything"}),
    x("items: a type", {"type": "array", "items": "string"}, [["a"]], [[1]], {"/items": "string"}),
    x("additionalProperties as text", {"type": "object", "additionalProperties": "false"}, [{}], [{"a": 1}], {"/additionalProperties": "false"}),
    x("additionalProperties: a type", {"type": "object", "additionalProperties": "int"}, [{"a": 1}], [{"a": "b"}], {"/additionalProperties": "integer"}),
    # --- combinations
    x("anyOf: []", {"type": "string", "anyOf": []}, ["a"], [1], {"/anyOf": "anything"}),
    x("allOf as one schema", {"allOf": {"type": "string"}}, ["a"], [1], {"/allOf": "one schema"}),
    x("a type among alternatives", {"anyOf": ["string", {"type": "null"}]}, ["a", None], [1], {"/anyOf/0": "string"}),
    x("not: null", {"type": "string", "not": None}, ["a"], [1], {"/not": "anything"}),
    x(
        "not, of what is not understood", {"type": "string", "not": {"pattern": "(?>a)"}}, ["a", "b"], [1],
        {"/not/pattern": "not checked", "/not": "depends"},
    ),
    x(
        "one of, with a branch not understood", {"oneOf": [{"pattern": "(?>a)"}, {"type": "string"}]}, ["a"], [],
        {"/oneOf/0/pattern": "not checked", "/oneOf": "anyOf"},
    ),
    x(
        "if, of what is not understood", {"if": {"$ref": "#/gone"}, "then": {"type": "string"}, "else": {"type": "null"}},
        ["a", 1, None], [], {"/if/$ref": "anything", "/if": "depends", "/then": "depends", "/else": "depends"},
    ),
    x("dependencies of one name", {"dependentRequired": {"a": "b"}}, [{"a": 1, "b": 1}], [{"a": 1}], {"/dependentRequired/a": '["b"]'}),
    # --- references
    x("definitions in 2020-12", {"$ref": "#/definitions/A"}, ["a"], [1], {}, definitions={"A": STRING}),
    x("definitions that became $defs", {"$ref": "#/definitions/A"}, ["a"], [1], {"/$ref": "/$defs/A"}, **{"$defs": {"A": STRING}}),
    x("OpenAPI's components", {"$ref": "#/components/schemas/A"}, ["a"], [1], {"/$ref": "/$defs/A"}, **{"$defs": {"A": STRING}}),
    x("components where they are", {"$ref": "#/components/schemas/A"}, ["a"], [1], {"//components/schemas/A/type": "string"}, components={"schemas": {"A": {"type": "str"}}}),
    x("a reference into the void", {"$ref": "#/$defs/Gone"}, [1, "a"], [], {"/$ref": "nothing lies there"}),
    x("a reference into the void, with a type", {"$ref": "#/$defs/Gone", "type": "string"}, ["a"], [1], {"/$ref": "nothing lies there"}),
    x("a reference to another document", {"$ref": "https://example.invalid/a.json"}, [1], [], {"/$ref": "not fetched"}),
    x("a reference with characters that need an escape", {"$ref": "#/$defs/Opt<A>"}, ["a"], [1], {"/$ref": "Opt<A>"}, **{"$defs": {"Opt<A>": STRING}}),
    x("a reference with a space", {"$ref": "#/$defs/a b"}, ["a"], [1], {"/$ref": "a b"}, **{"$defs": {"a b": STRING}}),
    x("an escaped reference", {"$ref": "#/$defs/Opt%3CA%3E"}, ["a"], [1], {}, **{"$defs": {"Opt<A>": STRING}}),
    x("a reference with siblings", {"$ref": "#/$defs/A", "maxLength": 2}, ["a"], ["abc", 1], {}, **{"$defs": {"A": STRING}}),
    x("a name alone", {"$ref": "A"}, ["a"], [1], {"/$ref": "/$defs/A"}, **{"$defs": {"A": STRING}}),
    x("a reference that is no text", {"$ref": 5, "type": "string"}, ["a"], [1], {"/$ref": "anything"}),
    x("by $id", {"$ref": "https://e.example/a#/$defs/A"}, ["a"], [1], {}, **{"$id": "https://e.example/a", "$defs": {"A": STRING}}),
    x("an $id that is no URI", {"$ref": "#/$defs/A"}, ["a"], [1], {"//$id": "left out"}, **{"$id": "My Schema", "$defs": {"A": STRING}}),
    x("by anchor", {"$ref": "#n"}, ["a"], [1], {}, **{"$defs": {"n": {"$anchor": "n", "type": "string"}}}),
    x("by dynamic anchor", {"$dynamicRef": "#n"}, ["a"], [1], {}, **{"$defs": {"n": {"$dynamicAnchor": "n", "type": "string"}}}),
    x("recursive", {"$ref": "#/$defs/Node"}, [{"v": "a", "next": {"v": "b"}}], [{"v": "a", "next": {}}], {}, **{"$defs": {"Node": NODE}}),
    x(
        "definitions that moved with their schema", {"$defs": {"A": STRING}, "properties": {"a": {"$ref": "#/$defs/A"}}},
        [{"a": "b"}], [{"a": 1}], {"/properties/a/$ref": "/properties/x/$defs/A"},
    ),
    x("a loop of references", {"$ref": "#/$defs/a"}, [1], [], {}, **{"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
    x(
        "a definition that is half broken", {"$ref": "#/$defs/A"}, [{"n": 1}], [{"n": "b"}, {"n": 1, "m": 1}],
        {"//$defs/A/properties/n/type": "integer", "//$defs/A/properties/p/pattern": "not checked"},
        **{"$defs": {"A": {"type": "object", "properties": {"n": {"type": "int"}, "p": {"pattern": "(?>"}}, "additionalProperties": False}}},
    ),
    x(
        "a reference into a tuple", {"items": [STRING], "$defs": {}, "contains": {"$ref": "#/properties/x/items/0"}},
        [["a"]], [[1]], {"/items": "prefixItems"},
    ),
    # --- patterns
    x("a class before a hyphen", {"pattern": r"^[\w-.]+$"}, ["a-b.c"], ["a b"], {"/pattern": r"[\w\-\.]"}),
    x("any character", {"pattern": "^a[^]*z$"}, ["a\n1z"], ["z"], {"/pattern": r"[\s\S]"}),
    x("a brace", {"pattern": "^{"}, ["{a"], ["a"], {"/pattern": r"^\{"}),
    x("braces around a name", {"pattern": r"^\${[a-z]+}$"}, ["${a}"], ["$a"], {"/pattern": r"\{"}),
    x("an escaped slash", {"pattern": r"^\/a\-b$"}, ["/a-b"], ["a"], {}),
    x("an escaped bracket", {"pattern": r"^[^\<\>]+$"}, ["a"], ["<a>"], {"/pattern": "x3c"}),
    x("an escaped < outside of a class", {"pattern": r"^\<a$"}, ["<a"], ["a"], {"/pattern": "x3c"}),
    x("a named group", {"pattern": r"^(?<y>\d{4})-\k<y>$"}, ["2020-2020"], ["2020-2021"], {"/pattern": r"\1"}),
    x("Python's named group", {"pattern": r"^(?P<q>['\"])a(?P=q)$"}, ["'a'"], ["'a\""], {"/pattern": r"\1"}),
    x("digits are those of ASCII", {"pattern": r"^\d+$"}, ["1"], ["٣"], {}),
    x("a property of Unicode", {"pattern": r"^\p{L}+$"}, ["é"], ["1"], {}),
    x("looking ahead", {"pattern": r"^(?=.*\d)(?!.*\s).+$"}, ["a1"], ["a", "a 1"], {}),
    x("looking behind", {"pattern": r"(?<!a)b"}, ["b"], ["ab"], {}),
    x("a pair of surrogates", {"pattern": "^\\ud83d\\ude00$"}, ["😀"], ["a"], {"/pattern": "1f600"}),
    x("backspace and NUL", {"pattern": r"^[^\b\0]+$"}, ["a"], ["a\b", "\0"], {"/pattern": "x08"}),
    x("a JavaScript literal", {"pattern": "/^[a-z]+$/i"}, ["Ab"], ["1"], {"/pattern": "(?i)"}),
    x("Python's end", {"pattern": r"^\d+\Z"}, ["12"], ["12a"], {"/pattern": "z"}),
    x("at most three, as Python has it", {"pattern": "^a{,3}$"}, ["aaa"], ["aaaa"], {"/pattern": "{0,3}"}),
    x("an atomic group", {"type": "string", "pattern": "^(?>a+)b$"}, ["ab", "c"], [1], {"/pattern": "not checked"}),
    x("a pattern that is none", {"type": "string", "pattern": "(", "maxLength": 2}, ["a"], ["abc", 1], {"/pattern": "not checked"}),
    x("a pattern too large", {"type": "string", "pattern": "(a{1000}){1000}"}, ["a"], [1], {"/pattern": "not checked"}),
    x("pattern: null", {"type": "string", "pattern": None}, ["a"], [1], {"/pattern": "not checked"}),
    x("a RegExp as JSON writes it", {"type": "string", "pattern": {}}, ["a"], [1], {"/pattern": "not checked"}),
    Shape(
        "names by pattern", {"type": "object", "patternProperties": {r"^[\w-.]+$": {"type": "integer"}}, "additionalProperties": False},
        [{"a-b": 1}], [{"a": "b"}, {"a b": 1}], {r"/patternProperties/^[\w-.]+$": r"\w\-"},
    ),
    Shape(
        "names by a pattern that is none", {"type": "object", "patternProperties": {"(": {}}, "additionalProperties": False},
        [{"a": 1}], [], {"/patternProperties/(": "not checked", "/additionalProperties": "anything"},
    ),
    # --- further dialects and leftovers
    x("booleans in draft 4", {"anyOf": [True], "additionalItems": False, "items": [True]}, [["a"]], [["a", 1]], {"/anyOf/0": "anything", "/items/0": "anything"}, **{"$schema": DRAFT_4}),
    x("required: [] in draft 4", {"required": []}, [{}], [], {"/required": "nothing"}, **{"$schema": DRAFT_4}),
    x("a bound beside a nearer one in draft 4", {"minimum": 5, "exclusiveMinimum": 3}, [5], [4], {"/exclusiveMinimum": "minimum 5"}, **{"$schema": DRAFT_4}),
    x("a lost reference of draft 7", {"$ref": "#/gone", "type": "string", "title": "T"}, [1, "a"], [], {"/$ref": "nothing"}, **{"$schema": DRAFT_7}),
    x("a property of a schema library", {"_def": {"typeName": "ZodString"}}, ["a"], [1], {"": "schema library"}),
    x("half an object of a schema library", {"type": "string", "~standard": {}, "minLength": None}, ["a"], [1], {"": "schema library", "/minLength": "not checked"}),
    x("a number below a multiple", {"type": "integer", "multipleOf": -5}, [10], [3], {"/multipleOf": "5"}),
    x("a number that is none", {"type": "integer", "maximum": "many"}, [10], ["a"], {"/maximum": "not checked"}),
    x("a pair of tuples", {"prefixItems": [STRING], "items": [{"type": "integer"}]}, [["a"], ["a", "b"]], [[1]], {"/items": "anything"}),
    x("a closed tuple that is no schema", {"items": [STRING], "additionalItems": None}, [["a", 1]], [[1]], {"/items": "prefixItems", "/additionalItems": "anything"}),
    x("needs that are none", {"dependentRequired": {"a": 5}}, [{"a": 1}], [], {"/dependentRequired/a": "not checked"}),
    x("needs that are no map", {"type": "object", "dependentRequired": []}, [{"a": 1}], [1], {"/dependentRequired": "no entries"}),
    x("needs of draft 7", {"dependencies": {"a": {"required": ["b"]}, "c": ["d", "d"]}}, [{"a": 1, "b": 1}], [{"a": 1}, {"c": 1}], {"/dependencies/c": '["d"]'}, **{"$schema": DRAFT_7}),
    x("definitions that are none", {"type": "string", "$defs": None}, ["a"], [1], {"/$defs": "no entries"}),
    x("two patterns that mean the same", {"patternProperties": {"^{": STRING, r"^\{": {"minLength": 2}}}, [{"{": "ab"}], [{"{": "a"}, {"{": 1}], {"/patternProperties/^{": "{"}),
    x("an $id that is a number", {"$id": 5, "type": "string"}, ["a"], [1], {"/$id": "left out"}),
    x("an anchor that is none", {"$anchor": "a b", "$ref": "#/$defs/A"}, ["a"], [1], {"/$anchor": "not checked"}, **{"$defs": {"A": STRING}}),
    x("a document inside of the document", {"$ref": "b#/$defs/B"}, ["a"], [1], {}, **{"$id": "https://e.example/a", "$defs": {"b": {"$id": "b", "$defs": {"B": STRING}}}}),
    x("recursion of 2019-09", {"type": "object", "properties": {"n": {"$recursiveRef": "#"}}}, [{"n": {}}], [{"n": 1}], {}, **{"$schema": "https://json-schema.org/draft/2019-09/schema"}),
    x("a type of a union with anyOf beside it", {"type": ["null", {"type": "string"}], "anyOf": [{"maxLength": 2}]}, ["a", None], ["abc", 1], {"/type": "anyOf"}),
    x("a list of a schema", [{"type": "string"}, None], ["a", None], [1], {"": "anyOf"}),
    # --- size
    Shape("seventy levels deep", deep(70), [inside(70, "a")], [inside(70, 1)], {}),
    Shape(
        "seven hundred properties",
        {"type": "object", "properties": {f"f{n}": {"type": "str", "description": "d" * 120} for n in range(700)}},
        [{"f699": "a"}], [{"f699": 1}], {"/properties/f0/type": "string"},
    ),
]  # fmt: skip


def test_the_table_is_as_long_as_it_is_said_to_be() -> None:
    assert len(SHAPES) >= 100
    assert len({shape.id for shape in SHAPES}) == len(SHAPES)


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.id for shape in SHAPES])
def test_what_is_certain_is_checked_and_the_rest_is_let_through_and_named(shape: Shape) -> None:
    definition = {"name": "t", "description": "d"} | ({} if shape.schema is None else {"inputSchema": shape.schema})
    listing = read_definitions(FAR, [definition])
    assert listing.refused == {}
    (tool,) = listing.tools
    assert tool.definition == definition
    validators = SchemaValidators()
    for arguments in shape.fits:
        assert validators.problems(tool, arguments) == [], arguments
    for arguments in shape.fails:
        assert validators.problems(tool, arguments), arguments
    notes = {note["where"].removeprefix("/inputSchema"): note for note in tool.repairs}
    if len(tool.repairs) < 200:
        assert set(notes) == set(shape.notes)
    for where, words in shape.notes.items():
        assert words in notes[where]["read_as"]
        assert set(notes[where]) == {"where", "given", "read_as"}
    if not shape.notes:
        assert tool.input_schema is shape.schema or tool.input_schema == shape.schema


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.id for shape in SHAPES])
def test_every_shape_can_be_offered_to_models_and_clients(shape: Shape) -> None:
    (tool,) = read_definitions(FAR, [{"name": "t", "inputSchema": shape.schema}]).tools
    assert tool.input_schema["type"] == "object"
    assert isinstance(tool.input_schema.get("properties", {}), dict)
    offered = normalise(tool.input_schema)
    assert offered["type"] == "object"
    assert const_as_enum(offered)["type"] == "object"
    rename_parameters(offered)
