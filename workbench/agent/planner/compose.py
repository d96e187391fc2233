"""The answer in words: for each part of the question, what the tools really returned.

Every number and name in it stands in a result, or was computed from rows that did; a part that found nothing says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from workbench.agent.planner.columns import columns_of
from workbench.agent.planner.entities import STRONG
from workbench.agent.planner.figures import label, salient, shown
from workbench.agent.planner.local import groups, keep, measure, ordered
from workbench.agent.planner.pursuit import Finding
from workbench.agent.planner.query import Filter, Query, read
from workbench.agent.planner.question import Need, Question
from workbench.agent.planner.records import Row, Step
from workbench.agent.planner.words import alike, family, split, terms
from workbench.events import JSON

MOST_LINES = 8
"""Rows listed before the rest is only counted."""
SIGN = "— Put together by the lexical planner, which is not a language model, from {n} tool call{s}."


def answer(question: Question, findings: Sequence[Finding], calls: int) -> str:
    """All parts, in the order of the question; the told parts after the asked ones."""
    parts: list[str] = []
    said: set[str] = set()
    for finding in sorted(findings, key=lambda f: f.need.kind == "tell"):
        text = _part(question, finding)
        if text and text not in said:
            said.add(text)
            parts.append(text)
    if not parts:
        parts.append("I found nothing in the question that a tool here could answer.")
    parts.append(SIGN.format(n=calls, s="" if calls == 1 else "s"))
    return "\n\n".join(parts)


def _part(question: Question, finding: Finding) -> str:
    need = finding.need
    head = _heading(need)
    if not finding.steps:
        if need.kind == "tell":
            return ""
        return f"**{head}**: not found; {finding.note or 'no tool fits'}."
    step = finding.steps[-1]
    if isinstance(step.data, str) and not step.rows:
        body = step.data.strip() or "the tool answered with nothing"
        return f"**{head}**:\n{body if len(body) < 3000 else body[:3000] + '…'}"
    rows = [r.fields for r in step.rows]
    if step.empty or not rows:
        return f"**{head}**: none found{_asked(step)}."
    return _Rows(question, finding, step).text(head)


def _heading(need: Need) -> str:
    text = re.sub(r"[\s,;]+(?:and|or|also|then)$", "", need.text.strip(" .?,;:"))
    if need.kind == "ask" and not need.analytic and need.words and not need.entities and len(need.words) <= 5:
        text = " ".join(need.words)
    return text[:1].upper() + text[1:] if len(text) <= 90 else text[:87] + "…"


def _asked(step: Step) -> str:
    """With which arguments nothing was found."""
    given = ", ".join(f"{label(k)} {shown(v)}" for k, v in step.arguments.items() if v not in (None, ""))
    return f" ({given})" if given else ""


class _Rows:
    """Puts the rows of one result into words."""

    def __init__(self, question: Question, finding: Finding, step: Step) -> None:
        self.question, self.finding, self.step = question, finding, step
        self.need = finding.need
        main = _main(step, self.need)
        self.all = [r.fields for r in main]
        self.noun = main[0].noun if main else ()
        self.overview = [r.fields for r in step.rows if r not in main]
        need = self._left()
        self.query: Query = read(need, columns_of(self.all), self.noun)
        self.currency = next((str(r["currency"]) for r in self.all if isinstance(r.get("currency"), str)), "")

    def _left(self) -> Need:
        """The need without what the call's own arguments already narrowed."""
        need = self.need
        narrowed = {str(v).lower() for v in self.step.arguments.values()}
        words = tuple(w for w in need.words if w not in narrowed)
        about = tuple(e for e in need.entities if e.value.lower() not in narrowed and e.kind not in STRONG)
        return replace(need, words=words, entities=about, inherited=(), periods=() if self.finding.periods or self.finding.wider else need.periods)

    def text(self, head: str) -> str:
        kept = keep(self.all, self.query.filters) if self.query.filters else self.all
        note = ""
        if not kept:
            sure = [f for f in self.query.filters if f.sure and not _dated(f)]
            kept = keep(self.all, sure)
            note = f"none within {_periods(self.need)}; " if kept and self.need.periods else ""
            if not kept:
                return f"**{head}**: none among the {len(self.all)} {self._plural(len(self.all))} that were returned{_asked(self.step)}."
        if self.finding.wider:
            note = f"nothing within {_periods(self.need)}; without that limit: "
        if len(self.all) == 1 and not self.step.listed and not self.need.analytic:
            return f"**{head}**: {note}{self._single(kept[0])}"
        return f"**{head}**: {note}{self._many(kept)}"

    def _single(self, row: JSON) -> str:
        asked = _asked_keys(self.need, row)
        rest = [k for k in row if k not in asked and row[k] not in (None, "", [])]
        if len(asked) == 1:
            about = [k for k in salient([row], [], 5) if k not in asked][:3]
            more = ", ".join(shown(row[k], k, self.currency) for k in about if row[k] not in (None, ""))
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
        lines: list[str] = []
        for extra in self.overview[:1]:
            facts = [f"{label(k)} {shown(v, k, self.currency)}" for k, v in extra.items() if v not in (None, "", []) and "." not in k]
            lines.append("; ".join(facts[:14]) + ".")
        if query.group and not cut:
            found = groups(rows, query)
            key = (query.metric.label if query.metric else "count")
            lines += [f"- {', '.join(shown(r[g]) for g in query.group)}: {shown(r[key], key, self.currency)}" for r in found[:MOST_LINES]]
            return "\n".join(["by " + ", ".join(map(label, query.group)), *lines])
        if query.metric and query.metric.function != "count":
            value = measure(rows, query.metric)
            if value is not None:
                over = f" over {len(rows)} of {total}" if cut else f" over {len(rows)}"
                lines.append(f"{query.metric.function} of {label(query.metric.column)} = {shown(value, query.metric.column, self.currency)}{over} {self._plural(len(rows))}.")
        if self.need.order and query.order:
            rows = ordered(rows, query.order, query.descending)
        elif _trouble(self.question):
            rows = sorted(rows, key=lambda r: not any(_is_trouble(v) for v in r.values()))
        most = min(self.need.top or MOST_LINES, 20)
        counted = f"{whole} {self._plural(whole)}{self._breakdown(rows)}" if not lines or not self.overview else f"{self._plural(2).capitalize()}{self._breakdown(rows)}"
        columns = salient(rows, [*query.fields, query.order] if query.order else list(query.fields))
        listed = ["- " + self._line(r, columns) for r in rows[:most]]
        if len(rows) > most or cut:
            listed.append(f"- … and {whole - min(most, len(rows))} more" if whole > most else f"- … of {total} in all")
        return "\n".join([*lines, counted + ":", *listed]) if lines else "\n".join([counted + ":", *listed])

    def _line(self, row: JSON, columns: Sequence[str]) -> str:
        cells = []
        for n, key in enumerate(columns):
            value = row.get(key)
            if value in (None, "", []):
                continue
            text = shown(value, key, self.currency)
            plain = n == 0 or (isinstance(value, str) and not isinstance(value, bool) and not text[:1].isdigit())
            cells.append(text if plain or self.currency and text.endswith(self.currency) else f"{label(key)} {text}")
        return " · ".join(cells)

    def _breakdown(self, rows: Sequence[JSON]) -> str:
        key = next((k for k in (rows[0] if rows else {}) if split(k)[-1:] in (("status",), ("state",), ("outcome",))), "")
        counts = Counter(shown(r.get(key)) for r in rows) if key else Counter()
        return f" ({', '.join(f'{n} {v}' for v, n in counts.most_common(6))})" if counts and len(rows) > 1 else ""

    def _plural(self, n: int) -> str:
        word = _surface(self.noun, self.step)
        return word if n == 1 else word + ("es" if word.endswith(("s", "x", "ch")) else word[-1:] == "y" and "" or "s") if word[-1:] != "y" else word[:-1] + "ies"


