"""The same windows as in `limits`, counted in Redis for all processes that share it.

One Lua script looks at both windows and counts in both or in none, so that racing processes never accept more than the
limit. The clock is Redis's own. Tenants, subjects and tools appear in keys only as hashes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from workbench.config import RedisDown
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.control.redis_script import TIMEOUT_S, RedisScript, hash_of
from workbench.events import Caller, Tool, UnreachableError, new_id
from workbench.policy.limits.rate_limits import WINDOW_S, ExceededLimit, RateLimits

MAX_WAITING = 4096
"""Callers of whom is remembered how long they have to wait."""

SCRIPT = """
local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local window = tonumber(ARGV[1])
local worst, wait = 0, 0
local found = {}
for i, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[i + 2])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', us - window))
  local count = redis.call('ZCARD', key)
  local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
  local reset = oldest[2] and (tonumber(oldest[2]) + window - us) or 0
  if count >= limit then
    -- the next place is free when the call that stands `limit` calls back leaves the window
    local back = redis.call('ZRANGE', key, count - limit, count - limit, 'WITHSCORES')
    local left = back[2] and (tonumber(back[2]) + window - us) or window
    if left > wait then worst, wait = i, left end
  end
  found[i] = reset
end
if worst > 0 then
  return {worst, string.format('%.0f', wait), string.format('%.0f', found[worst])}
end
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, string.format('%.0f', us), ARGV[2])
  redis.call('PEXPIRE', key, math.ceil(window / 1000))
end
return {0, '0', '0'}
"""
"""KEYS: the windows. ARGV: length of a window in µs, a name for this call, then one limit for each key."""


class SharedLimits(RateLimits):
    """Sliding windows in Redis.

    Args:
        per_minute: calls per minute of one caller.
        quota: (tenant, qualified tool) → calls per minute, 0 for none.
        url: `redis://`, `rediss://` or `unix://`.
        when_down: whether calls are denied, or counted in this process, while Redis does not answer.
        prefix: of all keys.

    Raises:
        MisuseError: redis-py is not installed, or it cannot read the URL.
    """

    local = False

    def __init__(
        self,
        per_minute: int,
        quota: Callable[[str, str], int],
        *,
        url: str,
        when_down: RedisDown = "deny",
        prefix: str = "workbench",
        timeout: float = TIMEOUT_S,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        super().__init__(per_minute, quota)
        self._when_down = when_down
        self._prefix = prefix
        self.script = RedisScript(url, SCRIPT, "calls", timeout=timeout, breaker=breaker)
        self._until: dict[tuple[str, str], tuple[float, float]] = {}

    async def use_shared(self, caller: Caller, tool: Tool) -> ExceededLimit | None:
        """Count one call for all processes. None when it may go on; else what is used up, and nothing is counted.

        Raises:
            UnreachableError: Redis does not answer, and the setting says that nothing goes on then.
        """
        try:
            quota = self._quota(caller.tenant, tool.qualified)
        except Exception:  # noqa: BLE001 - undefined means no
            return ExceededLimit(name="tool", limit=0, remaining=0, reset_s=int(WINDOW_S), retry_s=int(WINDOW_S))
        tenant = hash_of(caller.tenant)
        keys = [f"{self._prefix}:{{{tenant}}}:caller:{hash_of(caller.subject)}"]
        limits = [self.rate(caller)]
        if quota:
            keys.append(f"{self._prefix}:{{{tenant}}}:tool:{hash_of(tool.qualified)}")
            limits.append(quota)
        try:
            worst, wait, reset = await self._count(keys, limits)
        except UnreachableError:
            if self._when_down == "memory":
                return self.use(caller, tool)
            raise
        if not worst:
            return None
        if worst == 1:
            self._remember(caller, wait, reset)
        return ExceededLimit(
            name="caller" if worst == 1 else "tool",
            limit=limits[worst - 1],
            remaining=0,
            reset_s=_seconds(reset),
            retry_s=_seconds(wait),
        )

    def waiting(self, caller: Caller) -> ExceededLimit | None:
        """As Redis said when it was last asked: whoever has to wait waits until then, and Redis is not asked again."""
        until = self._until.get((caller.tenant, caller.subject))
        now = self._clock()
        if until is None:
            return super().waiting(caller) if self._when_down == "memory" else None
        if now >= until[0]:
            del self._until[caller.tenant, caller.subject]
            return None
        retry, reset = math.ceil(until[0] - now), math.ceil(until[1] - now)
        return ExceededLimit(
            name="caller", limit=self.rate(caller), remaining=0, reset_s=max(reset, 1), retry_s=max(retry, 1)
        )

    async def charge_shared(self, caller: Caller) -> None:
        """Count a call that was turned down, for all processes."""
        key = f"{self._prefix}:{{{hash_of(caller.tenant)}}}:caller:{hash_of(caller.subject)}"
        try:
            worst, wait, reset = await self._count([key], [self.rate(caller)])
        except UnreachableError:
            self.charge(caller)
            return
        if worst:
            self._remember(caller, wait, reset)

    def _remember(self, caller: Caller, wait_us: int, reset_us: int) -> None:
        now = self._clock()
        if len(self._until) >= MAX_WAITING:
            self._until = {who: until for who, until in self._until.items() if until[0] > now}
        if len(self._until) < MAX_WAITING:
            self._until[caller.tenant, caller.subject] = (now + wait_us / 1e6, now + reset_us / 1e6)

    async def probe(self) -> str:
        """What keeps Redis from counting; empty when it counts."""
        try:
            await self._count([f"{self._prefix}:{{probe}}"], [1 << 30])
        except UnreachableError as e:
            return str(e)
        return ""

    async def disconnect(self) -> None:
        """Close the connections; counting again opens new ones."""
        await self.script.disconnect()

    async def _count(self, keys: list[str], limits: list[int]) -> tuple[int, int, int]:
        try:
            worst, wait, reset = await self.script.run(keys, [int(WINDOW_S * 1_000_000), new_id(), *limits])
        finally:
            self.problem = self.script.problem
        return worst, wait, reset


def _seconds(microseconds: int) -> int:
    return max(1, -(-microseconds // 1_000_000))
