"""Values for parameters that say plainly what they take: an address, a day, a time, a bound, a place."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from workbench.agent.planner.language.entities import Entity
from workbench.agent.planner.language.event_fields import BEGINNINGS, ENDINGS, names_event
from workbench.agent.planner.language.lexicon import STOP, alike, close, family, split
from workbench.agent.planner.language.places import country_code, timezone_of
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion
from workbench.agent.planner.tools.tool_profile import Parameter, Role, ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall
from workbench.events import JSON


@dataclass
class FilledArguments:
    """Arguments as far as they could be found."""

    arguments: JSON = field(default_factory=dict)
    used: set[Entity] = field(default_factory=set)
    missing: list[Parameter] = field(default_factory=list)
    linked: bool = False
    """An id came from an earlier result."""
    guessed: bool = False
    """A free text or a name was guessed at: an empty result proves nothing."""
    others: dict[str, list[Any]] = field(default_factory=dict)
    """Further values that would fit as well, by parameter."""
    any_of: dict[str, list[Any]] = field(default_factory=dict)
    """Further values that are meant as well, each for a call of its own."""
    periods: bool = False


class ArgumentValues:
    """What is left of the question to fill parameters with, and how plain roles take from it."""

    def __init__(self, shape: ToolProfile, need: Need, question: ParsedQuestion, steps: Sequence[FinishedCall]) -> None:
        self.shape, self.need, self.question, self.steps = shape, need, question, steps
        self.out = FilledArguments()
        self.spare = list(need.about)

    def typed(self, value: Any, p: Parameter) -> Any:
        """The value in the type that the schema asks for; None when it cannot be."""
        if isinstance(value, list) and p.type != "array":
            value = value[0] if value else None
        try:
            if p.type == "integer" and not isinstance(value, bool):
                return int(float(value))
            if p.type == "number" and not isinstance(value, bool):
                return float(value)
        except (TypeError, ValueError, OverflowError):
            return None
        if p.type == "string" and not isinstance(value, str):
            return str(value)
        pattern = p.schema.get("pattern")
        if isinstance(pattern, str) and isinstance(value, str) and not fits_pattern(pattern, value):
            return None
        return value

    def take(self, entity: Entity) -> str:
        """Use a thing up, and return how it was written."""
        self.out.used.add(entity)
        if entity in self.spare:
            self.spare.remove(entity)
        return entity.value

    def first(self, *kinds: str) -> str | None:
        """Use up the first thing of one of these kinds, where there is one."""
        found = next((e for e in self.spare if e.kind in kinds), None)
        return self.take(found) if found else None

    def email(self, p: Parameter) -> Any:
        return self.first("email")

    def url(self, p: Parameter) -> Any:
        return self.first("url")

    def path(self, p: Parameter) -> Any:
        found = self.first("path")
        if found:
            return found
        quoted = next((e for e in self.spare if e.kind == "quoted" and re.search(r"[/.]", e.value)), None)
        return self.take(quoted) if quoted else self.named_link(p)

    def capped(self, n: float, p: Parameter) -> float:
        """A number, held below the maximum that the schema sets."""
        most = p.schema.get("maximum")
        return min(n, most) if isinstance(most, (int, float)) else n

    def start(self, p: Parameter) -> Any:
        period = next((x for x in self.need.periods if x.start), None)
        if period and period.start and self._of_event(p):
            self.out.periods = True
            return _stamp(period.start.isoformat(), p, "T00:00:00Z")
        return None

    def _of_event(self, p: Parameter) -> bool:
        """Whether the days of `p` are those of what happened: `renews_since` has nothing to do with cancelling."""
        label = [t for t in p.terms if t in ENDINGS or t in BEGINNINGS]
        if not label or any(close(w, t) for w in self.need.words for t in label):
            return True
        if any(t in ENDINGS for t in label):
            return False
        said = [w for w in self.need.words if family(w) in ENDINGS]
        return not any(names_event(w, key) for w in said for key in self.shape.returns)

    def end(self, p: Parameter) -> Any:
        period = next((x for x in self.need.periods if x.end), None)
        if period and period.end and self._of_event(p):
            self.out.periods = True
            if "before" in split(p.name) or re.search(r"\b(before|exclusive)\b", p.description, re.I):
                return _stamp(date.fromordinal(period.end.toordinal() + 1).isoformat(), p, "T00:00:00Z")
            return _stamp(period.end.isoformat(), p, "T23:59:59Z")
        return None

    def day(self, p: Parameter) -> Any:
        period = next((x for x in self.need.periods if x.start), None)
        if period and period.start and (period.start == period.end or p.required):
            self.out.periods = True
            return _stamp(period.start.isoformat(), p, "T00:00:00Z")
        return None

    def country(self, p: Parameter) -> Any:
        short = "[A-Z]{2}" in str(p.schema.get("pattern")) or re.search(
            r"\biso\b|two.letter|2.letter|alpha-?2", p.description, re.I
        )
        for entity in list(self.spare):
            code = country_code(entity.value) if entity.kind in ("name", "code", "quoted") else None
            if code:
                value = self.take(entity)
                return code if short else value
        return None

    def time(self, p: Parameter) -> Any:
        found = self.first("time")
        if found is None:
            return None
        m = re.match(r"(\d{1,2})(?::(\d\d))?\s?([ap]m)?", found, re.I)
        assert m is not None  # the entity's pattern
        hour = int(m[1]) % 12 + 12 * (m[3].lower() == "pm") if m[3] else int(m[1])
        return f"{hour:02d}:{m[2] or '00'}"

    def timezone(self, p: Parameter) -> Any:
        placed = [
            (e, z)
            for e in self.question.entities
            if e.kind in ("name", "code", "quoted", "path") and (z := timezone_of(e.value)) and e not in self.out.used
        ]
        clock = next((e for e in self.question.entities if e.kind == "time"), None)
        several = len(self.shape.takes("timezone")) > 1
        if several and clock:
            source = any(alike(t, s) >= 1 for t in p.terms for s in ("source", "from"))
            placed.sort(key=lambda x: abs(x[0].span[0] - clock.span[1]), reverse=not source)
        if not placed:
            written = re.search(r"\b(UTC|GMT)\b", self.question.text)
            return written.group(1) if written and p.required else None
        self.take(placed[0][0])
        return placed[0][1]

    def min(self, p: Parameter) -> Any:
        return self._bound(p, "min")

    def max(self, p: Parameter) -> Any:
        return self._bound(p, "max")

    def _bound(self, p: Parameter, side: str) -> Any:
        for entity in list(self.spare):
            if entity.number is not None and entity.comparison == side:
                meant = [t for t in p.terms if t not in ("min", "max", "minimum", "maximum")]
                if entity.kind == "money" or not meant or any(close(w, t) for w in self.need.words for t in meant):
                    self.take(entity)
                    return entity.number
        return None

    def number(self, p: Parameter) -> Any:
        for entity in list(self.spare):
            if entity.number is None or entity.comparison:
                continue
            named = entity.before and any(close(entity.before, t) for t in p.terms)
            if named or (p.required and entity in self.need.entities):
                self.take(entity)
                return entity.number
        return None

    def text(self, p: Parameter) -> Any:
        quoted = next((e for e in self.spare if e.kind == "quoted"), None)
        return self.take(quoted) if quoted and (p.required or self.need.kind == "do") else None

    def named_link(self, p: Parameter) -> Any:
        """A value of a field of the very same name in an earlier result, where the question's words choose one."""
        if not p.required:
            return None
        values = [
            row.fields[key] for s in self.steps for row in s.rows for key in row.fields
            if key.lower() == p.name.lower() and isinstance(row.fields[key], str)
        ]  # fmt: skip
        values = list(dict.fromkeys(values))
        if len(values) == 1:
            self.out.linked = True
            return values[0]
        scored = sorted(
            ((sum(alike(w, v) for w in self.need.words for v in split(str(x)) if v not in STOP), x) for x in values),
            key=lambda t: -t[0],
        )
        if scored and scored[0][0] >= 1:
            self.out.linked = True
            return scored[0][1]
        return None


PLAIN_ROLES: Mapping[Role, Callable[[ArgumentValues, Parameter], Any]] = {
    "email": ArgumentValues.email,
    "url": ArgumentValues.url,
    "path": ArgumentValues.path,
    "start": ArgumentValues.start,
    "end": ArgumentValues.end,
    "day": ArgumentValues.day,
    "time": ArgumentValues.time,
    "timezone": ArgumentValues.timezone,
    "country": ArgumentValues.country,
    "min": ArgumentValues.min,
    "max": ArgumentValues.max,
    "number": ArgumentValues.number,
    "text": ArgumentValues.text,
}
"""How a parameter of a plain role finds its value."""


def fits_pattern(pattern: str, value: str) -> bool:
    """Whether a value fits a schema's pattern, as far as that can be told without risk."""
    if len(pattern) > 200 or len(value) > 200 or re.search(r"[+*}]\)?[+*{]", pattern):
        return True  # nested repeats may take for ever; the server checks them
    try:
        return re.search(pattern, value) is not None
    except re.error:
        return True


def _stamp(day: str, p: Parameter, clock: str) -> str:
    return day + clock if p.schema.get("format") == "date-time" else day