def _surface(noun: Sequence[str], step: Step) -> str:
    """The row's noun as the tool's name spells it."""
    for word in split(step.tool.rpartition(".")[2]) + split(step.tool.partition(".")[0]):
        if noun and family(word) == noun[-1]:
            return word[:-3] + "y" if word.endswith("ies") else word[:-1] if word.endswith("s") and not word.endswith("ss") else word
    return noun[-1] if noun else "row"


def _main(step: Step, need: Need) -> list[Row]:
    """The rows that the need is about: of several kinds in one result, the largest list that matches its words."""
    kinds: dict[tuple[frozenset[str], tuple[str, ...]], list[Row]] = {}
    for row in step.rows:
        kinds.setdefault((frozenset(k.partition(".")[0] for k in list(row.fields)[:3]), row.noun), []).append(row)
    if not kinds:
        return []
    if step.listed and len(kinds) > 1 and len(kinds[next(iter(kinds))]) == 1:
        kinds.pop(next(iter(kinds)))  # the object that holds the list
    return max(kinds.values(), key=lambda rows: (sum(alike(w, n) >= 1 for w in need.words for n in rows[0].noun), len(rows)))


def _asked_keys(need: Need, row: JSON) -> list[str]:
    """Fields of a row that the need names."""
    found = []
    for key, value in row.items():
        words = terms(key.rpartition(".")[2])
        if value is not None and words and any(alike(w, words[-1]) >= 0.85 for w in need.words) and not (words[-1] == "id" and "id" not in need.words):
            found.append(key)
    return found[:6]


_TROUBLE = frozenset(map(family, "fail failed declined error overdue past_due unpaid rejected expired blocked problem wrong broken".split()))


def _trouble(question: Question) -> bool:
    return any(family(w) in _TROUBLE for w in split(question.text))


def _is_trouble(value: object) -> bool:
    return isinstance(value, str) and len(value) < 40 and any(family(w) in _TROUBLE for w in split(value))


def _dated(condition: Filter) -> bool:
    return condition.op in (">", ">=", "<", "<=") and isinstance(condition.value, str)


def _periods(need: Need) -> str:
    return " and ".join(p.shown() for p in need.periods) or "the given time"
