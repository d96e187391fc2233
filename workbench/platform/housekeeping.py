"""What a platform does beside its work: sample its counters into the record, and export telemetry."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from workbench.audit.format import records
from workbench.events import NotRecordedError
from workbench.platform.telemetry import Telemetry, open_telemetry

if TYPE_CHECKING:
    from prometheus_client.core import Metric

    from workbench.platform.platform import Platform

SAMPLE_INTERVAL_S = 15.0
"""How often counters are sampled into the table `metrics`."""

_log = logging.getLogger(__name__)


class MetricsSampler:
    """Writes what `/metrics` shows into the record of each tenant, as far as it changed since the last time."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._last: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}

    def sample(self) -> int:
        """Record what changed; how many values that were.

        Raises:
            NotRecordedError: the log cannot be written. What was not written is tried again the next time.
        """
        from workbench.platform.prometheus import PlatformCollector

        platform = self._platform
        return sum(
            self._record(family, tenant)
            for tenant in sorted({platform.settings.tenant, *platform.gateway.tally.tenants})
            for family in PlatformCollector(platform, tenant).collect()
        )

    def _record(self, family: Metric, tenant: str) -> int:
        written, audit = 0, self._platform.audit
        for sample in family.samples:
            key = (tenant, sample.name, tuple(sorted(sample.labels.items())))
            if self._last.get(key) == sample.value:
                continue
            labels = dict(sample.labels)
            audit.put(
                tenant,
                records.metric(sample.name, sample.value, labels, tenant=tenant, type=family.type, unit=family.unit),
            )
            self._last[key] = sample.value
            written += 1
        return written


class Housekeeping:
    """The tasks of one platform; they live as long as it does."""

    def __init__(self, platform: Platform) -> None:
        self.sampler = MetricsSampler(platform)
        self.telemetry: Telemetry | None = None
        self._audit = platform.audit
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin. To be called once, on the platform's loop."""
        self._tasks = [asyncio.create_task(self._sample(), name="sampling of metrics")]
        self.telemetry = open_telemetry()
        if self.telemetry is not None:
            self._audit.on_record.append(self.telemetry.take)

    async def stop(self) -> None:
        """End. Safe to call twice, and without a start."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        telemetry, self.telemetry = self.telemetry, None
        if telemetry is not None:
            self._audit.on_record.remove(telemetry.take)
            await telemetry.close()

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_INTERVAL_S)
            try:
                self.sampler.sample()
            except NotRecordedError as e:
                # calls are refused for the same reason, and say so
                _log.warning("metrics were not sampled: %s", e)
