"""Times in a question: `last week`, `in March 2026`, `since 3 May`, resolved to days against a given today."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta

from workbench.agent.planner.language.lexicon import listed
from workbench.agent.planner.planner_data import lexicon

MONTHS = {m.lower(): i for i, m in enumerate(calendar.month_name) if m} | {
    m.lower(): i for i, m in enumerate(calendar.month_abbr) if m
}
MONTHS["sept"] = 9
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_NUMBERS = {w: i for i, w in enumerate(listed(lexicon().questions.numbers))}
_ORDINALS = {
    w: n for n, pair in enumerate(("first 1st", "second 2nd", "third 3rd", "fourth 4th"), 1) for w in pair.split()
}
_COUNT = r"(?P<n>\d{1,4}|" + "|".join(_NUMBERS) + r"|couple of|few|several)"
_UNIT = r"(?P<unit>day|week|month|quarter|year)s?"


@dataclass(frozen=True)
class Period:
    """A span of days, both ends included; an open end is None."""

    start: date | None
    end: date | None
    text: str
    span: tuple[int, int]
    relative: bool = False
    """Counted from today (`last week`), so that data of another time may hold nothing for it."""
    unit: str = "day"
    """How finely it was said: day, week, month, quarter, year."""
    year_given: bool = True

    def shown(self) -> str:
        """The span as a person reads it."""
        if self.start and self.end:
            return f"{self.start}" if self.start == self.end else f"{self.start} to {self.end}"
        return f"from {self.start}" if self.start else f"until {self.end}"


def periods(text: str, today: date) -> list[Period]:
    """All periods that `text` names, in order, without overlaps. Impossible dates (31 February) are left alone."""
    found: list[Period] = []
    for reader in (_bounded, _relative, _days, _months):
        for period in reader(text, today):
            if all(period.span[1] <= p.span[0] or period.span[0] >= p.span[1] for p in found):
                found.append(period)
    return sorted(found, key=lambda p: p.span)


def _bounded(text: str, today: date) -> list[Period]:
    """`between A and B`, `from A to B`, `since A`, `before A`."""
    found = []
    inner = [*_relative(text, today), *_days(text, today), *_months(text, today)]
    inner.sort(key=lambda p: (p.span[0], -p.span[1]))
    for n, first in enumerate(inner):
        lead = text[: first.span[0]].lower()
        for second in inner[n + 1 :]:
            between = text[first.span[1] : second.span[0]].lower()
            opened = re.search(r"\b(between|from)\s+(?:the\s+)?$", lead)
            if opened and re.fullmatch(r"\s*(?:and|to|until|till|through|-|–)\s*(?:the\s+)?", between):
                start, end = first.start, second.end
                if start and end and start > end and not first.year_given:
                    start = _same_day(
                        start, end.year if (start.month, start.day) <= (end.month, end.day) else end.year - 1
                    )
                span = (opened.start(1), second.span[1])
                found.append(Period(start, end, text[span[0] : span[1]], span, first.relative, first.unit))
                break
        bound = re.search(r"\b(since|after|starting|from|until|till|before|by|up to|prior to)\s+(?:the\s+)?$", lead)
        if bound and not any(p.span[0] <= first.span[0] < p.span[1] for p in found):
            span = (bound.start(1), first.span[1])
            word = bound.group(1)
            if word in ("since", "starting", "from"):
                ends: tuple[date | None, date | None] = (first.start, None)
            elif word == "after":
                ends = (first.end + timedelta(1) if first.end else None, None)
            elif word in ("before", "prior to"):
                ends = (None, first.start - timedelta(1) if first.start else None)
            else:
                ends = (None, first.end)
            found.append(Period(*ends, text[span[0] : span[1]], span, first.relative, first.unit))
    return found


def _relative(text: str, today: date) -> list[Period]:
    found = []
    for m in re.finditer(r"\b(today|yesterday|tomorrow|tonight)\b", text, re.I):
        shift = {"yesterday": -1, "tomorrow": 1}.get(m.group(1).lower(), 0)
        day = today + timedelta(shift)
        found.append(Period(day, day, m.group(), m.span(), True))
    for m in re.finditer(rf"\b(?:in\s+the\s+)?(last|past|previous|next|coming)\s+{_COUNT}\s+{_UNIT}\b", text, re.I):
        n, unit = _count(m["n"]), m["unit"].lower()
        if m.group(1).lower() in ("next", "coming"):
            found.append(Period(today, _shift(today, unit, n), m.group(), m.span(), True, unit))
        else:
            found.append(Period(_shift(today, unit, -n), today, m.group(), m.span(), True, unit))
    for m in re.finditer(rf"\b{_COUNT}\s+{_UNIT}\s+ago\b", text, re.I):
        unit = m["unit"].lower()
        start = _shift(today, unit, -_count(m["n"]))
        found.append(Period(*_around(start, unit), m.group(), m.span(), True, unit))
    for m in re.finditer(rf"\b(last|past|previous|this|current|next|coming)\s+{_UNIT}\b", text, re.I):
        unit, which = m["unit"].lower(), m.group(1).lower()
        shift = {"this": 0, "current": 0, "next": 1, "coming": 1}.get(which, -1)
        found.append(Period(*_around(_shift(today, unit, shift), unit), m.group(), m.span(), True, unit))
    return found


def _days(text: str, today: date) -> list[Period]:
    found = []
    shapes = (
        r"\b(?P<y>\d{4})[-/](?P<m>\d{1,2})[-/](?P<d>\d{1,2})\b",
        rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<m>{_MONTH})\b\.?(?:,?\s+(?P<y>\d{{4}})\b)?",
        rf"\b(?P<m>{_MONTH})\b\.?\s+(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+(?P<y>\d{{4}})\b)?",
    )
    for shape in shapes:
        for m in re.finditer(shape, text, re.I):
            month = MONTHS.get(m["m"].lower()) or int(m["m"])
            year = int(m["y"]) if m["y"] else today.year
            try:
                day = date(year, month, int(m["d"]))
            except ValueError:
                continue
            if not m["y"] and day > today:
                day = _same_day(day, year - 1)
            found.append(Period(day, day, m.group(), m.span(), year_given=bool(m["y"])))
    return found


def _months(text: str, today: date) -> list[Period]:
    found = []
    shape = rf"\b(?:in\s+|during\s+|of\s+|for\s+)?(?P<m>{_MONTH})\b\.?(?:,?\s+(?:of\s+)?(?P<y>\d{{4}})\b)?"
    for m in re.finditer(shape, text, re.I):
        preposition = re.match(r"in|during|of|for", m.group(), re.I)
        # "may" and "march" are also verbs
        verb = m["m"][0].islower() or (m["m"].lower() == "may" and m.start() == 0)
        if m["m"].lower() in ("may", "mar", "sun", "march") and verb and not m["y"] and not preposition:
            continue
        month = MONTHS[m["m"].lower()]
        year = int(m["y"]) if m["y"] else today.year - (month > today.month)
        found.append(_span_of_month(year, month, m.group(), m.span(), bool(m["y"])))
    found += [
        _span_of_month(int(m["y"]), int(m["m"]), m.group(), m.span(), True)
        for m in re.finditer(r"\b(?P<y>\d{4})-(?P<m>0[1-9]|1[0-2])\b(?!-)", text)
    ]
    for m in re.finditer(r"\bQ(?P<q>[1-4])(?:\s+(?:of\s+)?(?P<y>\d{4}))?\b", text, re.I):
        year = int(m["y"]) if m["y"] else today.year
        start = date(year, 3 * int(m["q"]) - 2, 1)
        found.append(Period(*_around(start, "quarter"), m.group(), m.span(), False, "quarter", bool(m["y"])))
    ordinal = rf"\b(?P<q>{'|'.join(_ORDINALS)})\s+quarter\b(?!,?\s*\(?Q[1-4])(?:\s+(?:of\s+)?(?P<y>\d{{4}}))?"
    for m in re.finditer(ordinal, text, re.I):
        year = int(m["y"]) if m["y"] else today.year
        start = date(year, 3 * _ORDINALS[m["q"].lower()] - 2, 1)
        found.append(Period(*_around(start, "quarter"), m.group(), m.span(), False, "quarter", bool(m["y"])))
    for m in re.finditer(
        r"\b(?:in|during|of|for|since|year|before|after|until|from|to|and)\s+(?P<y>(?:19|20)\d{2})\b(?![-/\d])",
        text,
        re.I,
    ):
        year = int(m["y"])
        found.append(Period(date(year, 1, 1), date(year, 12, 31), m["y"], m.span("y"), False, "year"))
    return found


def _span_of_month(year: int, month: int, text: str, span: tuple[int, int], year_given: bool) -> Period:
    year = min(max(year, 1), 9998)
    return Period(*_around(date(year, month, 1), "month"), text, span, False, "month", year_given)


def _count(text: str) -> int:
    lowered = text.lower()
    return int(lowered) if lowered.isdigit() else _NUMBERS.get(lowered, 2 if lowered.startswith("couple") else 3)


def _same_day(day: date, year: int) -> date:
    return day.replace(year=year, day=min(day.day, calendar.monthrange(year, day.month)[1]))


def _shift(day: date, unit: str, n: int) -> date:
    """`day` moved by `n` units, held within the calendar."""
    if unit in ("day", "week"):
        ordinal = day.toordinal() + n * (7 if unit == "week" else 1)
        return date.fromordinal(min(max(ordinal, 1), date.max.toordinal() - 400))
    months = day.year * 12 + day.month - 1 + n * {"month": 1, "quarter": 3, "year": 12}[unit]
    year, month = divmod(min(max(months, 12), 9998 * 12), 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _around(day: date, unit: str) -> tuple[date, date]:
    """First and last day of the calendar unit that holds `day`; weeks begin on Monday (ISO 8601)."""
    if unit == "day":
        return day, day
    if unit == "week":
        monday = day - timedelta(day.weekday())
        return monday, monday + timedelta(6)
    first = {"month": day.month, "quarter": 3 * ((day.month - 1) // 3) + 1, "year": 1}[unit]
    last = first + {"month": 0, "quarter": 2, "year": 11}[unit]
    return date(day.year, first, 1), date(day.year, last, calendar.monthrange(day.year, last)[1])
