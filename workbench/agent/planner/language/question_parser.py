"""A question taken apart: what is asked, what is only told, what is ordered, and which things each part is about."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from workbench.agent.planner.language.dates import Period, periods
from workbench.agent.planner.language.entities import STRONG, Entity, entities
from workbench.agent.planner.language.lexicon import STOP, family, listed, split
from workbench.agent.planner.planner_data import lexicon

Measure = Literal["", "count", "sum", "avg", "max", "min", "median", "distinct", "share"]

_DATA = lexicon().questions
_ASKING, _ORDERING, _ACTING = ("|".join(listed(words)) for words in (_DATA.asking, _DATA.ordering, _DATA.acting))
_SPLIT = rf"(?:,\s*(?:and\s+|then\s+|also\s+)*|\s+and\s+(?:then\s+|also\s+)?|;\s*)(?=(?:{_ASKING}|{_ORDERING})\b)"
_PRONOUN = re.compile(r"\b(their|they|them|his|her|him|she|he|its|it|this|that|those|these|same)\b", re.I)
_TELLING = re.compile(
    r"\b(says?|said|reports?|reported|claims?|complains?|complained|mentions?|mentioned|told|wrote)\b", re.I
)

_MEASURES: tuple[tuple[Measure, str], ...] = (
    ("share", r"\b(?:what|which|the)\s+(?:share|percentage|percent|proportion|fraction)\b|\bhow many percent\b"),
    ("distinct", r"\b(?:how many|number of|count(?: of)?)\s+(?:different|distinct|unique)\b|\bdistinct\b"),
    ("count", r"\bhow many\b|\bnumber of\b|\bcount\b"),
    ("median", r"\bmedian\b"),
    ("avg", r"\baverages?\b|\bmean\b|\bavg\b|\bon average\b|\btypical\b"),
    ("sum", r"\btotals?\b|\bsum\b|\boverall\b|\bcombined\b|\bin all\b|\baltogether\b|\bhow much\b"),
)


def _any(phrases: Iterable[str]) -> str:
    """The pattern of any one of some words or phrases."""
    return rf"\b(?:{'|'.join(phrases)})\b"


_MOST = _any(_DATA.most) + r"(?!\s+recent)"
_LEAST = _any(_DATA.least)
_NEWEST = _any(_DATA.newest) + r"(?!\s+(?:\d+\s+)?(?:day|week|month|quarter|year|night|name)s?\b)"
_OLDEST = _any(_DATA.oldest) + r"(?!\s+(?:name|class|of all))"


_NUMBERS = listed(_DATA.numbers)[:11]
_SMALL = "|".join(_NUMBERS[2:])
_EXTREME = "|".join(_DATA.extremes)
_TOP = (
    rf"\b(?:{_EXTREME})\s+(\d{{1,3}}|{_SMALL})\b(?!\s+(?:minute|hour|day|week|month|quarter|year)s?\b)"
    rf"|\b(\d{{1,3}}|{_SMALL})\s+(?:\w+\s+(?:with|of|by)\s+the\s+)?(?:{_EXTREME})\b"
)

_SO_MANY = rf"\b(?:which|what)\s+(\d{{1,3}}|{_SMALL})\s+(?!(?:minute|hour|day|week|month|quarter|year)s?\b)[a-z]"
"""`Which five products`: a number that says how many are wanted, where something ranks them."""


@dataclass(frozen=True)
class Need:
    """One piece of information that the question wants, says, or orders."""

    text: str
    kind: Literal["ask", "tell", "do"]
    words: tuple[str, ...]
    """Meaningful words in order, as written, lower case; dates and things named are left out."""
    entities: tuple[Entity, ...] = ()
    inherited: tuple[Entity, ...] = ()
    """Things named elsewhere in the question that this part is about too (`their`)."""
    periods: tuple[Period, ...] = ()
    measure: Measure = ""
    order: Literal["", "desc", "asc", "newest", "oldest"] = ""
    top: int | None = None
    by: tuple[str, ...] = ()
    """Words after `per`, `by`, `for each`."""
    which: tuple[str, ...] = ()
    """Words between `which` (or `top 5`) and the verb: the things to be named in the answer."""

    @property
    def terms(self) -> tuple[str, ...]:
        """Families of the words."""
        return tuple(dict.fromkeys(family(w) for w in self.words))

    @property
    def about(self) -> tuple[Entity, ...]:
        """Everything named that this part is about, its own first."""
        return (*self.entities, *(e for e in self.inherited if e not in self.entities))

    @property
    def analytic(self) -> bool:
        """Wants something computed over many rows."""
        return bool(self.measure or self.by) or self.order in ("desc", "asc")


def field_beside(text: str) -> str:
    """The field that is asked for together with a count: `reasons` in `how many, and for what reasons`."""
    found = re.search(r"\b(?:and|by|for)\s+(?:for\s+)?(?:what|which|their|the)\s+(\w+)", text, re.I)
    return found.group(1).lower() if found else ""


@dataclass(frozen=True)
class ParsedQuestion:
    """The whole question, understood once."""

    text: str
    today: date
    needs: tuple[Need, ...]
    entities: tuple[Entity, ...]

    @property
    def subject(self) -> tuple[Entity, ...]:
        """The things that single out what the question is about."""
        strong = tuple(e for e in self.entities if e.kind in STRONG)
        return strong or tuple(e for e in self.entities if e.kind == "name")


def understand(text: str, today: date, earlier: tuple[str, ...] = ()) -> ParsedQuestion:
    """Take `text` apart.

    Args:
        text: the question as asked.
        today: the day that `last week` counts from.
        earlier: previous questions of the same conversation, oldest first; their things answer a bare pronoun.
    """
    spans = periods(text, today)
    quoted = [m.span() for m in re.finditer(r"\"[^\"]*\"|“[^”]*”|`[^`]*`", text)]
    spans = [p for p in spans if not any(s <= p.span[0] < e for s, e in quoted)]
    named = entities(text, [p.span for p in spans])
    needs: list[Need] = []
    for n, (start, end) in _clauses(text, named):
        need = _need(text, start, end, named, spans)
        if need is not None:
            # the further nouns of a list are wanted in the same way as the first: `show status, open tickets and …`
            need = replace(need, kind=needs[-1].kind) if n and needs else need
            needs.extend(_each_period(need))
    carried = _carried(earlier, today) if not any(e.kind in STRONG or e.kind == "name" for e in named) else ()
    return ParsedQuestion(text, today, tuple(_inherit(needs, carried)), tuple(named) or carried)


def _clauses(text: str, named: list[Entity]) -> list[tuple[int, tuple[int, int]]]:
    """Spans of sentences and of the clauses in them that ask on their own, each with its place in a list of nouns."""
    whole = [e.span for e in named]

    def inside(at: int) -> bool:
        return any(s < at < e for s, e in whole)

    cuts = [0]
    cuts += [
        m.end()
        for m in re.finditer(r"[.?!]+(?=\s|$)|\n+", text)
        if not inside(m.start()) and not re.search(r"\b(?:e\.g|i\.e|vs|mr|mrs|dr|no|st)$", text[: m.start()], re.I)
    ]
    for m in re.finditer(_SPLIT, text, re.I):
        sentence = text[max(c for c in cuts if c <= m.start()) : m.start()]
        # `if it is noon here, what time is it there`: the condition belongs to what follows
        if not inside(m.start() + 1) and not re.match(r"\s*(?:if|when|given|suppose|assuming|while)\b", sentence, re.I):
            cuts.append(m.end())
    pieces = list(itertools.pairwise(sorted({*cuts, len(text)})))
    return [numbered for piece in pieces for numbered in enumerate(_listed(text, piece, inside))]


def _listed(text: str, piece: tuple[int, int], inside: Callable[[int], bool]) -> list[tuple[int, int]]:
    """A clause that lists nouns (`status, open tickets and payment history of …`) as one span per noun."""
    start, end = piece
    part = text[start:end]
    if any(re.search(p, part, re.I) for _, p in _MEASURES) or re.search(rf"{_MOST}|{_LEAST}|\bbetween\b", part, re.I):
        return [piece]
    marks = [
        m for m in re.finditer(r",\s*(?:and\s+)?|\s+and\s+|\s+as well as\s+", part) if not inside(start + m.start() + 1)
    ]
    spans, at = [], start
    for m in marks:
        spans.append((at, start + m.start()))
        at = start + m.end()
    spans.append((at, end))
    ok = all(
        sum(w not in STOP and w.isalpha() and w.islower() for w in re.findall(r"\w+", text[s:e])) >= 1 for s, e in spans
    )
    short = all(len(text[s:e].split()) <= 9 for s, e in spans[:-1])
    return spans if ok and short and len(spans) <= 5 else [piece]


def _need(text: str, start: int, end: int, named: list[Entity], spans: list[Period]) -> Need | None:
    part = text[start:end].strip()
    own = tuple(e for e in named if start <= e.span[0] < end)
    when = tuple(p for p in spans if start <= p.span[0] < end)
    left = "".join(
        " " if any(s <= i < e for s, e in [*(e.span for e in own if e.kind != "code"), *(p.span for p in when)]) else c
        for i, c in enumerate(text[start:end], start)
    )
    measure: Measure = next((m for m, pattern in _MEASURES if re.search(pattern, left, re.I)), "")
    if (
        measure == "sum"
        and re.search(r"\bhow much\b", left, re.I)
        and re.search(r"\bcosts?\b|\bprice\b|\bcharge\b", left, re.I)
    ):
        measure = ""
    order = _order(left)
    by = re.search(r"\b(?:per|by|each|every)\s+((?:[a-z_]+\s*){1,3})", left, re.I)
    which = _which(left)
    top = re.search(_TOP, text[start:end], re.I) or (re.search(_SO_MANY, text[start:end], re.I) if order else None)
    words = tuple(w for w in split(left) if w not in STOP and (len(w) > 1 or w.isdigit()))
    if not words and not own and not when:
        return None
    return Need(
        text=part.strip(" ,;"),
        kind=_kind(part),
        words=words,
        entities=own,
        periods=when,
        measure=measure,
        order=order,
        top=_small(next(g for g in top.groups() if g)) if top else None,
        by=tuple(w for w in split(by.group(1)) if w not in STOP) if by else (),
        which=which,
    )


def _which(text: str) -> tuple[str, ...]:
    """The things to be named: the words after `which` or `top five`, up to the verb."""
    m = re.search(
        r"\b(?:(?:which|what|whose)(?!\s+(?:is|are|was|were|do|does|did|has|have|s)\b)|(?:top|bottom)\s+\w+|the\s+(?:\d+|two|three|four|five|ten))\s+((?:[a-z_\-]+\s*){1,4})",
        text,
        re.I,
    )
    if m is None and re.match(r"\s*who\b", text, re.I):
        return ("person",)
    found: list[str] = []
    for word in split(m.group(1)) if m else ():
        if not found and (word.isdigit() or word in _SMALL.split("|")):
            continue
        if word in STOP or (word.endswith("ed") and word not in ("feed", "seed", "speed")) or word in _VERBS:
            if found or word not in ("of", "the", "is", "are", "was", "were"):
                break
            continue
        found.append(word)
    return tuple(found[:3])


_VERBS = frozenset(listed(_DATA.verbs))


def _each_period(need: Need) -> list[Need]:
    """A part about several times as one part for each: `compare May and June`."""
    if len(need.periods) < 2 or len(need.periods) > 6:
        return [need]
    return [replace(need, text=f"{need.text.strip(' ,;?.')} ({p.text.strip()})", periods=(p,)) for p in need.periods]


def _small(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS.index(text.lower())


def _order(text: str) -> Literal["", "desc", "asc", "newest", "oldest"]:
    if re.search(_LEAST, text, re.I):
        return "asc"
    if re.search(_MOST, text, re.I):
        return "desc"
    if re.search(_NEWEST, text, re.I):
        return "newest"
    return "oldest" if re.search(_OLDEST, text, re.I) else ""


def _kind(part: str) -> Literal["ask", "tell", "do"]:
    start = re.sub(
        r"^(?:please|then|also|and|can you|could you|would you|kindly|now|hi|hello|hey)[\s,]+",
        "",
        part.strip(),
        flags=re.I,
    )
    start = re.sub(r"^(?:please)\s+", "", start, flags=re.I)
    if re.match(rf"(?:{_ACTING})\b(?!\s+[a-z]+s\b[^.]*\?)", start, re.I) and not part.rstrip().endswith("?"):
        return "do"
    if part.rstrip().endswith("?") or re.match(rf"(?:{_ASKING}|{_ORDERING})\b", start, re.I):
        return "ask"
    return "tell" if _TELLING.search(part) or part.rstrip().endswith(".") else "ask"


def _inherit(needs: list[Need], carried: tuple[Entity, ...]) -> list[Need]:
    """Let a part that names nothing singular be about what the parts before it (or the first after it) named."""
    result = []
    subject: tuple[Entity, ...] = carried
    everything = tuple(e for n in needs for e in n.entities if e.kind in STRONG or e.kind == "name")
    for need in needs:
        own = tuple(e for e in need.entities if e.kind in STRONG or e.kind == "name")
        if own and not (_PRONOUN.search(need.text) and subject and not any(e.kind in STRONG for e in own)):
            subject = own
            result.append(need)
            continue
        about = subject or everything
        result.append(replace(need, inherited=about))
        if own:
            subject = (*subject, *own)
    return result


def _carried(earlier: tuple[str, ...], today: date) -> tuple[Entity, ...]:
    for text in reversed(earlier):
        found = tuple(
            e for e in entities(text, [p.span for p in periods(text, today)]) if e.kind in STRONG or e.kind == "name"
        )
        if found:
            return found
    return ()
