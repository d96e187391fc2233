"""The same minutes as in `failed_credentials`, counted in Redis for all gateways."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from workbench.access.failed_credentials import MAX_REMEMBERED, MINUTE_S, CredentialFailures, name_of
from workbench.bounded_dict import BoundedDict
from workbench.config import RedisDown, Settings
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.control.redis_script import TIMEOUT_S, RedisScript, hash_of
from workbench.events import UnreachableError, new_id
from workbench.secrets import SecretResolver

SCRIPT: Final = """
local now = redis.call('TIME')
local us = now[1] * 1000000 + now[2]
local window = tonumber(ARGV[1])
local over, left = 0, {}
for i, key in ipairs(KEYS) do
  local limit = tonumber(ARGV[i + 2])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', us - window))
  local count = redis.call('ZCARD', key)
  local full = count >= limit
  if not full then
    count = count + redis.call('ZADD', key, 'NX', string.format('%.0f', us), ARGV[2])
    redis.call('PEXPIRE', key, math.ceil(window / 1000))
  end
  local wait = 0
  if count >= limit then
    wait = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) + window - us
  end
  if full and wait > over then over = wait end
  left[i] = string.format('%.0f', wait)
end
return {string.format('%.0f', over), left[1], left[2]}
"""
"""KEYS: an address, and a credential there. ARGV: length of a window in µs, a name for this failure, then a limit for
each key. Answers how long a failure that is one too many has to wait, then how long each key has to from now on."""


class SharedCredentialFailures(CredentialFailures):
    """Sliding minutes in Redis.

    Redis is asked when a credential was wrong, never for a good one, and not while it is known here that the address
    has to wait. So a gateway hears that an address has used up its number elsewhere with the next wrong credential from
    there: beyond `per_minute`, each gateway looks at one more of an address, and at those that are under way then.

    While Redis does not answer, a gateway looks at no credential of an address whose last wrong one is not counted, or
    with `when_down="memory"` counts by itself.

    Args:
        per_minute: wrong credentials of one address, and half as many of one credential there, before it has to wait.
        url: `redis://`, `rediss://` or `unix://`.
        when_down: whether an address is refused, or counted in this process, while Redis does not answer.
        prefix: of all keys.
        clock: seconds that only grow.

    Raises:
        MisuseError: redis-py is not installed, or it cannot read the URL.
    """

    def __init__(
        self,
        per_minute: int,
        *,
        url: str,
        when_down: RedisDown = "deny",
        prefix: str = "workbench",
        timeout: float = TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        super().__init__(per_minute, clock=clock)
        self.script = RedisScript(url, SCRIPT, "wrong credentials", timeout=timeout, breaker=breaker)
        self._when_down = when_down
        self._prefix = prefix
        self._until: BoundedDict[tuple[str, str], float] = BoundedDict(MAX_REMEMBERED)
        self._uncounted: BoundedDict[str, list[tuple[str, str]]] = BoundedDict(MAX_REMEMBERED)
        """By address: the credential and the name of each failure that Redis has not counted."""

    def wait(self, address: str, authorization: str) -> int:
        now = self._clock()
        told = max(self._until.get((address, name), 0.0) - now for name in ("", name_of(authorization)))
        return max(math.ceil(told), super().wait(address, authorization))

    async def wait_shared(self, address: str, authorization: str) -> int:
        for name, failure in self._uncounted.get(address, ())[:]:
            await self._count_shared(address, name, failure)
            self._forget(address, failure)
        return self.wait(address, authorization)

    async def add_shared(self, address: str, authorization: str, door: str, reason: str) -> int:
        wait, name = self.wait(address, authorization), name_of(authorization)
        if self._until.get((address, ""), 0.0) <= self._clock():
            failure = new_id()
            try:
                wait = max(wait, await self._count_shared(address, name, failure))
            except UnreachableError:
                self._count(address, name)
                if self._when_down == "deny":
                    self._remember(address, name, failure)
        self._tell(address, name, door, reason, wait)
        return wait

    async def disconnect(self) -> None:
        await self.script.disconnect()

    async def _count_shared(self, address: str, name: str, failure: str) -> int:
        """Count a failure, once however often it is sent; the seconds to wait when it is one too many, else 0."""
        of_address = f"{self._prefix}:{{{hash_of(address)}}}:failures"
        keys = [of_address, f"{of_address}:{hash_of(name)}"]
        limits = [most for _, most in self._limits(address, name)]
        over, *left = await self.script.run(keys, [int(MINUTE_S * 1_000_000), failure, *limits])
        now = self._clock()
        for key, wait in zip(((address, ""), (address, name)), left, strict=True):
            if wait:
                self._until[key] = now + wait / 1e6
        return math.ceil(over / 1e6)

    def _remember(self, address: str, name: str, failure: str) -> None:
        kept = self._uncounted.setdefault(address, [])
        if len(kept) < self._per_minute:  # more than that change nothing
            kept.append((name, failure))

    def _forget(self, address: str, failure: str) -> None:
        left = [each for each in self._uncounted.get(address, ()) if each[1] != failure]
        if left:
            self._uncounted[address] = left
        else:
            self._uncounted.pop(address, None)


def credential_failures(settings: Settings) -> CredentialFailures:
    """The counter of wrong credentials: of this process, or shared through Redis.

    Raises:
        MisuseError: Redis is set and cannot be meant.
    """
    if not settings.redis_url:
        return CredentialFailures(settings.failed_credentials_per_minute)
    return SharedCredentialFailures(
        settings.failed_credentials_per_minute,
        url=SecretResolver.of(settings).read(settings.redis_url),
        when_down=settings.redis_down,
    )
