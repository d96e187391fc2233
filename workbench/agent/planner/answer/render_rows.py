"""The rows of one result in words: figures first, then the rows that matter, the rest counted."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from workbench.agent.planner.further_calls import NeedProgress
from workbench.agent.planner.language.adjectives import UNSETTLED
from workbench.agent.planner.language.entities import STRONG
from workbench.agent.planner.language.figures import label, salient, shown
from workbench.agent.planner.language.lexicon import alike, close, family, listed, split, terms
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion, field_beside
from workbench.agent.planner.planner_data import lexicon, weights
from workbench.agent.planner.tables.local_query import groups, keep, measure, ordered
from workbench.agent.planner.tables.query_parser import read
from workbench.agent.planner.tables.table_columns import TableColumn, columns_of, match
from workbench.agent.planner.tables.table_query import Query
from workbench.agent.planner.tools.tool_records import FinishedCall, Row, contains
from workbench.events import JSON

MAX_LINES = 8
"""Rows listed before the rest is only counted."""


def arguments_of(step: FinishedCall) -> str:
    """With which arguments nothing was found."""
    given = ", ".join(f"{label(k)} {shown(v)}" for k, v in step.arguments.items() if v not in (None, ""))
    return f" ({given})" if given else ""


class RowRenderer:
    """Puts the rows of one result into words."""

    def __init__(self, question: ParsedQuestion, finding: NeedProgress, step: FinishedCall) -> None:
        self.question, self.finding, self.step = question, finding, step
        self.need = finding.need
        main = _main(step, self.need)
        self.all = [r.fields for r in main]
        self.noun = main[0].noun if main else ()
        beside = [r for r in step.rows if r not in main]
        self.overview = [r.fields for r in beside]
        self.head_noun = beside[0].noun if beside else ()
        need = self._left()
        self.query: Query = read(need, columns_of(self.all), self.noun)
        self.currency = next((str(r["currency"]) for r in self.all if isinstance(r.get("currency"), str)), "")

    def _left(self) -> Need:
        """The need without what the call's own arguments already narrowed."""
        need = self.need
        narrowed = {str(v).lower() for v in self.step.arguments.values()}
        words = tuple(w for w in need.words if w not in narrowed and w not in UNSETTLED)
        about = tuple(
            e for e in need.entities
            if e.value.lower() not in narrowed
            and (e.kind not in STRONG or any(contains(r, e.value) for r in self.step.rows))
        )  # fmt: skip
        return replace(
            need,
            words=words,
            entities=about,
            inherited=(),
            periods=() if self.finding.periods or self.finding.wider else need.periods,
        )

    def text(self, head: str) -> str:
        """The part of the answer that this result gives."""
        for extra in self.overview[:1]:
            if asked_keys(self.need, extra, self.head_noun) and not any(
                alike(w, n) >= 1 for w in self.need.words for n in self.noun
            ):
                return f"**{head}**: {self._single(extra)}"
        kept = keep(self.all, [f for f in self.query.filters if f.sure])
        for guess in (f for f in self.query.filters if not f.sure):
            kept = keep(kept, [guess]) or kept
        kept = self._doing(kept)
        note, total, read = "", self.step.total or 0, len(self.all)
        if total > read and len(kept) < read:
            # what was not read may fit as well
            if not kept:
                few = f"of {total} {self._plural(total)} only the first {read} were read, and none of them fits"
                return f"**{head}**: not known: {few}{arguments_of(self.step)}."
            note = f"of the first {read} of {total} that were read: "
        if not kept:
            kept = keep(self.all, [f for f in self.query.filters if f.sure and not f.dated])
            note = f"none within {_periods(self.need)}; " if kept and self.need.periods else ""
            if not kept:
                returned = f"{len(self.all)} {self._plural(len(self.all))}"
                return f"**{head}**: none among the {returned} that were returned{arguments_of(self.step)}."
        if self.finding.wider:
            note = f"nothing within {_periods(self.need)}; without that limit: "
        yes = (
            "yes: "
            if re.match(r"(?:is|are|do|does|did|has|have|was|were)\b.*\b(?:any|there|a|an)\b", self.need.text, re.I)
            else ""
        )
        if self._figures():
            return f"**{head}**: {note}{self._single(kept[0])}"
        if len(self.all) == 1 and (not self.step.listed or self.finding.known or self.finding.table):
            return f"**{head}**: {note}{self._single(kept[0])}"
        return f"**{head}**: {note}{yes}{self._many(kept)}"

    def _doing(self, rows: list[JSON]) -> list[JSON]:
        """Rows in which a person that the question names does what it says: who `organizes` is the `organizer`."""
        for person in (e.value.lower() for e in self.need.entities if e.kind == "name"):
            for key in rows[0] if rows else ():
                field = split(key)[-1:]
                does = field and any(close(w, field[0]) for w in self.need.words if w not in self.noun)
                same = [r for r in rows if isinstance(r.get(key), str) and r[key].lower() == person]
                if does and same and len(field[0]) > 5:
                    return same
        return rows

    def _figures(self) -> bool:
        """One object of figures (totals, averages), not one thing of many."""
        numbers = [k for k, v in self.all[0].items() if isinstance(v, (int, float)) and not isinstance(v, bool)]
        return (
            len(self.all) == 1
            and bool(numbers)
            and (self.need.analytic or not self.step.listed)
            and not _has_id(self.all[0])
        )

    def _single(self, row: JSON) -> str:
        # what was given to the tool is no news
        asked = [
            k
            for k in asked_keys(self.need, row, (*self.noun, *self.head_noun))
            if row[k] not in self.step.arguments.values()
        ]
        if self.query.metric and self.query.metric.column in row and self.query.metric.function != "count":
            asked = [self.query.metric.column]
        table = self.finding.table
        if table and table.order in row:
            asked = [table.order, *(k for k in asked if k != table.order)][:1]
        elif table and not table.metric and table.fields:
            asked = [k for k in table.fields if k in row]
        if self.need.measure == "count" and not (table and not table.metric):
            asked = [k for k in asked if isinstance(row[k], int)] or [
                k for k in row if k.lower() in ("total", "count", "n") and row[k] is not None
            ]
        rest = [k for k in row if k not in asked and row[k] not in (None, "", [])]
        if len(asked) == 1:
            about = (
                [k for k in salient([row], [], 8) if k not in asked][: 6 if table else 3]
                if _has_id(row) or (table and len(row) > 3)
                else []
            )
            more = ", ".join(
                (f"{label(k)} " if table else "") + shown(row[k], k, self.currency)
                for k in about
                if row[k] not in (None, "")
            )
            return f"{shown(row[asked[0]], asked[0], self.currency)}{f' ({more})' if more else ''}."
        if asked:
            lead = "; ".join(f"{label(k)}: {shown(row[k], k, self.currency)}" for k in asked)
            about = [k for k in salient([row], asked, 5) if k not in asked][:3]
            more = ", ".join(shown(row[k], k, self.currency) for k in about if row[k] not in (None, ""))
            return f"{lead}{f' ({more})' if more else ''}."
        return "; ".join(f"{label(k)}: {shown(row[k], k, self.currency)}" for k in rest[:14]) + "."

    def _many(self, rows: list[JSON]) -> str:
        query, total = self.query, self.step.total
        whole = total if total is not None and len(rows) == len(self.all) else len(rows)
        cut = total is not None and total > len(self.all)
        lines: list[str] = self._by_field(rows) if not cut or len(rows) < len(self.all) else []
        for extra in self.overview[:1]:
            facts = [
                f"{label(k)} {shown(v, k, self.currency)}"
                for k, v in extra.items()
                if v not in (None, "", []) and "." not in k
            ]
            lines.append("; ".join(facts[:14]) + ".")
        grouped = self._grouped(rows)
        if grouped:
            return "\n".join([*lines, *grouped]) if not lines else "\n".join(grouped)
        alone = self._alone(rows)
        if alone:
            rows = ordered(rows, alone, self.need.order == "desc")
            query = replace(query, group=(), metric=None, order=alone)
        if query.group and not cut:
            found = groups(rows, query)
            key = query.metric.label if query.metric else "count"
            column = query.metric.column if query.metric else ""
            each = [
                (", ".join(self._named(r[g]) for g in query.group), shown(r[key], column or key, self.currency))
                for r in found
            ]
            lines += [f"- {name}: {value}" for name, value in each[: max(MAX_LINES, self.need.top or 0)]]
            if self.need.order in ("desc", "asc") and not self.need.top:
                first = [name for name, value in each if value == each[0][1]]
                among = f"of {len(rows)} {self._plural(len(rows))}"
                said = " and ".join(first[:6]) + (f" and {len(first) - 6} more, equally" if len(first) > 6 else "")
                lines.insert(0, f"{said} ({each[0][1]} {among})")
                return "\n".join(lines)
            return "\n".join(["by " + ", ".join(map(label, query.group)), *lines])
        if query.metric and query.metric.function != "count":
            stated = self._stated() if cut and len(rows) == len(self.all) else None
            value = stated if stated is not None else measure(rows, query.metric)
            if value is not None:
                over = f" over {len(rows)} of {total}" if cut and stated is None else f" over {whole}"
                column = query.metric.column
                figure = f"{query.metric.function} of {label(column)} = {shown(value, column, self.currency)}"
                lines.append(f"{figure}{over} {self._plural(len(rows))}.")
        if self.need.order and query.order:
            rows = ordered(rows, query.order, query.descending)
        elif of_trouble(self.question):
            rows = sorted(rows, key=lambda r: not any(is_trouble(v) for v in r.values()))
        most = min(self.need.top or MAX_LINES, 20)
        breakdown = "" if cut and len(rows) == len(self.all) else self._breakdown(rows)
        counted = (
            f"{whole} {self._plural(whole)}{breakdown}"
            if not lines or not self.overview
            else f"{self._plural(2).capitalize()}{breakdown}"
        )
        asked = [*([query.order] if query.order else []), *query.fields, *asked_keys(self.need, rows[0], self.noun)]
        asked += [f.column for f in query.filters if f.column in rows[0]]
        if of_trouble(self.question) or re.search(r"\bwhy\b", self.question.text, re.I):
            asked += [k for k in rows[0] if split(k)[-1:] == ("reason",)]
        columns = salient(rows, list(dict.fromkeys(asked)))
        listed = ["- " + self._line(r, columns) for r in rows[:most]]
        if (len(rows) > most or cut) and not (self.need.top and self.need.order):
            listed.append(f"- … and {whole - min(most, len(rows))} more" if whole > most else f"- … of {total} in all")
        return "\n".join([*lines, counted + ":", *listed]) if lines else "\n".join([counted + ":", *listed])

    def _by_field(self, rows: list[JSON]) -> list[str]:
        """A count that is asked for together with a field (`how many, and for what reasons`), by that field."""
        asked = field_beside(self.need.text)
        texts = [c for c in columns_of(rows) if c.type == "text" and not c.identifies]
        found = [f for f in match([asked], texts) if f[1] >= weights().columns.mentioned] if asked else []
        if self.need.measure != "count" or not found:
            return []
        name = found[0][0].name
        counts = Counter(shown(r.get(name)) for r in rows)
        return [f"{len(rows)} in all, by {label(name)}: {', '.join(f'{v} {n}' for v, n in counts.most_common(12))}."]

    def _alone(self, rows: list[JSON]) -> str:
        """The column to sort by when what is asked for names one row each (`which warehouse holds the least`)."""
        group = self.query.group
        if not group or self.need.order not in ("desc", "asc") or len({str(r.get(group[0])) for r in rows}) < len(rows):
            return ""
        numbers = [c for c in columns_of(rows) if c.type == "number" and not c.identifies]
        wanted = match(self.need.words, numbers)
        return wanted[0][0].name if wanted else numbers[0].name if numbers else ""

    def _stated(self) -> float | int | None:
        """A sum over all rows that the result states beside them (`total_amount`)."""
        metric = self.query.metric
        for key, value in self.step.scalars.items():
            words = split(key)
            if (
                metric
                and metric.function == "sum"
                and {"total", "sum"} & set(words)
                and set(split(metric.column)) & set(words)
            ):
                return value if isinstance(value, (int, float)) else None
        return None

    def _grouped(self, rows: list[JSON]) -> list[str]:
        """Rows that the tool grouped already: one line each, the wanted extreme first and said."""
        shape = self.step.shape
        if shape is None or not any(p.role == "group" and p.name in self.step.arguments for p in shape.parameters):
            return []
        by = [str(g) for p in shape.takes("group") for g in _as_list(self.step.arguments.get(p.name))]
        numbers = [
            k
            for k in rows[0]
            if isinstance(rows[0][k], (int, float)) and not isinstance(rows[0][k], bool) and k not in by
        ]
        names = [k for k in rows[0] if k not in numbers] or list(rows[0])[:1]
        wanted = (
            [k for k, _, _ in match(self.need.words, [TableColumn(k, "number") for k in numbers])] if numbers else []
        )
        key = next((k.name for k in wanted), numbers[0] if numbers else "")
        if self.need.order in ("desc", "asc") and key:
            rows = ordered(rows, key, self.need.order == "desc")
        show = [key, *(k for k in numbers if k != key)] if key else []
        most = self.need.top or (5 if self.need.order in ("desc", "asc") else MAX_LINES * 3)
        lines = [
            "- "
            + ", ".join(self._named(r.get(n)) for n in names)
            + ": "
            + ", ".join(f"{label(k)} {shown(r.get(k), k)}" for k in show)
            for r in rows[:most]
        ]
        if self.need.order in ("desc", "asc") and key:
            lines.insert(
                0, f"{', '.join(self._named(rows[0].get(n)) for n in names)} ({label(key)} {shown(rows[0][key], key)})"
            )
        else:
            lines.insert(0, f"{len(rows)} groups:")
        return lines if len(rows) <= most else [*lines, f"- … and {len(rows) - most} more"]

    def _named(self, value: object) -> str:
        """A code with what it stands for."""
        name = self.finding.names.get(str(value))
        return f"{shown(value)} ({name})" if name and name != value else shown(value)

    def _line(self, row: JSON, columns: Sequence[str]) -> str:
        cells = []
        for n, key in enumerate(columns):
            value = row.get(key)
            if value in (None, "", []):
                continue
            text = shown(value, key, self.currency)
            plain = isinstance(value, str) and (n == 0 or not text[:1].isdigit())
            cells.append(text if plain or (self.currency and text.endswith(self.currency)) else f"{label(key)} {text}")
        return " · ".join(cells)

    def _breakdown(self, rows: Sequence[JSON]) -> str:
        key = next(
            (k for k in (rows[0] if rows else {}) if split(k)[-1:] in (("status",), ("state",), ("outcome",))), ""
        )
        counts = Counter(shown(r.get(key)) for r in rows) if key else Counter()
        return f" ({', '.join(f'{n} {v}' for v, n in counts.most_common(6))})" if counts and len(rows) > 1 else ""

    def _plural(self, n: int) -> str:
        word = "row" if self.finding.table else _surface(self.noun, self.step, self.all[0] if self.all else {})
        if n == 1:
            return word
        if word.endswith("y") and word[-2:-1] not in "aeiou":
            return word[:-1] + "ies"
        return word + ("es" if word.endswith(("s", "x", "ch", "sh")) else "s")


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _has_id(row: JSON) -> bool:
    return any(k.lower() == "id" or k.lower().endswith("_id") for k in row)


