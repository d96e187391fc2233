"""One pass over a schema that brings every slip into the words of its dialect, and says what it did.

Repair is local: what cannot be understood is left out by itself, so that it restricts nothing, and the rest of the
schema is checked as before.
"""

from __future__ import annotations

import re
from typing import Any, Final

from workbench.events import JSON
from workbench.registry.schemas.keywords import UNREADABLE, is_type, read_flag, read_names, read_properties, read_type
from workbench.registry.schemas.references import Path, SchemaReferences, at_path, fragment_of, pointer
from workbench.registry.schemas.value_keywords import ANYTHING, UNCHECKED, KeywordValues, shown

MAX_LEVELS: Final = 150
"""Subschemas inside of one another, each a level or two of the definition; what is deeper is not checked."""

MAPS: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
SINGLES: Final = (
    "items", "additionalItems", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames",
    "unevaluatedItems", "unevaluatedProperties", "contentSchema",
)  # fmt: skip
_DRAFT: Final = re.compile(r"draft[-/ ]?0?(4|6|7|2019|2020)(?:-\d\d)?\b", re.IGNORECASE)
REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMES_FOR_PEOPLE: Final = frozenset({"title", "description", "default", "examples", "deprecated", "$comment"})
_BESIDE_REF: Final = _NAMES_FOR_PEOPLE | {"definitions", "$defs", "$id", "$schema"}
_NOT_NULL: Final = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "not", "if", "const"})
"""Keywords that `nullable` has to stand outside of."""
_OF_LIBRARIES: Final = ("_def", "_zod", "~standard", "_cached", "~validate", "_type", "def")
"""What is left of an object of a TypeScript library that was listed instead of the schema made from it."""


