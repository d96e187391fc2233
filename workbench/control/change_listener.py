"""The thread that hears what other gateways change, and knows since when nobody could be heard."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from workbench.control.postgres_schema import channel
from workbench.control.statement_timeout import StatementTimeout, shut

if TYPE_CHECKING:
    from psycopg import Connection

HEARTBEAT_S: Final = 1.0
"""How often the database is asked whether something changed of which nobody was told."""
MAX_PAUSE_S: Final = 2.0
_log = logging.getLogger(__name__)


class ChangeListener:
    """Listens on a connection of its own (LISTEN/NOTIFY), and asks once a second, for what was not heard.

    Args:
        connect: opens a connection to the deployment's schema.
        patience: how long the database may take to answer.
        schema: of the deployment.
        counted: how many changes there were before anything was read; what came after it is told.
        changed: called with table and key of what changed; both empty when anything may have.
        returned: called when the database answers again, before anything is said to have changed.
    """

    def __init__(
        self,
        connect: Callable[[], Connection[Any]],
        patience: StatementTimeout,
        schema: str,
        counted: int,
        changed: Callable[[str, str], None],
        returned: Callable[[], None],
    ) -> None:
        self.version = 0
        """Grows with every change."""
        self.down = ""
        """Why the database does not answer; empty when it does."""
        self.heard_at = monotonic()
        """When it last answered, in seconds that only grow."""
        self._connect = connect
        self._patience = patience
        self._channel = channel(schema)
        self._changed = changed
        self._returned = returned
        self._counted = counted
        self._ending = threading.Event()
        self._connection: Connection[Any] | None = None
        self._thread = threading.Thread(target=self._follow, name="control-following", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; its connection is shut under it, so that nobody waits for the next beat."""
        self._ending.set()
        if (connection := self._connection) is not None:
            shut(connection)
        self._thread.join(timeout=5.0)

    def _follow(self) -> None:
        import psycopg

        pause = 0.05
        while not self._ending.is_set():
            try:
                with contextlib.closing(self._connect()) as self._connection:
                    with self._patience.bounded(self._connection):
                        self._connection.execute(f"listen {self._channel}".encode())
                    self._beat(self._connection)
                    self._back()
                    pause = 0.05
                    while not self._ending.is_set():
                        for told in self._connection.notifies(timeout=HEARTBEAT_S):
                            self._told(told.payload)
                        self._beat(self._connection)
            except (psycopg.Error, OSError) as e:
                self._connection = None
                if not self._ending.is_set():
                    self._gone(e)
                    self._ending.wait(pause)
                    pause = min(MAX_PAUSE_S, 2 * pause)

    def _beat(self, db: Connection[Any]) -> None:
        asked_at = monotonic()
        with self._patience.bounded(db):
            row = db.execute("select n from control_changes").fetchone()
        self.heard_at = asked_at  # what was changed after that may not be in the answer
        counted = int(row[0]) if row else 0
        if counted != self._counted:
            self._counted = counted
            self._say("", "")

    def _told(self, payload: str) -> None:
        number, _, rest = payload.partition(" ")
        table, _, key = rest.partition(" ")
        if not (number.isascii() and number.isdigit() and len(number) < 20):
            return  # whoever may connect to the database may say anything on any channel
        counted = int(number)
        if counted == self._counted + 1:
            self._counted += 1
            self._say(table, key)
        elif counted > self._counted:  # something before it was not heard
            self._counted = counted
            self._say("", "")

    def _say(self, table: str, key: str) -> None:
        self.version += 1
        try:
            self._changed(table, key)
        except Exception:  # noqa: BLE001 - a room that cannot follow must not keep the others from hearing
            _log.exception("a change of %s could not be followed", table or "the control database")

    def _gone(self, e: Exception) -> None:
        if not self.down:
            _log.warning("the control database does not answer: %s", _first_line(e))
        self.down = _first_line(e)

    def _back(self) -> None:
        if not self.down:
            return
        self.down = ""
        _log.warning("the control database answers again")
        self._returned()


def _first_line(e: Exception) -> str:
    return str(e).strip().split("\n", 1)[0] or type(e).__name__
