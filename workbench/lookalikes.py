"""Which names can be taken for one another, and which characters of a name nobody sees.

Look-alikes are found by a skeleton in the manner of Unicode TS #39 §4, with those of its mappings that turn ASCII
letters into each other, and Cyrillic and Greek ones into ASCII.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from typing import Final

from workbench.display_text import UNSEEN_CATEGORIES

_HOMOGLYPHS = str.maketrans(
    "\u0430\u0441\u0435\u043e\u0440\u0443\u0445\u0456\u0458\u0455\u0501\u04bb\u051b\u051d\u0475\u04cf"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0408\u0405\u0423"
    "\u03b1\u03bf\u03bd\u03c1\u03b9\u03ba\u0131\u0251\u0261"
    "\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7",
    "aceopyxijsdhqwvlABEKMHOPCTXIJSYaovpikiagABEZHIKMNOPTYX",
)
_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and marks that print nothing."""
MAX_SUBJECT: Final = 256


@lru_cache(1 << 16)
def skeleton(name: str) -> str:
    """A form that two names share when one can be taken for the other, e.g. `fi1es` and `files`."""
    text = unicodedata.normalize("NFKC", name)
    if not text.isascii():
        text = "".join(char for char in text.translate(_HOMOGLYPHS) if not unseen(char))
    text = text.replace("_", "-")
    for seen, meant in (("I", "l"), ("1", "l"), ("|", "l"), ("0", "O"), ("rn", "m"), ("vv", "w")):
        text = text.replace(seen, meant)
    return text.casefold()


def unseen(char: str) -> bool:
    """Whether a character prints nothing, or changes how others are read: controls, format characters, fillers."""
    if char.isascii():
        return char < " " or char == "\x7f"
    selector = "\ufe00" <= char <= "\ufe0f" or "\U000e0000" <= char <= "\U000e0fff" or "\u180b" <= char <= "\u180f"
    return selector or char in _BLANK or unicodedata.category(char) in UNSEEN_CATEGORIES


def subject_objection(subject: str) -> str:
    """Why a text cannot name a person or program, in words; empty when it can."""
    if not subject.strip():
        return "it is empty"
    if len(subject) > MAX_SUBJECT:
        return f"it has more than {MAX_SUBJECT} characters"
    if hidden := next((char for char in subject if unseen(char)), ""):
        return f"it holds U+{ord(hidden):04X} {unicodedata.name(hidden, 'control character')}, which nobody sees"
    if subject != subject.strip():
        return "it begins or ends with a blank"
    blank = next((char for char in subject if char.isspace() and char != " "), "")
    if blank:
        return f"it holds the blank U+{ord(blank):04X}"
    if unicodedata.normalize("NFC", subject) != subject:
        return "its accents are not composed (Unicode NFC)"
    return ""


def imitated(subject: str, others: frozenset[str]) -> str:
    """The first of other subjects that this one can be taken for; empty when there is none, or it is one of them."""
    if subject in others:
        return ""
    mine = _forms(subject)
    return min((other for other in others if mine & _forms(other)), default="")


@lru_cache(1 << 14)
def _forms(subject: str) -> frozenset[str]:
    """Forms one of which two subjects share when one can be taken for the other."""
    spaced = " ".join(subject.split())
    return frozenset((skeleton(spaced), skeleton(unicodedata.normalize("NFKC", spaced).casefold())))
