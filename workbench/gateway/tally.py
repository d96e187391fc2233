"""What the gateway counts: calls by outcome, and how long they took. Prometheus and the metrics table both read it."""

from __future__ import annotations

from bisect import bisect_left

from workbench.events import Outcome

BUCKETS_US = (
    *(250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000),
    *(100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000),
)
"""Upper bounds of the latency buckets, in microseconds; one more catches the rest."""


class Latencies:
    """A histogram of one tool's latencies."""

    __slots__ = ("buckets", "total_us")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_US) + 1)
        self.total_us = 0


class Tally:
    """Counters since the start of this process. Only tools that exist get a row, so that no client can make rows up."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str, str], int] = {}
        """By server, tool and outcome."""
        self.latencies: dict[tuple[str, str], Latencies] = {}
        """By server and tool."""

    def count(self, outcome: Outcome) -> None:
        """Add one call that has ended."""
        server = outcome.server
        tool = outcome.tool if server else ""
        key = (server, tool, outcome.kind)
        self.calls[key] = self.calls.get(key, 0) + 1
        found = self.latencies.get((server, tool))
        if found is None:
            found = self.latencies[server, tool] = Latencies()
        found.buckets[bisect_left(BUCKETS_US, outcome.latency_us)] += 1
        found.total_us += outcome.latency_us
