"""Text of strangers as people may be shown it: without characters that hide, reorder or steer, and not too long.

What living languages and emoji need is not hidden: joiners inside words and emoji, variation selectors after a base,
marks of direction in text that runs from right to left, and the tags of regional flags (UTS #51 §C.1).

Streamlit pages escape text for Markdown in `dashboards/parts/words.py`, with `import workbench` alone.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

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

_TERMINAL = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160)) if n not in (9, 10)}
"""What a terminal obeys, C0 and C1 controls except tab and line feed (ECMA-48), written out."""

UNSEEN_CATEGORIES: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""Categories of characters without a shape of their own (Unicode §4.5)."""

_TAG_TEXT = re.compile(f"[{_TAGS}\U000e0080-\U000e00ff]+")
_SELECTOR_RUN = re.compile(f"[{_SELECTORS}]{{4,}}")
_UNSEEN_RUN = re.compile("[\u00ad\u200b-\u200d\u2060-\u2064\ufeff]{8,}")
_REORDERS = re.compile("[\u202d\u202e]")

MAX_EXCERPT: Final = 120
"""Characters of hidden text that are quoted."""


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


def visible_excerpt(text: object, limit: int) -> str:
    """`text` as `visible`, and at most `limit` characters of it; empty when it is not a text."""
    return visible(text[:limit])[:limit] if isinstance(text, str) else ""


def terminal_text(text: str) -> str:
    r"""`text` for a terminal: no tool may move the cursor, change the title or turn the order of letters round.

    Controls are written out like `\x1b`, other hidden characters like `\u202e`.
    """
    text = text.translate(_TERMINAL)
    return text if text.isascii() else visible(text)


def without_hidden(text: str) -> str:
    """`text` without characters that nobody sees, and such that it can be written as UTF-8."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(char for char in text if not hidden_character(char)).encode("utf-8", "replace").decode()


def all_visible(text: str) -> bool:
    """Whether every character of `text` has a shape and `text` is one line: what a name on a page of ours must be."""
    return not hidden_character(text) and not any(unicodedata.category(char) in UNSEEN_CATEGORIES for char in text)


def one_line(text: str) -> str:
    """`text` as one line: what has no shape, line breaks and runs of blanks are one blank each."""
    if not (text.isascii() and text.isprintable()):
        text = "".join(" " if unicodedata.category(char) in UNSEEN_CATEGORIES else char for char in text)
    return " ".join(text.split())


def shortened(text: str, limit: int) -> str:
    """`text`, cut to `limit` characters with an ellipsis as the last where it is longer."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


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
