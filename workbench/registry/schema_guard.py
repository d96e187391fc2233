"""Where leaving something out would refuse more instead of less: below `not`, `if`, `oneOf` and their like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote

from workbench.events import JSON
from workbench.registry.schema_references import Path
from workbench.registry.schema_walk import LISTS, MAPS, SINGLES

_MOST_ROUNDS: Final = 8

Note = Callable[[Path, Any, str], None]


def keep_open(schema: JSON, vague: set[Path], note: Note) -> None:
    """Take out of `schema`, in place, what could refuse a value only because a part of it is not understood.

    Args:
        schema: a repaired schema.
        vague: where in it something was left out; what is taken out here is added.
        note: called with the place, what stood there, and how it is read now.
    """
    for _ in range(_MOST_ROUNDS):
        before = len(vague)
        _Guard(schema, vague, note).node(schema, ())
        if len(vague) == before:
            return


class _Guard:
    def __init__(self, schema: JSON, vague: set[Path], note: Note) -> None:
        self._schema = schema
        self._vague = vague
        self._note = note

    def node(self, node: Any, path: Path) -> None:
        if not isinstance(node, dict):
            return
        for _, child, place in children(node, path):
            self.node(child, place)
        if "not" in node and self._reaches(node["not"], (*path, "not")):
            self._drop(node, path, "not")
        if "if" in node and self._reaches(node["if"], (*path, "if")):
            for key in ("if", "then", "else"):
                self._drop(node, path, key)
        if "oneOf" in node and self._reaches(node, path, only="oneOf"):
            self._note((*path, "oneOf"), node["oneOf"], "anyOf: one of them at least")
            branches = {"anyOf": node.pop("oneOf")}
            self._move(path, branches, node)
        if "maxContains" in node and self._reaches(node.get("contains"), (*path, "contains")):
            self._drop(node, path, "maxContains")
        for key in ("unevaluatedProperties", "unevaluatedItems"):
            if node.get(key, True) is not True and self._reaches(node, path):
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
        moved = {(*place, *each[size:]) for each in self._vague if each[:size] == inside}
        self._vague |= {*moved, path}

    def _drop(self, node: JSON, path: Path, key: str) -> None:
        if key in node:
            self._note((*path, key), node.pop(key), "not checked: it depends on a part that is not understood")
            self._vague.add(path)

    def _reaches(self, node: Any, path: Path, *, only: str = "") -> bool:
        """Whether something not understood bears on the verdict of the subschema at `path`."""
        seen: set[Path] = set()
        waiting = (
            [(child, place) for key, child, place in children(node, path) if key == only] if only else [(node, path)]
        )
        while waiting:
            here, place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            if place in self._vague:
                return True
            if not isinstance(here, dict):
                continue
            waiting += [(child, p) for key, child, p in children(here, place) if key not in ("$defs", "definitions")]
            for key in ("$ref", "$dynamicRef"):
                if isinstance(here.get(key), str) and here[key].startswith("#/"):
                    target = self._target(here[key])
                    waiting += [target] if target is not None else []
                elif key in here:
                    waiting.append((self._schema, ()))  # to be on the safe side
        return False

    def _target(self, reference: str) -> tuple[Any, Path] | None:
        node: Any = self._schema
        path: Path = ()
        for token in unquote(reference)[2:].split("/"):
            name: Any = token.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list):
                name = int(name) if name.isdigit() else 0
            try:
                node = node[name]
            except (KeyError, IndexError, TypeError):
                return None
            path = (*path, name)
        return node, path


def children(node: Any, path: Path) -> list[tuple[str, Any, Path]]:
    """The subschemas right below `node`: the keyword they stand in, each of them, and its place."""
    found: list[tuple[str, Any, Path]] = []
    for key, value in node.items() if isinstance(node, dict) else ():
        if (key in MAPS or key == "dependencies") and isinstance(value, dict):
            found += [(key, child, (*path, key, name)) for name, child in value.items()]
        elif (key in LISTS or key == "items") and isinstance(value, list):
            found += [(key, child, (*path, key, n)) for n, child in enumerate(value)]
        elif key in SINGLES and isinstance(value, dict | bool):
            found.append((key, value, (*path, key)))
    return found
