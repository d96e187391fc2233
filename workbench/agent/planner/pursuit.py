"""Which calls answer which part of a question, one turn at a time.

A pure function of the question, the tools and what was returned so far: asked twice, it says the same. A part is pursued
through its nearest tools in turn. Where a tool needs an id that the question does not give, another tool that produces
it is called first (an email finds a customer, the customer's id finds the tickets).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from workbench.agent.planner.entities import STRONG, Entity
from workbench.agent.planner.filling import PROSE, Filled, fill
from workbench.agent.planner.query import Query
from workbench.agent.planner.question import Need, Question
from workbench.agent.planner.records import Step, contains
from workbench.agent.planner.relevance import Relevance, parts
from workbench.agent.planner.shapes import Parameter, Shape
from workbench.agent.planner.tablekit import kits
from workbench.agent.planner.tables import Ask, Tables
from workbench.agent.planner.words import MEASURING, alike, family, terms
from workbench.events import JSON, canonical

CANDIDATES = 5
"""Tools tried for one part before it is given up."""
CALLS_PER_NEED = 6
MOST_CALLS = 24
MOST_PAGES = 8
NEXT_PAGE = ("next_offset", "next_cursor", "nextCursor", "next_page", "next")
"""Fields in which results say how to get the page after them."""
FLOOR = 0.22
"""Least relevance of a tool that is called for a part of a question."""


@dataclass(frozen=True)
class Planned:
    """A call to make next."""

    shape: Shape
    arguments: JSON
    why: str


@dataclass
class Finding:
    """What is known about one need so far."""

    need: Need
    steps: list[Step] = field(default_factory=list)
    """Calls whose results answer it; the last one is the answer itself."""
    calls: list[Planned] = field(default_factory=list)
    """Calls that are needed first."""
    note: str = ""
    """Why there is no answer, for a person."""
    periods: bool = False
    """The tool was asked for the period of the need itself."""
    table: Query | None = None
    """The query that was put to a table, when one was."""
    names: dict[str, str] = field(default_factory=dict)
    """What codes in the result stand for."""
    known: bool = False
    """An earlier result already had the answer."""
    wider: bool = False
    """Nothing fitted the period; the answer is about all times."""


class Pursuit:
    """Pursues all needs of one question over one catalogue and one history."""

    def __init__(self, question: Question, shapes: Sequence[Shape], steps: Sequence[Step]) -> None:
        self.question = question
        self.steps = list(steps)
        self.shapes = [s for s in shapes if not s.tool.quarantined]
        self.relevance = Relevance(self.shapes)
        kit_list = kits(self.shapes)
        self.tables = Tables(kit_list, self.past)
        self.tabular = {
            s.tool.qualified
            for k in kit_list
            for s in self.shapes
            if s.tool.server == k.server and (s.takes("collection", "sql"))
        }
        self.done: dict[tuple[str, bytes], Step] = {(s.tool, canonical(s.arguments)): s for s in steps}

    # --- which tools

    def ranked(self, need: Need) -> list[tuple[float, Shape]]:
        """Tools for a need, best first: relevance, and whether they can use what the need names."""
        scores = self.relevance.scores(need.words, need.text)
        acting = need.kind == "do"
        found = []
        for shape, score in zip(self.shapes, scores, strict=True):
            if shape.effect == "destroy" or (shape.effect != "read" and not acting):
                continue
            if shape.tool.qualified in self.tabular and not acting:
                continue
            if acting and shape.effect == "read" and not _ordered(need, shape):
                score -= 0.15
            if score >= FLOOR * 0.6:
                apt = score + self._aptness(shape, need)
                found.append((apt, shape))
        found.sort(key=lambda f: (-f[0], f[1].tool.qualified))
        near = [f for f in found if f[0] >= max(FLOOR, 0.55 * found[0][0])][:CANDIDATES]
        return near or ([] if acting else self._documents(need, scores))

    def _documents(self, need: Need, scores: list[float]) -> list[tuple[float, Shape]]:
        """Searches over documents, for a part that no tool is made for: its subject may be what a text is about."""
        if not need.words or need.analytic:
            return []
        return sorted(
            (
                (score, s)
                for s, score in zip(self.shapes, scores, strict=True)
                if s.effect == "read" and reads_prose(s) and len(s.required) <= 1
            ),
            key=lambda f: (-f[0], f[1].tool.qualified),
        )[:1]

    def _aptness(self, shape: Shape, need: Need) -> float:
        # without the results so far: the order of candidates must not change from turn to turn
        filled = fill(shape, need, self.question, [])
        subject = self._subject(need)
        bonus = 0.0
        if subject:
            covered = self._covered(shape, need, filled, subject)
            bonus += 0.12 * covered - 0.3 * (1 - covered)
        elif any(p.role in ("id", "email") for p in filled.missing):
            bonus -= 0.3
        names = {p.name: p for p in shape.parameters}
        exact = [
            n
            for n in filled.arguments
            if names[n].role in ("choice", "start", "end", "day", "min", "max", "flag", "timezone", "time", "path")
        ]
        bonus += min(0.2, 0.08 * len(exact))
        if shape.takes("group"):
            bonus += 0.15 if any(names[n].role == "group" for n in filled.arguments) else -0.02
        elif need.by or (need.which and need.order in ("desc", "asc")):
            bonus -= 0.04
        if need.measure == "count" and any(v in ("count", "stat", "statistic") for v in shape.verbs):
            bonus += 0.12
        elif not need.measure and "count" in shape.verbs:
            bonus -= 0.15
        if need.analytic and any(p.role == "id" for p in filled.missing):
            bonus -= 0.1
        own = [p for p in filled.missing if p.role == "id" and set(p.concept or shape.nouns) & set(shape.nouns)]
        bonus -= 0.1 * bool(own and (need.measure or _plural(need, shape)))
        strange = [n for n in shape.nouns if not any(alike(w, n) >= 0.85 for w in need.words)]
        return bonus - 0.04 * len(filled.missing) - min(0.15, 0.05 * len(strange))

    def _subject(self, need: Need) -> list[Entity]:
        strong = [e for e in need.about if e.kind in STRONG]
        return strong or [e for e in need.about if e.kind == "name"]

    def _covered(self, shape: Shape, need: Need, filled: Filled, subject: list[Entity]) -> float:
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
        return (len(direct) + len(chained) + 0.75 * len(loose)) / len(subject)

    # --- chains

    def producers(self, wanted: Parameter, user: Shape, need: Need) -> list[tuple[Shape, Filled]]:
        """Read-only tools that return what `wanted` needs and can be called with what the question names."""
        concept = wanted.concept or user.nouns
        if not concept:
            return []
        found: list[tuple[float, Shape, Filled]] = []
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
                if (e.kind in STRONG or e.kind in ("name", "code")) and (e.kind not in ("id", "uuid") or e.value in {filled.arguments[n] for n in typed})
            ]  # fmt: skip
            if filled.missing or not strong or not _told(shape, strong, typed):
                continue
            exact = any(p.role in ("email", "id") and p.name in filled.arguments for p in shape.parameters)
            found.append(
                (
                    gives + 0.5 * exact + 0.2 * len(strong) + 0.1 * any(v in ("search", "find") for v in shape.verbs),
                    shape,
                    filled,
                )
            )
        found.sort(key=lambda f: (-f[0], f[1].tool.qualified))
        return [(s, f) for _, s, f in found[:3]]

    def _chained(self, shape: Shape, filled: Filled, need: Need, finding: Finding) -> bool:
        """Plan what must be known before `shape` can be called. True when something was planned."""
        subject = self._subject(need)
        wants = [p for p in filled.missing if p.role in ("id", "name", "email", "other")]
        if not wants and subject and not filled.linked and not any(e in filled.used for e in subject):
            wants = [p for p in shape.takes("id") if p.name not in filled.arguments]
        for parameter in wants:
            for producer, arguments in self.producers(parameter, shape, need):
                past = self.past(producer, arguments.arguments)
                if past is None:
                    self._plan(
                        finding,
                        producer,
                        arguments.arguments,
                        f"finds the {' '.join(parameter.concept) or parameter.name} for {shape.tool.qualified}",
                    )
                    return True
                if past.ok and not past.empty:
                    break
        return False

    # --- one need

    def pursue(self, need: Need) -> Finding:
        """The state of one need: settled, or the calls to make next."""
        finding = Finding(need)
        known = self._known(need)
        if known:
            finding.steps.append(known)
            finding.known = True
            return finding
        ranked = self.ranked(need)
        tabled = self._tabled(need, ranked, finding)
        if tabled is not None:
            return tabled
        if not ranked:
            finding.note = self._withheld(need) or "no tool fits"
            return finding
        blank: Finding | None = None
        tried = 0
        for _, shape in ranked:
            if tried >= CALLS_PER_NEED:
                break
            outcome = self._try(shape, need, finding)
            if outcome is None:
                continue
            tried += 1
            if outcome.calls or (outcome.steps and not outcome.steps[-1].empty):
                return outcome
            if outcome.steps and blank is None:
                blank = outcome
                if self._conclusive(shape, need):
                    return outcome
            finding.note = outcome.note or finding.note
        return blank or finding

    def _tabled(self, need: Need, ranked: list[tuple[float, Shape]], finding: Finding) -> Finding | None:
        """The table route, where a table explains more of the need than the best tool does."""
        if not self.tables.kits or need.kind == "do":
            return None
        found = self.tables.explore(need, self._explained(need, ranked))
        if isinstance(found, Ask):
            self._plan(finding, found.shape, found.arguments, found.why)
            return finding
        if found is None:
            return None
        if not found.step.ok:
            finding.note = f"{found.step.tool}: {found.step.message}"
        else:
            finding.steps, finding.table, finding.names = [found.step], found.query, found.names
            finding.periods = True
        return finding

    def unanchored(self, shape: Shape, need: Need) -> bool:
        """The need is about something that the tool can only take by an id that is not known yet."""
        subject = self._subject(need)
        filled = fill(shape, need, self.question, self.steps)
        return bool(subject) and not filled.linked and not any(e in filled.used for e in subject)

    def explained(self, need: Need) -> float:
        """The share of a need's words that the best tool's definition has."""
        return self._explained(need, self.ranked(need))

    def _explained(self, need: Need, ranked: list[tuple[float, Shape]]) -> float:
        if not ranked or not need.words:
            return 0.0
        own = {t for words in parts(ranked[0][1]).values() for t in words}
        return sum(any(alike(w, t) >= 0.85 for t in own) for w in need.words) / len(need.words)

    def _withheld(self, need: Need) -> str:
        """For an order: the tool that would carry it out and that is not called without a person."""
        scores = self.relevance.scores(need.words, need.text)
        fitting = [
            (score, s.tool.qualified)
            for s, score in zip(self.shapes, scores, strict=True)
            if s.effect == "destroy" and score >= FLOOR
        ]
        if need.kind != "do" or not fitting:
            return ""
        return f"{max(fitting)[1]} would do this, but it may destroy something and is never called by the planner itself; call it directly"

    def _try(self, shape: Shape, need: Need, finding: Finding) -> Finding | None:
        """One candidate: what to call, or what it answered; None when it cannot be called at all."""
        result = Finding(need)
        filled = fill(shape, need, self.question, self.steps)
        if self._chained(shape, filled, need, result):
            return result
        if filled.missing:
            names = ", ".join(p.name for p in filled.missing)
            finding.note = finding.note or f"{shape.tool.qualified} needs {names}, which the question does not give"
            return None
        if need.kind == "do" and shape.effect == "read" and not _ordered(need, shape):
            return None
        if not filled.linked and self._subject(need) and not filled.used and shape.effect != "read":
            return None
        for arguments, wider in self._variants(shape, filled):
            past = self.past(shape, arguments)
            if past is None:
                self._plan(result, shape, arguments, self._because(need, shape))
                return result
            if not past.ok:
                result.note = f"{shape.tool.qualified}: {past.message}"
                continue
            if past.empty and (wider is not None):
                result.steps = [past]
                continue
            result.steps, result.periods, result.wider = [past], filled.periods and not wider, bool(wider)
            if past.empty:
                continue
            if self._every_row(need, filled):
                whole = self._paged(shape, arguments, past, result)
                if result.calls:
                    return result
                result.steps = [whole]
                past = whole
            if not self._concerns(past, filled, need):
                result.steps, result.note = (
                    [],
                    f"{shape.tool.qualified} returned nothing about {', '.join(e.value for e in need.entities)}",
                )
                continue
            return result
        return result

    def _every_row(self, need: Need, filled: Filled) -> bool:
        """One page is not enough: something is computed over all rows, or the rows must be searched here."""
        over_all = (
            need.measure in ("avg", "median", "distinct", "sum") or bool(need.by) or need.order in ("desc", "asc")
        )
        unused = [e for e in need.entities if e not in filled.used and (e.comparison or e.kind in ("id", "uuid"))]
        return over_all or bool(unused)

    def _paged(self, shape: Shape, arguments: JSON, first: Step, finding: Finding) -> Step:
        """All pages of a result as one, or the call for the next page. Ends early when a wanted id was found."""
        offset = next((p for p in shape.takes("offset") if p.name not in arguments), None)
        wanted = [e.value for e in finding.need.entities if e.kind in ("id", "uuid")]
        whole, page = first, first
        for _ in range(MOST_PAGES):
            following = next((page.scalars[k] for k in NEXT_PAGE if page.scalars.get(k) not in (None, "", False)), None)
            if offset is None or following is None or (whole.total or 0) > MOST_PAGES * max(1, len(first.rows)):
                break
            if wanted and any(contains(row, w) for row in whole.rows for w in wanted):
                break
            found = self.past(shape, {**arguments, offset.name: following})
            if found is None:
                self._plan(finding, shape, {**arguments, offset.name: following}, "reads the next page")
                break
            if not found.ok:
                break
            whole, page = replace(whole, rows=(*whole.rows, *found.rows)), found
        return whole

    def _concerns(self, step: Step, filled: Filled, need: Need) -> bool:
        """The answer is about what the need names: it was asked for, or stands in the rows."""
        if reads_prose(step.shape) and filled.guessed and step.rows:
            # a search by meaning always returns something; it is an answer when it speaks of what was asked
            texts = {
                t for row in step.rows[:5] for v in row.fields.values() if isinstance(v, str) for t in terms(v[:2000])
            }
            wanted = [w for w in need.words if w not in MEASURING]
            if sum(any(alike(w, t) >= 0.85 for t in texts) for w in wanted) < 0.6 * len(wanted):
                return False
        own = [e for e in need.entities if e.kind in STRONG or e.kind == "name"]
        if not own or filled.linked or any(e in filled.used for e in own):
            return True
        if not step.rows:
            return any(e.value.lower() in str(step.data).lower() for e in own)
        return any(contains(row, e.value) for row in step.rows for e in own)

    def _variants(self, shape: Shape, filled: Filled) -> list[tuple[JSON, bool | None]]:
        """The arguments, then weaker forms: without a relative period, with fewer guessed words."""
        base = dict(filled.arguments)
        found: list[tuple[JSON, bool | None]] = [(base, False)]
        roles = {p.name: p for p in shape.parameters}
        if filled.periods and any(
            p.relative
            for p in self.question.needs[0].periods + tuple(x for n in self.question.needs for x in n.periods)
        ):
            timeless = {
                k: v for k, v in base.items() if roles[k].role not in ("start", "end", "day") or roles[k].required
            }
            found.append((timeless, True))
        for name, value in base.items():
            if roles[name].role == "query" and filled.guessed and isinstance(value, str) and " " in value:
                words = sorted(value.split(), key=len, reverse=True)
                found.append(({**base, name: " ".join(words[:2]) if len(words) > 2 else words[0]}, False))
                found.append(({**base, name: words[0]}, False))
        unique: dict[bytes, tuple[JSON, bool | None]] = {}
        for arguments, wider in found:
            unique.setdefault(canonical(arguments), (arguments, wider))
        return list(unique.values())

    def _conclusive(self, shape: Shape, need: Need) -> bool:
        """An empty answer that needs no second opinion: the tool was asked by id or by fixed choices, not by guessed text."""
        filled = fill(shape, need, self.question, self.steps)
        return not filled.guessed and (filled.linked or bool(filled.used) or bool(filled.arguments))

    def _known(self, need: Need) -> Step | None:
        """An earlier result about the same subject that already has every asked field (`account status`)."""
        if need.kind != "ask" or need.analytic or not need.words:
            return None
        subject = self._subject(need)
        if not subject or need.periods:
            return None
        names = [e.value.lower() for e in subject]
        for step in self.steps:
            row = step.head
            if row is None or not any(
                n in str(v).lower() for n in names for v in (*row.fields.values(), *step.arguments.values())
            ):
                continue
            nouns = {*row.noun}
            asked = [w for w in need.words if not any(alike(w, n) >= 1 for n in nouns)]
            keys = [w for key, value in row.fields.items() if value is not None for w in terms(key.rpartition(".")[2])]
            if asked and all(any(alike(w, k) >= 0.85 for k in keys) for w in asked):
                return step
        return None

    def past(self, shape: Shape, arguments: JSON) -> Step | None:
        """The finished call with these arguments, if there was one."""
        return self.done.get((shape.tool.qualified, canonical(arguments)))

    def _plan(self, finding: Finding, shape: Shape, arguments: JSON, why: str) -> None:
        finding.calls.append(Planned(shape, arguments, why))

    def _because(self, need: Need, shape: Shape) -> str:
        words = [
            w
            for w in need.words
            if any(
                alike(w, t) >= 0.85 for t in (*shape.nouns, *terms(shape.tool.description), *terms(shape.tool.server))
            )
        ]
        return f"matches {', '.join(dict.fromkeys(words[:4]))}" if words else "nearest in meaning"


def _gives(shape: Shape, wanted: Parameter, concept: tuple[str, ...]) -> float:
    """How surely a tool returns the wanted id: it declares the field, or it is about the thing."""
    if any(key.lower().replace("_", "") == wanted.name.lower().replace("_", "") for key in shape.returns):
        return 1.0 if set(concept) & set(shape.nouns) else 0.6
    about = any(alike(c, n) >= 1 for c in concept for n in shape.nouns)
    if shape.returns:
        return 0.8 if about and any(k.lower() in ("id", "key") for k in shape.returns) else 0.0
    return 0.7 if about else 0.0


def _told(shape: Shape, strong: Sequence[Entity], typed: set[str]) -> bool:
    """A free-text search finds by email only when its description says so."""
    if typed & {p.name for p in shape.parameters if p.role in ("email", "id", "name")}:
        return True
    described = shape.tool.description + " ".join(p.description for p in shape.takes("query"))
    return any(e.kind != "email" or "mail" in described.lower() for e in strong)


def reads_prose(shape: Shape | None) -> bool:
    """A search over documents, whose answer is a passage."""
    described = shape.tool.description + " ".join(p.description for p in shape.takes("query")) if shape else ""
    return bool(shape and shape.takes("query") and PROSE.search(described))


def _plural(need: Need, shape: Shape) -> bool:
    """The part speaks of several of the tool's things (`open tickets`)."""
    return any(w.endswith("s") and any(family(w) == n for n in shape.nouns) for w in need.words)


def _ordered(need: Need, shape: Shape) -> bool:
    """The order names this very tool's verb (`run`, `check`): then a reading tool may serve it."""
    return any(alike(w, v) >= 1 for w in need.words[:2] for v in shape.verbs)
