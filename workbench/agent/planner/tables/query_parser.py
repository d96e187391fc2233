"""Reads a part of a question against a set of columns: what filters, what groups, what is measured, what sorts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Any

from workbench.agent.planner.language.adjectives import FROM, PERSONS, ROLES, TO, widened
from workbench.agent.planner.language.dates import Period
from workbench.agent.planner.language.entities import Entity
from workbench.agent.planner.language.event_fields import names_event
from workbench.agent.planner.language.lexicon import MEASURING, alike, close, family, split
from workbench.agent.planner.language.question_parser import Need
from workbench.agent.planner.planner_data import weights
from workbench.agent.planner.tables.table_columns import TableColumn, holding, match, within
from workbench.agent.planner.tables.table_query import Filter, Metric, Query


class QueryParser:
    """Reads one need against one set of columns."""

    def __init__(self, need: Need, columns: Sequence[TableColumn], noun: Sequence[str]) -> None:
        self.need = need
        self.columns = list(columns)
        self.noun = [family(n) for n in noun]
        self.words = list(need.words)
        self.used: set[int] = {
            i for i, w in enumerate(self.words) if w in MEASURING or any(close(w, n) for n in self.noun)
        }
        self.codes = {e.value.lower() for e in need.about if e.kind == "code"}
        self.filters: list[Filter] = []
        self.unplaced: list[Entity] = []
        self.placed = 0
        self.lacking: tuple[str, ...] = ()

    def query(self) -> Query:
        """The query. Order matters: what filters is no longer free to be grouped or measured."""
        self._absent()
        self._values()
        self._entities()
        self._periods()
        metric, order = self._metric()
        group = self._group(metric)
        if group and metric is None and self.need.order in ("desc", "asc"):
            metric = Metric("sum", order) if order else Metric("count")
            order = ""
        if group and order and metric and metric.function == "count":
            metric, order = Metric("sum", order), ""
        self._numbers(metric)
        descending = self.need.order not in ("asc", "oldest")
        if self.need.order in ("newest", "oldest") and not metric:
            dates = self._named(("date",)) or [c for c in self.columns if c.type == "date"]
            order = dates[0].name if dates else order
        limit = self.need.top or (1 if order and not group and self.need.order else None)
        fields = tuple(c.name for c, score, _ in match(self._free(), self.columns) if score >= weights().columns.named)[
            :4
        ]
        total = len(self.words) + len(self.need.entities) + len(self.need.periods)
        explained = len(self.used) + self.placed
        return Query(
            tuple(self.filters), group, metric, "" if metric else order, descending, limit, tuple(self.unplaced),
            min(1.0, explained / total) if total else 0.0, fields,
            self.lacking,
        )  # fmt: skip

    # --- filters

    def _absent(self) -> None:
        """Values that are said to be missing: `no departure time`, `without a tail number`."""
        for m in re.finditer(
            r"\b(?:no|without(?:\s+an?)?|missing|lacks?|lacking)\s+((?:[a-z_]+\s*){1,3})", self.need.text, re.I
        ):
            words = [w for w in split(m.group(1)) if w in self.words]
            found = [f for f in match(words, self.columns) if f[1] >= weights().columns.named]
            if found:
                self._filter(Filter(found[0][0].name, "null", None))
                self._use(words, found[0][2])

    def _values(self) -> None:
        """Words that are values of some column: `enterprise customers`, `failed payments`."""
        for size in (3, 2, 1):
            for i in range(len(self.words) - size + 1):
                if any(j in self.used for j in range(i, i + size)):
                    continue
                phrase = " ".join(self.words[i : i + size])
                if phrase in self.codes:
                    continue  # placed as a thing named, by the words before it
                if size == 1 and (
                    len(phrase) < 3
                    or (any(alike(phrase, p) >= 1 for c in self.columns for p in c.words) and not self._said(phrase))
                ):
                    continue
                hits = [h for h in holding(phrase, self.columns) if h[0].type == "text"] or self._spelled(phrase)
                if hits:
                    column, value = hits[0]
                    self._filter(Filter(column.name, "=", value))
                    self.used.update(range(i, i + size))
        for i, word in enumerate(self.words):
            for column in self.columns:
                if (
                    column.type == "bool"
                    and i not in self.used
                    and any(alike(word, p) >= 1 for p in column.words if p not in ("is", "has"))
                ):
                    negated = bool(
                        re.search(rf"\b(?:not|no|without|never|in)\s*-?{re.escape(word)}", self.need.text, re.I)
                    )
                    self._filter(Filter(column.name, "=", not negated))
                    self.used.add(i)

    def _said(self, word: str) -> bool:
        """A word that is a column and a value: it is a value when it describes rows (`open tickets`)."""
        return bool(
            re.search(
                rf"\b{re.escape(word)}\s+(?:\w+\s+)?(?:{'|'.join(map(re.escape, self.noun)) or '$'})",
                self.need.text,
                re.I,
            )
        )

    def _spelled(self, phrase: str) -> list[tuple[TableColumn, str]]:
        """Values written with another joint: `past due` for `past_due`, `in progress` for `in-progress`."""
        squeezed = re.sub(r"[\W_]+", "", phrase.lower())
        return [
            (c, v)
            for c in self.columns
            if c.type == "text"
            for v in c.values
            if re.sub(r"[\W_]+", "", v.lower()) == squeezed and squeezed
        ]

    def _entities(self) -> None:
        for entity in self.need.about:
            if entity.kind in ("number", "money", "time", "path", "url"):
                continue
            found = self._place(entity)
            if found:
                self._filter(found)
                self.placed += entity in self.need.entities
            else:
                self.unplaced.append(entity)

    def _place(self, entity: Entity) -> Filter | None:
        hits = holding(entity.value, self.columns)
        column = self._best(entity, [h[0] for h in hits])
        if column:
            return Filter(column.name, "=", next(v for c, v in hits if c is column))
        if entity.kind == "email":
            column = next((c for c in self.columns if c.words[-1] in ("email", "mail")), None)
            return Filter(column.name, "=", entity.value) if column else None
        texts = [c for c in self.columns if c.type == "text"]
        if entity.kind in ("id", "uuid"):
            prefix = re.match(r"[A-Za-z]+", entity.value)
            for c in (c for c in texts if c.identifies):
                owner = [w for w in c.words if w not in ("id", "key")] or self.noun
                if any(alike(o, entity.before or "?") >= 1 or (prefix and alike(o, prefix.group()) > 0) for o in owner):
                    return Filter(c.name, "=", entity.value)
            drawn = [c for c in texts if any(_drawn(v) == _drawn(entity.value) for v in (*c.values, c.low, c.high))]
            return Filter(drawn[0].name, "=", entity.value) if drawn else None
        if entity.kind == "code":
            column = self._best(entity, [c for c in texts if all(len(v) <= 8 for v in c.values[:20])], sure=False)
            return Filter(column.name, "=", entity.value, sure=False) if column else None
        named = [c for c in texts if c.words[-1] in ("name", "title", "label", "city", "country") or _holds_names(c)]
        column = self._best(entity, named, sure=False) or (named[0] if named else None)
        return Filter(column.name, "contains", entity.value, sure=False) if column else None

    def _best(self, entity: Entity, columns: Sequence[TableColumn], sure: bool = True) -> TableColumn | None:
        """The column that the words before the entity point at; else the first, if it surely holds the value."""
        if not columns:
            return None
        start = self.need.text.find(entity.value)
        before = " ".join(split(self.need.text[max(0, start - 40) : max(start, 0)])[-3:])
        for words, family_of in (
            (FROM, ("origin", "source", "from", "start", "depart")),
            (TO, ("destination", "to", "target", "arrive", "end")),
        ):
            if any(re.search(rf"\b{w}(?:\s+the|\s+\w+)?$", before) for w in words):
                for c in columns:
                    if any(alike(f, p) >= weights().likeness.related for f in family_of for p in c.words):
                        self.used.update(i for i, w in enumerate(self.words) if w in words)
                        return c
        for c in columns:
            if entity.before and any(close(entity.before, p) for p in c.words):
                return c
        return columns[0] if sure else None

    def _periods(self) -> None:
        for period in self.need.periods:
            # without a year, a month column says more than a guessed date
            whole = {"year", "month"} <= {c.name.lower() for c in self.columns if c.type == "number"}
            # a column of time may be kept in another zone than the day that is meant; year and month are plain
            dated_first = period.year_given and not whole
            first, second = (self._dated, self._parts) if dated_first else (self._parts, self._dated)
            added = first(period) or second(period)
            self.placed += added

    def _dated(self, period: Period) -> bool:
        dates = self._named(("date",), spare=True) or [c for c in self.columns if c.type == "date"]
        event = [c for c in self.columns if any(names_event(w, c.name) for w in self.need.words)]
        dates = sorted(
            [c for c in event if c.type == "date"] or dates, key=lambda c: not within(c, period.start, period.end)
        )
        if not dates:
            return False
        column, start, end = dates[0], period.start, period.end
        if not period.year_given and start and end and re.match(r"\d{4}-\d\d-\d\d", column.high):
            year = int(column.high[:4])
            year -= _in_year(end, year).isoformat() > column.high[:10]
            start, end = _in_year(start, year), _in_year(end, year)
        if start:
            self._filter(Filter(column.name, ">=", start.isoformat()))
        if end:
            self._filter(Filter(column.name, "<", date.fromordinal(end.toordinal() + 1).isoformat()))
        return bool(start or end)

    def _parts(self, period: Period) -> bool:
        """Tables that keep year, month and day in columns of their own."""
        by = {
            c.words[-1]: c
            for c in self.columns
            if c.type == "number" and c.words and c.words[-1] in ("year", "month", "day")
        }
        start, end = period.start, period.end
        if not by or start is None or end is None:
            return False
        added: list[Filter] = []
        if "month" in by and (start.year, start.month) == (end.year, end.month):
            added.append(Filter(by["month"].name, "=", start.month))
            if "day" in by and start == end:
                added.append(Filter(by["day"].name, "=", start.day))
            elif "day" in by and period.unit != "month":
                added += [Filter(by["day"].name, ">=", start.day), Filter(by["day"].name, "<=", end.day)]
            elif period.unit in ("day", "week"):
                return False
        elif "month" in by and period.unit not in ("year", "day", "week") and start.year == end.year:
            added += [Filter(by["month"].name, ">=", start.month), Filter(by["month"].name, "<=", end.month)]
        elif period.unit != "year":
            return False
        if "year" in by and period.year_given and start.year == end.year:
            added.append(Filter(by["year"].name, "=", start.year))
        for condition in added:
            self._filter(condition)
        return bool(added)

    def _numbers(self, metric: Metric | None) -> None:
        for entity in self.need.entities:
            number = entity.number
            if number is None or (self.need.top == number and not entity.comparison):
                continue
            value: float | int = int(number) if number == int(number) else number
            near = _around(self.need.text, entity)
            numeric = [c for c in self.columns if c.type == "number"]
            found = (
                match(near, numeric)
                or match(widened(near), numeric)
                or (match(("amount", "price", "total"), numeric) if entity.kind == "money" else [])
            )
            if found:
                op = {"min": ">", "max": "<", "": "="}[entity.comparison]
                if re.search(r"at least|no less|from\s*$|minimum|>=", self.need.text, re.I) and op == ">":
                    op = ">="
                if re.search(r"at most|up to|no more|maximum|<=", self.need.text, re.I) and op == "<":
                    op = "<="
                if not (metric and metric.column == found[0][0].name and not entity.comparison):
                    self._filter(Filter(found[0][0].name, op, value))
                    self._use(near, found[0][2])
                    self.placed += 1
                    continue
            self.unplaced.append(entity)

    # --- what is computed

    def _metric(self) -> tuple[Metric | None, str]:
        """The aggregate, and the column to sort by when there is none."""
        need = self.need
        grouping = set(need.which) | (set(need.by) if need.order not in ("desc", "asc") else set())
        grouped = {
            f[0].name
            for f in match([w for w in grouping if w not in MEASURING], self.columns)
            if f[1] >= weights().columns.named
        }
        numeric = [c for c in self.columns if c.type == "number" and not c.identifies and c.name not in grouped]
        free = [w for w in self._free() if w not in grouping] or self._free()
        found = match(free, numeric)
        if not found or found[0][1] < weights().columns.measured_surely:
            wide = match(widened(split(need.text)), numeric)
            found = wide if wide and (not found or wide[0][1] > found[0][1]) else found
        column = found[0][0].name if found and (found[0][1] >= weights().columns.measured or _only(found, free)) else ""
        measure = need.measure
        if measure == "distinct":
            named = match(self._free(), self.columns)
            return (Metric("count_distinct", named[0][0].name) if named else Metric("count")), ""
        if measure == "count":
            asked = re.search(r"how many\s+((?:[a-z_\-]+\s*){1,2})", need.text, re.I)
            held = (
                [f for f in match(split(asked.group(1))[:1], numeric) if f[1] >= weights().columns.named]
                if asked
                else []
            )
            if (
                held and not any(alike(w, n) >= 1 for w in split(asked.group(1))[:1] for n in self.noun)
                if asked
                else False
            ):
                # `how many seats does N123 have` asks for a field of one row; over many rows it asks for their sum
                self._use(free, held[0][2])
                single = any(f.op == "=" and f.sure for f in self.filters)
                return (None if single else Metric("sum", held[0][0].name)), ""
            return Metric("count"), ""
        if measure in ("sum", "avg", "median") and column:
            self._use(free, found[0][2])
            return Metric(measure, column), ""
        if measure in ("sum", "avg", "median") and (
            left := [w for w in free if w not in grouping and w not in need.by] or (free if measure != "sum" else [])
        ):
            # a figure that no column holds is not a number of rows
            self.lacking = tuple(dict.fromkeys(left))
            return None, ""
        if measure == "sum":
            money = [
                f[0].name
                for f in match(("amount", "total", "revenue", "price"), numeric)
                if f[1] >= weights().columns.named
            ]
            return (Metric("sum", money[0]) if len(money) == 1 else Metric("count")), ""
        if need.order in ("desc", "asc") and column:
            self._use(free, found[0][2])
            return None, column
        return None, ""

    def _group(self, metric: Metric | None) -> tuple[str, ...]:
        need = self.need
        names: list[str] = []
        for words in (need.by, need.which if need.order in ("desc", "asc") or need.measure else ()):
            usable = [w for w in words if not any(close(w, n) for n in self.noun) and w not in MEASURING]
            ranking = words is need.by and need.order in ("desc", "asc")
            dims = [
                c
                for c in self.columns
                if (not metric or c.name != metric.column) and not (ranking and c.type == "number")
            ]
            found = [f for f in match(usable, dims) if f[1] >= weights().columns.grouped] or _persons(usable, dims)
            if found and found[0][0].name not in [f.column for f in self.filters if f.op == "="]:
                same = [f for f in found if f[1] >= found[0][1] - weights().columns.tie]
                column = next((f[0] for f in same if f[0].type == "text"), same[0][0])
                names.append(column.name)
                self._use(self.words, frozenset(i for i, w in enumerate(self.words) if w in usable))
        return tuple(dict.fromkeys(names))[:2]

    # --- bookkeeping

    def _filter(self, condition: Filter) -> None:
        if condition not in self.filters:
            self.filters.append(condition)

    def _free(self) -> list[str]:
        return [w for i, w in enumerate(self.words) if i not in self.used]

    def _use(self, words: Sequence[str], positions: frozenset[int]) -> None:
        chosen = {words[i] for i in positions if i < len(words)}
        self.used.update(i for i, w in enumerate(self.words) if w in chosen)

    def _named(self, types: Sequence[Any], spare: bool = False) -> list[TableColumn]:
        found = [
            f
            for f in match(self._free() if spare else self.words, self.columns, types)
            if f[1] >= weights().columns.mentioned
        ]
        return [f[0] for f in found]


def _around(text: str, entity: Entity) -> tuple[str, ...]:
    """The words nearest to a number: four before it and three after."""
    at = text.find(entity.value)
    if at < 0:
        return split(text)
    return (*split(text[:at])[-4:], *split(text[at + len(entity.value) :])[:3])


def _persons(words: Sequence[str], columns: Sequence[TableColumn]) -> list[tuple[TableColumn, float, frozenset[int]]]:
    """The column that names the person of a record: an employee is its assignee, its organizer, its owner."""
    if not any(family(w) in PERSONS for w in words):
        return []
    held = [c for c in columns if c.type == "text" and family(c.words[0]) in ROLES]
    return [(c, weights().columns.person, frozenset()) for c in sorted(held, key=lambda c: c.identifies)]


def _only(found: Sequence[tuple[TableColumn, float, frozenset[int]]], words: Sequence[str]) -> bool:
    """One column alone has the word, whatever else its name says (`price` and `price_before_tax`)."""
    same = [f for f in found if any(alike(words[i], p) >= 1 for i in f[2] if i < len(words) for p in f[0].words)]
    return len(same) == 1 and same[0] is found[0]


def _holds_names(column: TableColumn) -> bool:
    """Most values seen are several words with capitals: names of people, firms or products."""
    names = [v for v in column.values if re.fullmatch(r"[A-Z][\w'.&-]*(?: [\w'.&-]+)* [A-Z][\w'.&-]*", v)]
    return len(names) * 2 > len(column.values)


def _drawn(value: str) -> str:
    """The look of a code: letters as A, runs of digits as 9."""
    return re.sub(r"\d+", "9", re.sub(r"[A-Za-z]", "A", value))


def _in_year(day: date, year: int) -> date:
    try:
        return day.replace(year=year)
    except ValueError:
        return day.replace(year=year, day=28)


def read(need: Need, columns: Sequence[TableColumn], noun: Sequence[str]) -> Query:
    """The query that `need` means over `columns` of rows that are `noun`s."""
    return QueryParser(need, columns, noun).query()
