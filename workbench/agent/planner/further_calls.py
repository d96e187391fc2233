"""What one call does not hold alone: further pages, further values, the texts behind a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.agent.planner.answer.passages import named, text_of
from workbench.agent.planner.language.question_parser import Need
from workbench.agent.planner.tables.table_query import Query
from workbench.agent.planner.tools.argument_values import FilledArguments
from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall, contains
from workbench.events import JSON, canonical

MAX_PAGES = 16
NEXT_PAGE = ("next_offset", "next_cursor", "nextCursor", "next_page", "next")
"""Fields in which results say how to get the page after them."""


@dataclass(frozen=True)
class PlannedCall:
    """A call to make next."""

    shape: ToolProfile
    arguments: JSON
    why: str


@dataclass
class NeedProgress:
    """What is known about one need so far."""

    need: Need
    steps: list[FinishedCall] = field(default_factory=list)
    """Calls whose results answer it; the last one is the answer itself."""
    calls: list[PlannedCall] = field(default_factory=list)
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
    share: tuple[int, int] | None = None
    """How many of how many, where a share is asked for."""
    namesakes: str = ""
    """That there are several of the name that was given, and which one this is about."""
    told: str = ""
    """The answer, where it was worked out over several results."""
    passages: list[tuple[str, str, str]] = field(default_factory=list)
    """Title, id and text of documents that were read for it."""
    wider: bool = False
    """Nothing fitted the period; the answer is about all times."""

    def call_first(self, shape: ToolProfile, arguments: JSON, why: str) -> None:
        """Note a call that is needed before the need can be answered."""
        self.calls.append(PlannedCall(shape, arguments, why))


class FurtherCalls:
    """Reads on where one result is not all."""

    def __init__(self, shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall]) -> None:
        """
        Args:
            shapes: the tools that may be called.
            steps: calls finished so far.
        """
        self.shapes, self.steps = shapes, steps
        self._done = {(s.tool, canonical(s.arguments)): s for s in steps}

    def past(self, shape: ToolProfile, arguments: JSON) -> FinishedCall | None:
        """The finished call with these arguments, if there was one."""
        return self._done.get((shape.tool.qualified, canonical(arguments)))

    def paged(self, shape: ToolProfile, arguments: JSON, first: FinishedCall, finding: NeedProgress) -> FinishedCall:
        """All pages of a result as one, or the calls for further pages. Ends early when a wanted id was found."""
        offset = next((p for p in shape.takes("offset") if p.name not in arguments), None)
        wanted = [e.value for e in finding.need.entities if e.kind in ("id", "uuid")]
        size, total = len(first.rows), first.total or 0
        if offset is None or next_page(first) is None or total > MAX_PAGES * max(1, size):
            return first
        whole, page = first, first
        for number in range(1, MAX_PAGES):
            following = next_page(page)
            found_id = wanted and any(contains(row, w) for row in whole.rows for w in wanted)
            if following is None or found_id:
                break
            found = self.past(shape, {**arguments, offset.name: following})
            if found is None:
                # pages of a known size are asked for together, others one after another
                known = range(number * size, total, size) if following == number * size else [following]
                for start in known:
                    if self.past(shape, {**arguments, offset.name: start}) is None:
                        finding.call_first(shape, {**arguments, offset.name: start}, "reads a further page")
                break
            if not found.ok:
                break
            whole, page = replace(whole, rows=(*whole.rows, *found.rows)), found
        return whole

    def together(
        self, shape: ToolProfile, filled: FilledArguments, arguments: JSON, first: FinishedCall, finding: NeedProgress
    ) -> FinishedCall:
        """All pages of a result, and of the same call with the further values that a word stands for."""
        whole = self.paged(shape, arguments, first, finding)
        for name, values in filled.any_of.items():
            for value in values:
                other = {**arguments, name: value}
                past = self.past(shape, other)
                if past is None:
                    finding.call_first(shape, other, f"{value} counts as well")
                    continue
                if past.ok:
                    further = self.paged(shape, other, past, finding)
                    total = (whole.total or len(whole.rows)) + (further.total or len(further.rows))
                    joined = {**whole.scalars, "total": total}
                    whole = replace(whole, rows=(*whole.rows, *further.rows), scalars=joined)
        return whole

    def shared(self, shape: ToolProfile, arguments: JSON, part: FinishedCall, finding: NeedProgress) -> NeedProgress:
        """How many there are with what the words single out, of how many without."""
        singled = [p.name for p in shape.takes("choice", "flag") if p.name in arguments]
        bare = {k: v for k, v in arguments.items() if k not in singled}
        whole = self.past(shape, bare)
        finding.steps = []
        if not singled:
            finding.note = f"{shape.tool.qualified} cannot single out what the share is asked of"
        elif whole is None:
            finding.call_first(shape, bare, "counts all, for the share")
        elif whole.ok and part.total is not None and whole.total:
            finding.steps, finding.share = [part], (part.total, whole.total)
        else:
            finding.note = f"{shape.tool.qualified} does not say how many there are"
        return finding

    def read(self, shape: ToolProfile, need: Need, found: FinishedCall, finding: NeedProgress) -> None:
        """Read the first documents that a search found, where a tool does that; else take what the search shows."""
        texts: list[tuple[str, str, str]] = []
        for row in found.rows[:3]:
            title, source = named(row)
            text = text_of(row)
            for reader in self.shapes:
                wanted = reader.required
                if (
                    reader.tool.server != shape.tool.server
                    or reader is shape
                    or reader.effect != "read"
                    or len(wanted) != 1
                    or not isinstance(row.fields.get(wanted[0].name), str)
                ):
                    continue
                arguments = {wanted[0].name: row.fields[wanted[0].name]}
                past = self.past(reader, arguments)
                if past is None:
                    finding.call_first(reader, arguments, f"reads {title}")
                elif past.ok:
                    text = (
                        past.data if isinstance(past.data, str) else max(map(text_of, past.rows), key=len, default=text)
                    )
                break
            texts.append((title, source, text))
        if not finding.calls:
            finding.passages = texts

    def namesakes(self, need: Need, done: FinishedCall) -> str:
        """What to say when the id that a call was made with is one of several that fit as well."""
        given = (
            [done.arguments[p.name] for p in done.shape.takes("id") if p.name in done.arguments] if done.shape else []
        )
        asked = {e.value for e in need.about}
        for chosen in (v for v in given if isinstance(v, str) and v not in asked):
            found = next((s for s in self.steps if any(chosen == v for r in s.rows for v in r.fields.values())), None)
            if found is None or found is done or not found.listed or len(found.rows) < 2:
                continue
            called = next((e.value for e in need.about if e.kind == "name"), "")
            exact = [r for r in found.rows if any(str(v).lower() == called.lower() for v in r.fields.values())]
            same = exact or [r for r in found.rows if called and contains(r, called)]
            if len(same) > 1:
                kind = "are called" if exact else "fit the name"
                return f"{len(same)} {kind} {called}; this is {chosen}, the first of them"
            if not same:
                return f"checked only for {chosen}, the first of {found.total or len(found.rows)} that fit"
        return ""


def next_page(page: FinishedCall) -> Any:
    """Where the next page begins, as the result says; None on the last one."""
    return next((page.scalars[k] for k in NEXT_PAGE if page.scalars.get(k) not in (None, "", False)), None)
