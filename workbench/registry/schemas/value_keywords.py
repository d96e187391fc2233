"""Keywords of a schema that hold a value: each is checked, and read where it is certain what it means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson
from jsonschema_rs.canonical.schema import clone

from workbench.display_text import shortened
from workbench.events import JSON, Record
from workbench.registry.schemas.keywords import (
    UNREADABLE,
    distinct_values,
    read_count,
    read_flag,
    read_number,
    read_text,
)
from workbench.registry.schemas.pattern_cost import MAX_SCHEMA_COST, pattern_cost
from workbench.registry.schemas.patterns import portable_pattern
from workbench.registry.schemas.references import Path, pointer

MAX_REPAIRS: Final = 200
"""Repairs of one schema that are listed; the rest is counted."""
_MAX_GIVEN: Final = 120

ANYTHING: Final = "anything"
UNCHECKED: Final = "not checked"

EXCLUSIVE: Final = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_NUMBERS: Final = ("minimum", "maximum", "multipleOf", *EXCLUSIVE)
_COUNTS: Final = (
    "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains",
)  # fmt: skip
_TEXTS: Final = ("title", "description", "$comment", "format", "contentEncoding", "contentMediaType")
_FLAGS: Final = ("uniqueItems", "readOnly", "writeOnly", "deprecated", "$recursiveAnchor")


class SchemaRepair(Record, frozen=True, kw_only=True):
    """One part of a schema that is read otherwise than it is written."""

    where: str
    """JSON pointer into the definition of the tool."""
    given: str
    """What stands there, as JSON; cut."""
    read_as: str
    """What is made of it."""


class KeywordValues:
    """Reads keywords with values, and remembers what it had to repair.

    Args:
        dialect: 4, 6, 7, 2019 or 2020.
        prefix: JSON pointer of the schema within the definition.
    """

    def __init__(self, dialect: int, prefix: str) -> None:
        self.repairs: list[SchemaRepair] = []
        self.unlisted = 0
        self.vague: set[Path] = set()
        """Where in the result something is left out whose meaning is not known."""
        self._dialect = dialect
        self._prefix = prefix
        self._affordable: float = MAX_SCHEMA_COST

    def note(self, where: Path, given: Any, read_as: str, *, vague: Path | None = None) -> None:
        """Remember one repair; with `vague`, that the subschema there allows more than was meant."""
        if vague is not None:
            self.vague.add(vague)
        if len(self.repairs) >= MAX_REPAIRS:
            self.unlisted += 1
            return
        self.repairs.append(SchemaRepair(where=self._prefix + pointer(where), given=shown(given), read_as=read_as))

    def _keyword_value(self, done: JSON, key: str, value: Any, at: Path, to: Path) -> None:
        """Put a keyword that holds no schema into `done`, in the form that it has to have."""
        if key == "enum":
            self._enum(done, value, at, to)
        elif key in _NUMBERS:
            self._bound(done, key, value, at, to)
        elif key in _COUNTS:
            right = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64
            whole = isinstance(value, float) and value.is_integer() and 0 <= value < 2**64 and self._dialect > 4
            self._value(done, key, value, right or whole, lambda v: read_count(key, v), at, to)
        elif key in _TEXTS:
            self._value(done, key, value, isinstance(value, str), read_text, at, None)
        elif key in _FLAGS:
            self._value(done, key, value, isinstance(value, bool), read_flag, at, to if key == "uniqueItems" else None)
        elif key == "pattern":
            self._pattern(done, value, at, to)
        elif key == "examples" and not isinstance(value, list):
            self.note((*at, key), value, "a list with this one example")
            done[key] = [value]
        elif key in ("$id", "$anchor", "$dynamicAnchor", "$schema", "$vocabulary"):
            self._identity(done, key, value, at)
        else:
            done[key] = clone(value)  # a reference may lead into it, and what it names is repaired in place

    def _enum(self, done: JSON, value: Any, at: Path, to: Path) -> None:
        if not isinstance(value, list) or not value:
            self.note((*at, "enum"), value, ANYTHING, vague=to)
            return
        distinct = distinct_values(value)
        if len(distinct) < len(value):
            self.note((*at, "enum"), value, shown(distinct))
        done["enum"] = clone(distinct if len(distinct) < len(value) else value)

    def _bound(self, done: JSON, key: str, value: Any, at: Path, to: Path) -> None:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if key in EXCLUSIVE and isinstance(value, bool) and self._dialect == 4:
            done[key] = value
        elif key == "multipleOf" and right and value <= 0:
            self.note((*at, key), value, shown(-value) if value else UNCHECKED, vague=None if value else to)
            if value:
                done[key] = -value
        else:
            self._value(done, key, value, right, read_number, at, to)

    def _with_bounds(self, node: JSON, at: Path, to: Path) -> JSON:
        """`node` with exclusive bounds in the form of its dialect: draft 4 has a flag beside the inclusive bound."""
        for key, inclusive in EXCLUSIVE.items():
            if key not in node:
                continue
            value, place = node[key], (*at, key)
            flag = read_flag(value) if isinstance(value, str) else value
            bound = read_number(node.get(inclusive))
            others = {name: part for name, part in node.items() if name not in (key, inclusive)}
            if isinstance(flag, bool) and bound is UNREADABLE:
                self.note(place, value, "no bound of its own", vague=to if flag else None)
                node = {name: part for name, part in node.items() if name != key}
            elif isinstance(flag, bool) and self._dialect > 4:
                self.note(place, value, f"{key} {shown(bound)}" if flag else f"{inclusive} {shown(bound)}")
                node = {**others, key if flag else inclusive: bound}
            elif self._dialect == 4 and (number := read_number(value)) is not UNREADABLE:
                nearer = bound is not UNREADABLE and (bound > number if inclusive == "minimum" else bound < number)
                self.note(
                    place, value, f"{inclusive} {shown(bound if nearer else number)}{'' if nearer else ', excluded'}"
                )
                node = {**others, inclusive: bound if nearer else number, key: not nearer}
        return node

    def _value(
        self, done: JSON, key: str, value: Any, right: bool, read: Callable[[Any], Any], at: Path, vague: Path | None
    ) -> None:
        """A keyword with one value: as it is where it is `right`, else as `read` takes it, else left out."""
        if right:
            done[key] = value
            return
        taken = UNREADABLE if value is None else read(value)
        if taken is UNREADABLE:
            self.note(
                (*at, key), value, "left out" if vague is None else UNCHECKED, vague=None if value is None else vague
            )
        else:
            self.note((*at, key), value, shown(taken))
            done[key] = taken

    def _portable(self, pattern: str) -> str | None:
        """The pattern as the validator takes it; None where it does not, or where all of them would cost too much."""
        cost = pattern_cost(pattern)
        if cost > self._affordable:
            return None
        self._affordable -= cost
        return portable_pattern(pattern)

    def _pattern(self, done: JSON, value: Any, at: Path, to: Path) -> None:
        place = (*at, "pattern")
        if not isinstance(value, str):
            self.note(place, value, UNCHECKED, vague=None if value is None else to)
            return
        portable = self._portable(value)
        if portable is None:
            self.note(place, value, f"{UNCHECKED}: the pattern cannot be used here", vague=to)
            return
        if portable != value:
            self.note(place, value, portable)
        done["pattern"] = portable

    def _identity(self, done: JSON, key: str, value: Any, at: Path) -> None:
        if isinstance(value, dict if key == "$vocabulary" else str):
            done[key] = value
        else:
            self.note((*at, key), value, "left out")


def shown(value: Any) -> str:
    """`value` as JSON for people, cut."""
    try:
        text = orjson.dumps(value).decode()
    except TypeError:
        text = repr(value)
    return shortened(text, _MAX_GIVEN)
