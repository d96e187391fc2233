"""Things that a question names: addresses, ids, names, numbers, quoted text, paths, times of day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from workbench.agent.planner.language.lexicon import STOP, family, listed, split
from workbench.agent.planner.planner_data import lexicon

Kind = Literal["email", "url", "uuid", "id", "path", "quoted", "time", "money", "number", "code", "name"]

STRONG: frozenset[Kind] = frozenset(("email", "url", "uuid", "id", "path", "quoted"))
"""Kinds that single out one thing, so that a call that ignores them answers another question."""


@dataclass(frozen=True)
class Entity:
    """One thing named in the question, where it stands, and the word that introduces it (`ticket` in `ticket 812`)."""

    kind: Kind
    value: str
    span: tuple[int, int]
    before: str = ""
    """Family of the nearest meaningful word before it."""
    comparison: Literal["", "min", "max"] = ""
    """For numbers: a lower bound (`over 500`) or an upper bound (`at most 500`)."""

    @property
    def number(self) -> float | None:
        """The value as a number, when it is one."""
        try:
            return float(re.sub(r"[^\d.\-]", "", self.value)) if self.kind in ("number", "money") else None
        except ValueError:
            return None


_SUFFIXES = "md|txt|csv|json|py|toml|ya?ml|parquet|pdf|html|log|sql|xml|ini|cfg|rst|js|ts"
_JOINED = (
    r"(?:of|de|van|von|the|&|(?!(?:and|or|in|on|at|for|to|from|by|with|is|was|has|have|had|did|does|do)\b)"
    r"[a-z]{3,12}(?<!ed)(?<!ing)(?<!s))"
)
"""A lower-case word that may stand inside a name: `Otter Flow meter Pro`."""

_PATTERNS: tuple[tuple[Kind, str], ...] = (
    ("quoted", r"\"([^\"\n]{1,300})\"|“([^”\n]{1,300})”|(?<!\w)'([^'\n]{1,300})'(?!\w)|`([^`\n]{1,300})`"),
    ("url", r"\bhttps?://[^\s<>\"']+[^\s<>\"'.,;:!?)]"),
    ("email", r"\b[A-Za-z0-9._%+\-]+@[A-Za-z0-9\-]+(?:\.[A-Za-z0-9\-]+)+\b"),
    ("uuid", r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
    ("path", r"(?<![\w/.])(?:~|\.{1,2})?(?:/[\w.\-+@]+)+/?|\b[\w\-]+(?:/[\w.\-]+)*\.(?:" + _SUFFIXES + r")\b"),
    ("id", "|".join((
        r"\b[A-Za-z]{1,12}[-_#](?=[\w\-]*\d)[\w]+(?:-[\w]+)*\b",  # INV-2026-0042
        r"\b[A-Z]{1,6}\d{2,}[A-Z0-9]*\b",  # N14228
        r"(?<!\w)#\d+\b",
        r"\b(?=[0-9a-f]*[a-f])(?=[0-9a-f]*\d)[0-9a-f]{7,40}\b",  # the hash of a commit
    ))),
    ("time", r"\b(?:[01]?\d|2[0-3]):[0-5]\d(?:\s?[ap]m)?\b|\b(?:1[0-2]|[1-9])\s?[ap]m\b"),
    ("money", r"[$€£]\s?\d[\d,]*(?:\.\d+)?|\b\d[\d,]*(?:\.\d+)?\s?(?:dollars|euros|pounds|USD|EUR|GBP)\b"),
    ("number", r"(?<![\w.\-])-?\d[\d,]*(?:\.\d+)?\b(?!-)"),
    ("code", r"\b[A-Z][A-Z0-9]{1,5}\b"),
    ("name", r"\b[A-Z][\w'’&/\-]*(?:\s+(?:" + _JOINED + r"\s+)?[A-Z][\w'’&/\-]*)*"),
)  # fmt: skip

_LEAD = frozenset(listed(f"{lexicon().names.lead} {lexicon().names.people}"))
_MONTHS_DAYS = frozenset(listed(lexicon().names.calendar))
_ACRONYMS = frozenset(listed(lexicon().names.acronyms))
_INTRODUCING = frozenset(listed(lexicon().names.introducing))
_OVER = r"(?:over|above|more than|greater than|at least|exceeding|exceeds?|from|minimum(?: of)?|no less than|>=?)\s*$"
_UNDER = r"(?:under|below|less than|fewer than|at most|up to|cheaper than|maximum(?: of)?|no more than|<=?)\s*$"


def entities(text: str, taken: list[tuple[int, int]] | None = None) -> list[Entity]:
    """All entities of `text` in order, stronger kinds first where two would overlap.

    Args:
        text: the question.
        taken: spans already understood otherwise (dates), in which nothing is looked for.
    """
    spans = list(taken or [])
    found: list[Entity] = []
    for kind, pattern in _PATTERNS:
        for m in re.finditer(pattern, text):
            start, end = m.span()
            if any(start < e and s < end for s, e in spans):
                continue
            for entity in _entity(kind, m, text):
                found.append(entity)
                spans.append(entity.span)
    return sorted(found, key=lambda e: e.span)


def _entity(kind: Kind, m: re.Match[str], text: str) -> list[Entity]:
    start, end = m.span()
    value = next((g for g in m.groups() if g), m.group()) if m.groups() else m.group()
    before = text[:start]
    if kind == "name":
        return _names(m.group(), start, text)
    if kind == "code" and value.lower() in STOP | _LEAD | _ACRONYMS:
        return []
    if kind == "id":
        value = value.lstrip("#")
        if value.isdigit():
            kind = "number"
    if kind in ("number", "money"):
        value = value.replace(",", "")
    bound: Literal["", "min", "max"] = ""
    if kind in ("number", "money"):
        if re.search(_OVER, before, re.I):
            bound = "min"
        elif re.search(_UNDER, before, re.I):
            bound = "max"
    return [Entity(kind, value.strip(), (start, end), _introduced(before), bound)]


def _introduced(before: str) -> str:
    """Family of the last meaningful word within the three words before an entity."""
    for word in reversed(split(before[-60:])[-3:]):
        if word in _INTRODUCING:
            continue
        return "" if word in STOP else family(word)
    return ""


def _names(text: str, start: int, whole: str) -> list[Entity]:
    """A capitalised run as a name, without the words that are capitalised only because a sentence begins."""
    words = [(m.group(), m.start()) for m in re.finditer(r"\S+", text)]
    begins = not whole[:start].strip() or whole[:start].rstrip()[-1:] in ".?!:;"
    while words and (
        words[0][0].lower() in _LEAD | STOP | _MONTHS_DAYS
        or (
            begins
            and len(words) > 1
            and family(words[0][0]) != words[0][0].lower()
            and words[0][0].lower().endswith("s")
        )
    ):
        words = words[1:]
        begins = False
    while words and words[-1][0].lower() in _MONTHS_DAYS | STOP:
        words = words[:-1]
    if not words or (begins and len(words) == 1):
        return []
    first, last = words[0], words[-1]
    value = re.sub(r"['’]s$", "", text[first[1] : last[1] + len(last[0])])
    span = (start + first[1], start + first[1] + len(value))
    return [Entity("name", value, span, _introduced(whole[: span[0]]))] if len(value) > 1 else []
