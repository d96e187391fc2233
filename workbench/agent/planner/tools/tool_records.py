"""What tools have returned so far, as rows with named values that later calls can use."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from workbench.agent.planner.language.lexicon import alike, listed, terms
from workbench.agent.planner.planner_data import weights
from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.events import JSON

MAX_ROWS = 5_000
"""Rows of one result that are looked at; more would slow a turn without changing an answer by much."""


@dataclass(frozen=True)
class Row:
    """One object in a result."""

    fields: JSON
    """Flat: nested objects appear as `outer.inner`."""
    noun: tuple[str, ...]
    """What it is, as far as the result or the tool's name says: `customer`."""
    step: int


@dataclass(frozen=True)
class FinishedCall:
    """One finished call, as the planner looks back at it."""

    shape: ToolProfile | None
    tool: str
    arguments: JSON
    ok: bool
    data: Any
    message: str = ""
    rows: tuple[Row, ...] = ()
    listed: bool = False
    """The rows came as a list, so that one row is one of possibly many."""
    scalars: JSON = field(default_factory=dict)
    """Values beside the rows: totals, cursors, echoes of the arguments."""

    @property
    def head(self) -> Row | None:
        """The one thing that the result is about, when it is about one."""
        if not self.ok or not self.rows:
            return None
        first = self.rows[0]
        alone = len(self.rows) == 1 or all(set(r.fields) != set(first.fields) for r in self.rows[1:])
        return first if alone else None

    @property
    def empty(self) -> bool:
        """The tool answered, and there was nothing."""
        if self.rows:
            return False
        if isinstance(self.data, str):
            text = self.data.strip().lower()
            return not text or (len(text) < 160 and text.startswith(("no ", "not found", "none", "nothing", "0 ")))
        if isinstance(self.data, (Mapping, list)):
            counts = [v for v in self.scalars.values() if isinstance(v, (int, float)) and not isinstance(v, bool)]
            return not any(counts) and not any(isinstance(v, str) and v for v in self.scalars.values())
        return self.data is None

    @property
    def total(self) -> int | None:
        """How many rows there are in all, when the result says so."""
        if self.shape and any(p.role == "group" and p.name in self.arguments for p in self.shape.parameters):
            return None  # the total counts what was grouped, not the groups
        for key in (
            "total",
            "total_count",
            "total_rows",
            "total_matches",
            "matched",
            "matching",
            "count",
            "row_count",
            "rows_matched",
            "n",
        ):
            value = self.scalars.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value >= len(self.rows):
                return value
        return None


def step(
    shape: ToolProfile | None, tool: str, arguments: JSON, ok: bool, data: Any, message: str, index: int
) -> FinishedCall:
    """Read a result. Any JSON is accepted."""
    rows: list[Row] = []
    scalars: JSON = {}
    if ok:
        data = _unwrapped(data)
        noun = shape.nouns if shape else terms(tool.rpartition(".")[2])
        rows = [Row(flat(r), n, index) for r, n in _rows(data, noun, 0)][:MAX_ROWS]
        if isinstance(data, Mapping):
            scalars = {str(k): v for k, v in data.items() if not isinstance(v, (Mapping, list))}
            if not rows and scalars:
                rows = [Row(flat(data), noun, index)] if _is_thing(data) else []
    listed = isinstance(data, list) or (
        isinstance(data, Mapping) and any(isinstance(v, list) for v in data.values()) and len(rows) != 0
    )
    listed = listed and not (isinstance(data, Mapping) and len(rows) == 1 and _identified(scalars))
    return FinishedCall(shape, tool, arguments, ok, data, message, tuple(rows), listed, scalars)


def _unwrapped(data: Any) -> Any:
    """`{"result": …}`, which the SDK wraps around anything that is no object, opened."""
    if isinstance(data, Mapping) and len(data) == 1 and "result" in data:
        data = data["result"]
    if isinstance(data, str) and data[:1] in "[{(" and data[:1] and len(data) < 1_000_000:
        # some servers answer with the text of a Python value
        try:
            data = ast.literal_eval(data)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return data
    return data


def _is_thing(data: Mapping[str, Any]) -> bool:
    """A mapping that describes something, rather than an empty answer (`{"tickets": [], "total": 0}`)."""
    lists = [v for v in data.values() if isinstance(v, list)]
    told = [k for k, v in data.items() if v not in (None, "", 0, False) and not isinstance(v, (list, Mapping))]
    if lists and all(not v for v in lists):
        # an empty page still echoes limits and notes; a count above zero, or several figures, is an answer
        counted = [
            k
            for k in told
            if isinstance(data[k], (int, float)) and str(k).lower() not in ("limit", "offset", "page", "page_size")
        ]
        return bool(counted)
    return bool(told)


