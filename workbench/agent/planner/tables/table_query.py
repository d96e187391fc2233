"""A part of a question as a query over columns: filters, groups, metrics, order.

The same query is sent to a tool that takes filters and groups, written as SQL for a tool that takes SQL, or computed
here over rows that came back. Columns are matched by words and by the values known to be in them; nothing is invented:
what cannot be placed on a column is left in `unplaced`, and lowers `fit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from workbench.agent.planner.language.entities import Entity

Function = Literal["count", "count_distinct", "sum", "avg", "min", "max", "median"]


@dataclass(frozen=True)
class Filter:
    """One condition. `op` is one of `= != > >= < <= contains in null`; `null` says that there is no value."""

    column: str
    op: str
    value: Any
    sure: bool = True
    """The value is known to be in the column, or the column was named."""

    @property
    def dated(self) -> bool:
        """Bounds a day."""
        return self.op in (">", ">=", "<", "<=") and isinstance(self.value, str)


@dataclass(frozen=True)
class Metric:
    """An aggregate; `column` is empty for a count of rows."""

    function: Function
    column: str = ""

    @property
    def label(self) -> str:
        """The name of the figure in an answer: `avg_delay`."""
        return f"{self.function}_{self.column}" if self.column else "count"


@dataclass(frozen=True)
class Query:
    """What to compute, and how much of the question it explains."""

    filters: tuple[Filter, ...] = ()
    group: tuple[str, ...] = ()
    metric: Metric | None = None
    order: str = ""
    """Column to sort by when nothing is grouped."""
    descending: bool = True
    limit: int | None = None
    unplaced: tuple[Entity, ...] = ()
    fit: float = 0.0
    """Share of the meaningful words that found a place, 0 to 1."""
    fields: tuple[str, ...] = ()
    """Columns that the question names and that neither filter nor group: they are asked for."""
    lacking: tuple[str, ...] = ()
    """Words of a figure that is asked for and that no column holds."""
