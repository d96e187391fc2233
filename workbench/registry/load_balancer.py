"""One server, several replicas: each call goes to the one that has least to do and is well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

from workbench.events import JSON, UnreachableError
from workbench.registry.connection import FOLLOW, UNFOLLOW, Connection, RequestRefusedError, RpcError
from workbench.registry.managed_server import ManagedServer
from workbench.registry.server import OverloadedError

EVERYWHERE: Final = ("resources/subscribe", "resources/unsubscribe", FOLLOW, UNFOLLOW)
"""Methods that are about what a server announces by itself: each replica announces what it sees, so each is told."""

SILENCE_TIMEOUT_S: Final = 0.5
"""Seconds that a call must have waited, for its timeout to say something of the replica: callers may be in a hurry."""


class BalancedConnection:
    """The connection to a server, whichever of its replicas answers; implements `registry.Connection`.

    Among the replicas that can be called, each request goes to the one with the fewest requests under way (Envoy and
    NGINX call this "least request"), measured by its share when it has just come back. Nothing sticks to a replica:
    every request is complete in itself.

    Args:
        id: of the server.
        replicas: there is at least one; the list may be another at any time.
        most: requests under way on one replica before further ones are turned away.
    """

    def __init__(self, id: str, replicas: Sequence[ManagedServer], *, most: int) -> None:
        self._id = id
        self._replicas = replicas
        self._most = most
        self._next = 0

    @property
    def era(self) -> str:
        return self._any.era if self._any is not None else ""

    @property
    def transport(self) -> str:
        return self._any.transport if self._any is not None else ""

    @property
    def server_info(self) -> JSON:
        return self._any.server_info if self._any is not None else {}

    @property
    def capabilities(self) -> JSON:
        return self._any.capabilities if self._any is not None else {}

    @property
    def instructions(self) -> str:
        return self._any.instructions if self._any is not None else ""

    @property
    def on_notification(self) -> Callable[[JSON], None] | None:
        return self._any.on_notification if self._any is not None else None

    @on_notification.setter
    def on_notification(self, heard: Callable[[JSON], None] | None) -> None:
        for entry in self._replicas:
            if entry.connection is not None:
                entry.connection.on_notification = heard

    @property
    def alive(self) -> bool:
        if len(self._replicas) == 1:
            connection = self._replicas[0].connection
            return connection is not None and connection.alive
        return any(entry.connection is not None and entry.connection.alive for entry in self._replicas)

    async def open(self) -> None:
        """Does nothing: each replica is opened, and opened again, by what looks after it."""

    async def close(self) -> None:
        """Does nothing, see `open`."""

    async def request(self, method: str, params: JSON, *, timeout: float, **more: Any) -> JSON:
        """See `registry.Connection.request`; `more` are its other arguments.

        Raises:
            OverloadedError: every replica has too much to do, or its breaker is open. Nothing was sent.
        """
        if len(self._replicas) > 1 and method in EVERYWHERE:
            return await self._everywhere(method, params, timeout)
        entry = self._choose()
        connection, breaker = entry.connection, entry.breaker
        assert connection is not None
        entry.began()
        began = breaker.begun()
        try:
            result = await connection.request(method, params, timeout=timeout, **more)
        except (RpcError, RequestRefusedError):
            breaker.succeeded()
            raise
        except UnreachableError as e:
            breaker.failed(str(e))
            entry.suspect()
            raise
        except TimeoutError:
            if timeout >= SILENCE_TIMEOUT_S:
                breaker.fell_silent(began)
                entry.suspect()
            else:
                breaker.released()
            raise
        except BaseException:
            breaker.released()
            raise
        finally:
            entry.finished()
        breaker.succeeded()
        return result

    async def notify(self, method: str, params: JSON, *, timeout: float, meta: JSON | None = None) -> None:
        """See `registry.Connection.notify`."""
        connection = self._choose().connection
        assert connection is not None
        await connection.notify(method, params, timeout=timeout, meta=meta)

    async def _everywhere(self, method: str, params: JSON, timeout: float) -> JSON:
        """What the first replica says that agrees; those that are away are told when they come back."""
        there = [entry.connection for entry in self._replicas if entry.reachable and not entry.draining]
        if not there:
            raise self._refusal()
        asked = (one.request(method, params, timeout=timeout) for one in there if one is not None)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        agreed = [answer for answer in answers if not isinstance(answer, BaseException)]
        if agreed:
            return agreed[0]
        raise next(answer for answer in answers if isinstance(answer, BaseException))

    # --- choosing

    @property
    def _any(self) -> Connection | None:
        if len(self._replicas) == 1:
            return self._replicas[0].connection
        found = [entry.connection for entry in self._replicas if entry.connection is not None]
        return next((one for one in found if one.alive), found[0] if found else None)

    def _choose(self) -> ManagedServer:
        replicas = self._replicas
        if len(replicas) == 1:
            only = replicas[0]
            if only.reachable and only.breaker.admits and only.outstanding < self._most:
                return only
        best, least = None, float("inf")
        self._next += 1
        for step in range(len(replicas)):
            entry = replicas[(self._next + step) % len(replicas)]
            if entry.reachable and not entry.draining and entry.breaker.admits and entry.outstanding < self._most:
                load = (entry.outstanding + 1) / entry.breaker.share
                if load < least:
                    best, least = entry, load
        if best is None:
            raise self._refusal()
        return best

    def _refusal(self) -> UnreachableError | OverloadedError:
        there = [entry for entry in self._replicas if entry.reachable]
        if not there:
            for entry in self._replicas:
                entry.suspect()
            return UnreachableError(f"Server {self._id!r} has just lost its connection.")
        busy = [entry for entry in there if entry.breaker.state == "closed"]
        if busy:
            return OverloadedError(
                f"Server {self._id!r} has as many calls under way as it may.", rule="busy", retry_s=1
            )
        wait = min(entry.breaker.retry_s for entry in there)
        why = f"Calls to server {self._id!r} have failed several times in a row; it is asked again once it is well."
        return OverloadedError(why, rule="breaker", retry_s=wait)


async def drained(entry: ManagedServer, seconds: float) -> bool:
    """Send nothing more to a replica and wait for what is under way on it; False when that took too long."""
    entry.drain()
    try:
        async with asyncio.timeout(seconds):
            await entry.idle.wait()
    except TimeoutError:
        return False
    return True