def _rows(data: Any, noun: tuple[str, ...], depth: int) -> Iterator[tuple[Mapping[str, Any], tuple[str, ...]]]:
    if depth > 5:
        return
    if isinstance(data, list):
        yield from ((item, noun) for item in data[:MAX_ROWS] if isinstance(item, Mapping))
        return
    if not isinstance(data, Mapping):
        return
    columns, cells = data.get("columns"), data.get("rows", data.get("data"))
    if isinstance(columns, list) and isinstance(cells, list) and cells and isinstance(cells[0], list):
        names = [str(c.get("name", c) if isinstance(c, Mapping) else c) for c in columns]
        for line in cells[:MAX_ROWS]:
            if isinstance(line, list):
                yield dict(zip(names, line, strict=False)), noun
        return
    lists = {k: v for k, v in data.items() if isinstance(v, list) and v and isinstance(v[0], Mapping)}
    plain = {k: v for k, v in data.items() if not isinstance(v, (list, Mapping))}
    about = [k for k in plain if str(k).lower() not in _COUNTERS]
    if lists and len(about) >= 2 and depth == 0 and _identified(plain):
        yield {k: v for k, v in data.items() if k not in lists}, noun
    elif not lists:
        inner = {k: v for k, v in data.items() if isinstance(v, Mapping) and _identified(v)}
        if inner and not _identified(plain):
            for key, value in inner.items():
                yield from _rows(value, terms(str(key)) or noun, depth + 1)
            return
        if _is_thing(data) and (about or any(isinstance(v, Mapping) for v in data.values())):
            yield data, noun
        return
    for key, found in lists.items():
        named = _owner(found[0]) or terms(str(key))
        generic = not named or str(key).lower() in _GENERIC
        yield from _rows(found, noun if generic and not _owner(found[0]) else named, depth + 1)


def _owner(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a row is, told by its first field: `payment_id` opens a payment."""
    first = str(next(iter(row), ""))
    return terms(first[:-3]) if first.lower().endswith("_id") else ()


_GENERIC = frozenset(
    listed("""
        rows items results result data records entries matches hits values recent latest last top list found
        groups lines children
    """)
)
_COUNTERS = frozenset(
    listed("""
        total count limit offset page pages has_more next cursor next_cursor total_count truncated took_ms
        elapsed_ms note row_count returned shown matched currency
    """)
)


def _identified(fields: Mapping[str, Any]) -> bool:
    """Whether an object carries an id or a name of its own."""
    return any(
        str(k).lower() in ("id", "name", "title", "email") or str(k).lower().endswith(("_id", "id", "_name"))
        for k in fields
    )


def flat(data: Mapping[str, Any], prefix: str = "", depth: int = 0) -> JSON:
    """Nested objects as dotted keys; lists of plain values stay, lists of objects become their length."""
    out: JSON = {}
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < 4:
            out.update(flat(value, f"{name}.", depth + 1))
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            out[name] = len(value)
        else:
            out[name] = value
    return out


def linked(
    steps: Iterable[FinishedCall],
    wanted: tuple[str, ...],
    name: str,
    focus: Iterable[str],
    kind: str = "",
    about: bool = False,
) -> list[Any]:
    """Values from earlier results that fit an id parameter, the most relevant first.

    Args:
        steps: what was returned.
        wanted: what the id identifies (`customer`), in families.
        name: the parameter's name; a field of the same name fits best.
        focus: texts from the question; rows that contain one come first and shut out the others of their step.
        kind: JSON type of the parameter; values of another type do not fit.
        about: take only values of rows that are themselves what is wanted, no passing mention in another row.
    """
    best: list[tuple[float, int, Any]] = []
    looked = [f.lower() for f in focus]
    for number, done in enumerate(steps):
        rows = [r for r in done.rows if looked and any(contains(r, f) for f in looked)] or list(done.rows)
        for row in rows[:50]:
            if about and not any(alike(w, n) >= 1 for w in wanted for n in row.noun):
                continue
            for key, value in row.fields.items():
                fit = _fits(key, row.noun, wanted, name)
                if (
                    fit
                    and value not in (None, "")
                    and not isinstance(value, (bool, list, Mapping))
                    and _typed(value, kind)
                ):
                    best.append(
                        (
                            fit + weights().links.focus_bonus * bool(looked and any(contains(row, f) for f in looked)),
                            number,
                            value,
                        )
                    )
    if not best:
        return []
    top = max(b[0] for b in best)
    return list(dict.fromkeys(v for fit, _, v in best if fit >= top - weights().links.tie))


def _typed(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int)
    return kind != "string" or isinstance(value, str)


def _fits(key: str, noun: tuple[str, ...], wanted: tuple[str, ...], name: str) -> float:
    last = key.rpartition(".")[2]
    if wanted and last.lower().replace("_", "") == name.lower().replace("_", ""):
        return 1.0
    key_terms = terms(key)
    bare = tuple(t for t in key_terms if t not in ("id", "key", "number"))
    is_id = last.lower() in ("id", "key", "number", "uuid", "identifier") or last.lower().endswith(("_id", "id"))
    if not is_id:
        return 0.0
    owner = bare or noun
    if wanted and owner and any(alike(w, o) >= 1.0 for w in wanted for o in owner):
        return weights().links.owned_id
    return 0.0


def contains(row: Row, text: str) -> bool:
    """Whether some value of the row is `text`, or (for longer texts) holds it, whatever the case."""
    lowered = text.lower()
    for value in row.fields.values():
        if isinstance(value, str):
            found = value.lower()
            if found == lowered or (len(lowered) >= 4 and lowered in found):
                return True
        elif value is not None and not isinstance(value, (bool, list, Mapping)) and str(value) == text:
            return True
    return False