class SchemaWalk(KeywordValues):
    """Rewrites one schema document.

    Args:
        document: the schema as the server listed it, an object; it is not changed.
        dialect: 4, 6, 7, 2019 or 2020.
        prefix: JSON pointer of the schema within the definition.
    """

    def __init__(self, document: JSON, dialect: int, prefix: str) -> None:
        super().__init__(dialect, prefix)
        self._document = document
        self._references = SchemaReferences(document)
        self._placed: dict[Path, Path] = {}
        self._pending: list[tuple[JSON, str, Path, bool]] = []

    def rewritten(self) -> Any:
        """The whole document, repaired."""
        result = self._subschema(self._document, (), (), 0)
        for _, _, target, _ in self._pending:  # grows while what lies outside of the known places is walked
            if target not in self._placed:
                self._repair_target(result, target)
        forced = any(not exact or self._placed[target] != target for _, _, target, exact in self._pending)
        if forced:
            self.address_by_place()
        return result

    def address_by_place(self) -> None:
        """Write every reference as a pointer from the root, which each validator follows."""
        for node, key, target, _ in self._pending:
            node[key] = fragment_of(self._placed.get(target, target))

    # --- one subschema

    def _subschema(self, node: Any, at: Path, to: Path, level: int, *, named: bool = False) -> Any:
        """`node` repaired; `at` is its place in what was listed, `to` its place in the result."""
        self._placed[at] = to
        if isinstance(node, bool):
            if self._dialect > 4:
                return node
            self.note(at, node, ANYTHING if node else "nothing fits")
            return {} if node else {"not": {}}
        if not isinstance(node, dict):
            return self._coerced(node, at, to, level)
        if level > MAX_LEVELS:
            self.note(at, node, f"{ANYTHING}: it is nested deeper than {MAX_LEVELS} levels", vague=to)
            return {}
        if at and dialect_of(node.get("$schema")) not in (None, self._dialect) and "$id" not in node:
            self.note((*at, "$schema"), node["$schema"], "left out: the dialect is that of the whole schema")
            node = {key: value for key, value in node.items() if key != "$schema"}
        wrap = self._takes_null(node) and bool(at) and not _NOT_NULL.isdisjoint(node)
        inner = (*to, "anyOf", 0) if wrap else to
        node = self._with_bounds(self._without_leftovers(node, at, inner), at, inner)
        done: JSON = {}
        for key, value in node.items():
            self._keyword(done, node, key, value, at, inner, level, named)
        if "$ref" in node and "$ref" not in done and self._dialect <= 7:  # nothing beside it was ever in force
            done = {key: value for key, value in done.items() if key in _BESIDE_REF}
        if self._takes_null(node) and at:
            done.pop("nullable", None)
            done = self._with_null(done, node, at, wrap=wrap)
        return done

    def _keyword(
        self, done: JSON, node: JSON, key: str, value: Any, at: Path, to: Path, level: int, named: bool
    ) -> None:
        """Put the keyword `key` of `node` into `done`, in the form that it has to have."""
        if key in REFERENCES:
            self._reference(done, key, value, at, to)
        elif key in MAPS:
            self._map(done, node, key, value, at, to, level)
        elif key == "items" and isinstance(value, list) and self._dialect >= 2020:
            self._tuple(done, node, value, at, to, level)
        elif key == "additionalItems" and isinstance(node.get("items"), list) and self._dialect >= 2020:
            pass  # the items behind a tuple, and read together with it
        elif key in LISTS or (key == "items" and isinstance(value, list)):
            self._list(done, key, value, at, to, level)
        elif key in SINGLES:
            self._single(done, key, value, at, to, level)
        elif key == "type":
            self._type(done, node, value, at, to, level)
        elif key == "required":
            self._required(done, node, value, at, to, named)
        elif key in ("dependentRequired", "dependencies"):
            self._dependent(done, key, value, at, to, level)
        else:
            self._keyword_value(done, key, value, at, to)

    # --- what stands in place of a subschema

    def _coerced(self, node: Any, at: Path, to: Path, level: int) -> Any:
        read: Any = UNREADABLE
        if (isinstance(node, str) and node.strip()) or (isinstance(node, list) and node):
            read = read_type(node)
        if read is not UNREADABLE:
            self.note(at, node, shown(read) if read else ANYTHING)
            return self._subschema(read, at, to, level + 1)
        if isinstance(node, str) and node.strip():
            self.note(at, node, f"{ANYTHING}; the text is its description", vague=to)
            return {"description": node}
        self.note(at, node, ANYTHING, vague=to)
        return {}

    def _without_leftovers(self, node: JSON, at: Path, to: Path) -> JSON:
        if not any(isinstance(node.get(key), dict) and key != "def" for key in _OF_LIBRARIES):
            return node
        kept = {key: value for key, value in node.items() if key not in _OF_LIBRARIES}
        inside = node.get("_def")
        kind: Any = read_type(inside["typeName"]) if isinstance(inside, dict) and "typeName" in inside else None
        if "type" not in kept and isinstance(kind, dict) and kind:
            self.note(at, node, f"{shown(kind)}: an object of a schema library, not JSON Schema", vague=to)
            return {**kept, **kind}
        self.note(at, node, f"{shown(kept)}: an object of a schema library, not JSON Schema", vague=to)
        return kept

    # --- subschemas inside

    def _map(self, done: JSON, node: JSON, key: str, value: Any, at: Path, to: Path, level: int) -> None:
        place = (*at, key)
        if not isinstance(value, dict):
            read = read_properties(value) if key == "properties" and value else UNREADABLE
            if read is UNREADABLE:
                empty = value in (None, [], "")
                self.note(place, value, "no entries" if empty else UNCHECKED, vague=None if empty else to)
                if not empty and key in ("properties", "patternProperties"):
                    self._open(done, node, at)
                return
            self.note(place, value, "properties of these names")
            value = read
        built: JSON = {}
        for name, child in value.items():
            found = str(name)
            if key == "patternProperties":
                portable = self._portable(found)
                if portable is None:
                    self.note((*place, name), name, f"{UNCHECKED}: the pattern cannot be used here", vague=to)
                    self._open(done, node, at)
                    continue
                if portable != found:
                    self.note((*place, name), name, portable)
                found = portable
            child = self._subschema(child, (*place, name), (*to, key, found), level + 1, named=key == "properties")
            built[found] = {"allOf": [built[found], child]} if found in built else child
        done[key] = built
        if key == "properties":
            self._add_required(done, node, value)

    def _add_required(self, done: JSON, node: JSON, properties: JSON) -> None:
        """Draft 3 has `required: true` at the property."""
        flagged = [n for n, child in properties.items() if isinstance(child, dict) and _says_required(child)]
        if flagged:
            listed = done.get("required", node.get("required"))
            listed = listed if isinstance(listed, list) else []
            done["required"] = list(dict.fromkeys([*(n for n in listed if isinstance(n, str)), *flagged]))

    def _open(self, done: JSON, node: JSON, at: Path) -> None:
        """Which properties are known is not certain, so others cannot be refused."""
        for key in ("additionalProperties", "unevaluatedProperties"):
            if node.get(key, True) is not True and done.get(key) is not True:
                done[key] = True  # also where it comes later in `node`: see `_single`
                self.note((*at, key), node[key], f"{ANYTHING}: which names are known is not certain")

    def _tuple(self, done: JSON, node: JSON, value: list[Any], at: Path, to: Path, level: int) -> None:
        if not value or "prefixItems" in node:
            self.note((*at, "items"), value, ANYTHING, vague=to if value else None)
        else:
            self.note((*at, "items"), value, "prefixItems: one schema for each place")
            done["prefixItems"] = [
                self._subschema(child, (*at, "items", n), (*to, "prefixItems", n), level + 1)
                for n, child in enumerate(value)
            ]
        if "additionalItems" in node:
            self.note((*at, "additionalItems"), node["additionalItems"], "items: those behind the tuple")
            rest = self._single_value(node["additionalItems"], (*at, "additionalItems"), (*to, "items"), level)
            if rest is not UNREADABLE:
                done["items"] = rest

    def _list(self, done: JSON, key: str, value: Any, at: Path, to: Path, level: int) -> None:
        place = (*at, key)
        if isinstance(value, dict) and value:
            self.note(place, value, "a list with this one schema")
            done[key] = [self._subschema(value, place, (*to, key, 0), level + 1)]
        elif not isinstance(value, list) or not value:
            if key == "items" and self._dialect < 2020:
                done[key] = value
                return
            self.note(place, value, ANYTHING, vague=to)
        else:
            before = done.get(key, [])
            done[key] = before + [
                self._subschema(child, (*place, n), (*to, key, len(before) + n), level + 1)
                for n, child in enumerate(value)
            ]

    def _single(self, done: JSON, key: str, value: Any, at: Path, to: Path, level: int) -> None:
        if key in ("additionalProperties", "unevaluatedProperties") and done.get(key) is True:
            return
        read = self._single_value(value, (*at, key), (*to, key), level)
        if read is not UNREADABLE:
            done[key] = read
        elif key in ("not", "if"):
            self.vague.add(to)

    def _single_value(self, value: Any, at: Path, to: Path, level: int) -> Any:
        if isinstance(value, dict | bool):
            key = at[-1] if at else ""
            if self._dialect == 4 and isinstance(value, bool) and key in ("additionalItems", "additionalProperties"):
                return value
            return self._subschema(value, at, to, level + 1)
        flag = read_flag(value) if isinstance(value, str) else UNREADABLE
        if flag is not UNREADABLE:
            self.note(at, value, shown(flag))
            return flag
        kind = read_type(value) if isinstance(value, str | list) and value else UNREADABLE
        if kind is not UNREADABLE and kind:
            self.note(at, value, shown(kind))
            return self._subschema(kind, at, to, level + 1)
        self.note(at, value, ANYTHING)
        return UNREADABLE

    def _dependent(self, done: JSON, key: str, value: Any, at: Path, to: Path, level: int) -> None:
        if not isinstance(value, dict):
            self.note((*at, key), value, "no entries" if value in (None, []) else UNCHECKED, vague=to)
            return
        done[key] = built = {}
        for name, needed in value.items():
            place = (*at, key, name)
            if key == "dependencies" and isinstance(needed, dict | bool):
                built[name] = self._subschema(needed, place, (*to, key, name), level + 1)
            elif isinstance(needed, list) and all(isinstance(n, str) for n in needed):
                built[name] = list(dict.fromkeys(needed))
                if len(built[name]) < len(needed):
                    self.note(place, needed, shown(built[name]))
            elif isinstance(needed, str):
                self.note(place, needed, shown([needed]))
                built[name] = [needed]
            else:
                self.note(place, needed, UNCHECKED, vague=to)

    # --- keywords with values

    def _type(self, done: JSON, node: JSON, value: Any, at: Path, to: Path, level: int) -> None:
        if is_type(value):
            done["type"] = value
            return
        read = read_type(value)
        if read is UNREADABLE or not read:
            self.note((*at, "type"), value, ANYTHING, vague=to if read is UNREADABLE else None)
            return
        told = read["type"] if read.keys() == {"type"} else shown(read)
        self.note((*at, "type"), value, told if isinstance(told, str) else " or ".join(told))
        for key, part in read.items():
            if key == "type":
                done[key] = part
            elif key not in node:
                self._keyword(done, {}, key, part, (*at, "type"), to, level, False)
            elif key != "items":
                place = (*to, "allOf", len(done.get("allOf", [])))
                inside = self._subschema({key: part}, (*at, "type"), place, level + 1)
                done["allOf"] = [*done.get("allOf", []), inside]

    def _required(self, done: JSON, node: JSON, value: Any, at: Path, to: Path, named: bool) -> None:
        right = isinstance(value, list) and all(isinstance(n, str) for n in value) and len(set(value)) == len(value)
        if right and (value or self._dialect > 4):
            done.setdefault("required", list(value))
            return
        properties = node.get("properties")
        read = read_names(value, properties if isinstance(properties, dict) else ())
        place = (*at, "required")
        if read is not UNREADABLE and read:
            self.note(place, value, shown(read))
            done["required"] = list(dict.fromkeys([*read, *done.get("required", [])]))
        elif named and _says_required(node):
            self.note(place, value, "its name stands among the required ones of the object around it")
        else:
            self.note(place, value, "nothing is required by it", vague=to if isinstance(value, str | dict) else None)

    # --- null, and references

    @staticmethod
    def _takes_null(node: JSON) -> bool:
        return read_flag(node.get("nullable")) is True

    def _with_null(self, done: JSON, node: JSON, at: Path, *, wrap: bool) -> JSON:
        place = (*at, "nullable")
        if wrap:
            self.note(place, node["nullable"], "null is allowed beside it")
            outside = {key: done.pop(key) for key in list(done) if key in _NAMES_FOR_PEOPLE}
            return {"anyOf": [done, {"type": "null"}], **outside}
        named = done.get("type")
        names = named if isinstance(named, list) else [named]
        if named is not None and "null" not in names:
            done["type"] = [*names, "null"]
        elif named is None and "enum" not in done:
            return done
        if isinstance(done.get("enum"), list) and None not in done["enum"]:
            done["enum"] = [*done["enum"], None]
        self.note(place, node["nullable"], "null is allowed, too")
        return done

    def _reference(self, done: JSON, key: str, value: Any, at: Path, to: Path) -> None:
        found = self._references.find(value, at) if isinstance(value, str) else None
        if found is not None:
            done[key] = value
            self._pending.append((done, key, *found))
            if not found[1]:
                self.note((*at, key), value, pointer(found[0]) or "the whole schema")
            return
        if key == "$recursiveRef" and value == "#":
            done[key] = value
            return
        outside = isinstance(value, str) and "://" in value
        why = "other documents are not fetched" if outside else "nothing lies there"
        self.note((*at, key), value, f"{ANYTHING}: {why}", vague=to)

    def _repair_target(self, result: JSON, target: Path) -> None:
        """Repair, in place, what a reference names where no schema was expected."""
        to = target if _has_part(result, target) else ("$defs", f"part_{len(self._placed)}")
        part = self._subschema(at_path(self._document, target), target, to, len(target))
        if to != target:
            result.setdefault("$defs", {})
        at_path(result, to[:-1])[to[-1]] = part


def dialect_of(name: Any) -> int | None:
    """The draft that a `$schema` names, as 4, 6, 7, 2019 or 2020; None when it names none of these."""
    found = _DRAFT.search(name) if isinstance(name, str) else None
    return int(found[1]) if found else None


def _says_required(node: JSON) -> bool:
    return not isinstance(node.get("required"), list) and read_flag(node.get("required")) is True


def _has_part(document: Any, path: Path) -> bool:
    try:
        at_path(document, path)
    except (KeyError, IndexError, TypeError):
        return False
    return True
