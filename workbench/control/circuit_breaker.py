"""A circuit breaker: after several failures in a row nobody is asked for a while, then one call probes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half-open"]


class CircuitBreaker:
    """Stands before something in another process that may be down. Threads may share it.

    `registry.replica_breaker.ReplicaBreaker` is another machine, for one of several replicas that health checks watch:
    there a health check opens the way for calls, a slow tool is not a failure, and the share of the calls grows slowly.
    A store has no health check and no replicas, so here a call is the probe.

    Args:
        failures: in a row, after which it opens.
        pause: seconds until the first probe; doubles with every probe that fails.
        longest: most seconds between two probes.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        failures: int = 5,
        pause: float = 1.0,
        longest: float = 30.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._first, self._longest, self._clock = failures, pause, longest, clock
        self._lock = threading.Lock()
        self._failures = 0
        self._pause = pause
        self._opened: float | None = None
        self._probing = False

    @property
    def state(self) -> State:
        """closed: calls go through; open: none does; half-open: the next one, or one under way, is the probe."""
        with self._lock:
            if self._opened is None:
                return "closed"
            return "half-open" if self._probing or self._clock() >= self._opened + self._pause else "open"

    def admit(self) -> bool:
        """Whether a call may go through now. Who was admitted reports `succeeded`, `failed` or `released`."""
        with self._lock:
            if self._opened is None:
                return True
            if self._probing or self._clock() < self._opened + self._pause:
                return False
            self._probing = True
            return True

    def succeeded(self) -> None:
        """It answered."""
        with self._lock:
            self._failures, self._opened, self._probing, self._pause = 0, None, False, self._first

    def failed(self) -> None:
        """It did not answer as it should."""
        with self._lock:
            self._failures += 1
            if self._probing:
                self._pause = min(2 * self._pause, self._longest)
                self._opened, self._probing = self._clock(), False
            elif self._opened is None and self._failures >= self._most:
                self._opened = self._clock()

    def released(self) -> None:
        """The call was given up before anything could be learned from it."""
        with self._lock:
            self._probing = False
