"""Tools that work on tables: recognised by their parameters, and how a query is put to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.agent.planner.language.lexicon import split
from workbench.agent.planner.tables.table_query import Filter, Query
from workbench.agent.planner.tools.tool_profile import Parameter, ToolProfile
from workbench.events import JSON

_OPERATORS = {
    "=": ("=", "==", "eq", "equals", "equal", "is", "exact"),
    "!=": ("!=", "<>", "ne", "neq", "not_equals", "not equal"),
    ">": (">", "gt", "greater_than"),
    ">=": (">=", "gte", "ge", "at_least"),
    "<": ("<", "lt", "less_than"),
    "<=": ("<=", "lte", "le", "at_most"),
    "contains": ("contains", "ilike", "like", "icontains", "includes"),
    "null": ("is null", "is_null", "isnull", "null", "missing", "empty"),
    "in": ("in", "any", "one_of"),
}
_FUNCTIONS = {
    "count": ("count",),
    "count_distinct": ("count distinct", "count_distinct", "distinct", "nunique", "countdistinct"),
    "sum": ("sum", "total"),
    "avg": ("avg", "average", "mean"),
    "min": ("min", "minimum"),
    "max": ("max", "maximum"),
    "median": ("median", "p50"),
}
_COLUMN = ("column", "field", "name", "key", "attribute", "property", "col")
_OPERATOR = ("op", "operator", "comparison", "condition", "cmp")
_VALUE = ("value", "val", "values", "operand")
_FUNCTION = ("function", "fn", "func", "agg", "aggregate", "aggregation", "op", "metric", "type")


@dataclass(frozen=True)
class TableTools:
    """The table tools of one server. What it lacks is None."""

    server: str
    lister: ToolProfile
    describer: ToolProfile | None
    finder: ToolProfile | None
    counter: ToolProfile | None
    aggregator: ToolProfile | None
    sql: ToolProfile | None


def kits(shapes: Sequence[ToolProfile]) -> list[TableTools]:
    """One kit per server whose tools list tables and take the name of one, or SQL."""
    found = []
    for server in dict.fromkeys(s.tool.server for s in shapes):
        own = [s for s in shapes if s.tool.server == server and s.effect in ("read", "unknown")]
        lister = next((s for s in own if not s.required and _lists(s)), None)
        about = [s for s in own if any(p.role == "collection" for p in s.required)]
        sql = next((s for s in own if s.takes("sql") and all(p.role == "sql" for p in s.required)), None)
        if lister is None or not (about or sql):
            continue
        describer = next((s for s in about if len(s.required) == 1 and not s.takes("filters", "limit")), None)
        aggregator = next((s for s in about if s.takes("metrics")), None)
        finder = next((s for s in about if s.takes("filters") and not s.takes("metrics") and s.takes("limit")), None)
        counter = next((s for s in about if s.takes("filters") and not s.takes("metrics", "limit", "order")), None)
        found.append(TableTools(server, lister, describer, finder, counter, aggregator, sql))
    return found


def _lists(shape: ToolProfile) -> bool:
    words = set(split(shape.tool.name))
    return bool(words & {"list", "show", "get", "tables", "all"}) and bool(
        words & {"tables", "datasets", "collections", "sheets", "views"}
    )


def put(kit: TableTools, table: str, query: Query, types: dict[str, str]) -> tuple[ToolProfile, JSON] | None:
    """The call that answers `query` on `table`, or None when no tool of the kit can express it."""
    if query.metric or query.group:
        plain = query.metric is not None and query.metric.function == "count" and not query.group
        for shape, render in ((kit.counter if plain else None, _filtered), (kit.aggregator, _aggregated)):
            arguments = render(shape, table, query) if shape else None
            if shape and arguments is not None:
                return shape, arguments
    elif kit.finder:
        arguments = _filtered(kit.finder, table, query)
        if arguments is not None:
            return kit.finder, arguments
    if kit.sql:
        return kit.sql, {kit.sql.takes("sql")[0].name: select(table, query, types)}
    return None


def _filtered(shape: ToolProfile, table: str, query: Query) -> JSON | None:
    arguments: JSON = {shape.takes("collection")[0].name: table}
    if query.filters:
        filters = filters_for(shape.takes("filters"), query.filters)
        if filters is None:
            return None
        arguments.update(filters)
    if query.order:
        by = next((p for p in shape.takes("order") if p.type in ("string", "array", "")), None)
        if by is None:
            return None
        arguments[by.name] = query.order if by.type != "array" else [query.order]
        arguments.update(_direction(shape, query.descending))
    limit = shape.takes("limit")
    if limit and query.limit:
        arguments[limit[0].name] = query.limit
    return arguments


def _aggregated(shape: ToolProfile, table: str, query: Query) -> JSON | None:
    arguments = _filtered(shape, table, Query(filters=query.filters))
    metrics = shape.takes("metrics")
    if arguments is None or not metrics or query.metric is None:
        return None
    parameter = metrics[0]
    function, column = query.metric.function, query.metric.column
    items = parameter.schema.get("items")
    if parameter.type == "array" and isinstance(items, dict) and isinstance(items.get("properties"), dict):
        inner = items["properties"]
        keys = _key(inner, _FUNCTION), _key(inner, _COLUMN)
        spelled = _spelled(inner.get(keys[0] or "", {}), _FUNCTIONS[function])
        if keys[0] is None or spelled is None or (column and keys[1] is None):
            return None
        arguments[parameter.name] = [{keys[0]: spelled, **({keys[1]: column} if column and keys[1] else {})}]
    elif parameter.type == "array":
        arguments[parameter.name] = [f"{function}({column or '*'})"]
    else:
        spelled = _spelled(parameter.schema, _FUNCTIONS[function])
        target = next(
            (p for p in shape.parameters if split(p.name)[-1:] in [(c,) for c in _COLUMN] and p is not parameter), None
        )
        if spelled is None or (column and target is None):
            return None
        arguments[parameter.name] = spelled
        if column and target:
            arguments[target.name] = column
    group = shape.takes("group")
    if query.group:
        if not group:
            return None
        arguments[group[0].name] = list(query.group) if group[0].type == "array" else query.group[0]
        if not query.descending:
            arguments.update(_direction(shape, False))
    return arguments


def filters_for(parameters: Sequence[Parameter], filters: Sequence[Filter]) -> JSON | None:
    """The conditions in the form that the tool's schema describes; None when it has no such form."""
    if not parameters:
        return None
    parameter = parameters[0]
    items = parameter.schema.get("items")
    if parameter.type == "array" and isinstance(items, dict) and isinstance(items.get("properties"), dict):
        inner = items["properties"]
        column, operator, value = (_key(inner, names) for names in (_COLUMN, _OPERATOR, _VALUE))
        if column is None or value is None:
            return None
        written = []
        for f in filters:
            spelled = _spelled(inner.get(operator, {}), _OPERATORS[f.op]) if operator else None
            if (operator and spelled is None) or (operator is None and f.op != "="):
                return None
            held = {} if f.op == "null" else {value: f.value}
            written.append({column: f.column, **({operator: spelled} if operator else {}), **held})
        return {parameter.name: written}
    if parameter.type == "object" and all(f.op == "=" for f in filters):
        return {parameter.name: {f.column: f.value for f in filters}}
    return None


