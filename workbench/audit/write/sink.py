"""Where records must also be before they are acknowledged, besides the log on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    pass


class Sink(Protocol):
    """A second place for every line. Used by the log's writer thread alone."""

    def commit(self, writer: str, lines: Mapping[str, Sequence[bytes]]) -> None:
        """Keep a batch of finished lines; when this returns, they survive the loss of this machine.

        Args:
            writer: id of the writer.
            lines: of each tenant, in order, as they are in the log.

        Raises:
            OSError: it cannot be done. The batch counts as not recorded, and nothing more is.
        """

    def close(self) -> None:
        """Give up connections. May be called twice."""
