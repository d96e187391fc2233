"""What answers SQL over the record: DuckDB over the files (`Reader`), a platform elsewhere, a database server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow

Parameters = Sequence[Any] | Mapping[str, Any] | None
"""Values for `?` (a sequence) or `$name` (a mapping)."""


class SqlEngine(Protocol):
    """Read-only SQL over everything that was recorded. The tables and their columns are the same everywhere."""

    def sql(
        self, query: str, parameters: Parameters = None, *, max_rows: int | None = None, timeout_s: float = 30.0
    ) -> pyarrow.Table:
        """The result of one SELECT.

        Args:
            query: one statement in DuckDB's dialect.
            parameters: values for its parameters.
            max_rows: cut the result after so many rows and say so in its schema metadata.
            timeout_s: seconds after which the query is stopped.

        Raises:
            MisuseError: the statement is not allowed or not valid.
            QueryStoppedError: it was interrupted, took too long, or needed too much.
            UnreachableError: what answers is not there.
        """

    def interrupt(self) -> None:
        """Stop the query that runs now, from any thread."""

    def close(self) -> None:
        """Give up connections. May be called twice."""