def _key(properties: JSON, names: Sequence[str]) -> str | None:
    return next((n for n in names if n in properties), None)


def _spelled(schema: Any, words: Sequence[str]) -> str | None:
    """Which of several spellings a schema allows; the first one when it allows any."""
    allowed = schema.get("enum") if isinstance(schema, dict) else None
    if not isinstance(allowed, list):
        return words[0]
    lowered = {str(a).lower(): str(a) for a in allowed}
    return next((lowered[w] for w in words if w in lowered), None)


def _direction(shape: ToolProfile, descending: bool) -> JSON:
    for p in shape.parameters:
        words = set(split(p.name))
        if p.type == "boolean" and words & {"descending", "desc", "reverse"}:
            return {p.name: descending}
        if p.type == "boolean" and words & {"ascending", "asc"}:
            return {p.name: not descending}
        spelled = _spelled(p.schema, ("desc", "descending") if descending else ("asc", "ascending"))
        if p.choices and spelled and words & {"direction", "order", "sort", "dir"}:
            return {p.name: spelled}
    return {}


def select(table: str, query: Query, types: dict[str, str]) -> str:
    """The query as one SELECT of standard SQL; names and text are quoted."""
    where = [_condition(f) for f in query.filters]
    tail = f" WHERE {' AND '.join(where)}" if where else ""
    way = "DESC" if query.descending else "ASC"
    limit = f" LIMIT {query.limit or 50}"
    if query.metric is None and not query.group:
        order = f" ORDER BY {_name(query.order)} {way}" if query.order else ""
        present = f"{' AND' if where else ' WHERE'} {_name(query.order)} IS NOT NULL" if query.order else ""
        return f"SELECT * FROM {_name(table)}{tail}{present}{order}{limit}"
    metric = query.metric
    figure, named = "COUNT(*)", "count"
    if metric and metric.column:
        inner = _name(metric.column)
        figure = (
            f"COUNT(DISTINCT {inner})" if metric.function == "count_distinct" else f"{metric.function.upper()}({inner})"
        )
        named = metric.label
    groups = ", ".join(_name(g) for g in query.group)
    if not groups:
        return f"SELECT {figure} AS {_name(named)} FROM {_name(table)}{tail}"
    grouped = f" GROUP BY {groups} ORDER BY {_name(named)} {way}{limit}"
    return f"SELECT {groups}, {figure} AS {_name(named)} FROM {_name(table)}{tail}{grouped}"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _condition(f: Filter) -> str:
    if f.op == "contains":
        text = str(f.value).lower().replace("'", "''")
        return f"LOWER({_name(f.column)}) LIKE '%{text}%'"
    if f.op == "null":
        return f"{_name(f.column)} IS NULL"
    if f.op == "in":
        return f"{_name(f.column)} IN ({', '.join(_literal(v) for v in f.value)})"
    return f"{_name(f.column)} {'<>' if f.op == '!=' else f.op} {_literal(f.value)}"


def _literal(value: Any) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return str(value) if isinstance(value, (int, float)) else "'" + str(value).replace("'", "''") + "'"
