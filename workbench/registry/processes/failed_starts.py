"""Starts that failed: how many in a row, for the same reason or not, and when the next is tried."""

from __future__ import annotations

import re
from typing import Final

MAX_RETRY_S: Final = 30.0
MAX_PERMANENT_RETRY_S: Final = 300.0
"""Seconds between two tries of a server that always fails in the same way."""

MAX_SAME_FAILURES: Final = 3
"""Failures in a row with the same reason, after which it is taken to be permanent."""

_VARYING: Final = re.compile(r"0x[0-9a-fA-F]+|\d+")


class StartFailures:
    """Counts the failures of one server since it was last ready.

    Args:
        first_pause: seconds before the first retry.
    """

    def __init__(self, first_pause: float) -> None:
        self._first_pause = first_pause
        self._reason = ""
        self._same = 0
        self.count = 0
        """In a row."""
        self.pause = first_pause
        """Seconds until the next try."""

    @property
    def permanent(self) -> bool:
        """Whether the server fails in the same way again and again."""
        return self._same >= MAX_SAME_FAILURES

    def add(self, why: str, *, was_ready: bool) -> None:
        """It failed: `was_ready` tells whether it had come up before."""
        reason = _VARYING.sub("#", why)
        self._same = 0 if was_ready else self._same + 1 if reason == self._reason else 1
        self._reason = reason
        self.count += 1
        if self.count > 1:
            slowest = MAX_PERMANENT_RETRY_S if self.permanent else max(MAX_RETRY_S, self._first_pause)
            self.pause = min(2 * self.pause, slowest)

    def reset(self) -> None:
        """It ran steadily, or a person wants it to be tried now."""
        self.count, self._same, self._reason = 0, 0, ""
        self.pause = self._first_pause

    def remark(self, server: str) -> str:
        """What is to be said beside the reason; empty unless the failure is permanent."""
        if not self.permanent:
            return ""
        return (
            f"\nThis was failure {self.count} in a row, each time for the same reason; the next try is in "
            f"{self.pause:.0f} s. Mend what the message names, then use `workbench servers restart {server}`."
        )
