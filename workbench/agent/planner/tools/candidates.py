"""Which tools could serve a part of a question, and which other tools would find the ids that they need."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace

from workbench.agent.planner.language.entities import STRONG, Entity
from workbench.agent.planner.language.lexicon import alike, close, family, split, terms
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion
from workbench.agent.planner.planner_data import weights
from workbench.agent.planner.tools.argument_values import FilledArguments
from workbench.agent.planner.tools.fill_arguments import PROSE, fill
from workbench.agent.planner.tools.relevance import Relevance, parts
from workbench.agent.planner.tools.tool_profile import Parameter, ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall

MAX_CANDIDATES = 5
"""Tools tried for one part before it is given up."""


class CandidateRanking:
    """Ranks the tools of one catalogue for the needs of one question."""

    def __init__(
        self,
        question: ParsedQuestion,
        shapes: Sequence[ToolProfile],
        steps: Sequence[FinishedCall],
        tabular: Collection[str],
    ) -> None:
        """
        Args:
            question: the whole question.
            shapes: the tools that may be called.
            steps: calls finished so far.
            tabular: qualified names of the tools that work on tables, which are reached by another route.
        """
        self.question, self.shapes, self.steps, self.tabular = question, shapes, steps, tabular
        self.relevance = Relevance(shapes)

    def ranked(self, need: Need) -> list[tuple[float, ToolProfile]]:
        """Tools for a need, best first: relevance, and whether they can use what the need names."""
        w = weights().ranking
        scores = self.relevance.scores(need.words, need.text)
        acting = need.kind == "do"
        found = []
        for shape, score in zip(self.shapes, scores, strict=True):
            if shape.effect == "destroy" or (shape.effect != "read" and not acting):
                continue
            if shape.tool.qualified in self.tabular and not acting:
                continue
            if acting and shape.effect == "read" and not is_ordered(need, shape):
                score -= w.acts_malus
            if score >= w.floor * w.first_look:
                apt = score + self._aptness(shape, need)
                found.append((apt, shape))
        found.sort(key=lambda f: (-f[0], f[1].tool.qualified))
        if of_rules(need):
            found = [*self._documents(need, scores, 1 + max((f[0] for f in found), default=0.0)), *found]
        near = [f for f in found if f[0] >= max(w.floor, w.near_best * found[0][0])][:MAX_CANDIDATES]
        return near or ([] if acting else self._documents(need, scores))

    def _documents(self, need: Need, scores: list[float], lead: float = 0.0) -> list[tuple[float, ToolProfile]]:
        """Searches over documents, for a part that no tool is made for: its subject may be what a text is about."""
        if not need.words or need.by or need.order in ("desc", "asc"):
            return []
        return sorted(
            (
                (score + lead, s)
                for s, score in zip(self.shapes, scores, strict=True)
                if s.effect == "read" and reads_prose(s) and len(s.required) <= 1
            ),
            key=lambda f: (-f[0], f[1].tool.qualified),
        )[:1]

    def _aptness(self, shape: ToolProfile, need: Need) -> float:
        # without the results so far: the order of candidates must not change from turn to turn
        weight = weights().ranking
        filled = fill(shape, need, self.question, [])
        subject = subject_of(need)
        bonus = 0.0
        if subject:
            covered = self._covered(shape, need, filled, subject)
            bonus += weight.subject_bonus * covered - weight.subject_malus * (1 - covered)
        elif any(p.role in ("id", "email") for p in filled.missing):
            bonus -= weight.subject_malus
        names = {p.name: p for p in shape.parameters}
        exact = [
            n
            for n in filled.arguments
            if names[n].role in ("choice", "start", "end", "day", "min", "max", "flag", "timezone", "time", "path")
        ]
        bonus += min(weight.exact_most, weight.exact_bonus * len(exact))
        if shape.takes("group"):
            grouped = any(names[n].role == "group" for n in filled.arguments)
            bonus += weight.group_bonus if grouped else -weight.group_unused_malus
        elif need.by or (need.which and need.order in ("desc", "asc")):
            bonus -= weight.no_group_malus
        bonus += _kind_bonus(shape, need)
        if need.measure == "count" and any(v in ("count", "stat", "statistic") for v in shape.verbs):
            bonus += weight.count_bonus
        elif not need.measure and "count" in shape.verbs:
            bonus -= weight.count_malus
        if need.analytic and any(p.role == "id" for p in filled.missing):
            bonus -= weight.id_malus
        own = [p for p in filled.missing if p.role == "id" and set(p.concept or shape.nouns) & set(shape.nouns)]
        bonus -= weight.id_malus * bool(own and (need.measure or _plural(need, shape)))
        strange = [n for n in shape.nouns if not any(close(w, n) for w in need.words)]
        bonus -= weight.missing_malus * len(filled.missing)
        return bonus - min(weight.strange_most, weight.strange_malus * len(strange))

    def _covered(self, shape: ToolProfile, need: Need, filled: FilledArguments, subject: list[Entity]) -> float:
        """The share of the subject that the tool takes, itself or through another tool that finds the id it wants."""
        typed = [filled.arguments[p.name] for p in shape.parameters if p.role != "query" and p.name in filled.arguments]
        exact = ("email", "id", "uuid", "name")
        direct = {
            e
            for e in subject
            if e in filled.used and (e.value in typed or e.kind not in exact or (e.kind == "name" and typed))
        }
        rest = {e for e in subject if e not in direct}
        chained: set[Entity] = set()
        if rest:
            for p in shape.takes("id"):
                for _, found in self.producers(p, shape, need):
                    chained |= rest & found.used
        loose = {e for e in rest - chained if e in filled.used}
        return (len(direct) + len(chained) + weights().ranking.loose_subject * len(loose)) / len(subject)

    def producers(self, wanted: Parameter, user: ToolProfile, need: Need) -> list[tuple[ToolProfile, FilledArguments]]:
        """Read-only tools that return what `wanted` needs and can be called with what the question names."""
        concept = wanted.concept or user.nouns
        if not concept:
            return []
        weight = weights().producers
        found: list[tuple[float, ToolProfile, FilledArguments]] = []
        for shape in self.shapes:
            if shape is user or shape.effect != "read":
                continue
            gives = _gives(shape, wanted, concept)
            if not gives:
                continue
            about = replace(
                need,
                words=tuple(w for w in need.words if any(alike(w, t) >= 1 for t in concept)),
                periods=(),
                measure="",
                order="",
                top=None,
            )
            filled = fill(shape, about, self.question, [])
            typed = {p.name for p in shape.parameters if p.role != "query" and p.name in filled.arguments}
            strong = [
                e for e in filled.used
                if (e.kind in STRONG or e.kind in ("name", "code"))
                and (e.kind not in ("id", "uuid") or e.value in {filled.arguments[n] for n in typed})
            ]  # fmt: skip
            if filled.missing or not strong or not _told(shape, strong, typed):
                continue
            exact = any(p.role in ("email", "id") and p.name in filled.arguments for p in shape.parameters)
            found.append(
                (
                    gives
                    + weight.exact_bonus * exact
                    + weight.named_bonus * len(strong)
                    + weight.search_bonus * any(v in ("search", "find") for v in shape.verbs),
                    shape,
                    filled,
                )
            )
        found.sort(key=lambda f: (-f[0], f[1].tool.qualified))
        return [(s, f) for _, s, f in found[:3]]

    def unanchored(self, shape: ToolProfile, need: Need) -> bool:
        """The need is about something that the tool can only take by an id that is not known yet."""
        subject = subject_of(need)
        filled = fill(shape, need, self.question, self.steps)
        return bool(subject) and not filled.linked and not any(e in filled.used for e in subject)

    def explained(self, need: Need, ranked: Sequence[tuple[float, ToolProfile]] | None = None) -> float:
        """The share of a need's words that the best tool's definition has.

        Args:
            need: the part of the question.
            ranked: what `ranked` says of it, where that is known already.
        """
        ranked = self.ranked(need) if ranked is None else ranked
        if not ranked or not need.words:
            return 0.0
        own = {t for words in parts(ranked[0][1]).values() for t in words}
        return sum(any(close(w, t) for t in own) for w in need.words) / len(need.words)

    def withheld(self, need: Need) -> str:
        """For an order: the tool that would carry it out and that is not called without a person."""
        scores = self.relevance.scores(need.words, need.text)
        fitting = [
            (score, s.tool.qualified)
            for s, score in zip(self.shapes, scores, strict=True)
            if s.effect == "destroy" and score >= weights().ranking.floor
        ]
        if need.kind != "do" or not fitting:
            return ""
        return (
            f"{max(fitting)[1]} would do this, but it may destroy something and is never called by the planner itself; "
            "call it directly"
        )

    def because(self, need: Need, shape: ToolProfile) -> str:
        """Why a tool is called, for a person."""
        words = [
            w
            for w in need.words
            if any(close(w, t) for t in (*shape.nouns, *terms(shape.tool.description), *terms(shape.tool.server)))
        ]
        return f"matches {', '.join(dict.fromkeys(words[:4]))}" if words else "nearest in meaning"


def subject_of(need: Need) -> list[Entity]:
    """What singles out the thing that a part is about: an id or address, else a name."""
    strong = [e for e in need.about if e.kind in STRONG]
    return strong or [e for e in need.about if e.kind == "name"]


def _gives(shape: ToolProfile, wanted: Parameter, concept: tuple[str, ...]) -> float:
    """How surely a tool returns the wanted id: it declares the field, or it is about the thing."""
    weight = weights().producers
    if any(key.lower().replace("_", "") == wanted.name.lower().replace("_", "") for key in shape.returns):
        return weight.declares_own if set(concept) & set(shape.nouns) else weight.declares
    about = any(alike(c, n) >= 1 for c in concept for n in shape.nouns)
    if shape.returns:
        return weight.about_with_id if about and any(k.lower() in ("id", "key") for k in shape.returns) else 0.0
    return weight.about if about else 0.0


def _told(shape: ToolProfile, strong: Sequence[Entity], typed: set[str]) -> bool:
    """A free-text search finds by email only when its description says so."""
    if typed & {p.name for p in shape.parameters if p.role in ("email", "id", "name")}:
        return True
    described = shape.tool.description + " ".join(p.description for p in shape.takes("query"))
    return any(e.kind != "email" or "mail" in described.lower() for e in strong)


_ANYONE = r"(?:i|we|you|one|someone|people|staff|[a-z]{4,}s)"
"""Whoever a rule holds for: a pronoun, or a kind of people in the plural (but not `this` or `his`)."""
_RULES = re.compile(
    r"^\W*(?:and\s+)?(?:how (?:long|often|soon|late|early) (?:does|do|can|must|may|is|are)\b(?!.*\b(?:take|last)\b)"
    rf"|what happens (?:if|when)|how (?:do|can|should|must) {_ANYONE}\b"
    rf"|when (?:does|do|must|should|may) (?:a|an|the|we|i|you)\b|(?:can|may|must|should) {_ANYONE}\b"
    rf"|how many [\w ]{{3,40}}? (?:do|does|can|may|must) (?:(?:an?|the) [a-z]+|{_ANYONE}) "
    r"(?:get|take|have to|need|be given|receive|claim))",
    re.I,
)


def of_rules(need: Need) -> bool:
    """The part asks how something is done or what holds in general, which stands in documents and in no record."""
    return bool(_RULES.match(need.text)) and not need.entities and not need.periods


def reads_prose(shape: ToolProfile | None) -> bool:
    """A search over documents, whose answer is a passage."""
    described = shape.tool.description + " ".join(p.description for p in shape.takes("query")) if shape else ""
    return bool(shape and shape.takes("query") and PROSE.search(described))


def _kind_bonus(shape: ToolProfile, need: Need) -> float:
    """What is ranked or counted should be what the rows are: products are not revenue by category."""
    weight = weights().ranking
    ranked = need.order in ("desc", "asc") and bool(need.which) and need.top is not None
    counted = re.search(r"\bhow many\s+(?:\w+\s+){0,2}?(\w+s|people)\b", need.text, re.I)
    head = need.which[-1] if ranked else counted.group(1) if counted and need.measure == "count" else ""
    if not head:
        return 0.0
    if "top" in split(shape.tool.name) and need.measure == "count":
        return -weight.top_malus
    of_kind = any(alike(head, n) >= 1 for n in shape.nouns)
    bonus = weight.kind_bonus if ranked else weight.kind_counted_bonus
    return bonus if of_kind else -bonus


def _plural(need: Need, shape: ToolProfile) -> bool:
    """The part speaks of several of the tool's things (`open tickets`)."""
    return any(w.endswith("s") and any(family(w) == n for n in shape.nouns) for w in need.words)


def is_ordered(need: Need, shape: ToolProfile) -> bool:
    """The order names this very tool's verb (`run`, `check`): then a reading tool may serve it."""
    return any(alike(w, v) >= 1 for w in need.words[:2] for v in shape.verbs)