def _surface(noun: Sequence[str], step: FinishedCall, row: JSON) -> str:
    """The row's noun as its id or the tool's name spells it."""
    first = next(iter(row), "")
    if first.lower().endswith("_id") and noun and family(split(first)[-2]) == noun[-1]:
        return " ".join(split(first)[:-1])
    for word in split(step.tool.rpartition(".")[2]) + split(step.tool.partition(".")[0]):
        if noun and family(word) == noun[-1]:
            if word.endswith("ies"):
                return word[:-3] + "y"
            return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
    return noun[-1] if noun else "row"


def _main(step: FinishedCall, need: Need) -> list[Row]:
    """The rows that the need is about: of several kinds in one result, the largest list that matches its words."""
    kinds: dict[tuple[frozenset[str], tuple[str, ...]], list[Row]] = {}
    for row in step.rows:
        kinds.setdefault((frozenset(k.partition(".")[0] for k in list(row.fields)[:3]), row.noun), []).append(row)
    if not kinds:
        return []
    if step.listed and len(kinds) > 1 and len(kinds[next(iter(kinds))]) == 1:
        kinds.pop(next(iter(kinds)))  # the object that holds the list
    return max(
        kinds.values(), key=lambda rows: (sum(alike(w, n) >= 1 for w in need.words for n in rows[0].noun), len(rows))
    )


