"""Words of texts and of identifiers: where one ends, its singular, and which words have no subject of their own.

What the search over tools and the planner have in common; each goes on from here in its own way.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["STOP_WORDS", "pieces", "singular"]

_CASES = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PIECE = re.compile(r"[^\W_]+")

STOP_WORDS: Final = frozenset(
    word
    for line in (
        "a an and any are as at be been by can did do does for from give had has have how i in into is it its me",
        "my of on or our please show so tell than that the their them then there these they this to use used was",
        "we were what when where which who will with would you your",
    )
    for word in line.split()
)
"""Lower-case words that are in every question and say nothing of its subject."""


def pieces(text: str) -> list[str]:
    """The words of text or of an identifier as written: `getCustomerByEmail` and `due_date` come apart."""
    return _PIECE.findall(_CASES.sub(" ", text))


def singular(word: str) -> str:
    """The singular of a lower-case word, roughly: enough that `orders` finds `order`."""
    if len(word) < 4 or not word.endswith("s") or word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("sses", "shes", "ches", "xes", "zes")) else word[:-1]
