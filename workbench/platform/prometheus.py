"""The platform's counters in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from workbench.gateway.call_metrics import BUCKETS_US

if TYPE_CHECKING:
    from workbench.access.failed_credentials import CredentialFailures
    from workbench.audit.write.tenant_byte_quota import ByteQuota
    from workbench.gateway.results.result_cache import ResultCache
    from workbench.platform.connection_limits import ConnectionCounts
    from workbench.platform.platform import Platform


class PlatformCollector:
    """Reads the counters at the moment of a scrape; nothing is counted twice.

    Args:
        platform: whose counters.
        tenant: counts calls of this tenant alone, and servers that exist for it; None takes all.
    """

    def __init__(self, platform: Platform, tenant: str | None = None) -> None:
        self._platform = platform
        self._tenant = tenant

    def collect(self) -> Iterable[Metric]:
        counted, latencies = self._platform.gateway.tally.of(self._tenant)
        calls = CounterMetricFamily(
            "workbench_calls", "Tool calls by how they ended.", labels=("server", "tool", "outcome")
        )
        for key, number in sorted(counted.items()):
            calls.add_metric(key, number)
        yield calls
        seconds = HistogramMetricFamily(
            "workbench_call_seconds", "From receipt to answer.", labels=("server", "tool"), unit="seconds"
        )
        bounds = [str(us / 1e6) for us in BUCKETS_US] + ["+Inf"]
        for names, found in sorted(latencies.items()):
            buckets = list(zip(bounds, accumulate(found.buckets), strict=True))
            seconds.add_metric(names, buckets, sum_value=found.total_us / 1e6)
        yield seconds
        up = GaugeMetricFamily("workbench_server_up", "Whether a server is ready.", labels=("server",))
        restarts = CounterMetricFamily("workbench_server_restarts", "Restarts of a server.", labels=("server",))
        for state in self._platform.registry.servers(self._tenant):
            up.add_metric((state.id,), float(state.status == "ready"))
            restarts.add_metric((state.id,), state.restarts)
        yield up
        yield restarts
        if self._tenant is None:
            yield from _of_cache(self._platform.gateway.dispatch.cache)
            yield from _of_quota(self._platform.audit.quota)
            yield from _of_connections(self._platform.connections)
            yield _of_credentials(self._platform.access.admission.failures)
        failed = GaugeMetricFamily("workbench_record_failed", "1 when nothing can be recorded and calls are refused.")
        failed.add_metric((), float(bool(self._platform.audit.failed)))
        yield failed


def _of_cache(cache: ResultCache) -> Iterable[Metric]:
    """What the gateway remembered, and how often that spared a server a question."""
    shared = cache.shared
    lookups = CounterMetricFamily(
        "workbench_cache_lookups", "Calls of cacheable tools by where the answer was found.", labels=("found",)
    )
    lookups.add_metric(("memory",), cache.hits)
    lookups.add_metric(("redis",), shared.hits if shared is not None else 0)
    lookups.add_metric(("nowhere",), cache.misses - (shared.hits if shared is not None else 0))
    yield lookups
    kept = GaugeMetricFamily("workbench_cache_bytes", "Bytes of answers that this process remembers.")
    kept.add_metric((), cache.bytes)
    yield kept
    failures = CounterMetricFamily("workbench_cache_failures", "Looks into Redis that were not answered in time.")
    failures.add_metric((), shared.failures if shared is not None else 0)
    yield failures


def _of_quota(quota: ByteQuota) -> Iterable[Metric]:
    """What each tenant has added to the record. For who runs the platform: samples of it are not on the record."""
    most = GaugeMetricFamily("workbench_record_quota_bytes", "Bytes that a tenant may record in an hour; 0: no limit.")
    most.add_metric((), quota.per_hour)
    yield most
    written = CounterMetricFamily("workbench_record_bytes", "Bytes added to the record.", labels=("tenant",))
    refused = CounterMetricFamily(
        "workbench_record_quota_refusals", "Calls refused because the hour's bytes are used up.", labels=("tenant",)
    )
    for tenant, size in sorted(quota.total.items()):
        written.add_metric((tenant,), size)
        refused.add_metric((tenant,), quota.refused.get(tenant, 0))
    yield written
    yield refused


def _of_credentials(failures: CredentialFailures) -> Metric:
    """Requests that showed no credential that is good."""
    counted = CounterMetricFamily(
        "workbench_credential_failures", "Requests without a valid credential.", labels=("door", "outcome")
    )
    for key, number in sorted(failures.counts.items()):
        counted.add_metric(key, number)
    return counted


def _of_connections(counts: ConnectionCounts) -> Iterable[Metric]:
    """Connections that are open, and those that were refused because there were too many."""
    held = GaugeMetricFamily("workbench_connections", "Connections that are open.")
    held.add_metric((), counts.total)
    yield held
    refused = CounterMetricFamily("workbench_connections_refused", "Connections and requests beyond the bounds.")
    refused.add_metric((), counts.refused)
    yield refused


def exposition(platform: Platform, tenant: str | None = None) -> bytes:
    """What `/metrics` answers; about one tenant alone, if given."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PlatformCollector(platform, tenant))
    return generate_latest(registry)