def asked_keys(need: Need, row: JSON, noun: Sequence[str] = ()) -> list[str]:
    """Fields of a row that the need names; a field of exactly that name shuts out those that only sound like it."""
    exact: list[str] = []
    near: list[str] = []
    asking = [w for w in need.words if not any(alike(w, n) >= 1 for n in noun)]
    for key, value in row.items():
        words = terms(key.rpartition(".")[2])
        if value is None or not words or (words[-1] == "id" and "id" not in need.words):
            continue
        if any(alike(w, words[-1]) >= 1 for w in asking):
            exact.append(key)
        elif any(close(w, words[-1]) or (len(w) >= 4 and key.lower().endswith(w)) for w in asking):
            near.append(key)
    return (exact or near)[:6]


_TROUBLE = frozenset(map(family, listed(lexicon().fields.trouble)))


def of_trouble(question: ParsedQuestion) -> bool:
    """The question is about something that went wrong: then what went wrong comes first."""
    return any(family(w) in _TROUBLE for w in split(question.text))


def is_trouble(value: object) -> bool:
    """A value that says that something went wrong (`failed`, `overdue`)."""
    return isinstance(value, str) and len(value) < 40 and any(family(w) in _TROUBLE for w in split(value))


def _periods(need: Need) -> str:
    return " and ".join(p.shown() for p in need.periods) or "the given time"
