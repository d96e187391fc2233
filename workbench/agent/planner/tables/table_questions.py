"""Questions about tables: find the table, learn its columns, put the query to it, and name what came back.

Each step is one call; what was learnt is read from the results so far. A word of the question that is in no column of
the chosen table is looked up: among the values of its smaller columns, then by name in a table that shares a key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workbench.agent.planner.language.entities import Entity
from workbench.agent.planner.language.lexicon import alike, close, terms
from workbench.agent.planner.language.question_parser import Need
from workbench.agent.planner.planner_data import weights
from workbench.agent.planner.tables.query_parser import read
from workbench.agent.planner.tables.table_columns import TableColumn, columns_of, declared_type
from workbench.agent.planner.tables.table_query import Filter, Metric, Query
from workbench.agent.planner.tables.table_tools import TableTools, put
from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall
from workbench.events import JSON

DESCRIBED = 2
"""Tables of one server that are described for one need."""
SMALL = 300
"""Different values up to which a column's values are fetched."""

Past = Callable[[ToolProfile, JSON], FinishedCall | None]


@dataclass(frozen=True)
class TableCall:
    """A call that the table route needs."""

    shape: ToolProfile
    arguments: JSON
    why: str


@dataclass(frozen=True)
class TableAnswer:
    """The table route's answer."""

    step: FinishedCall
    query: Query
    fit: float
    table: str
    names: dict[str, str]
    """What codes stand for: `F9` → `Frontier Airlines Inc.`."""


@dataclass(frozen=True)
class MissingColumn:
    """The table that fits best has no column for the figure that is asked for."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table and what is known of it."""

    kit: TableTools
    name: str
    columns: tuple[TableColumn, ...]
    rows: int
    described: bool

    @property
    def noun(self) -> tuple[str, ...]:
        """What its rows are, by its name."""
        return terms(self.name)


