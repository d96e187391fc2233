"""The form for a tool's arguments: widgets made from its schema, or the whole as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from parts.fields import (
    FIRST_DAY,
    JSON,
    LAST_DAY,
    MISSING,
    Field,
    fields_of,
    fitting,
    parse,
    state_of,
    value_of,
    with_others,
)
from parts.formatting import code, plain

_WIDE = ("prose", "lines", "group", "json")


@dataclass
class Entry:
    """What stands in a form."""

    arguments: JSON = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Path and what is wrong there."""


def draw_fields(schema: JSON, arguments: JSON, key: str) -> Entry:
    """Draw one widget per argument, filled from `arguments`; widgets are keyed under `key`."""
    entry = Entry()
    fields = with_others(fields_of(schema), arguments)
    if not fields:
        st.caption("This tool takes no arguments.")
    grid = st.grid("auto", min_column_width=260, gap="small")
    for each in fields:
        fitted = fitting(each, arguments.get(each.name, MISSING))
        with grid.cell(column_span="all" if fitted.kind in _WIDE else 1):
            value = _draw(each, arguments.get(each.name, MISSING), f"{key}.{each.name}", each.name, entry)
        if value is not MISSING:
            entry.arguments[each.name] = value
    return entry


def draw_json(arguments: JSON, key: str) -> Entry:
    """Draw all arguments as one JSON document."""
    text = st.text_area(
        "Arguments as JSON", json.dumps(arguments, indent=2, ensure_ascii=False), height=240, key=f"{key}.json"
    )
    try:
        found = parse(text) if text and text.strip() else {}
    except ValueError as e:
        return Entry(problems=[("arguments", str(e))])
    if not isinstance(found, dict):
        kind = "list" if isinstance(found, list) else type(found).__name__
        return Entry(problems=[("arguments", f'a JSON {kind}; expected an object such as {{"name": "value"}}')])
    return Entry(found)


def _draw(field: Field, value: Any, key: str, path: str, entry: Entry) -> Any:
    field = fitting(field, value)
    if field.kind == "group":
        return _draw_group(field, {} if value is MISSING else value, key, path, entry)
    try:
        return value_of(field, _widget(field, state_of(field, value), key))
    except ValueError as e:
        entry.problems.append((path, str(e)))
        return MISSING


def _draw_group(field: Field, value: JSON, key: str, path: str, entry: Entry) -> Any:
    found: JSON = {}
    with st.container(border=True):
        st.markdown(f"**{_label(field)}**", help=_help(field))
        for child in with_others(field.children, value):
            inner = _draw(child, value.get(child.name, MISSING), f"{key}.{child.name}", f"{path}.{child.name}", entry)
            if inner is not MISSING and not (inner is None and child.required and child.nullable):
                found[child.name] = inner
        if found:  # members that may be null are sent only when the group is
            found |= {c.name: None for c in field.children if c.required and c.nullable and c.name not in found}
    return found or (None if field.required and field.nullable else MISSING)


def _widget(field: Field, state: Any, key: str) -> Any:
    """Draw the widget of one field and return what stands in it."""
    label, about, hint = _label(field), _help(field), _placeholder(field)
    match field.kind:
        case "text":
            return st.text_input(label, state, key=key, help=about, placeholder=hint)
        case "prose":
            return st.text_area(label, state, key=key, help=about, placeholder=hint)
        case "lines":
            return st.text_area(label, state, key=key, help=about, placeholder=hint or "one per line", height=80)
        case "choice" | "boolean":
            options = range(len(field.options))
            index = state if field.kind == "choice" or state is None else field.options.index(state)
            chosen = st.selectbox(
                label, options, index, key=key, help=about, placeholder=hint or "not sent",
                format_func=lambda i: _shown(field.options[i]),
            )  # fmt: skip
            return chosen if field.kind == "choice" or chosen is None else field.options[chosen]
        case "many":
            return st.multiselect(
                label, range(len(field.options)), state, key=key, help=about, placeholder=hint or "not sent",
                format_func=lambda i: _shown(field.options[i]),
            )  # fmt: skip
        case "integer" | "number":
            low, high = field.bounds
            return st.number_input(
                label, low, high, state, key=key, help=about, placeholder=hint,
                step=1 if field.kind == "integer" else 1.0, format=None if field.kind == "integer" else "%g",
            )  # fmt: skip
        case "date":
            return st.date_input(label, state, FIRST_DAY, LAST_DAY, key=key, help=about, format="YYYY-MM-DD")
    return st.text_area(f"{label} (JSON)", state, key=key, help=about, placeholder=hint, height=100)


def _label(field: Field) -> str:
    name = plain(field.name)
    return f"{name} :red[*]" if field.required else name


def _help(field: Field) -> str | None:
    schema = field.schema
    limits = {
        "minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below",
        "minLength": "shortest", "maxLength": "longest", "pattern": "pattern", "format": "format",
    }  # fmt: skip
    said = [f"{word} {code(schema[name])}" for name, word in limits.items() if name in schema]
    text = [plain(str(schema.get("description") or schema.get("title") or "")), ", ".join(said)]
    return "\n\n".join(t for t in text if t) or None


def _placeholder(field: Field) -> str | None:
    """What happens when the field stays empty, or an example of what goes in."""
    if field.schema.get("default") is not None:
        return f"default: {_shown(field.schema['default'])}"
    examples = field.schema.get("examples")
    if isinstance(examples, list) and examples:
        return f"e.g. {_shown(examples[0])}"
    return None


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
