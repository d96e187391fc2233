"""Words as the planner compares them: split, stemmed, and put into families of meaning.

Nothing here knows a server or a tool. The families stand in `lexicon.toml`; a word outside them is compared by its
stem, by abbreviation (`dep` for `departure`) and, one level up, by embedding.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from workbench.agent.planner.planner_data import lexicon, weights
from workbench.word_forms import STOP_WORDS, pieces, singular


def listed(text: str) -> list[str]:
    """The words of a text, one list entry each: how the data files write lists of words."""
    return text.split()


STOP = STOP_WORDS | frozenset(listed(lexicon().words.stop))
"""Words without a subject."""

MEASURING = frozenset(listed(lexicon().words.measuring))
"""Words that say how to compute or sort, and nothing about what."""


_IRREGULAR = lexicon().words.irregular


@functools.lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """A light stem: plural, -ing and -ed removed; short words and words with digits stay as they are."""
    w = word.lower()
    if w in _IRREGULAR:
        return _IRREGULAR[w]
    if len(w) <= 3 or any(c.isdigit() for c in w):
        return w
    w = singular(w)
    for ending in ("ing", "ed"):
        base = w.removesuffix(ending)
        if base != w and len(base) >= 3 and re.search("[aeiouy]", base):
            if base[-1] == base[-2] and base[-1] not in "lsz":
                return base[:-1]
            return base
    return w.removesuffix("e") if len(w) > 4 and w.endswith("e") else w


def _families() -> dict[str, str]:
    family: dict[str, str] = {}
    for line in lexicon().words.families:
        members = line.split()
        for member in members:
            family.setdefault(stem(member), stem(members[0]))
    return family


_FAMILY = _families()


@functools.lru_cache(maxsize=20_000)
def family(word: str) -> str:
    """The family a word belongs to, or its stem when it has none."""
    base = stem(word)
    return _FAMILY.get(base, base)


@functools.lru_cache(maxsize=5_000)
def split(text: str) -> tuple[str, ...]:
    """Lower-case words of text or of an identifier: `getCustomerByEmail`, `due-date` and `due_date` all come apart."""
    return tuple(w.lower() for w in pieces(text))


@functools.lru_cache(maxsize=5_000)
def terms(text: str) -> tuple[str, ...]:
    """Families of the words that carry meaning, in order, without repeats."""
    return tuple(dict.fromkeys(family(w) for w in split(text) if w not in STOP and (len(w) > 1 or w.isdigit())))


@functools.lru_cache(maxsize=50_000)
def alike(a: str, b: str) -> float:
    """How surely two words mean the same: 1 for one family, less for an abbreviation, 0 for strangers.

    Args:
        a: a word of the question.
        b: a word of a schema, which may be an abbreviation of `a` (`dep_delay`, `qty`, `amt`).
    """
    fa, fb = family(a), family(b)
    if fa == fb:
        return 1.0
    x, y = a.lower(), b.lower()
    if len(x) < len(y):
        x, y = y, x
    if len(y) >= 3 and x.startswith(y):
        nearly = len(x) - len(y) <= 3 or len(y) >= 4
        return weights().likeness.abbreviation if nearly else weights().likeness.short_abbreviation
    skeleton = x[0] + re.sub("[aeiou]", "", x[1:])
    if len(y) >= 3 and skeleton.startswith(y):
        return weights().likeness.skeleton
    return 0.0


def close(a: str, b: str) -> bool:
    """Whether two words count as the same: one family, or a clear abbreviation. See `alike`."""
    return alike(a, b) >= weights().likeness.close


def overlap(wanted: Iterable[str], offered: Iterable[str]) -> float:
    """The share of `wanted` words that some `offered` word means; 0 when nothing is wanted."""
    asked = list(wanted)
    pool = list(offered)
    if not asked:
        return 0.0
    return sum(max((alike(w, o) for o in pool), default=0.0) for w in asked) / len(asked)
