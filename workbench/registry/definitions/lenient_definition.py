"""The parts of a tool's definition in the form that MCP gives them, whatever form the server gave them."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec
import orjson

from workbench.events import JSON, Record, Tool
from workbench.registry.schemas.keywords import UNREADABLE, read_text
from workbench.registry.schemas.repair import RepairedSchema, repair_input_schema, repair_output_schema
from workbench.registry.schemas.value_keywords import SchemaRepair, shown

MAX_CACHED: Final = 2_048
"""Schemas whose repair is remembered; servers list the same ones again and again."""

_HINTS: Final = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")


class ReadableDefinition(Record, frozen=True, kw_only=True):
    """What a definition says, and what of it was read otherwise than it is written."""

    title: str = ""
    description: str = ""
    input_schema: JSON = msgspec.field(default_factory=dict)
    output_schema: JSON | None = None
    annotations: JSON = msgspec.field(default_factory=dict)
    repairs: tuple[JSON, ...] = ()
    never: str = ""
    """Why no call of the tool can succeed; empty when one can."""


def read_definition(definition: JSON) -> ReadableDefinition:
    """Read every part of `definition`, an object that can be written as JSON. Never fails.

    What grants something is not repaired: a hint that is no boolean is left out, so that the careful default holds.
    """
    notes: list[SchemaRepair] = []
    annotations = _annotations(definition.get("annotations"), notes)
    title = _text(definition, "title", notes) or _text(annotations, "title", notes, "/annotations")
    description = _text(definition, "description", notes)
    given = _repair_input(_key(definition.get("inputSchema")))
    result = _repair_output(_key(definition.get("outputSchema")))
    return ReadableDefinition(
        title=title,
        description=description,
        input_schema=given.schema,
        output_schema=result.schema or None,
        annotations=annotations,
        repairs=tuple(note.to_dict() for note in (*notes, *given.repairs, *result.repairs)),
        never=given.never,
    )


def presented(tool: Tool) -> JSON:
    """The definition of `tool` for clients and models: as the server sent it, with what had to be repaired in place.

    An API of a model refuses the whole request for one schema that it cannot read, and an SDK the whole list.
    """
    if not tool.repairs:
        return tool.definition
    read = {
        "title": tool.title or None,
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "outputSchema": tool.output_schema,
        "annotations": tool.annotations or None,
    }
    shown = {key: value for key, value in tool.definition.items() if key not in read}
    if not isinstance(shown.get("_meta", {}), dict):
        del shown["_meta"]
    kept = {key: value for key, value in read.items() if value is not None}
    return {**shown, **kept}


@lru_cache(maxsize=MAX_CACHED)
def _repair_input(encoded: bytes) -> RepairedSchema:
    return repair_input_schema(orjson.loads(encoded))


@lru_cache(maxsize=MAX_CACHED)
def _repair_output(encoded: bytes) -> RepairedSchema:
    return repair_output_schema(orjson.loads(encoded))


def _key(schema: Any) -> bytes:
    return orjson.dumps(schema)


def _annotations(given: Any, notes: list[SchemaRepair]) -> JSON:
    if given is None:
        return {}
    if not isinstance(given, dict):
        notes.append(SchemaRepair(where="/annotations", given=shown(given), read_as="none"))
        return {}
    wrong = [key for key in _HINTS if key in given and not isinstance(given[key], bool)]
    notes += [
        SchemaRepair(where=f"/annotations/{key}", given=shown(given[key]), read_as="left out: it is no boolean")
        for key in wrong
    ]
    return {key: value for key, value in given.items() if key not in wrong}


def _text(source: JSON, key: str, notes: list[SchemaRepair], where: str = "") -> str:
    value = source.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    read = read_text(value)
    notes.append(
        SchemaRepair(where=f"{where}/{key}", given=shown(value), read_as="left out" if read is UNREADABLE else read)
    )
    return "" if read is UNREADABLE else str(read)
