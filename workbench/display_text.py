"""Characters that people cannot see: found, written out, and told apart from text that was hidden on purpose.

What living languages and emoji need is not hidden: joiners inside words and emoji, variation selectors after a base,
marks of direction in text that runs from right to left, and the tags of regional flags (UTS #51 §C.1).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

_TAGS: Final = "\U000e0000-\U000e007f"
_SELECTORS: Final = "\ufe00-\ufe0f\U000e0100-\U000e01ef"

# A tag sequence is an emoji flag only for the regions that fonts draw.
_FLAG = re.compile(
    "(\U0001f3f4(?:\U000e0067\U000e0062(?:\U000e0065\U000e006e\U000e0067|\U000e0073\U000e0063\U000e0074"
    "|\U000e0077\U000e006c\U000e0073|\U000e006e\U000e0069\U000e0072)"
    "|\U000e0075\U000e0073[\U000e0061-\U000e007a]{2})\U000e007f)"
)

_UNSEEN = (
    # controls except tab and line breaks; blanks and format characters that print nothing; line separators
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u115f\u1160\u17b4\u17b5\u200b\u2028\u2029\u202d\u202e\u2060-\u2065"
    f"\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\U0001d173-\U0001d17a{_TAGS}\U000e0080-\U000e00ff\U000e01f0-\U000e0fff]"
    # joiners that join nothing
    "|(?<![^\x00-\x7f\u200b-\u200d\u2060\ufeff])[\u200c\u200d]"
    # selectors without a base: of emoji and text, of ideographs, of Mongolian
    f"|(?<![^\x00-\x7f{_SELECTORS}])(?<![0-9#*])[\ufe00-\ufe0f]"
    "|(?<![\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])[\U000e0100-\U000e01ef]"
    "|(?<![\u1800-\u18af])[\u180b-\u180f]"
)
_DIRECTION = "[\u061c\u200e\u200f\u202a-\u202c\u2066-\u2069]"
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")

_HIDDEN = re.compile(_UNSEEN)
_HIDDEN_LEFT_TO_RIGHT = re.compile(f"{_UNSEEN}|{_DIRECTION}")
# A no-break blank is common before French punctuation and in figures; elsewhere a reader takes it for a plain blank.
_NO_BREAK = re.compile("(?<![\u00ab\u2013\u2014])[\u00a0\u202f\u2007](?![;:!?\u00bb%\u20ac$\u00b0\\d])")
_SURROGATES = re.compile("[\ud800-\udfff]")

_TAG_TEXT = re.compile(f"[{_TAGS}\U000e0080-\U000e00ff]+")
_SELECTOR_RUN = re.compile(f"[{_SELECTORS}]{{4,}}")
_UNSEEN_RUN = re.compile("[\u00ad\u200b-\u200d\u2060-\u2064\ufeff]{8,}")
_REORDERS = re.compile("[\u202d\u202e]")

MAX_EXCERPT: Final = 120
"""Characters of hidden text that are quoted."""

_NOT_READ: Final = ("name", "_meta", "icons")

SHOWN_KEYS: Final = ("title", "description")
"""Keys of a definition whose values are text for people and models, at any depth."""


def _rules(text: str) -> re.Pattern[str]:
    return _HIDDEN if _RIGHT_TO_LEFT.search(text) else _HIDDEN_LEFT_TO_RIGHT


def hidden_character(text: str) -> str:
    """The first character of `text` that a reader cannot see or that reorders what is read, named; empty if none."""
    found = _rules(text).search(_FLAG.sub("", text) if "\U0001f3f4" in text else text)
    return "" if found is None else _named(found.group())


def hidden_or_no_break(text: str) -> str:
    """Like `hidden_character`, and no-break blanks where writing does not need them."""
    if hidden := hidden_character(text):
        return hidden
    found = _NO_BREAK.search(text)
    return "" if found is None else _named(found.group())


def visible(text: str) -> str:
    r"""`text` with every hidden character written out, e.g. `\u200b`; text without any is returned as it is."""
    if not hidden_character(text):
        return text
    rules = _rules(text)
    parts = _FLAG.split(text)  # flags are at the odd places
    parts[::2] = [rules.sub(lambda found: _written(found.group()), part) for part in parts[::2]]
    return "".join(parts)


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


def without_surrogates(value: Any) -> Any:
    """A JSON value whose texts have U+FFFD in place of lone surrogates, which no encoder writes."""
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, dict):
        return {without_surrogates(key): without_surrogates(item) for key, item in value.items()}
    return [without_surrogates(item) for item in value] if isinstance(value, list) else value


def concealment(definition: Any) -> str:
    """What a definition hides from people on purpose, in a sentence; empty when it hides nothing so."""
    name = definition.get("name")
    if isinstance(name, str) and (what := concealed(name, reordered=False)):
        return f"Of its name, {what}."
    for where, text in shown_texts(definition):
        if what := concealed(text):
            return f"Of its {where}, {what}."
    return ""


def concealed(text: str, *, reordered: bool = True) -> str:
    """What `text` hides on purpose, in words; empty when it hides nothing or a single stray character.

    Tags outside of flags, runs of variation selectors and long runs of blanks without width carry text that models
    read and people do not ("ASCII smuggling"); an override of direction shows people another order than models read.

    Args:
        text: of a stranger.
        reordered: whether overrides of direction count.
    """
    if text.isascii():
        return ""
    text = _FLAG.sub("", text) if "\U0001f3f4" in text else text
    if found := _TAG_TEXT.search(text):
        said = "".join(chr(ord(c) - 0xE0000) for c in found.group() if 0xE0020 <= ord(c) <= 0xE007E)
        return f"people do not see the text {said[:MAX_EXCERPT]!r}, written in tag characters"
    if found := _SELECTOR_RUN.search(text):
        return f"people do not see {len(found.group())} variation selectors in a row, which can hold text"
    if found := _UNSEEN_RUN.search(text):
        return f"people do not see {len(found.group())} characters without width in a row, which can hold text"
    if reordered and (found := _REORDERS.search(text)):
        return f"people read another order than models do ({_named(found.group())})"
    return ""


def _named(char: str) -> str:
    return f"U+{ord(char):04X} {unicodedata.name(char, 'control character')}"


def _written(char: str) -> str:
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
