"""How many bytes a tenant may add to the record in an hour, so that no caller can fill the disk for all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from workbench.events import NotRecordedError

HOUR: Final = 3600


class ByteQuota:
    """Counts bytes by tenant in the hours of the clock (UTC). For the event loop of the log alone.

    Args:
        per_hour: bytes of one tenant; 0 for no limit.
        clock: seconds since the epoch.
    """

    def __init__(self, per_hour: int, *, clock: Callable[[], float] = time.time) -> None:
        self.per_hour = per_hour
        self.written: dict[str, int] = {}
        """Bytes of this hour by tenant."""
        self.elsewhere: dict[str, int] = {}
        """Bytes that other gateways have added in this hour by tenant, as far as this one has heard."""
        self.refused: dict[str, int] = {}
        """Calls that were turned down since the start by tenant."""
        self._clock = clock
        self._before: dict[str, int] = {}
        self._ends = 0.0

    def add(self, tenant: str, size: int) -> None:
        """Count bytes that are about to be written."""
        now = self._clock()
        if now >= self._ends:
            self._begin_hour(now)
        self.written[tenant] = self.written.get(tenant, 0) + size

    @property
    def total(self) -> dict[str, int]:
        """Bytes since the start by tenant."""
        names = {*self._before, *self.written}
        return {name: self._before.get(name, 0) + self.written.get(name, 0) for name in names}

    def wait(self, tenant: str) -> int:
        """Seconds until the tenant may add more; 0 when it may now."""
        if not self.per_hour or self.written.get(tenant, 0) + self.elsewhere.get(tenant, 0) < self.per_hour:
            return 0
        return max(math.ceil(self._ends - self._clock()), 0)

    def full(self) -> list[str]:
        """Tenants that may add nothing more in this hour."""
        return sorted(tenant for tenant in list(self.written) if self.wait(tenant))

    def refuse(self, tenant: str) -> None:
        """Count a call that was turned down because of this."""
        self.refused[tenant] = self.refused.get(tenant, 0) + 1

    def check(self, tenant: str) -> None:
        """Raise when the tenant may add nothing more in this hour.

        Raises:
            NotRecordedError: it has used its bytes up.
        """
        if wait := self.wait(tenant):
            self.refuse(tenant)
            raise NotRecordedError(self.words(tenant, wait), hint="Wait, or raise the setting record_bytes_per_hour.")

    async def close(self) -> None:
        """Let go of what is shared with other gateways, where there is something."""

    def _begin_hour(self, now: float) -> None:
        self._before, self.written, self.elsewhere = self.total, {}, {}
        self._ends = (now // HOUR + 1) * HOUR

    def words(self, tenant: str, wait: int) -> str:
        """The sentence that says so."""
        return (
            f"The {self.per_hour:,} bytes that tenant {tenant!r} may record in an hour are used up; "
            f"the next hour begins in {wait} s."
        )
