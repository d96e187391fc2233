"""Columns of tables and of results, and which of them a part of a question means."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from workbench.agent.planner.language.lexicon import STOP, alike, family, listed, split
from workbench.agent.planner.planner_data import lexicon, weights

Type = Literal["number", "text", "date", "bool"]


@dataclass(frozen=True)
class TableColumn:
    """A named column with what is known of its values."""

    name: str
    type: Type
    values: tuple[str, ...] = ()
    """Values seen in it; a sample unless the column is small."""
    low: str = ""
    """Least value known, as text."""
    high: str = ""
    description: str = ""
    distinct: int | None = None
    """How many different values it has, when that is known."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its name."""
        return tuple(w for w in split(self.name.rpartition(".")[2]) if w not in STOP) or split(self.name)

    @property
    def identifies(self) -> bool:
        """Looks like an id, of which averages and sums make no sense."""
        return self.words[-1:] in (
            ("id",),
            ("uuid",),
            ("key",),
            ("number",),
            ("code",),
            ("zip",),
        ) or self.name.lower().endswith("id")


_BESIDE = frozenset(listed(lexicon().fields.units))
"""Words of a column's name that a question leaves out: units and kinds."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$")


def columns_of(rows: Iterable[dict[str, Any]]) -> list[TableColumn]:
    """Columns of rows that came back, types and values taken from the rows."""
    seen: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            if value is not None and not isinstance(value, (list, dict)):
                seen.setdefault(key, []).append(value)
    found = []
    for name, values in seen.items():
        kinds = {_kind(v) for v in values[:200]}
        kind = kinds.pop() if len(kinds) == 1 else ("text" if "text" in kinds else "number")
        texts = tuple(dict.fromkeys(str(v) for v in values if isinstance(v, str)))[:60] if kind == "text" else ()
        found.append(TableColumn(name, kind, texts))
    return found


def _kind(value: Any) -> Type:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, (int, float)):
        return "number"
    return "date" if _DATE.match(str(value)) else "text"


def declared_type(text: str) -> Type:
    """The type that a database's type name stands for."""
    t = text.lower()
    if any(w in t for w in ("date", "time")):
        return "date"
    if "bool" in t:
        return "bool"
    return (
        "number"
        if any(w in t for w in ("int", "double", "float", "decimal", "numeric", "real", "number", "long"))
        else "text"
    )


def match(
    words: Sequence[str], columns: Sequence[TableColumn], types: Iterable[Type] | None = None
) -> list[tuple[TableColumn, float, frozenset[int]]]:
    """Columns that `words` mean, best first, each with its score and the positions of the words that it used.

    A column is meant as a whole: for `departure delay`, `dep_delay` beats `arr_delay`, which only shares one word.
    """
    weight = weights().columns
    allowed = set(types) if types else None
    found = []
    for column in columns:
        if allowed and column.type not in allowed:
            continue
        own = column.words
        used: set[int] = set()
        got = 0.0
        for part in own:
            best = max(((alike(w, part), -i) for i, w in enumerate(words)), default=(0.0, 0))
            if best[0] > 0:
                got += best[0]
                used.add(-best[1])
        if not used:
            continue
        head = max((alike(words[i], own[-1]) for i in used), default=0.0)
        helpers = [w for w in own if w in _BESIDE]
        whole = got / max(
            1,
            len(own)
            - weight.unsaid_unit * len([h for h in helpers if family(h) not in {family(words[i]) for i in used}]),
        )
        score = min(1.0, whole) * (weight.base + weight.each_word * min(len(used), 2)) + weight.last_word * head
        found.append((column, score, frozenset(used)))
    return sorted(found, key=lambda f: (-f[1], len(f[0].words), columns.index(f[0])))


def holding(text: str, columns: Sequence[TableColumn]) -> list[tuple[TableColumn, str]]:
    """Columns among whose values `text` is known to be, with the value as it is spelt there."""
    lowered = text.lower()
    hits = []
    for column in columns:
        for value in column.values:
            if value.lower() == lowered or (len(value) > 3 and family(value.lower()) == family(lowered)):
                hits.append((column, value))
                break
    return hits


def within(column: TableColumn, start: date | None, end: date | None) -> bool:
    """Whether a span of days can touch what the column is known to hold."""
    if not column.low or not column.high:
        return True
    return not ((start and column.high[:10] < start.isoformat()) or (end and column.low[:10] > end.isoformat()))
