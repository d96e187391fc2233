"""The bytes that a tenant may record in an hour, added up in Redis for all gateways."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final

from workbench.audit.write.tenant_byte_quota import HOUR, ByteQuota
from workbench.config import RedisDown, Settings
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.control.redis_script import TIMEOUT_S, RedisScript, ScriptCall, hash_of
from workbench.events import NotRecordedError, UnreachableError, new_id
from workbench.secrets import SecretResolver

SETTLE_S: Final = 0.5
"""Seconds after which Redis has heard of bytes that were written."""
MIN_UNSETTLED: Final = 1 << 20
"""Bytes of one tenant that a gateway may always write before Redis has heard of them."""
TENANTS_AT_ONCE: Final = 256

SCRIPT: Final = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
local total = 0
for _, bytes in ipairs(redis.call('HVALS', KEYS[1])) do total = total + tonumber(bytes) end
return {string.format('%.0f', total)}
"""
"""KEYS: an hour of a tenant. ARGV: id of the gateway, its bytes of that hour, seconds to keep the key."""


class SharedByteQuota(ByteQuota):
    """Counts in memory what this gateway writes, and in Redis what all of them do.

    No call waits for Redis: bytes are settled `SETTLE_S` after they were written, or at once when a quarter of
    `unsettled_limit` has come together. So a tenant may go beyond `per_hour` by what each gateway writes between two
    settlements, which is what comes together in `SETTLE_S` and one answer of Redis, never more than `unsettled_limit`
    (1/32 of `per_hour`, at least 1 MiB), and by the calls that were under way then.

    While Redis does not answer, a gateway lets a tenant write up to `unsettled_limit` and then refuses, or with
    `when_down="memory"` counts its own bytes and what the others had when Redis last answered.

    A gateway sends the total of its hour, so that a settlement which is repeated counts once. One that is started again
    has another id: what it wrote before stays counted.

    Args:
        per_hour: bytes of one tenant; 0 for no limit.
        url: `redis://`, `rediss://` or `unix://`.
        when_down: whether a tenant is refused, or counted in this process, while Redis does not answer.
        prefix: of all keys.
        settle_s: seconds between two settlements.
        clock: seconds since the epoch. Gateways whose clocks differ count the difference in the hour beside.

    Raises:
        MisuseError: redis-py is not installed, or it cannot read the URL.
    """

    def __init__(
        self,
        per_hour: int,
        *,
        url: str,
        when_down: RedisDown = "deny",
        prefix: str = "workbench",
        timeout: float = TIMEOUT_S,
        settle_s: float = SETTLE_S,
        clock: Callable[[], float] = time.time,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        super().__init__(per_hour, clock=clock)
        self.unsettled_limit = max(per_hour // 32, MIN_UNSETTLED)
        self.script = RedisScript(url, SCRIPT, "bytes on the record", timeout=timeout, breaker=breaker)
        self._when_down = when_down
        self._prefix = prefix
        self._settle_s = settle_s
        self._gateway = new_id()
        self._settled: dict[str, int] = {}
        self._unsettled: set[str] = set()
        self._settling: asyncio.Task[None] | None = None
        self._hurry = asyncio.Event()

    def add(self, tenant: str, size: int) -> None:
        super().add(tenant, size)
        if not self.per_hour:
            return
        self._unsettled.add(tenant)
        if self._settling is None:
            self._settling = asyncio.get_running_loop().create_task(self._keep_settling())
        if 4 * self.unsettled(tenant) >= self.unsettled_limit:
            self._hurry.set()

    def unsettled(self, tenant: str) -> int:
        """Bytes of this hour that Redis has not heard of."""
        return self.written.get(tenant, 0) - self._settled.get(tenant, 0)

    def wait(self, tenant: str) -> int:
        """Seconds until the tenant may add more; 0 when it may now.

        Raises:
            UnreachableError: Redis has not heard of too many bytes, and the setting says that nothing goes on then.
        """
        if left := super().wait(tenant):
            return left
        if (
            self._when_down == "deny"
            and self.per_hour
            and self.unsettled(tenant) >= self.unsettled_limit
            and self._clock() < self._ends
        ):
            raise UnreachableError(
                f"Redis has not counted the last {self.unsettled(tenant):,} bytes that tenant {tenant!r} recorded.",
                hint="Check redis_url; calls go on when it answers again.",
            )
        return 0

    def full(self) -> list[str]:
        left = super().wait
        return sorted(tenant for tenant in list(self.written) if left(tenant))

    def check(self, tenant: str) -> None:
        try:
            super().check(tenant)
        except UnreachableError as e:
            raise NotRecordedError(str(e.args[0]), hint=e.hint) from e

    async def settle(self) -> None:
        """Tell Redis what was written, and hear what others have.

        Raises:
            UnreachableError: Redis does not answer; nothing is lost, the next settlement tells it.
        """
        while self._unsettled:
            ends, hour = self._ends, int(self._ends) // HOUR - 1
            told = {tenant: self.written[tenant] for tenant in list(self._unsettled)[:TENANTS_AT_ONCE]}
            totals = await self.script.run_all([
                ScriptCall(
                    [f"{self._prefix}:{{{hash_of(tenant)}}}:bytes:{hour}"], [self._gateway, size, 2 * HOUR]
                )
                for tenant, size in told.items()
            ])  # fmt: skip
            if ends != self._ends:
                continue
            for (tenant, size), (total,) in zip(told.items(), totals, strict=True):
                self._settled[tenant] = size
                self.elsewhere[tenant] = total - size
                if self.written[tenant] == size:
                    self._unsettled.discard(tenant)
            if self._unsettled.isdisjoint(told):
                continue
            return  # they write faster than this; the next settlement is due in a moment

    async def close(self) -> None:
        """Settle what is left, if Redis answers, and close the connections. May be called twice."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        with contextlib.suppress(UnreachableError):
            await self.settle()
        await self.script.disconnect()

    def _begin_hour(self, now: float) -> None:
        super()._begin_hour(now)
        self._settled.clear()
        self._unsettled.clear()

    async def _keep_settling(self) -> None:
        try:
            while self._unsettled:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._settle_s):
                        await self._hurry.wait()
                self._hurry.clear()
                try:
                    await self.settle()
                except UnreachableError:
                    await asyncio.sleep(self._settle_s)  # however many bytes come together meanwhile
        finally:
            self._settling = None


def byte_quota(settings: Settings) -> ByteQuota:
    """The counter of bytes: of this process, or shared through Redis.

    Raises:
        MisuseError: Redis is set and cannot be meant.
    """
    if not settings.redis_url:
        return ByteQuota(settings.record_bytes_per_hour)
    return SharedByteQuota(
        settings.record_bytes_per_hour,
        url=SecretResolver.of(settings).read(settings.redis_url),
        when_down=settings.redis_down,
    )
