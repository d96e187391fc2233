"""The texts of a definition that people and models read: which they are, what is shown of them, what they hide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from workbench.display_text import concealed, visible

_NOT_READ: Final = ("name", "_meta", "icons")

SHOWN_KEYS: Final = ("title", "description")
"""Keys of a definition whose values are text for people and models, at any depth."""


def visible_definition(definition: Any) -> Any:
    """A definition whose titles and descriptions are `visible`; names and values stay as calls need them."""
    if isinstance(definition, dict):
        return {
            key: visible(value) if key in SHOWN_KEYS and isinstance(value, str) else visible_definition(value)
            for key, value in definition.items()
        }
    return [visible_definition(item) for item in definition] if isinstance(definition, list) else definition


def shown_texts(definition: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a definition that people or models read, beside its name: with its path, the nearest first."""
    level: list[tuple[str, Any]] = [(where, definition)]
    while level:
        below: list[tuple[str, Any]] = []
        for path, value in level:
            if isinstance(value, str):
                yield path, value
            elif isinstance(value, dict):
                keys = [(f"{path}.{key}" if path else key, key) for key in value]
                below += [(f"key in {path}", key) for _, key in keys if not key.isascii()]
                below += [(at, value[key]) for at, key in keys if at not in _NOT_READ]
            elif isinstance(value, list):
                below += [(path, item) for item in value]
        level = below


def concealment(definition: Any) -> str:
    """What a definition hides from people on purpose, in a sentence; empty when it hides nothing so."""
    name = definition.get("name")
    if isinstance(name, str) and (what := concealed(name, reordered=False)):
        return f"Of its name, {what}."
    for where, text in shown_texts(definition):
        if what := concealed(text):
            return f"Of its {where}, {what}."
    return ""
