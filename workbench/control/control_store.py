"""What a room may ask of the control store, whichever database is behind it.

Statements are written once, in the SQL that SQLite and Postgres share: `?` for values, `on conflict`, `returning`, no
`insert or replace`. Times are integers of microseconds. Every statement outside of `exclusively` is a transaction of
its own, so what must happen once is one conditional statement.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, ParamSpec, TypeVar

from workbench.events import MisuseError, UnreachableError

P = ParamSpec("P")
T = TypeVar("T")
Row = tuple[Any, ...]


class ControlStoreError(UnreachableError):
    """The control store does not answer. What only it can say is not known, and so not allowed."""

    error_kind = "ControlDown"


def contradiction() -> MisuseError:
    """Raised where a row cannot be stored beside those that are there, as when two do the same at once."""
    return MisuseError("That contradicts what somebody else has stored meanwhile.", hint="Look again, then try again.")


class ChangeNotice(NamedTuple):
    """Which changes of a table the other gateways are told of."""

    key: str
    """The column whose value they are told."""
    events: str = "update"
    """As in `create trigger`: `insert`, `update`, `delete`, several with `or`."""


class ControlStore(ABC):
    """One room's way to the control store. Safe to use from several threads.

    Raises, from every method that asks the database: ControlDown; and Misuse where a row contradicts another.
    """

    local: bool
    """Whether asking takes no longer than reading a file of this machine, so that the event loop may do it."""
    where: str
    """For people: which database this is, without a secret."""
    safe_transport: bool
    """Whether what travels to the database stays on this machine, or is encrypted to somebody who proves who they
    are."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[str, str], None]] = []
        """Called with table and key when another gateway changed something that it tells of; both are empty when
        anything may have changed. Called from a thread of the store's."""

    @abstractmethod
    def prepare(
        self,
        room: str,
        tables: str,
        *,
        added: Sequence[tuple[str, str]] = (),
        told: Mapping[str, ChangeNotice] | None = None,
    ) -> None:
        """Make the tables of a room where they are missing; several processes may do so at once.

        Args:
            room: a name for this set of tables.
            tables: `create table if not exists …` statements, in SQLite's words (`integer`, `blob`, `strict`).
            added: (table, column definition) for what tables made by an earlier version lack.
            told: table → which of its changes other gateways are told of.
        """

    @abstractmethod
    def rows(self, query: str, *values: Any) -> list[Row]:
        """All rows of a query, or of a statement with `returning`."""

    def row(self, query: str, *values: Any) -> Row | None:
        """The first row; None when there is none."""
        found = self.rows(query, *values)
        return found[0] if found else None

    @abstractmethod
    def change(self, statement: str, *values: Any) -> int:
        """Run a statement; how many rows it changed."""

    @abstractmethod
    def exclusively(self, what: str) -> AbstractContextManager[None]:
        """A transaction that happens at one place at a time, in all processes and gateways, as far as they name the
        same `what`. Statements of the thread that holds it belong to it."""

    @abstractmethod
    def version(self) -> int:
        """A number that changes when somebody else changed something; it never waits for a database elsewhere.

        Raises:
            ControlStoreError: nobody could tell for longer than is allowed.
        """

    @abstractmethod
    async def aside(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work`, which asks the store, without holding up the event loop."""

    @abstractmethod
    def share(self, path: Path, make: Callable[[], bytes]) -> None:
        """See to it that a secret file of the state folder is there, and the same on every gateway of the store.

        Args:
            path: the file.
            make: its content, where no gateway has one.
        """

    @property
    @abstractmethod
    def problem(self) -> str:
        """Why the store cannot be asked now; empty when it can."""

    @abstractmethod
    def probe(self) -> float:
        """Ask the database something; how long the answer took, in milliseconds."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
