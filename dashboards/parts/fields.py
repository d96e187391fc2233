"""From a tool's JSON Schema to the fields of a form, and back from what stands in them to arguments.

One rule: no field is lossy. A value that a widget could not give back exactly (a null, a list in a list, an integer
beyond 2^53, a text with line breaks) is edited as JSON, that one field alone. An empty field is not sent.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, TypeGuard

JSON = dict[str, Any]
Kind = Literal["text", "prose", "lines", "choice", "many", "integer", "number", "boolean", "date", "group", "json"]

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "MISSING", "__bool__": lambda self: False})()
"""No value: the field is empty and is not sent."""

MAX_DEPTH = 3
"""Nested objects are drawn as groups down to this depth, then as JSON."""

EXACT = 2**53 - 1
"""Integers beyond this do not survive a browser (ECMA-262 §21.1.2.6)."""

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(2100, 12, 31)


@dataclass(frozen=True)
class Field:
    """One argument, or one member of an object argument."""

    name: str
    kind: Kind
    schema: JSON
    required: bool = False
    nullable: bool = False
    options: tuple[Any, ...] = ()
    """Of `choice` and `many`."""
    item: Literal["string", "integer", "number"] = "string"
    """Of `lines`."""
    children: tuple[Field, ...] = ()
    """Of `group`."""

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Inclusive limits of a number, where the schema has them."""
        low, high = self.schema.get("minimum"), self.schema.get("maximum")
        if self.kind == "integer":
            return (
                max(-EXACT, math.ceil(low)) if _is_number(low) else -EXACT,
                min(EXACT, math.floor(high)) if _is_number(high) else EXACT,
            )
        return (float(low) if _is_number(low) else None, float(high) if _is_number(high) else None)


def fields_of(schema: JSON) -> tuple[Field, ...]:
    """The fields of an object schema, required ones first; empty when it names no properties."""
    return _members(_resolve(schema, schema), schema, MAX_DEPTH)


def with_others(fields: tuple[Field, ...], arguments: JSON) -> tuple[Field, ...]:
    """`fields`, and a JSON field for every argument that none of them is for."""
    known = {f.name for f in fields}
    return fields + tuple(Field(name, "json", {}) for name in arguments if name not in known)


def fitting(field: Field, value: Any) -> Field:
    """`field`, or the field that can hold `value` in its place without loss."""
    if _fits(field, value):
        return field
    if field.kind == "text" and _fits(prose := dataclasses.replace(field, kind="prose"), value):
        return prose
    return dataclasses.replace(field, kind="json")


def state_of(field: Field, value: Any) -> Any:
    """What the widget of `field` shows for `value`, which must fit; groups have no state of their own."""
    empty = value is MISSING or (value is None and field.kind != "json")
    if field.kind == "json":
        return "" if empty else json.dumps(value, indent=2, ensure_ascii=False)
    if field.kind == "lines":
        return "" if empty else "\n".join(item if isinstance(item, str) else json.dumps(item) for item in value)
    if field.kind == "many":
        return [] if empty else [_index(field.options, item) for item in value]
    if empty:
        return None
    if field.kind == "choice":
        return _index(field.options, value)
    if field.kind == "date":
        return date.fromisoformat(value)
    return float(value) if field.kind == "number" else value


def value_of(field: Field, state: Any) -> Any:
    """The argument that stands in a widget, or MISSING.

    Raises:
        ValueError: what stands there is no such value; the message says what was expected.
    """
    value = _entered(field, state)
    return None if value is MISSING and field.required and field.nullable and field.kind != "json" else value


def _entered(field: Field, state: Any) -> Any:
    if state is None or state == "" or state == []:
        return MISSING
    if field.kind == "json":
        return parse(state) if state.strip() else MISSING
    if field.kind == "lines":
        lines = [line for line in state.split("\n") if line.strip()]
        return [_item(field.item, line, n) for n, line in enumerate(lines, 1)] or MISSING
    if field.kind == "many":
        return [field.options[index] for index in state]
    if field.kind == "choice":
        return field.options[state]
    if field.kind == "date":
        return state.isoformat()
    return state


def parse(text: str) -> Any:
    """JSON text as a value.

    Raises:
        ValueError: it is not JSON; says where.
    """
    try:
        return json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as e:
        raise ValueError(f"not JSON: {e.msg} (line {e.lineno}, column {e.colno})") from e


def _refuse(constant: str) -> Any:
    raise ValueError(f"not JSON: {constant} is no JSON number")


def _item(kind: str, line: str, number: int) -> Any:
    if kind == "string":
        return line
    try:
        return int(line) if kind == "integer" else _finite(float(line))
    except ValueError:
        raise ValueError(f"line {number} is {line!r}, expected a {'whole ' * (kind == 'integer')}number") from None


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError
    return number


# --- reading the schema ------------------------------------------------------


def _members(schema: JSON, root: JSON, depth: int) -> tuple[Field, ...]:
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return ()
    required = {r for r in schema.get("required") or [] if isinstance(r, str)}
    found = [_field(n, s if isinstance(s, dict) else {}, n in required, root, depth) for n, s in properties.items()]
    return tuple(sorted(found, key=lambda f: not f.required))  # a stable sort keeps the order of the schema


