"""Ends statements that nobody answers: a database that hangs keeps its connections open and says nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection


class StatementTimeout:
    """Shuts the connection under whoever has waited for too long; they get the error of a lost connection.

    Args:
        seconds: that one statement, or one transaction, may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[object, tuple[float, Connection[Any]]] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="control-patience", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def bounded(self, connection: Connection[Any]) -> Iterator[None]:
        """What is done inside on `connection` ends in time, by an error if need be."""
        mark = object()
        self._waiting[mark] = (monotonic() + self._seconds, connection)
        try:
            yield
        finally:
            del self._waiting[mark]

    def stop(self) -> None:
        """Watch no more."""
        self._ending.set()
        self._thread.join(timeout=5.0)

    def _watch(self) -> None:
        while not self._ending.wait(min(1.0, self._seconds / 4)):
            now = monotonic()
            for until, connection in list(self._waiting.values()):
                if now > until:
                    shut(connection)


def shut(connection: Connection[Any]) -> None:
    """End the traffic of a connection that another thread waits on; that thread closes it."""
    with contextlib.suppress(Exception), socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