class Tables:
    """The table route over all kits."""

    def __init__(self, kits: Sequence[TableTools], past: Past) -> None:
        self.kits = kits
        self.past = past

    def explore(self, need: Need, floor: float) -> TableCall | TableAnswer | MissingColumn | None:
        """The next call, the answer, or None when no table explains more of the need than `floor`.

        Args:
            need: the part of the question.
            floor: the share of its words that another tool explains already.
        """
        listed: list[Table] = []
        for kit in self.kits:
            found = self.past(kit.lister, {})
            if found is None:
                return TableCall(kit.lister, {}, "learns which tables there are")
            listed += _listed(kit, found) if found.ok else []
        listed.sort(key=lambda t: -_rough(need, t))
        chosen: list[tuple[float, Table, Query]] = []
        for table in listed[:DESCRIBED]:
            if _rough(need, table) <= 0:
                continue
            known = self._described(table)
            if isinstance(known, TableCall):
                return known
            others = [t for t in listed if t.name != known.name and t.kit is known.kit]
            meant = in_words_of(known, need, others)
            query = read(meant, known.columns, known.noun)
            chosen.append((_fit(meant, query, known), known, query))
        if not chosen:
            return None
        best = max(chosen, key=lambda c: (c[0], len(c[2].filters), c[1].rows))
        if best[0] <= floor:
            return None
        others = [t for t in listed if t.name != best[1].name and t.kit is best[1].kit]
        return self._answer(in_words_of(best[1], need, others), best[1], others, best[0])

    def _described(self, table: Table) -> Table | TableCall:
        shape = table.kit.describer
        if shape is None or table.described:
            return table
        arguments = {shape.takes("collection")[0].name: table.name}
        found = self.past(shape, arguments)
        if found is None:
            return TableCall(shape, arguments, f"learns the columns of {table.name}")
        columns = _columns(found) if found.ok else ()
        return replace(table, columns=columns or table.columns, described=True)

    def _answer(
        self, need: Need, table: Table, others: Sequence[Table], fit: float
    ) -> TableCall | TableAnswer | MissingColumn | None:
        columns = list(table.columns)
        query = read(need, columns, table.noun)
        if query.unplaced or _loose(need, query):
            fetched = self._values(need, table, query)
            if isinstance(fetched, TableCall):
                return fetched
            columns = fetched
            query = read(need, columns, table.noun)
        if query.lacking:
            return MissingColumn(
                f"no column of {table.name} is {' '.join(query.lacking)}; its columns are "
                f"{', '.join(c.name for c in columns)}"
            )
        extra: list[Filter] = []
        for entity in query.unplaced:
            key = self._lookup(entity, table, others)
            if isinstance(key, TableCall):
                return key
            if key:
                extra.append(key)
        query = replace(
            query,
            filters=(
                *(f for f in query.filters if not any(f.value == e.value and not f.sure for e in query.unplaced)),
                *extra,
            ),
        )
        types: dict[str, str] = {c.name: c.type for c in columns}
        call = put(table.kit, table.name, query, types)
        if call is None:
            return None
        done = self.past(*call)
        if done is None:
            return TableCall(call[0], call[1], f"asks {table.name}: {_said(query)}")
        if not done.ok:
            return TableAnswer(done, query, fit, table.name, {})
        names = self._names(done, query, others)
        return names if isinstance(names, TableCall) else TableAnswer(done, query, fit, table.name, names)

    def _values(self, need: Need, table: Table, query: Query) -> list[TableColumn] | TableCall:
        """The columns, with all values of the small text columns; one column is fetched per turn, three at most."""
        columns = list(table.columns)
        texts = [
            c for c in columns if c.type == "text" and (c.distinct is None or c.distinct <= SMALL) and not _complete(c)
        ]
        texts.sort(
            key=lambda c: (-max((alike(w, p) for w in need.words for p in c.words), default=0.0), c.distinct or SMALL)
        )
        for column in texts[:3]:
            listing = Query(metric=Metric("count"), group=(column.name,), limit=SMALL)
            call = put(table.kit, table.name, listing, {})
            if call is None:
                break
            limit = next((p for p in call[0].takes("limit")), None)
            arguments = {**call[1], **({limit.name: SMALL} if limit else {})}
            done = self.past(call[0], arguments)
            if done is None:
                return TableCall(call[0], arguments, f"learns the values of {column.name}")
            values = tuple(str(r.fields[column.name]) for r in done.rows if r.fields.get(column.name) is not None)
            columns[columns.index(column)] = replace(
                column, values=values or column.values, distinct=len(values) or column.distinct
            )
        return columns

    def _lookup(self, entity: Entity, table: Table, others: Sequence[Table]) -> Filter | TableCall | None:
        """The key of a thing named by words, from a table that shares the key (`Delta` → carrier DL)."""
        if entity.kind not in ("name", "quoted", "code"):
            return None
        own = {c.name.lower(): c.name for c in table.columns}
        for other in others:
            known = self._described(other) if not other.columns else other
            if isinstance(known, TableCall):
                return known
            name = next(
                (c for c in known.columns if c.words[-1:] in (("name",), ("title",), ("label",), ("description",))),
                None,
            )
            key = next((c for c in known.columns if c.name.lower() in own and c is not name), None)
            if name is None or key is None:
                continue
            call = put(
                known.kit, known.name, Query(filters=(Filter(name.name, "contains", entity.value),), limit=5), {}
            )
            if call is None:
                continue
            done = self.past(*call)
            if done is None:
                return TableCall(call[0], call[1], f"looks {entity.value} up in {known.name}")
            if done.ok and done.rows:
                return Filter(own[key.name.lower()], "=", done.rows[0].fields.get(key.name))
        return None

    def _names(self, done: FinishedCall, query: Query, others: Sequence[Table]) -> dict[str, str] | TableCall:
        """What the first groups' codes stand for, where another table says."""
        if len(query.group) != 1 or not done.rows:
            return {}
        codes = [r.fields.get(query.group[0]) for r in done.rows[:20] if isinstance(r.fields.get(query.group[0]), str)]
        for other in others:
            key = next((c for c in other.columns if c.name.lower() == query.group[0].lower()), None)
            name = next((c for c in other.columns if c.words[-1:] in (("name",), ("title",), ("label",))), None)
            if key is None or name is None or not codes:
                continue
            call = put(other.kit, other.name, Query(filters=(Filter(key.name, "in", codes),), limit=20), {})
            if call is None:
                return {}
            found = self.past(*call)
            if found is None:
                return TableCall(call[0], call[1], f"names the {query.group[0]} codes")
            return {
                str(r.fields.get(key.name)): str(r.fields.get(name.name)) for r in found.rows if r.fields.get(name.name)
            }
        return {}


def _listed(kit: TableTools, step: FinishedCall) -> list[Table]:
    """Tables from what the lister returned: rows with a name, or plain names."""
    found = []
    for row in step.rows:
        name = next(
            (
                row.fields[k]
                for k in ("table", "table_name", "name", "dataset", "collection", "id")
                if isinstance(row.fields.get(k), str)
            ),
            None,
        )
        if name:
            named = row.fields.get("columns")
            columns = tuple(TableColumn(str(c), "text") for c in named) if isinstance(named, list) else ()
            count = row.fields.get("rows", row.fields.get("row_count", 0))
            found.append(Table(kit, name, columns, count if isinstance(count, int) else 0, False))
    if not found:
        data: Any = step.data
        names = (
            data
            if isinstance(data, list)
            else next((v for v in data.values() if isinstance(v, list)), [])
            if isinstance(data, dict)
            else str(data or "").split()
        )
        found = [Table(kit, str(n), (), 0, False) for n in names if isinstance(n, str) and n][:50]
    return found