def _field(name: str, given: JSON, required: bool, root: JSON, depth: int) -> Field:
    schema, nullable = _without_null(_resolve(given, root), root)
    plain = Field(name, "json", schema, required, nullable)
    options = _options(schema)
    if options is not None:
        return dataclasses.replace(plain, kind="choice", options=options) if options else plain
    match schema.get("type"):
        case "string":
            return dataclasses.replace(plain, kind=_text_kind(schema))
        case "integer":
            return dataclasses.replace(plain, kind="integer")
        case "number":
            return dataclasses.replace(plain, kind="number")
        case "boolean":
            return dataclasses.replace(plain, kind="boolean", options=(True, False))
        case "array":
            return _array(plain, root)
        case "object" if depth > 1:
            children = _members(schema, root, depth - 1)
            return dataclasses.replace(plain, kind="group", children=children) if children else plain
    return plain


def _text_kind(schema: JSON) -> Kind:
    if schema.get("format") == "date":
        return "date"
    longest = schema.get("maxLength")
    return "prose" if _is_number(longest) and longest > 250 else "text"


def _array(field: Field, root: JSON) -> Field:
    items = field.schema.get("items")
    if not isinstance(items, dict) or "prefixItems" in field.schema:
        return field
    item, nullable = _without_null(_resolve(items, root), root)
    if nullable:
        return field
    if options := _options(item):
        return dataclasses.replace(field, kind="many", options=options)
    if item.get("type") in ("string", "integer", "number"):
        return dataclasses.replace(field, kind="lines", item=item["type"])
    return field


def _options(schema: JSON) -> tuple[Any, ...] | None:
    """What `enum` or `const` allows; None when the schema has neither, empty when a list could not show it."""
    if "const" in schema:
        found: Any = [schema["const"]]
    elif "enum" in schema:
        found = schema["enum"]
    else:
        return None
    ok = isinstance(found, list) and all(isinstance(o, str | int | float | bool) for o in found)
    return tuple(found) if ok else ()


def _resolve(schema: JSON, root: JSON) -> JSON:
    """`schema` with its local references followed; what stands beside a reference wins."""
    for _ in range(20):  # a reference may lead in circles
        if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1 and isinstance(schema["allOf"][0], dict):
            schema = {**schema["allOf"][0], **{k: v for k, v in schema.items() if k != "allOf"}}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        target: Any = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            target = target.get(part) if isinstance(target, dict) and part else target
        if not reference.startswith("#") or not isinstance(target, dict):
            return {k: v for k, v in schema.items() if k != "$ref"}
        schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
    return {}


def _without_null(schema: JSON, root: JSON) -> tuple[JSON, bool]:
    """`schema` without its null branch, and whether it had one."""
    kinds = schema.get("type")
    if isinstance(kinds, list):
        others = [k for k in kinds if k != "null"]
        if len(others) == 1:
            schema = {**schema, "type": others[0]}
            if isinstance(schema.get("enum"), list):
                schema["enum"] = [o for o in schema["enum"] if o is not None]
        return (schema if len(others) == 1 else {}, "null" in kinds)
    for word in ("anyOf", "oneOf"):
        branches = schema.get(word)
        if not isinstance(branches, list):
            continue
        found = [_resolve(b, root) for b in branches if isinstance(b, dict)]
        others = [b for b in found if b.get("type") != "null"]
        nullable = len(others) < len(found)
        beside = {k: v for k, v in schema.items() if k != word}
        return ({**others[0], **beside} if len(others) == 1 else beside, nullable)
    return schema, False


# --- can a widget hold it ----------------------------------------------------


def _fits(field: Field, value: Any) -> bool:
    """Whether the widget of `field` gives `value` back exactly."""
    if value is MISSING:
        return True
    if value is None and field.kind != "json":
        return field.required and field.nullable and field.kind != "group"
    match field.kind:
        case "text":
            return _is_line(value)
        case "prose":
            return isinstance(value, str) and value != "" and all(c in "\n\t" or c.isprintable() for c in value)
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool) and _within(value, *field.bounds)
        case "number":
            return _is_number(value) and _within(value, *field.bounds)
        case "date":
            return _is_day(value)
        case "choice":
            return _index(field.options, value) is not None
        case "many":
            known = [_index(field.options, v) for v in value] if isinstance(value, list) else [None]
            return known != [] and None not in known and len(set(known)) == len(known)
        case "lines":
            return isinstance(value, list) and value != [] and all(_is_item(field.item, v) for v in value)
        case "group":
            return isinstance(value, dict) and any(v is not None for v in value.values())
    return True


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _within(value: float, low: float | None, high: float | None) -> bool:
    exact = abs(value) <= EXACT
    return exact and (low is None or low <= value) and (high is None or value <= high)


def _is_line(value: Any) -> bool:
    return isinstance(value, str) and value != "" and value.isprintable()


def _is_item(kind: str, value: Any) -> bool:
    if kind == "string":
        return _is_line(value) and value.strip() != ""
    return isinstance(value, int) and not isinstance(value, bool) if kind == "integer" else _is_number(value)


def _is_day(value: Any) -> bool:
    try:
        day = date.fromisoformat(value)
    except (ValueError, TypeError):
        return False
    return day.isoformat() == value and FIRST_DAY <= day <= LAST_DAY


def _index(options: tuple[Any, ...], value: Any) -> int | None:
    """Position of `value` among `options`; JSON's `1`, `1.0` and `true` are three values here."""
    return next((i for i, o in enumerate(options) if type(o) is type(value) and o == value), None)
