"""A server to which each caller comes as themselves: their calls travel on a connection with a token for them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final

from workbench.access.outbound.oauth_client import TokenUnavailableError
from workbench.background_tasks import BackgroundTasks
from workbench.events import JSON, Caller
from workbench.registry.connection import Connection, RpcError
from workbench.upstream.negotiation import NotMcpError

acting_for: ContextVar[Caller | None] = ContextVar("acting_for", default=None)
"""For whom the call that is under way is made; None for what the gateway does by itself."""

MAX_CONNECTIONS: Final = 256
IDLE_TIMEOUT_S: Final = 300.0
NO_TOKEN: Final = -32001
"""Code of the error when there is no token for a caller: the server is well, and its breaker stays closed."""

Key = tuple[str, str]


class OnBehalf:
    """The connection to a server that has a token for each caller; implements `registry.Connection`.

    The gateway lists tools and checks health in its own name. Calls travel on a connection of their caller, and so does
    a session, where the server has sessions: nothing of one caller is seen by another.

    Args:
        own: the gateway's own connection.
        make: a connection for one caller; not opened.
    """

    def __init__(self, own: Connection, make: Callable[[Caller], Connection]) -> None:
        self._own = own
        self._make = make
        self._seats: OrderedDict[Key, _Seat] = OrderedDict()
        self._closing = BackgroundTasks("connections of callers")
        self._heard: Callable[[JSON], None] | None = None

    @property
    def era(self) -> str:
        return self._own.era

    @property
    def transport(self) -> str:
        """As the gateway's own connection found out."""
        return self._own.transport

    @property
    def server_info(self) -> JSON:
        return self._own.server_info

    @property
    def capabilities(self) -> JSON:
        return self._own.capabilities

    @property
    def instructions(self) -> str:
        return self._own.instructions

    @property
    def notices(self) -> tuple[str, ...]:
        """What is odd about the server and is put up with."""
        return tuple(getattr(self._own, "notices", ()))

    @property
    def alive(self) -> bool:
        return self._own.alive

    @property
    def on_notification(self) -> Callable[[JSON], None] | None:
        return self._heard

    @on_notification.setter
    def on_notification(self, heard: Callable[[JSON], None] | None) -> None:
        self._heard = self._own.on_notification = heard

    async def open(self) -> None:
        await self._own.open()

    async def close(self) -> None:
        for key in list(self._seats):
            self._let_go(key)
        await self._closing.finish()
        await self._own.close()

    async def request(self, method: str, params: JSON, *, timeout: float, **more: Any) -> JSON:
        """See `registry.Connection.request`.

        Raises:
            RpcError: there is no token for the caller, or the server does not take it.
        """
        return await self._sent("request", method, params, timeout=timeout, **more)  # type: ignore[no-any-return]

    async def notify(self, method: str, params: JSON, *, timeout: float, **more: Any) -> None:
        """See `registry.Connection.notify`."""
        await self._sent("notify", method, params, timeout=timeout, **more)

    async def _sent(self, how: str, method: str, params: JSON, **more: Any) -> Any:
        caller = acting_for.get()
        if caller is None:
            return await getattr(self._own, how)(method, params, **more)
        seat = self._seat(caller)
        seat.busy += 1
        try:
            connection = await asyncio.shield(seat.opening)
            return await getattr(connection, how)(method, params, **more)
        except TokenUnavailableError as e:
            # of one caller alone, so it must not count against the server
            raise RpcError(NO_TOKEN, str(e)) from e
        except NotMcpError as e:
            if e.status not in (401, 403):
                raise
            raise RpcError(NO_TOKEN, f"{str(e.args[0]).rstrip('.')}, which were got for {caller.subject}.") from e
        finally:
            seat.busy -= 1

    def _seat(self, caller: Caller) -> _Seat:
        """The caller's connection, opened once for all of their calls."""
        key = (caller.tenant, caller.subject)
        seat = self._seats.get(key)
        if seat is not None and not seat.good:
            self._let_go(key)
            seat = None
        if seat is None:
            seat = self._seats[key] = _Seat(asyncio.ensure_future(self._open(caller)))
        seat.used = time.monotonic()
        self._seats.move_to_end(key)
        for other, idle in list(self._seats.items())[:-1]:
            if len(self._seats) <= MAX_CONNECTIONS and seat.used - idle.used < IDLE_TIMEOUT_S:
                break
            if not idle.busy:
                self._let_go(other)
        return seat

    async def _open(self, caller: Caller) -> Connection:
        connection = self._make(caller)
        connection.on_notification = lambda message: self._heard(message) if self._heard is not None else None
        await connection.open()
        return connection

    def _let_go(self, key: Key) -> None:
        seat = self._seats.pop(key)

        async def close() -> None:
            with contextlib.suppress(Exception):
                await (await seat.opening).close()

        self._closing.start(close())


class _Seat:
    """One caller's connection."""

    def __init__(self, opening: asyncio.Future[Connection]) -> None:
        self.opening = opening
        self.busy = 0
        self.used = 0.0
        opening.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may wait any more

    @property
    def good(self) -> bool:
        """Whether it is being opened, or is open."""
        opening = self.opening
        if not opening.done():
            return True
        return not opening.cancelled() and opening.exception() is None and opening.result().alive
