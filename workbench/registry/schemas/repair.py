"""Schemas of tools as servers really list them, brought into JSON Schema where it is certain what they mean.

Clients that speak to a server directly hardly look at its schemas, so that slips live on: JavaScript's patterns, the
words of older drafts and of OpenAPI, types by the names of a programming language, references into the void. A gateway
that checks arguments has to read them, or refuses every call. What it reads otherwise than it is written is listed.

The definition as the server sent it stays what is pinned; clients and models are shown the repaired schema, because
a model's API refuses a whole request for one schema that it cannot read, and most SDKs a whole list of tools.
"""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from workbench.events import JSON, Record
from workbench.registry.schemas.keywords import UNREADABLE, read_type
from workbench.registry.schemas.polarity import keep_open
from workbench.registry.schemas.references import Path, SchemaReferences
from workbench.registry.schemas.satisfiability import essence
from workbench.registry.schemas.validator import compile_schema, unsatisfiable_parts
from workbench.registry.schemas.value_keywords import SchemaRepair, shown
from workbench.registry.schemas.walk import SchemaWalk, dialect_of

MAX_ATTEMPTS: Final = 30
"""Parts that are taken out one after the other of a schema that the validator does not take."""

_DIALECTS: Final = {
    4: "http://json-schema.org/draft-04/schema#",
    6: "http://json-schema.org/draft-06/schema#",
    7: "http://json-schema.org/draft-07/schema#",
    2019: "https://json-schema.org/draft/2019-09/schema",
    2020: "https://json-schema.org/draft/2020-12/schema",
}


class RepairedSchema(Record, frozen=True, kw_only=True):
    """A schema that the validator takes."""

    schema: JSON
    """The one that was given, where nothing had to be repaired."""
    repairs: tuple[SchemaRepair, ...] = ()
    never: str = ""
    """Why nothing can fit it, when that is certain; empty when something can."""


def repair_input_schema(given: Any) -> RepairedSchema:
    """The schema of a tool's arguments; whatever is given, the result can be used.

    Args:
        given: `inputSchema` as listed; None when there is none.
    """
    return _repaired(given, "/inputSchema")


def repair_output_schema(given: Any) -> RepairedSchema:
    """The schema of a tool's structured results.

    Clients demand structured results of a tool that has one, so that one which says nothing or fits nothing is worse
    than none: `schema` is empty then, which means that the tool is listed without it.

    Args:
        given: `outputSchema` as listed; None when there is none.
    """
    if given is None:
        return RepairedSchema(schema={})
    found = _repaired(given, "/outputSchema")
    if found.never or found.schema == {"type": "object"} != given:
        why = found.never or "it says nothing"
        note = SchemaRepair(where="/outputSchema", given=shown(given), read_as=f"none: {why}")
        return RepairedSchema(schema={}, repairs=(note,))
    return found


def _repaired(given: Any, prefix: str) -> RepairedSchema:
    first: list[SchemaRepair] = []

    def say(given: Any, read_as: str, where: str = "") -> None:
        first.append(SchemaRepair(where=prefix + where, given=shown(given), read_as=read_as))

    schema = given
    if isinstance(schema, str) and (parsed := _parsed(schema)) is not None:
        say(given, "the JSON that this text holds")
        schema = parsed
    if schema is False or schema == {"not": {}}:
        return RepairedSchema(schema={"not": {}}, never="Its schema allows nothing: it is `false`.")
    if not isinstance(schema, dict):
        say(given, "an object with any properties")
        return RepairedSchema(schema={"type": "object"}, repairs=tuple(first))
    document = schema
    dialect, schema = _dialect(schema, say)
    if never := _root_type(schema):
        return RepairedSchema(schema=given if isinstance(given, dict) else {}, repairs=tuple(first), never=never)
    if schema.get("type") != "object":
        say(schema.get("type"), "object: arguments always are", "/type")
        schema = {"type": "object", **{key: value for key, value in schema.items() if key != "type"}}
    walk = SchemaWalk(schema, dialect, prefix)
    result = walk.rewritten()
    result = {"type": "object", **result} if isinstance(result, dict) and "type" not in result else result
    if walk.vague:
        keep_open(result, walk.vague, walk.note)
    result = _compilable(walk, result)
    repairs = (*first, *walk.repairs)
    if walk.unlisted:
        repairs += (SchemaRepair(where=prefix, given="", read_as=f"{walk.unlisted} more parts are read otherwise"),)
    if not repairs and result != document:
        repairs = (SchemaRepair(where=prefix, given="", read_as="the same, with references by place"),)
    if parts := unsatisfiable_parts(essence(result)):
        where = prefix + next((part for part in parts if part and _lies_in(result, part)), "")
        return RepairedSchema(
            schema=result, repairs=repairs, never=f"No arguments can fit it: {where} contradicts itself."
        )
    return RepairedSchema(schema=result if repairs else document, repairs=repairs)


