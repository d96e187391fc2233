"""The part of a schema that decides whether anything at all can fit it, small enough to be analysed."""

from __future__ import annotations

from typing import Any, Final

from workbench.events import JSON
from workbench.registry.schemas.references import SchemaReferences, at_path
from workbench.registry.schemas.walk import dialect_of

MAX_PARTS: Final = 400
"""Subschemas of an essence; what is beyond allows everything."""
MAX_CHOICES: Final = 6
"""Alternatives of an essence, since each doubles the cases; what is beyond allows everything."""
MAX_VALUES: Final = 64
"""Values of an enumeration that are looked at."""
_MAX_REFERENCES: Final = 12

_SCALARS: Final = (
    "type", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties",
)  # fmt: skip


def essence(schema: JSON) -> Any:
    """A schema that takes whatever `schema` takes, and more: without what cannot contradict, or costs too much.

    That are optional properties, patterns, negations, conditions, and alternatives beyond a few.

    Args:
        schema: in the words of 2020-12, or of an older draft where they are the same.
    """
    return _Essence(schema).of(schema, (), 0)


class _Essence:
    def __init__(self, document: JSON) -> None:
        self._document = document
        self._references = SchemaReferences(document)
        self._alone = (dialect_of(document.get("$schema")) or 2020) <= 7
        """Whether what stands beside a reference is not in force."""
        self._parts = 0
        self._choices = 0

    def of(self, node: Any, path: tuple[str | int, ...], references: int) -> Any:
        self._parts += 1
        if not isinstance(node, dict) or self._parts > MAX_PARTS:
            return node is not False
        if self._alone and "$ref" in node:
            node = {"$ref": node["$ref"]}
        kept: JSON = {key: node[key] for key in _SCALARS if key in node}
        if isinstance(node.get("enum"), list) and len(node["enum"]) <= MAX_VALUES:
            kept["enum"] = node["enum"]
        if node.get("not") in ({}, True):
            kept["not"] = {}
        self._add_properties(kept, node, path, references)
        if node.get("minItems"):
            for key in ("items", "prefixItems"):
                kept |= (
                    {key: part} if (part := self._items(node.get(key), (*path, key), references)) is not None else {}
                )
        alls = [self.of(part, (*path, "allOf", n), references) for n, part in enumerate(node.get("allOf", ()))]
        if isinstance(node.get("$ref"), str) and references < _MAX_REFERENCES:
            found = self._references.find(node["$ref"], path)
            if found is not None and found[1]:
                alls.append(self.of(at_path(self._document, found[0]), found[0], references + 1))
        for key in ("anyOf", "oneOf"):
            branches = node.get(key)
            if isinstance(branches, list) and self._choices + len(branches) <= MAX_CHOICES:
                self._choices += len(branches)
                parts = [self.of(part, (*path, key, n), references) for n, part in enumerate(branches)]
                alls.append({"anyOf": parts})
        return {**kept, "allOf": alls} if alls else kept

    def _add_properties(self, kept: JSON, node: JSON, path: tuple[str | int, ...], references: int) -> None:
        required, properties = node.get("required"), node.get("properties")
        required = required if isinstance(required, list) else []
        properties = properties if isinstance(properties, dict) else {}
        if required:
            kept["required"] = required
        closed = node.get("additionalProperties") is False and not node.get("patternProperties")
        needed = {
            name: self.of(properties[name], (*path, "properties", name), references)
            for name in required
            if name in properties
        }
        if closed and (required or node.get("minProperties")):
            kept["additionalProperties"] = False
            needed = {name: part is not False for name, part in properties.items()} | needed
        if needed:
            kept["properties"] = needed

    def _items(self, node: Any, path: tuple[str | int, ...], references: int) -> Any:
        if isinstance(node, list):
            return [self.of(part, (*path, n), references) for n, part in enumerate(node)]
        return self.of(node, path, references) if isinstance(node, dict | bool) else None
