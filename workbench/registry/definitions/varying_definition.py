"""Definitions that change at every start: what of them may vary, once somebody has agreed to it.

Texts for people and models may vary, and values that are only offered (`default`, `enum`, `examples`), each by a
template of what stays. Names, types, constraints and hints never do. What is in the holes is read for the signs of
poisoning every time, because a template is agreed to once and filled by the server ever after.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from workbench.events import JSON, Record
from workbench.registry.definitions.poisoning_signals import of_text
from workbench.registry.definitions.varying_text import TextTemplate, text_template
from workbench.registry.schemas.references import Path, pointer

MAX_VERSIONS: Final = 8
"""Accepted versions of one definition that are kept; a template has to take all of them."""
MAX_PLACES: Final = 64
"""Places of one definition that may vary."""
MAX_FILLED: Final = 2_048
"""Characters in all holes of one definition together."""

_TEXTS: Final = ("title", "description")
_OFFERED: Final = ("default", "enum", "examples", "example")
_NAMING: Final = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords below which stand names: a property may be called `description`."""


class DefinitionTemplate(Record, frozen=True, kw_only=True):
    """A definition with typed holes, made from versions that were accepted."""

    definition: JSON
    """The pinned parts as they were accepted last."""
    texts: dict[str, TextTemplate]
    """JSON pointer → the text there."""
    numbers: tuple[str, ...] = ()
    """JSON pointers of offered numbers that may be other ones."""

    @property
    def shown(self) -> list[JSON]:
        """What varies, for a person: `where` and `template`, the text with the kind of each hole in ‹ ›."""
        texts = [{"where": where, "template": text.shown} for where, text in self.texts.items()]
        return texts + [{"where": where, "template": "‹number›"} for where in self.numbers]

    def objection(self, listed: JSON) -> str:
        """Why `listed`, the pinned parts of another version, is not what was agreed to; empty when it is.

        Args:
            listed: what `pinned_parts` makes of the definition that the server lists now.
        """
        filled = 0
        for path, own, other in _differences(self.definition, listed, ()):
            where = pointer(path)
            if where in self.numbers and _is_number(own) and _is_number(other):
                continue
            template = self.texts.get(where)
            holes = template.filled(other) if template is not None and isinstance(other, str) else None
            if holes is None:
                return f"{where} is not as agreed"
            if sign := _sign(other, own):
                return f"{where} shows a sign of poisoning ({sign.replace('_', ' ')})"
            filled += sum(map(len, holes))
        return f"more than {MAX_FILLED} characters of it vary" if filled > MAX_FILLED else ""

    def varied(self, listed: JSON) -> tuple[str, ...]:
        """JSON pointers of the places where `listed` differs from what was accepted."""
        return tuple(pointer(path) for path, _, _ in _differences(self.definition, listed, ()))


def definition_template(versions: Sequence[JSON]) -> DefinitionTemplate | str:
    """The template that all `versions` fit, or why there is none, as a sentence.

    Args:
        versions: the pinned parts of two or more versions of one definition, the newest first.
    """
    newest = versions[0]
    different: dict[Path, None] = {}
    for other in versions[1:]:
        different |= dict.fromkeys(path for path, _, _ in _differences(newest, other, ()))
    texts: dict[str, TextTemplate] = {}
    numbers = []
    for path in different:
        values = [_value(version, path) for version in versions]
        where = pointer(path)
        if not _may_vary(path) or _MISSING in values:
            return f"{where or 'The definition'} changes, which is not a text for people nor a value that is offered."
        if all(isinstance(value, str) for value in values):
            found = text_template(values)
            if isinstance(found, str):
                return f"{where} cannot be put into a template: {found}."
            texts[where] = found
        elif all(_is_number(value) for value in values):
            numbers.append(where)
        else:
            return f"{where} changes its kind."
    if not different:
        return "The versions do not differ."
    if len(different) > MAX_PLACES:
        return f"More than {MAX_PLACES} places of it vary."
    template = DefinitionTemplate(definition=newest, texts=texts, numbers=tuple(numbers))
    for version in versions:
        if why := template.objection(version):
            return f"{why}."
    return template


_MISSING: Final = object()


def _differences(own: Any, other: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """Each place where two JSON values differ, as deep as they have the same form."""
    if type(own) is not type(other):
        if own != other or isinstance(own, bool) or isinstance(other, bool):
            yield path, own, other
    elif isinstance(own, dict) and own.keys() == other.keys():
        for key, value in own.items():
            yield from _differences(value, other[key], (*path, key))
    elif isinstance(own, list) and len(own) == len(other):
        for n, value in enumerate(own):
            yield from _differences(value, other[n], (*path, n))
    elif own != other:
        yield path, own, other


def _value(document: Any, path: Path) -> Any:
    for part in path:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return _MISSING
    return document


def _may_vary(path: Path) -> bool:
    """Whether what stands at `path` is a text for people and models, or a value that is only offered."""
    if path in (("title",), ("description",), ("annotations", "title")):
        return True
    if path[:1] not in (("inputSchema",), ("outputSchema",)) or "const" in path:
        return False
    if path[-1] in _TEXTS and path[-2] not in _NAMING:
        return True
    return any(key in _OFFERED and before not in _NAMING for before, key in pairwise(path))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _sign(text: str, accepted: Any) -> str:
    """The kind of a sign of poisoning in `text`, also with separators read as blanks, that `accepted` does not show."""
    before = {signal.kind for signal in _signs(accepted)} if isinstance(accepted, str) else set()
    return next((signal.kind for signal in _signs(text) if signal.kind not in before), "")


def _signs(text: str) -> list[Any]:
    return [*of_text(text, ""), *of_text(re.sub(r"[-_./\\~+@%]+", " ", text), "")]
