"""Which calls answer which part of a question, one turn at a time.

A pure function of the question, the tools and what was returned so far: asked twice, it says the same. A part is
pursued through its nearest tools in turn. Where a tool needs an id that the question does not give, another tool that
produces it is called first (an email finds a customer, the customer's id finds the tickets).
"""

from __future__ import annotations

from collections.abc import Sequence

from workbench.agent.planner.further_calls import FurtherCalls, NeedProgress, next_page
from workbench.agent.planner.language.entities import STRONG
from workbench.agent.planner.language.lexicon import MEASURING, alike, close, split, terms
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion, field_beside
from workbench.agent.planner.planner_data import weights
from workbench.agent.planner.tables.table_questions import MissingColumn, TableCall, Tables
from workbench.agent.planner.tables.table_tools import kits
from workbench.agent.planner.tools.argument_values import FilledArguments
from workbench.agent.planner.tools.candidates import CandidateRanking, is_ordered, reads_prose, subject_of
from workbench.agent.planner.tools.fill_arguments import fill
from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall, contains
from workbench.events import JSON, canonical

MAX_CALLS_PER_NEED = 6
MAX_CALLS = 24


class QuestionPlan:
    """Pursues all needs of one question over one catalogue and one history."""

    def __init__(self, question: ParsedQuestion, shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall]) -> None:
        self.question = question
        self.steps = list(steps)
        self.shapes = [s for s in shapes if not s.tool.quarantined]
        self.further = FurtherCalls(self.shapes, self.steps)
        kit_list = kits(self.shapes)
        self.tables = Tables(kit_list, self.further.past)
        tabular = {
            s.tool.qualified
            for k in kit_list
            for s in self.shapes
            if s.tool.server == k.server and (s.takes("collection", "sql"))
        }
        self.ranking = CandidateRanking(question, self.shapes, self.steps, tabular)

    # --- chains

    def _chained(self, shape: ToolProfile, filled: FilledArguments, need: Need, finding: NeedProgress) -> bool:
        """Plan what must be known before `shape` can be called. True when something was planned."""
        subject = subject_of(need)
        wants = [p for p in filled.missing if p.role in ("id", "name", "email", "other")]
        if not wants and subject and not filled.linked and not any(e in filled.used for e in subject):
            wants = [p for p in shape.takes("id") if p.name not in filled.arguments]
        for parameter in wants:
            for producer, arguments in self.ranking.producers(parameter, shape, need):
                past = self.further.past(producer, arguments.arguments)
                if past is None:
                    finding.call_first(
                        producer,
                        arguments.arguments,
                        f"finds the {' '.join(parameter.concept) or parameter.name} for {shape.tool.qualified}",
                    )
                    return True
                if past.ok and not past.empty:
                    break
        return False

    # --- one need

    def pursue(self, need: Need) -> NeedProgress:
        """The state of one need: settled, or the calls to make next."""
        finding = NeedProgress(need)
        known = self._known(need)
        if known:
            finding.steps.append(known)
            finding.namesakes = self.further.namesakes(need, known)
            finding.known = True
            return finding
        ranked = self.ranking.ranked(need)
        tabled = self._tabled(need, ranked, finding)
        if tabled is not None:
            return tabled
        if not ranked:
            finding.note = self.ranking.withheld(need) or "no tool fits"
            return finding
        blank: NeedProgress | None = None
        tried = 0
        for _, shape in ranked:
            if tried >= MAX_CALLS_PER_NEED:
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

    def _tabled(
        self, need: Need, ranked: list[tuple[float, ToolProfile]], finding: NeedProgress
    ) -> NeedProgress | None:
        """The table route, where a table explains more of the need than the best tool does."""
        if not self.tables.kits or need.kind == "do":
            return None
        found = self.tables.explore(need, self.ranking.explained(need, ranked))
        if isinstance(found, TableCall):
            finding.call_first(found.shape, found.arguments, found.why)
            return finding
        if found is None:
            return None
        if isinstance(found, MissingColumn):
            finding.note = found.text
            return finding
        if not found.step.ok:
            finding.note = f"{found.step.tool}: {found.step.message}"
        else:
            finding.steps, finding.table, finding.names = [found.step], found.query, found.names
            finding.periods = True
        return finding

    def _try(self, shape: ToolProfile, need: Need, finding: NeedProgress) -> NeedProgress | None:
        """One candidate: what to call, or what it answered; None when it cannot be called at all."""
        result = NeedProgress(need)
        filled = fill(shape, need, self.question, self.steps)
        if self._chained(shape, filled, need, result):
            return result
        if filled.missing:
            names = ", ".join(p.name for p in filled.missing)
            finding.note = finding.note or f"{shape.tool.qualified} needs {names}, which the question does not give"
            return None
        if need.kind == "do" and shape.effect == "read" and not is_ordered(need, shape):
            return None
        if not filled.linked and subject_of(need) and not filled.used and shape.effect != "read":
            return None
        for arguments, wider in self._variants(shape, filled):
            past = self.further.past(shape, arguments)
            if past is None:
                result.call_first(shape, arguments, self.ranking.because(need, shape))
                return result
            if not past.ok:
                result.note = f"{shape.tool.qualified}: {past.message}"
                continue
            if past.empty and (wider is not None):
                result.steps, result.namesakes = [past], self.further.namesakes(need, past)
                continue
            result.namesakes = self.further.namesakes(need, past)
            result.steps, result.periods, result.wider = [past], filled.periods and not wider, bool(wider)
            if past.empty:
                continue
            if reads_prose(shape) and past.rows:
                self.further.read(shape, need, past, result)
                return result
            if need.measure == "count" and _first_few(past):
                result.steps = []
                result.note = f"{shape.tool.qualified} lists only the first {len(past.rows)} and says no total"
                continue
            if need.measure == "share":
                return self.further.shared(shape, arguments, past, result)
            if self._every_row(need, filled, past) or filled.any_of:
                whole = self.further.together(shape, filled, arguments, past, result)
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

    def _every_row(self, need: Need, filled: FilledArguments, first: FinishedCall) -> bool:
        """One page is not enough: something is computed over all rows, or the rows must be searched here."""
        over_all = (
            need.measure in ("avg", "median", "distinct", "sum") or bool(need.by) or need.order in ("desc", "asc")
        )
        left = [e for e in need.entities if e not in filled.used and (e.comparison or e.kind in ("id", "uuid"))]
        given = {str(v).lower() for v in filled.arguments.values()}
        held = {
            v.lower() for row in first.rows for v in row.fields.values() if isinstance(v, str) and len(v) < 30
        } - given
        # a period that the tool was not asked for is looked for in the rows
        unused = bool(left) or bool(need.periods and not filled.periods)
        over_all = over_all or bool(need.measure == "count" and field_beside(need.text))
        narrowed = need.measure == "count" and any(w in held for w in need.words)
        return over_all or unused or narrowed

    def _concerns(self, step: FinishedCall, filled: FilledArguments, need: Need) -> bool:
        """The answer is about what the need names: it was asked for, or stands in the rows."""
        if reads_prose(step.shape) and filled.guessed and step.rows:
            # a search by meaning always returns something; it is an answer when it speaks of what was asked
            texts = {
                t for row in step.rows[:5] for v in row.fields.values() if isinstance(v, str) for t in terms(v[:2000])
            }
            wanted = [w for w in need.words if w not in MEASURING]
            if sum(any(close(w, t) for t in texts) for w in wanted) < weights().passages.share * len(wanted):
                return False
        own = [e for e in need.entities if e.kind in STRONG or e.kind == "name"]
        if not own or filled.linked or any(e in filled.used for e in own):
            return True
        if not step.rows:
            return any(e.value.lower() in str(step.data).lower() for e in own)
        return any(contains(row, e.value) for row in step.rows for e in own)

    def _variants(self, shape: ToolProfile, filled: FilledArguments) -> list[tuple[JSON, bool | None]]:
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

    def _conclusive(self, shape: ToolProfile, need: Need) -> bool:
        """An empty answer that needs no second opinion: the tool was asked by id or by choices, not by guessed text."""
        filled = fill(shape, need, self.question, self.steps)
        return not filled.guessed and (filled.linked or bool(filled.used) or bool(filled.arguments))

    def _known(self, need: Need) -> FinishedCall | None:
        """An earlier result about the same subject that already has every asked field (`account status`)."""
        if need.kind != "ask" or need.analytic or not need.words:
            return None
        subject = subject_of(need)
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
            if asked and all(any(close(w, k) for k in keys) for w in asked):
                return step
        return None


def _first_few(done: FinishedCall) -> bool:
    """A list that was cut at its limit, or is a list of the best, and does not say how many there are in all."""
    shape = done.shape
    if shape is None or not done.listed or done.total is not None or next_page(done) is not None:
        return False
    if any(p.role == "group" and p.name in done.arguments for p in shape.parameters):
        return False
    limits = [done.arguments.get(p.name, p.schema.get("default")) for p in shape.takes("limit")]
    return bool({"top", "best"} & set(split(shape.tool.name))) or len(done.rows) in limits
