"""Does a server still answer, and how long has it not."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import NamedTuple

from workbench.events import WorkbenchError
from workbench.registry.connection import Connection, RpcError
from workbench.registry.registry_events import RegistryEvents

MAX_MISSES = 2
"""Failed checks in a row after which a server counts as down."""

PROBE_TIMEOUT_S = 4.0
"""Longest time a check waits for its answer, in seconds."""

RECHECK_INTERVAL_S = 1.0
"""Seconds after a failed check in which the next one follows, so that a server which hangs is soon known to."""

SILENCE_TIMEOUT_S = 60.0
"""Seconds of silence after which a server that no call occupies is brought up again."""

MIN_RECORD_INTERVAL_S = 60.0
"""An unchanged health is recorded at most this often, in seconds."""


class HealthCheck(NamedTuple):
    """The result of one check."""

    ok: bool
    elapsed_us: int = 0
    why: str = ""
    down: bool = False
    """Not to be called for now."""
    lost: bool = False
    """To be brought up again."""
    busy: bool = False
    """Not answered, because a call that is under way may occupy the server."""


class HealthMonitor:
    """Checks the health of one server and remembers what it needs to judge it.

    A server that works on one call at a time is silent for as long as a call may take. So silence makes a server `down`
    soon, but `lost` only when it lasts longer than a call that it began may, or than `SILENCE_TIMEOUT_S` without one;
    a refused connection is believed sooner. Whatever a server says is a sign of life, not only the answer to a check;
    and there are servers that never answer `ping`.
    """

    def __init__(self, server: str, journal: RegistryEvents, *, interval: float, call_timeout: float) -> None:
        self._server = server
        self._journal = journal
        self._patience = max(1.0, min(interval, PROBE_TIMEOUT_S))
        self._longest_call = call_timeout
        self._silence = max(2 * call_timeout, MAX_MISSES * self._patience)
        self._misses = 0
        self._answered = 0.0
        self._excused = False
        self._deaf: Connection | None = None
        self._recorded: tuple[bool, float] | None = None

    @property
    def steady(self) -> bool:
        """Whether the last check was answered."""
        return self._misses == 0

    @property
    def again_in(self) -> float:
        """Seconds until the next check when the last one was missed and nothing is decided yet; else infinite."""
        return RECHECK_INTERVAL_S if 0 < self._misses < MAX_MISSES else float("inf")

    def missed(self) -> None:
        """The server has left something else than a check unanswered."""
        self._misses += 1

    def answered(self) -> None:
        """The server has just answered something."""
        self._misses, self._answered = 0, asyncio.get_running_loop().time()
        self._excused = False

    async def beat(self, connection: Connection, busy_since: float | None = None) -> HealthCheck:
        """Check once, with a request that is legal in the era of the connection.

        Args:
            connection: to the server.
            busy_since: since when calls are under way on a server that may do one thing at a time, by the clock of the
                event loop. One of them may occupy it, at most until its deadline.
        """
        # `ping` is gone from the modern era, where every server answers `server/discover`.
        method = "server/discover" if connection.era >= "2026-07-28" else "ping"
        started, why, gone = perf_counter(), "", False
        since = asyncio.get_running_loop().time()
        try:
            await self._ask(connection, method)
        except RpcError:
            pass  # it refuses, so it lives
        except TimeoutError:
            heard_at = _heard_at(connection)
            busy = busy_since is not None and since - max(busy_since, heard_at) <= self._longest_call
            if busy:
                self._excused, self._misses, self._answered = True, 0, since
                self._record(True, 0, "It is busy with a call.")
                return HealthCheck(True, busy=True)
            if heard_at < since:
                why = "It does not answer health checks."
                if self._excused:
                    why += " It may still be busy with a call that was given up."
        except WorkbenchError as e:
            why, gone = str(e), True
        elapsed = round((perf_counter() - started) * 1e6)
        self._record(not why, elapsed, why)
        if not why:
            self.answered()
            return HealthCheck(True, elapsed)
        self._misses += 1
        silent = asyncio.get_running_loop().time() - self._answered
        down = self._misses >= MAX_MISSES
        longest = self._silence if self._excused else min(self._silence, SILENCE_TIMEOUT_S)
        return HealthCheck(False, elapsed, why, down, lost=(gone and down) or silent > longest)

    async def _ask(self, connection: Connection, method: str) -> None:
        if method != "ping" or "tools" not in connection.capabilities:
            await connection.request(method, {}, timeout=self._patience)
            return
        if self._deaf is connection:
            await connection.request("tools/list", {}, timeout=self._patience)
            return
        ping = asyncio.ensure_future(connection.request(method, {}, timeout=self._patience))
        asked = [ping]
        try:
            await asyncio.wait({ping}, timeout=self._patience / 2)
            if not ping.done():
                asked.append(asyncio.ensure_future(connection.request("tools/list", {}, timeout=self._patience / 2)))
                await asyncio.wait(asked)
                if isinstance(ping.exception(), TimeoutError) and not isinstance(asked[1].exception(), TimeoutError):
                    self._deaf = connection
                    await asked[1]
                    return
            await ping
        finally:
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    def _record(self, ok: bool, elapsed: int, message: str) -> None:
        now = asyncio.get_running_loop().time()
        if self._recorded is None or ok != self._recorded[0] or now - self._recorded[1] >= MIN_RECORD_INTERVAL_S:
            self._recorded = (ok, now)
            self._journal.health(self._server, ok, elapsed, message)


def _heard_at(connection: Connection) -> float:
    """When anything was last heard on a connection, by the clock of the loop; 0 where it does not tell."""
    return float(getattr(connection, "heard_at", 0.0))
