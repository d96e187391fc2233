"""How often: a sliding minute per caller, and quotas per tenant and tool.

The caller is tenant and subject, never a session or a key, so that opening more of either buys nothing. The window is
exact: every call that is looked at is remembered for a minute, whatever becomes of it. Only those that a window itself
turns away are not counted.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from workbench.events import JSON, Caller, Record, Tool

WINDOW_S = 60.0
"""Seconds."""
_SWEEP_FROM = 1024


class ExceededLimit(Record, frozen=True, kw_only=True):
    """A limit that is used up."""

    name: str
    """`caller` for the rate of one caller, `tool` for the quota of a tenant on a tool."""
    limit: int
    """Calls per minute."""
    remaining: int
    reset_s: int
    """Seconds until the whole window is free again."""
    retry_s: int
    """Seconds until the next call can be accepted."""


class RateLimits:
    """Sliding windows in memory, for all threads of one process.

    Args:
        per_minute: calls per minute of one caller whose credential has no rate of its own.
        quota: (tenant, qualified tool) → calls per minute, 0 for none.
        clock: seconds that only grow.
    """

    def __init__(
        self, per_minute: int, quota: Callable[[str, str], int], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._quota = quota
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str, str], deque[float]] = {}
        self._sweep_at = _SWEEP_FROM

    local = True
    """Whether `use` is what to call; else `use_shared`."""
    problem = ""
    """Why the counters cannot be reached; counters in memory always can."""

    def use(self, caller: Caller, tool: Tool) -> ExceededLimit | None:
        """Count one call. None when it may go on; else what is used up, and nothing is counted."""
        wait = self.check(caller, tool)
        if wait is None:
            return None
        numbers = self.numbers(caller, tool)
        return ExceededLimit(
            name=numbers["name"],
            limit=numbers["limit"],
            remaining=0,
            reset_s=max(numbers["reset_s"], 1),
            retry_s=max(1, math.ceil(wait)),
        )

    async def use_shared(self, caller: Caller, tool: Tool) -> ExceededLimit | None:
        """`use`, where the counters may lie in another process.

        Raises:
            UnreachableError: they cannot be reached, and the setting says that nothing goes on then.
        """
        return self.use(caller, tool)

    def waiting(self, caller: Caller) -> ExceededLimit | None:
        """What keeps a caller from everything for now; None when a call may be looked at. Nothing is counted."""
        rate = self.rate(caller)
        held = self._windows.get(("caller", caller.tenant, caller.subject))
        if held is None or len(held) < rate:  # the window may hold calls that are too old, never too few
            return None
        now = self._clock()
        with self._lock:
            own = self._window(("caller", caller.tenant, caller.subject), now)
            wait = self._wait(own, rate, now)
            if wait is None:
                return None
            reset = self._numbers("caller", own, rate, now)["reset_s"]
        return ExceededLimit(
            name="caller", limit=rate, remaining=0, reset_s=max(reset, 1), retry_s=max(1, math.ceil(wait))
        )

    def charge(self, caller: Caller) -> None:
        """Count a call against its caller alone that was turned down before `use` was asked."""
        now = self._clock()
        with self._lock:
            own = self._window(("caller", caller.tenant, caller.subject), now)
            if len(own) < self.rate(caller):
                own.append(now)

    async def charge_shared(self, caller: Caller) -> None:
        """`charge`, where the counters may lie in another process. Never raises."""
        self.charge(caller)

    async def probe(self) -> str:
        """What keeps calls from being counted; empty when they are."""
        return ""

    async def disconnect(self) -> None:
        """Close connections, where there are any."""

    def check(self, caller: Caller, tool: Tool) -> float | None:
        """Count one call. None when it may go on; else the seconds to wait, and nothing is counted.

        A quota that cannot be found out counts as used up.
        """
        tenant, qualified = caller.tenant, tool.qualified
        try:
            quota = self._quota(tenant, qualified)
        except Exception:  # noqa: BLE001 - undefined means no
            return WINDOW_S
        now = self._clock()
        with self._lock:
            own = self._window(("caller", tenant, caller.subject), now)
            wait = self._wait(own, self.rate(caller), now)
            if not quota:
                if wait is None:
                    own.append(now)
                return wait
            shared = self._window(("tool", tenant, qualified), now)
            other = self._wait(shared, quota, now)
            if wait is None and other is None:
                own.append(now)
                shared.append(now)
                return None
            return max(wait or 0.0, other or 0.0)

    def numbers(self, caller: Caller, tool: Tool) -> JSON:
        """The tightest limit that applies, without counting: `name`, `limit`, `remaining`, `reset_s`."""
        tenant, qualified = caller.tenant, tool.qualified
        try:
            quota = self._quota(tenant, qualified)
        except Exception:  # noqa: BLE001 - undefined means no
            return {"name": "tool", "limit": 0, "remaining": 0, "reset_s": int(WINDOW_S)}
        now = self._clock()
        with self._lock:
            own = self._numbers("caller", self._window(("caller", tenant, caller.subject), now), self.rate(caller), now)
            if not quota:
                return own
            shared = self._numbers("tool", self._window(("tool", tenant, qualified), now), quota, now)
        return min(own, shared, key=lambda n: n["remaining"])

    def headers(self, caller: Caller, tool: Tool) -> dict[str, str]:
        """`RateLimit-Limit`, `-Remaining`, `-Reset` of the tightest limit (draft-ietf-httpapi-ratelimit-headers-03)."""
        n = self.numbers(caller, tool)
        return {
            "RateLimit-Limit": str(n["limit"]),
            "RateLimit-Remaining": str(n["remaining"]),
            "RateLimit-Reset": str(n["reset_s"]),
        }

    def rate(self, caller: Caller) -> int:
        """Calls per minute of a caller: those of the credential, or else the setting."""
        return self._per_minute if caller.rate_per_minute is None else caller.rate_per_minute

    def used(self, tenant: str, tool: str) -> int:
        """Calls of the tenant to the tool of this qualified name in the last minute; counted where a quota stands."""
        with self._lock:
            return len(self._window(("tool", tenant, tool), self._clock()))

    def _window(self, key: tuple[str, str, str], now: float) -> deque[float]:
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= self._sweep_at:
                self._sweep(now)
            window = self._windows[key] = deque()
        oldest = now - WINDOW_S
        while window and window[0] <= oldest:
            window.popleft()
        return window

    def _sweep(self, now: float) -> None:
        """Forget who has not called for a minute; whoever has keeps their count, however many there are."""
        oldest = now - WINDOW_S
        self._windows = {key: w for key, w in self._windows.items() if w and w[-1] > oldest}
        self._sweep_at = max(_SWEEP_FROM, 2 * len(self._windows))

    @staticmethod
    def _wait(window: deque[float], limit: int, now: float) -> float | None:
        if len(window) < limit:
            return None
        # the next place is free when the call that stands `limit` calls back leaves the window
        return max(window[len(window) - limit] + WINDOW_S - now, 0.001)

    @staticmethod
    def _numbers(name: str, window: deque[float], limit: int, now: float) -> JSON:
        reset = math.ceil(window[0] + WINDOW_S - now) if window else 0
        return {"name": name, "limit": limit, "remaining": max(limit - len(window), 0), "reset_s": reset}
