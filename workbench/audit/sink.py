"""Where records must also be before they are acknowledged, besides the log on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from workbench.events import Misuse

if TYPE_CHECKING:
    from workbench.config import Settings


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


def open_sink(settings: Settings) -> Sink | None:
    """The sink that the setting `audit_sink` names; None when the log on this machine is enough.

    Raises:
        Misuse: it is no Postgres, a package is missing, or there is no `audit_store` that takes over from it.
        OSError: it does not answer.
    """
    if not settings.audit_sink:
        return None
    if not settings.audit_store:
        raise Misuse(
            "The setting audit_sink is set, and audit_store is not.",
            hint="The sink keeps what is not in the store yet; set both.",
        )
    from workbench.audit.postgres_sink import PostgresSink

    return PostgresSink(settings.audit_sink, settings.home)
