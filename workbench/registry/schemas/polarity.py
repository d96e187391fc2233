"""Where leaving something out would refuse more instead of less: below `not`, `if`, `oneOf` and their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from workbench.events import JSON
from workbench.registry.schemas.references import Path
from workbench.registry.schemas.walk import LISTS, MAPS, REFERENCES, SINGLES

_SAME_VALUE = ("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies", "contains")

Note = Callable[[Path, Any, str], None]


def keep_open(schema: JSON, vague: set[Path], note: Note) -> None:
    """Take out of `schema`, in place, what could refuse a value only because a part of it is not understood.

    Args:
        schema: a repaired schema.
        vague: where in it something was left out; what is taken out here is added.
        note: called with the place, what stood there, and how it is read now.
    """
    _Guard(schema, vague, note).node(schema, ())


class _Guard:
    def __init__(self, schema: JSON, vague: set[Path], note: Note) -> None:
        self._vague = vague
        self._note = note
        whole, beside = _dependents(schema)
        self._reached = _spread(vague, whole)
        self._beside = _spread(vague, beside)
        self._around = {each[:n] for each in self._reached for n in range(len(each) + 1)}

    def node(self, node: Any, path: Path) -> None:
        """Look at `node` after all that is below it."""
        if not isinstance(node, dict) or path not in self._around:
            return
        for _, child, place in children(node, path):
            self.node(child, place)
        for definitions in ("$defs", "definitions"):
            for name, child in node.get(definitions, {}).items():
                self.node(child, (*path, definitions, name))
        if (*path, "not") in self._reached:
            self._drop(node, path, "not")
        if (*path, "if") in self._reached:
            for key in ("if", "then", "else"):
                self._drop(node, path, key)
        if any((*path, "oneOf", n) in self._reached for n in range(len(node.get("oneOf", ())))):
            self._note((*path, "oneOf"), node["oneOf"], "anyOf: one of them at least")
            self._move(path, {"anyOf": node.pop("oneOf")}, node)
        if (*path, "contains") in self._reached:
            self._drop(node, path, "maxContains")
        for key in ("unevaluatedProperties", "unevaluatedItems"):
            if node.get(key, True) is not True and path in self._beside:
                self._drop(node, path, key)

    def _move(self, path: Path, branches: JSON, node: JSON) -> None:
        """`oneOf` becomes `anyOf`, beside another one within `allOf`; what is known of places moves with it."""
        inside = (*path, "oneOf")
        if "anyOf" in node:
            place: Path = (*path, "allOf", len(node.get("allOf", [])), "anyOf")
            node["allOf"] = [*node.get("allOf", []), branches]
        else:
            place = (*path, "anyOf")
            node.update(branches)
        size = len(inside)
        self._vague |= {(*place, *each[size:]) for each in self._vague if each[:size] == inside} | {path}

    def _drop(self, node: JSON, path: Path, key: str) -> None:
        if key in node:
            self._note((*path, key), node.pop(key), "not checked: it depends on a part that is not understood")
            self._vague.add(path)


Dependents = dict[Path, list[Path]]


def _dependents(schema: JSON) -> tuple[Dependents, Dependents]:
    """Subschema → those whose verdict depends on it; all of them, and those that judge the very same value."""
    whole: Dependents = {}
    beside: Dependents = {}
    seen: set[Path] = set()
    waiting: list[tuple[Any, Path]] = [(schema, ())]
    while waiting:
        node, path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for key, child, place in children(node, path):
            whole.setdefault(place, []).append(path)
            if key in _SAME_VALUE:
                beside.setdefault(place, []).append(path)
            waiting.append((child, place))
        for key in REFERENCES:
            if isinstance(node, dict) and isinstance(node.get(key), str):
                target = _target(schema, node[key])
                for found in (whole, beside):
                    found.setdefault(target[1], []).append(path)
                waiting.append(target)
        for definitions in ("$defs", "definitions"):
            for name, child in node.get(definitions, {}).items() if isinstance(node, dict) else ():
                waiting.append((child, (*path, definitions, name)))
    return whole, beside


def _spread(vague: set[Path], dependents: Dependents) -> set[Path]:
    """`vague`, and all that depends on one of these."""
    reached: set[Path] = set()
    spreading = [*vague]
    while spreading:
        path = spreading.pop()
        if path not in reached:
            reached.add(path)
            spreading += dependents.get(path, ())
    return reached


def _target(schema: JSON, reference: str) -> tuple[Any, Path]:
    """What a reference leads to; the whole schema, to be on the safe side, where that is no plain pointer."""
    node: Any = schema
    path: Path = ()
    for token in unquote(reference)[2:].split("/") if reference.startswith("#/") else ():
        name: Any = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, list):
            name = int(name) if name.isdigit() else 0
        try:
            node = node[name]
        except (KeyError, IndexError, TypeError):
            return schema, ()
        path = (*path, name)
    return node, path


def children(node: Any, path: Path) -> list[tuple[str, Any, Path]]:
    """The subschemas right below `node`, definitions apart: the keyword they stand in, each of them, and its place."""
    found: list[tuple[str, Any, Path]] = []
    for key, value in node.items() if isinstance(node, dict) else ():
        if (key in MAPS or key == "dependencies") and isinstance(value, dict):
            if key not in ("$defs", "definitions"):
                found += [(key, child, (*path, key, name)) for name, child in value.items()]
        elif (key in LISTS or key == "items") and isinstance(value, list):
            found += [(key, child, (*path, key, n)) for n, child in enumerate(value)]
        elif key in SINGLES and isinstance(value, dict | bool):
            found.append((key, value, (*path, key)))
    return found
