"""The sentences of documents that are nearest to a question, quoted as they stand."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from workbench.agent.planner.language.lexicon import MEASURING, STOP, close, listed, split, terms
from workbench.agent.planner.language.question_parser import Need
from workbench.agent.planner.planner_data import lexicon, weights
from workbench.agent.planner.tools.tool_records import Row

QUOTED = 3
"""Sentences quoted of one document."""
_NOT_SUBJECT = frozenset(listed(lexicon().searching.not_subject))
_FIGURE = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|thirty|daily|weekly|monthly|quarterly|yearly|"
    r"every|never|always|(?:mon|tues|wednes|thurs|fri|satur|sun)day|once|twice)\b",
    re.I,
)


@dataclass(frozen=True)
class Passage:
    """Sentences of one document."""

    title: str
    source: str
    """Id or path of the document."""
    sentences: tuple[str, ...]
    share: float
    """Share of the words asked for that the document has in these sentences, their heading or its title."""


def text_of(row: Row) -> str:
    """The longest text of a row: a body, or the snippet of a search."""
    texts = [v for v in row.fields.values() if isinstance(v, str) and len(v.split()) >= 4]
    return max(texts, key=len, default="")


def named(row: Row) -> tuple[str, str]:
    """Title and id of the document that a row is about."""
    fields = row.fields
    title = next((str(fields[k]) for k in ("title", "name", "heading", "subject") if fields.get(k)), "")
    source = next((str(v) for k, v in fields.items() if re.search(r"(?:^|_)(?:id|path|uri|url|file)$", k) and v), "")
    return title or source, source


def asked_words(need: Need) -> list[str]:
    """The words that say what the answer is about."""
    own = [w for e in need.entities if e.kind in ("name", "quoted", "code") for w in split(e.value)]
    words = [w for w in (*need.words, *own) if w not in STOP and w not in _NOT_SUBJECT and w not in MEASURING]
    return list(dict.fromkeys(words))


def nearest(need: Need, documents: Sequence[tuple[str, str, str]]) -> list[Passage]:
    """The best sentences of each document, the document that answers best first.

    Args:
        need: what is asked.
        documents: title, id and text of each.
    """
    weight = weights().passages
    wanted = asked_words(need)
    if not wanted:
        return []
    read = [(title, source, _sentences(text)) for title, source, text in documents]
    every = [set(terms(s)) for _, _, sentences in read for s, _ in sentences]
    rare = {w: math.log(1 + len(every) / (1 + sum(_has(w, t) for t in every))) for w in wanted}
    figure = bool(re.search(r"\b(?:how (?:many|much|long|often|soon|late)|when|what time)\b", need.text, re.I))
    found = []
    for title, source, sentences in read:
        about = set(terms(title))
        scored = []
        for n, (sentence, heading) in enumerate(sentences):
            own = set(terms(sentence))
            above = about | set(terms(heading))
            score = sum(rare[w] * (1.0 if _has(w, own) else weight.title_or_heading * _has(w, above)) for w in wanted)
            if not any(_has(w, own) for w in wanted):
                score *= weight.nothing_said
            scored.append((score * (weight.figure if figure and _FIGURE.search(sentence) else 1.0), -n))
        best = sorted(scored, reverse=True)[:QUOTED]
        if not best or best[0][0] <= 0:
            continue
        at = -best[0][1]
        beside = {n for n in (at - 1, at + 1) if 0 <= n < len(sentences) and sentences[n][1] == sentences[at][1]}
        chosen = sorted(beside | {-n for score, n in best if score >= weight.quoted * best[0][0]})
        first = sentences[-best[0][1]]
        said = about.union(terms(f"{first[1]} {first[0]}"))
        share = sum(_has(w, said) for w in wanted) / len(wanted)
        found.append((best[0][0] * share, Passage(title, source, tuple(sentences[n][0] for n in chosen), share)))
    return [p for _, p in sorted(found, key=lambda f: -f[0])]


def quoted(need: Need, documents: Sequence[tuple[str, str, str]]) -> str:
    """The answer from documents; says so when none of them speaks of what was asked."""
    passages = nearest(need, documents)
    if not passages or passages[0].share < weights().passages.share:
        subject = ", ".join(asked_words(need)) or "this"
        near = f"; the nearest is {passages[0].title} ({passages[0].source})" if passages else ""
        return f"not found; no document that was found speaks of all of it ({subject}){near}."
    kept = [
        passages[0],
        *(p for p in passages[1:2] if p.share >= min(1.0, passages[0].share + weights().passages.second_lead)),
    ]
    lines = []
    for p in kept:
        where = f"{p.title} ({p.source})" if p.source and p.source != p.title else p.title
        lines += [f"{where} says:", *(f"> {s}" for s in p.sentences)]
    return "\n".join(lines)


def _has(word: str, pool: set[str]) -> bool:
    return any(close(word, t) for t in pool)


def _sentences(text: str) -> list[tuple[str, str]]:
    """Sentences with the heading above each; a list item or a table row is a sentence."""
    found: list[tuple[str, str]] = []
    heading = ""
    block: list[str] = []
    code = False

    def close() -> None:
        joined = " ".join(block).strip()
        block.clear()
        found.extend((s.strip(), heading) for s in re.split(r"(?<=[.!?])\s+(?=[\"'`*(A-Z0-9])", joined) if s.strip())

    for line in text[:200_000].splitlines():
        bare = line.strip()
        if bare.startswith("```"):
            close()
            code = not code
        elif code:
            continue
        elif bare.startswith("#"):
            close()
            heading = bare.lstrip("# ").strip()
        elif not bare or re.match(r"(?:[-*+•|]|\d+[.)])\s*", bare):
            close()
            if bare:
                block.append(re.sub(r"^(?:[-*+•]|\d+[.)])\s+", "", bare))
        else:
            block.append(bare)
    close()
    return [(s if len(s) <= 400 else s[:397] + "…", h) for s, h in found]
