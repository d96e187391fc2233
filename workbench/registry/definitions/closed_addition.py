"""A changed definition that only takes a further choice: the one kind of change that nobody has to be asked about.

Servers add `units: metric | imperial` in a minor version, and asking people about each of them teaches them to say yes
to everything. What is let through can neither carry text to a model nor out of one: an optional argument with a plain
name, and words of a closed list, or true and false, as its only values.
"""

from __future__ import annotations

import re
from typing import Any, Final

from workbench.events import JSON
from workbench.registry.definitions.poisoning_signals import of_text

MAX_ADDED: Final = 8
"""Arguments that a definition may have beyond the pinned one."""
MAX_CHOICES: Final = 32

_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}(?:[_-][A-Za-z0-9]{1,12}){0,2}")
"""At most three short words: a name or a value, and no sentence."""


def closed_addition(pinned: JSON, listed: JSON) -> bool:
    """Whether `listed` is the pinned definition with further optional arguments of closed choices, and nothing else.

    Args:
        pinned: the pinned parts of a definition.
        listed: those of the definition as its server lists it now.
    """
    if {k: v for k, v in pinned.items() if k != "inputSchema"} != {
        k: v for k, v in listed.items() if k != "inputSchema"
    }:
        return False
    before, after = pinned.get("inputSchema"), listed.get("inputSchema")
    if not isinstance(before, dict) or not isinstance(after, dict):
        return False
    old, new = before.get("properties", {}), after.get("properties", {})
    if not isinstance(old, dict) or not isinstance(new, dict):
        return False
    added = [name for name in new if name not in old]
    kept = {name: schema for name, schema in new.items() if name in old}
    return (
        0 < len(added) <= MAX_ADDED
        and kept == old
        and {**before, "properties": {}} == {**after, "properties": {}}
        and all(_plain(name) and _closed(new[name]) for name in added)
    )


def _plain(text: Any) -> bool:
    return isinstance(text, str) and _WORD.fullmatch(text) is not None and not of_text(re.sub("[_-]", " ", text), "")


def _closed(schema: Any) -> bool:
    """Whether only true and false, or one of a few words, are valid; and nothing else is said of it."""
    if not isinstance(schema, dict) or not schema.keys() <= {"type", "enum", "default"}:
        return False
    if schema.get("type") == "boolean":
        return "enum" not in schema and schema.get("default", False) in (True, False)
    choices = schema.get("enum")
    if schema.get("type", "string") != "string" or not isinstance(choices, list) or not 0 < len(choices) <= MAX_CHOICES:
        return False
    return all(map(_plain, choices)) and schema.get("default", choices[0]) in choices
