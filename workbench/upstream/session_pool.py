"""Sessions with an older server that serve one call at a time: only then it is clear for whom the server asks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from workbench.background_tasks import BackgroundTasks
from workbench.events import JSON
from workbench.registry.connection import Connection
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.jsonrpc_messages import encode

MAX_IDLE: Final = 32
IDLE_TIMEOUT_S: Final = 60.0

Key = tuple[str, bytes]


class PooledConnection(Connection, Protocol):
    """A connection with a session of its own."""

    respondent: ClientResponder | None
    """Who is asked what the server asks: whose call it serves now."""


class SessionPool:
    """Lends sessions out, one call each, and keeps a few for the next call of the same principal.

    Older servers send what they ask on the stream of a request or on the session's own, as they like. Nobody else uses
    the session meanwhile, so whatever comes belongs to the call.

    Args:
        make: a new connection that declares these capabilities; not opened.
    """

    def __init__(self, make: Callable[[JSON], PooledConnection]) -> None:
        self._make = make
        self._idle: list[tuple[Key, float, PooledConnection]] = []
        self._lent: set[PooledConnection] = set()
        self._closing = BackgroundTasks("sessions of servers")

    async def request(self, method: str, params: JSON, respondent: ClientResponder, **more: Any) -> JSON:
        """Like `Connection.request`, on a session of its own."""
        key = (respondent.whose, encode(respondent.capabilities))
        connection = self._take(key) or self._make(respondent.capabilities)
        self._lent.add(connection)
        try:
            if not connection.era:
                await connection.open()
            connection.respondent = respondent
            result = await connection.request(method, params, **more)
        except BaseException:
            self._close(connection)
            raise
        finally:
            connection.respondent = None
            self._lent.discard(connection)
        self._idle.append((key, time.monotonic(), connection))
        self._tidy()
        return result

    async def close(self) -> None:
        """End all sessions."""
        for connection in (*(kept for _, _, kept in self._idle), *self._lent):
            self._close(connection)
        self._idle.clear()
        await self._closing.finish()

    def _take(self, key: Key) -> PooledConnection | None:
        self._tidy()
        for position, (of, _, connection) in enumerate(self._idle):
            if of == key and connection.alive:
                del self._idle[position]
                return connection
        return None

    def _tidy(self) -> None:
        oldest = time.monotonic() - IDLE_TIMEOUT_S
        while self._idle and (len(self._idle) > MAX_IDLE or self._idle[0][1] < oldest):
            self._close(self._idle.pop(0)[2])

    def _close(self, connection: PooledConnection) -> None:
        async def close() -> None:
            with contextlib.suppress(Exception):
                await connection.close()

        self._closing.start(close())
