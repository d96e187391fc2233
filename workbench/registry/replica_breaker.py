"""A circuit breaker before one replica: who stops answering is not asked, is probed, and comes back slowly."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

BreakerState = Literal["closed", "open", "half-open"]

MAX_FAILURES: Final = 5
"""Failures in a row after which nobody is sent to a replica any more."""

FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 30.0
SLOW_RETURN_S: Final = 10.0
"""Seconds in which a replica that has failed gets its full share of the calls again."""

MIN_SHARE: Final = 0.1


class ReplicaBreaker:
    """Judges one replica by its calls and by its health checks.

    `closed` lets calls through. After several failures in a row it is `open`: nobody is sent there until a health
    check, a request that is legal in the era of the replica, has been answered. Then it is `half-open`: one call at a
    time is let through, and the first that is answered closes it. A call that is given up in between decides nothing
    and makes room for the next, so that a breaker cannot be stuck.

    `control.circuit_breaker.CircuitBreaker`, which stands before a store, is another machine: there time opens the way
    for a probe, which is a call. Here no caller pays for a probe, silence counts only while nothing else is answered,
    and a replica that returns gets few calls at first. All calls are made on one event loop, so there is no lock.

    Args:
        changed: told the new state and why, after each change.
        clock: seconds that only grow.
    """

    def __init__(
        self, changed: Callable[[BreakerState, str], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.state: BreakerState = "closed"
        self._changed = changed
        self._clock = clock
        self._broken = self._silent = 0
        self._pause = FIRST_PAUSE_S
        self._probe_at = 0.0
        self._trying = False
        self._returned = -SLOW_RETURN_S
        self._answered = 0.0

    @property
    def admits(self) -> bool:
        """Whether a call may be sent now."""
        return self.state == "closed" or (self.state == "half-open" and not self._trying)

    @property
    def retry_s(self) -> int:
        """Whole seconds after which it is worth to ask again; at least one."""
        return max(1, round(self._probe_at - self._clock() + 0.5)) if self.state == "open" else 1

    @property
    def probe_in(self) -> float:
        """Seconds until the next health check is due because of this breaker; infinite when none is."""
        return max(0.0, self._probe_at - self._clock()) if self.state == "open" else float("inf")

    @property
    def share(self) -> float:
        """How much of its share of the calls the replica gets now: above 0, at most 1."""
        since = self._clock() - self._returned
        return 1.0 if since >= SLOW_RETURN_S else max(MIN_SHARE, since / SLOW_RETURN_S)

    def begun(self) -> float:
        """A call was admitted and is sent; its end is reported with what this returns."""
        if self.state == "half-open":
            self._trying = True
        return self._clock()

    def succeeded(self) -> None:
        """A call was answered, be it with an error: the replica works."""
        self._answered = self._clock()
        if self._broken or self._silent or self.state != "closed":
            self._broken = self._silent = 0
            self._trying = False
            self._pause = FIRST_PAUSE_S
            self._move("closed", "A call was answered.")

    def failed(self, why: str) -> None:
        """A call broke: the replica could not be reached, went away, or broke the protocol."""
        self._broken += 1
        self._returned = self._clock()
        self._judge(why)

    def fell_silent(self, began: float) -> None:
        """A call that began at `began` was not answered in time.

        That speaks against the replica only when it answered nothing else meanwhile; otherwise the tool is slow.
        """
        if self._answered >= began and self.state == "closed":
            return
        self._silent += 1
        self._judge("Calls are not answered in time.")

    def released(self) -> None:
        """A call was given up before anything could be learned from it."""
        self._trying = False

    def probed(self, ok: bool) -> None:
        """A health check, or a new connection, was answered or was not."""
        if ok:
            self._answered = self._clock()
            self._silent = 0
            if self.state == "open":
                self._move("half-open", "A health check was answered.")
        elif self.state == "open":
            self._pause = min(2 * self._pause, MAX_PAUSE_S)
            self._probe_at = self._clock() + self._pause

    def _judge(self, why: str) -> None:
        if self.state == "half-open":
            self._pause = min(2 * self._pause, MAX_PAUSE_S)
            self._open(why)
        elif self.state == "closed" and self._broken + self._silent >= MAX_FAILURES:
            self._open(why)

    def _open(self, why: str) -> None:
        self._trying = False
        self._probe_at = self._clock() + self._pause
        self._move("open", why)

    def _move(self, state: BreakerState, why: str) -> None:
        if state != self.state:
            if state == "closed":
                self._returned = self._clock()
            self.state = state
            self._changed(state, why)
