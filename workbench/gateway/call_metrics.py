"""What the gateway counts: calls by outcome, and how long they took. Prometheus and the metrics table both read it."""

from __future__ import annotations

from bisect import bisect_left

from workbench.events import Outcome

BUCKETS_US = (
    *(250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000),
    *(100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000),
)
"""Upper bounds of the latency buckets, in microseconds; one more catches the rest."""


class LatencyHistogram:
    """A histogram of one tool's latencies."""

    __slots__ = ("buckets", "total_us")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BUCKETS_US) + 1)
        self.total_us = 0

    def add(self, other: LatencyHistogram) -> None:
        """Take in another histogram."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets, strict=True)]
        self.total_us += other.total_us


class CallMetrics:
    """Counters since the start of this process. Only tools that exist get a row, so that no client can make rows up."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str, str, str], int] = {}
        """By tenant, server, tool and outcome."""
        self.latencies: dict[tuple[str, str, str], LatencyHistogram] = {}
        """By tenant, server and tool."""

    def count(self, outcome: Outcome, tenant: str) -> None:
        """Add one call that has ended."""
        server = outcome.server
        tool = outcome.tool if server else ""
        key = (tenant, server, tool, outcome.kind)
        self.calls[key] = self.calls.get(key, 0) + 1
        found = self.latencies.get((tenant, server, tool))
        if found is None:
            found = self.latencies[tenant, server, tool] = LatencyHistogram()
        found.buckets[bisect_left(BUCKETS_US, outcome.latency_us)] += 1
        found.total_us += outcome.latency_us

    @property
    def tenants(self) -> set[str]:
        """Those who have called."""
        return {whose for whose, *_ in list(self.calls)}

    def of(self, tenant: str | None) -> tuple[dict[tuple[str, str, str], int], dict[tuple[str, str], LatencyHistogram]]:
        """Calls by server, tool and outcome, and latencies by server and tool: of one tenant, or of all together."""
        calls: dict[tuple[str, str, str], int] = {}
        for (whose, *rest), number in list(self.calls.items()):
            if tenant in (None, whose):
                server, tool, kind = rest
                calls[server, tool, kind] = calls.get((server, tool, kind), 0) + number
        latencies: dict[tuple[str, str], LatencyHistogram] = {}
        for (whose, server, tool), found in list(self.latencies.items()):
            if tenant in (None, whose):
                latencies.setdefault((server, tool), LatencyHistogram()).add(found)
        return calls, latencies
