"""How often one address may ask for something."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

MAX_ADDRESSES = 4096


class Throttle:
    """Counts in a sliding minute, for each address and purpose.

    Args:
        ticks: seconds that only grow.
    """

    def __init__(self, ticks: Callable[[], float]) -> None:
        self._ticks = ticks
        self._seen: dict[tuple[str, str], deque[float]] = {}

    def wait(self, address: str, purpose: str, per_minute: int) -> float:
        """Count one more; the seconds to wait instead when there were `per_minute` already, else 0."""
        now = self._ticks()
        if len(self._seen) >= MAX_ADDRESSES:
            self._seen = {key: times for key, times in self._seen.items() if times and times[-1] > now - 60}
        times = self._seen.setdefault((address, purpose), deque())
        while times and times[0] <= now - 60:
            times.popleft()
        if len(times) >= per_minute:
            return times[0] + 60 - now
        times.append(now)
        return 0.0
