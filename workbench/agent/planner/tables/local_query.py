"""Queries over rows that are already here: filter, group, measure, sort."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from workbench.agent.planner.tables.table_query import Filter, Metric, Query
from workbench.events import JSON


def keep(rows: Sequence[JSON], filters: Sequence[Filter]) -> list[JSON]:
    """The rows that meet every condition; a row without the column does not."""
    return [r for r in rows if all(_holds(r.get(f.column), f) for f in filters)]


def _holds(value: Any, condition: Filter) -> bool:
    wanted = condition.value
    if condition.op == "null":
        return value is None
    if value is None:
        return False
    if condition.op == "contains":
        return str(wanted).lower() in str(value).lower()
    if isinstance(value, str) and isinstance(wanted, str):
        left, right = value.lower(), wanted.lower()
        if condition.op in (">", ">=", "<", "<="):
            left = left[: max(len(right), 10)] if condition.op in ("<=",) else left
        return _compare(left, condition.op, right)
    if isinstance(value, bool) or isinstance(wanted, bool):
        return bool(value) == bool(wanted)
    try:
        return _compare(float(value), condition.op, float(wanted))
    except (TypeError, ValueError):
        return str(value).lower() == str(wanted).lower() if condition.op == "=" else False


def _compare(left: Any, op: str, right: Any) -> bool:
    tests: dict[str, Callable[[], bool]] = {
        "=": lambda: bool(left == right),
        "!=": lambda: bool(left != right),
        ">": lambda: bool(left > right),
        ">=": lambda: bool(left >= right),
        "<": lambda: bool(left < right),
        "<=": lambda: bool(left <= right),
    }
    return tests[op]()


def measure(rows: Sequence[JSON], metric: Metric) -> float | int | None:
    """One aggregate over all rows; None when no row has the value."""
    if metric.function == "count":
        return len(rows)
    values = [r[metric.column] for r in rows if r.get(metric.column) is not None]
    if metric.function == "count_distinct":
        return len({str(v) for v in values})
    numbers = [float(v) for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if not numbers:
        return None
    functions: dict[str, Callable[[list[float]], float]] = {
        "sum": sum,
        "avg": statistics.fmean,
        "min": min,
        "max": max,
        "median": statistics.median,
    }
    result = functions[metric.function](numbers)
    return int(result) if result == int(result) and metric.function != "avg" else round(result, 4)


def groups(rows: Sequence[JSON], query: Query) -> list[JSON]:
    """One row per group with its metric, in the order of the query, cut to its limit."""
    metric = query.metric or Metric("count")
    parts: dict[tuple[Any, ...], list[JSON]] = {}
    for row in rows:
        parts.setdefault(tuple(row.get(g) for g in query.group), []).append(row)
    found = []
    for key, members in parts.items():
        value = measure(members, metric)
        if value is not None:
            found.append({**dict(zip(query.group, key, strict=True)), metric.label: value})
    found.sort(key=lambda r: (r[metric.label], str(r)), reverse=query.descending)
    return found[: query.limit] if query.limit else found


def ordered(rows: Sequence[JSON], column: str, descending: bool) -> list[JSON]:
    """Rows sorted by a column; those without a value last."""
    have = [r for r in rows if r.get(column) is not None and not isinstance(r[column], (list, dict))]
    lack = [r for r in rows if r not in have]
    numeric = all(isinstance(r[column], (int, float)) for r in have)
    have.sort(key=lambda r: r[column] if numeric else str(r[column]), reverse=descending)
    return have + lack