def table_names(kit: TableTools, steps: Sequence[FinishedCall]) -> list[str]:
    """Tables that the kit's lister has named so far."""
    return [
        t.name
        for s in steps
        if s.ok and s.shape is not None and s.shape.name == kit.lister.name
        for t in _listed(kit, s)
    ]


def described_columns(kit: TableTools, steps: Sequence[FinishedCall]) -> list[str]:
    """Columns of the tables that were described so far, or listed when the lister names them."""
    names: dict[str, None] = {}
    for s in steps:
        if s.ok and s.shape is not None and kit.describer is not None and s.shape.name == kit.describer.name:
            names.update(dict.fromkeys(c.name for c in _columns(s)))
    return list(names)


def _columns(step: FinishedCall) -> tuple[TableColumn, ...]:
    """Columns from a description: rows with a name and a type, or with `column_name` and `data_type`."""
    found = []
    for row in step.rows:
        f = row.fields
        name = next((f[k] for k in ("name", "column", "column_name", "field") if isinstance(f.get(k), str)), None)
        kind = next((f[k] for k in ("type", "data_type", "dtype", "column_type") if isinstance(f.get(k), str)), None)
        if name is None or kind is None:
            continue
        shown: list[Any] = next(
            (
                f[k]
                for k in ("values", "examples", "top_values", "sample_values", "samples")
                if isinstance(f.get(k), list)
            ),
            [],
        )
        distinct = next(
            (
                f[k]
                for k in ("distinct", "distinct_count", "n_distinct", "unique", "cardinality")
                if isinstance(f.get(k), int)
            ),
            None,
        )
        low, high = (str(f.get(k) if f.get(k) is not None else "") for k in ("min", "max"))
        texts = tuple(str(v) for v in shown if isinstance(v, (str, int, float)))
        found.append(
            TableColumn(
                name,
                declared_type(kind),
                texts if declared_type(kind) == "text" else (),
                low,
                high,
                str(f.get("description") or ""),
                distinct,
            )
        )
    return tuple(found) or tuple(
        columns_of([r.fields for r in step.rows])
        if len(step.rows) > 3 and "type" not in (step.rows[0].fields if step.rows else {})
        else ()
    )


def in_words_of(table: Table, need: Need, others: Sequence[Table]) -> Need:
    """The need with what another table lists named by this table's key for it.

    Where `airlines` begins with the column `carrier`, and `flights` has that column, an airline is a `carrier` there. A
    list of things shares its key with other tables and little else; a table that shares more holds the same facts.
    """
    own = {c.name.lower(): c for c in table.columns}
    known = {*table.noun, *(p for c in table.columns for p in c.words)}
    keys: dict[str, tuple[str, ...]] = {}
    for other in others:
        shared = [c for c in other.columns if c.name.lower() in own]
        if not shared or shared[0] is not other.columns[0] or len(shared) > 2:
            continue
        for word in (*need.words, *need.which, *need.by):
            if any(alike(word, n) >= 1 for n in other.noun) and not any(close(word, k) for k in known):
                keys.setdefault(word, own[shared[0].name.lower()].words)

    def named(words: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(x for w in words for x in keys.get(w, (w,))))

    return replace(need, words=named(need.words), which=named(need.which), by=named(need.by)) if keys else need


def _rough(need: Need, table: Table) -> float:
    """How promising a table is before its columns are known well: its name, then the names of its columns."""
    named = sum(weights().tables.name_word for n in table.noun if any(close(w, n) for w in need.words))
    own = {p for c in table.columns for p in c.words}
    held = sum(max((alike(w, p) for p in own), default=0.0) for w in set(need.words))
    return named + weights().tables.column_word * held


def _fit(need: Need, query: Query, table: Table) -> float:
    named = any(close(w, n) for w in need.words for n in table.noun)
    counted = (
        need.order in ("desc", "asc")
        and not query.metric
        and not query.order
        and any(close(w, n) for w in need.which for n in table.noun)
    )
    # `which airport had most departures` counts rows of another table than the airports
    weight = weights().tables
    return query.fit + (weight.own_name if named else -weight.own_name) - weight.counted_elsewhere * counted


def _loose(need: Need, query: Query) -> bool:
    """Words are left that may be values of some column."""
    return query.fit < weights().tables.all_explained


def _complete(column: TableColumn) -> bool:
    return column.distinct is not None and len(column.values) >= column.distinct


def _said(query: Query) -> str:
    parts = [query.metric.label if query.metric else "rows"]
    if query.group:
        parts.append("by " + ", ".join(query.group))
    if query.filters:
        parts.append("where " + " and ".join(f"{f.column} {f.op} {f.value}" for f in query.filters))
    return " ".join(parts)
