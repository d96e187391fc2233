"""The answer of `sql()`: a pandas DataFrame that still has the Arrow table it came from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa


class Frame(pd.DataFrame):
    """A DataFrame with `.arrow()`. Everything derived from it is an ordinary DataFrame."""

    _internal_names = [*pd.DataFrame._internal_names, "_arrow"]  # type: ignore[attr-defined]  # noqa: RUF012
    _internal_names_set = set(_internal_names)  # noqa: RUF012
    _arrow: pa.Table

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def arrow(self) -> pa.Table:
        """The rows as DuckDB gave them, without a copy and without pandas' types."""
        return self._arrow


def frame(table: pa.Table) -> Frame:
    """A `Frame` over an Arrow table."""
    made = Frame(table.to_pandas())
    made._arrow = table
    return made