def _lies_in(schema: JSON, place: str) -> bool:
    """Whether `place`, of what the schema comes down to, is one of its own."""
    path = [part.replace("~1", "/").replace("~0", "~") for part in place.split("/")[1:]]
    return SchemaReferences(schema).follow((), path) is not None


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _dialect(schema: JSON, say: Any) -> tuple[int, JSON]:
    """The dialect that a schema names, and the schema with a name that the validator knows."""
    named = schema.get("$schema")
    if "$schema" not in schema:
        return 2020, schema
    without = {key: value for key, value in schema.items() if key != "$schema"}
    dialect = dialect_of(named)
    if dialect is None and isinstance(named, str) and re.search(r"json-schema\.org/schema#?$", named):
        return 2020, schema
    if dialect is None:
        say(named, "2020-12, with what older drafts have in its words", "/$schema")
        return 2020, without
    try:
        compile_schema({"$schema": named})
    except ValueError:
        say(named, _DIALECTS[dialect], "/$schema")
        return dialect, {"$schema": _DIALECTS[dialect], **without}
    return dialect, schema


def _root_type(schema: JSON) -> str:
    """Why the root fits no object, if it does not: arguments are always one."""
    if "type" not in schema or {"properties", "required", "$ref"} & schema.keys():
        return ""
    read = read_type(schema["type"])
    kinds = read.get("type") if isinstance(read, dict) else None
    if kinds is None or read is UNREADABLE or "object" in kinds:
        return ""
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return f"Its arguments would have to be {' or '.join(kinds)}; MCP has an object there."


def _compilable(walk: SchemaWalk, schema: JSON) -> JSON:
    """`schema` without what the validator does not take, part by part."""
    for attempt in range(MAX_ATTEMPTS):
        try:
            compile_schema(schema)
        except ValueError as e:
            place = tuple(getattr(e, "instance_path", ()))
            if attempt == 0:
                walk.address_by_place()
            elif place and "$ref" not in str(e):
                schema = _without(walk, schema, place)
            elif attempt == 1:
                schema = _without_names(walk, schema, ())
            else:
                break
        else:
            return schema
    walk.note((), schema, "an object with any properties: the validator does not take it")
    return {"type": "object"}


def _without(walk: SchemaWalk, schema: JSON, place: Path) -> JSON:
    """A copy of `schema` without the keyword that lies at `place` or around it."""
    copied: JSON = orjson.loads(orjson.dumps(schema))
    node: Any = copied
    for part in place[:-1]:
        node = node[part]
    if isinstance(node, dict):
        walk.note(place, node.pop(place[-1]), "not checked")
        keep_open(copied, walk.vague | {place[:-1]}, walk.note)
        return copied
    return _without(walk, schema, place[:-1]) if len(place) > 1 else {"type": "object"}


def _without_names(walk: SchemaWalk, node: Any, at: Path) -> Any:
    """`node` without names for references, all of which are pointers by now."""
    if isinstance(node, list):
        return [_without_names(walk, child, (*at, n)) for n, child in enumerate(node)]
    if not isinstance(node, dict):
        return node
    kept: JSON = {}
    for key, child in node.items():
        if key in ("$id", "$anchor", "$dynamicAnchor") and isinstance(child, str):
            walk.note((*at, key), child, "left out: references go by place")
        else:
            kept[key] = _without_names(walk, child, (*at, key))
    return kept
