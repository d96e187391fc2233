"""How single keywords of a schema are read when they are not written as JSON Schema has it.

Each function gives the value to use, or `UNREADABLE` where what was meant is not certain.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from workbench.events import JSON, canonical

UNREADABLE: Final = object()
"""What a keyword says cannot be known: it is left out, and does not restrict anything."""

TYPES: Final = ("string", "number", "integer", "boolean", "object", "array", "null")
MAX_TYPE_TEXT: Final = 200

_NAMES: Final = {
    **dict.fromkeys(("string", "str", "text", "char", "varchar", "zodstring"), "string"),
    **dict.fromkeys(("integer", "int", "int32", "int64", "uint", "uint32", "uint64", "long", "short"), "integer"),
    **dict.fromkeys(("number", "float", "double", "num", "numeric", "float32", "float64", "zodnumber"), "number"),
    **dict.fromkeys(("boolean", "bool", "zodboolean"), "boolean"),
    **dict.fromkeys(("object", "dict", "dictionary", "map", "record", "hash", "zodobject", "zodrecord"), "object"),
    **dict.fromkeys(("array", "list", "sequence", "tuple", "set", "zodarray", "zodtuple"), "array"),
    **dict.fromkeys(("null", "none", "nil", "nonetype", "undefined", "zodnull"), "null"),
}
_ANYTHING: Final = ("any", "mixed", "unknown", "*", "", "zodany", "zodunknown")
_OPTIONAL: Final = re.compile(r"optional\[(.+)\]|(?:union)\[(.+)\]", re.IGNORECASE | re.DOTALL)
_LIST: Final = re.compile(r"(?:list|array|sequence|set)[\[<](.+)[\]>]|(.+)\[\]", re.IGNORECASE | re.DOTALL)
_MAP: Final = re.compile(r"(?:dict|map|record|mapping)[\[<].+[\]>]", re.IGNORECASE | re.DOTALL)


def read_type(value: Any) -> Any:
    """The keywords that a `type` means, e.g. `{"type": "string"}`; `{}` when it allows anything.

    Understood beside the seven names: those of programming languages, in any case (`str`, `Int`, `bool`), unions
    (`string | null`, `Optional[str]`), lists (`string[]`), and a list with `null` or a schema among the names.
    """
    if isinstance(value, str):
        return _read_type_text(value)
    if isinstance(value, dict):
        return (
            {"allOf": [value]}
            if value.keys() & {"type", "$ref", "enum", "anyOf", "oneOf", "properties"}
            else UNREADABLE
        )
    if not isinstance(value, list) or not value:
        return UNREADABLE
    return _union([{"type": "null"} if one is None else read_type(one) for one in value])


def is_type(value: Any) -> bool:
    """Whether `value` is a `type` as JSON Schema has it."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(v, str) and v in TYPES for v in value) and len(set(value)) == len(value)
    return isinstance(value, str) and value in TYPES


def _read_type_text(text: str) -> Any:
    text = text.strip()
    if len(text) > MAX_TYPE_TEXT:
        return UNREADABLE
    if found := re.fullmatch(r"<class '(?:[\w.]*\.)?(\w+)'>", text):
        text = found[1]
    name = text.casefold().removeprefix("typing.")
    if name in _ANYTHING:
        return {}
    if name in _NAMES:
        return {"type": _NAMES[name]}
    if len(parts := _split(text)) > 1:
        return _union([_read_type_text(part) for part in parts])
    if found := _OPTIONAL.fullmatch(text):
        inner = [_read_type_text(part) for part in _split(found[1] or found[2])]
        return _union([*inner, {"type": "null"}] if found[1] else inner)
    if found := _LIST.fullmatch(text):
        items = _read_type_text(found[1] or found[2])
        return UNREADABLE if items is UNREADABLE else {"type": "array", "items": items}
    return {"type": "object"} if _MAP.fullmatch(text) else UNREADABLE


def _split(text: str) -> list[str]:
    """The alternatives of a union, cut where no bracket is open."""
    parts, depth, start = [], 0, 0
    for found in re.finditer(r"[\[<(]|[\])>]|\||,|/|\s+or\s+", text):
        sign = found[0]
        depth += (sign in "[<(") - (sign in "])>")
        if depth == 0 and sign not in "[<(])>":
            parts.append(text[start : found.start()])
            start = found.end()
    return [*parts, text[start:]]


def _union(parts: Sequence[Any]) -> Any:
    if any(part is UNREADABLE for part in parts):
        return UNREADABLE
    if any(part == {} for part in parts):
        return {}
    distinct = [part for n, part in enumerate(parts) if part not in parts[:n]]
    if len(distinct) == 1:
        return distinct[0]
    if all(part.keys() == {"type"} for part in distinct):
        names = [n for part in distinct for n in (part["type"] if isinstance(part["type"], list) else [part["type"]])]
        return {"type": list(dict.fromkeys(names))}
    return {"anyOf": distinct}


def read_number(value: Any) -> Any:
    """A number, also when it was written as text."""
    if isinstance(value, str) and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return UNREADABLE
        value = int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return UNREADABLE
    return value


def read_count(keyword: str, value: Any) -> Any:
    """A bound of a length or a number of members: a whole number from zero.

    A lower bound below zero holds for everything; an upper one is no bound that anybody could mean.
    """
    number = read_number(value)
    if number is UNREADABLE or (number < 0 and keyword.startswith("max")) or number >= 2**64:
        return UNREADABLE
    if number < 0:
        return 0
    return math.floor(number) if keyword.startswith("max") else math.ceil(number)


def read_text(value: Any) -> Any:
    """A text for people: lines that came as a list are joined, numbers are written out."""
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, list) and value and all(isinstance(line, str) for line in value):
        return "\n".join(value)
    return UNREADABLE


def read_flag(value: Any) -> Any:
    """A boolean, also as text or as 0 or 1."""
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().casefold(), UNREADABLE)
    return bool(value) if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)) else UNREADABLE


def read_names(value: Any, known: Iterable[str]) -> Any:
    """A list of property names: a single name, several in one text, or the keys of a map of booleans.

    Args:
        value: what stands in place of the list.
        known: the properties that there are; a text has to name some of them.
    """
    if isinstance(value, list):
        return list(dict.fromkeys(name for name in value if isinstance(name, str)))
    known = set(known)
    if isinstance(value, str):
        names = [value] if value in known else [part for part in re.split(r"[,\s]+", value) if part]
        return names if names and known.issuperset(names) else UNREADABLE
    if isinstance(value, dict) and value and all(isinstance(flag, bool) for flag in value.values()):
        names = [name for name, flag in value.items() if flag]
        return names if known.issuperset(value) else UNREADABLE
    return UNREADABLE


def read_properties(value: Any) -> Any:
    """`properties` that came as a list of objects with names, as the map that it stands for."""
    if not isinstance(value, list) or not all(isinstance(p, dict) and isinstance(p.get("name"), str) for p in value):
        return UNREADABLE
    named: JSON = {p["name"]: {key: part for key, part in p.items() if key != "name"} for p in value}
    return named if len(named) == len(value) else UNREADABLE


def distinct_values(values: Sequence[Any]) -> list[Any]:
    """`values` without repetitions, in the sense of JSON: 1 and 1.0 are the same, 1 and true are not."""
    found: dict[bytes, Any] = {}
    for value in values:
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
        found.setdefault(canonical(int(value) if whole else value), value)
    return list(found.values())
