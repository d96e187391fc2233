"""How long it takes to prepare a regular expression, told from its text: a few characters can mean seconds.

The engine writes counted repetitions out, and a class of Unicode is hundreds of states each time. The costs were
measured, in microseconds; they need to be right within a factor of a few.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SCHEMA_COST: Final = 250_000
"""Microseconds that all patterns of one schema may take to prepare; those beyond are not checked."""

_OF_ONE_PATTERN: Final = 40.0
_OF_CHARACTER: Final = 0.5
_OF_DOT: Final = 10.0
_OF_NEGATION: Final = 25.0
_OF_UNICODE: Final = 800.0

_ATOM: Final = re.compile(
    r"(?P<unicode>\\[pP](?:\{[^}]*\})?)|(?P<negated>\\[SDW])|(?P<escape>\\.)|(?P<class>\[\^?\]?(?:\\.|[^\]\\])*\]?)"
    r"|(?P<count>\{(?P<least>\d*)(?:,(?P<most>\d*))?\})|(?P<open>\()|(?P<close>\))|(?P<dot>\.)|(?P<other>.)",
    re.DOTALL,
)


def pattern_cost(pattern: str) -> float:
    """Microseconds, about, to prepare `pattern`."""
    sums, last = [0.0], 0.0
    for found in _ATOM.finditer(pattern):
        kind = found.lastgroup
        if kind == "open":
            sums.append(0.0)
            last = 0.0
        elif kind == "close":
            last = sums.pop() if len(sums) > 1 else 0.0
            sums[-1] += last
        elif kind == "count" and (times := max(int(n[:6] or 0) for n in (found["least"], found["most"] or "0"))):
            sums[-1] += last * (times - 1)
            last *= times
        else:
            last = _cost_of(kind, found[0])
            sums[-1] += last
    return _OF_ONE_PATTERN + sum(sums)


def _cost_of(kind: str | None, text: str) -> float:
    if kind == "unicode" or (kind == "class" and ("\\p" in text or "\\P" in text)):
        return _OF_UNICODE
    if kind == "negated" or (kind == "class" and (text[1:2] == "^" or re.search(r"\\[SDW]", text))):
        return _OF_NEGATION
    return _OF_DOT if kind == "dot" else _OF_CHARACTER
