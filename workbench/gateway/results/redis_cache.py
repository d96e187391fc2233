"""Remembered answers in Redis, for all processes of a deployment.

Values are sealed with the key of the deployment: who can read or write in Redis can neither read an answer nor make one
up. Redis drops what is over, and what its `maxmemory-policy` says when it is full. Where it does not answer, servers
are asked.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from workbench.background_tasks import BackgroundTasks
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.control.circuit_breaker import CircuitBreaker
from workbench.control.redis_client import redis_client
from workbench.events import JSON, canonical

if TYPE_CHECKING:
    from workbench.gateway.results.result_cache import CacheKey

TIMEOUT_S: Final = 0.1
"""Seconds for one look: longer than that, and asking the server would have been the better idea."""

MAX_WRITING: Final = 256
"""Answers on their way to Redis before further ones are not written."""

_log = logging.getLogger(__name__)


class CachedResult(NamedTuple):
    """A remembered answer."""

    result: JSON
    age: float
    """Seconds since the server gave it."""
    left: float
    """Seconds that it is still good for."""


class SharedCache:
    """Answers by key, in Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        seal: of the deployment.
        prefix: of all keys.
        timeout: seconds for one look.
        breaker: leaves Redis alone for a while once it has failed repeatedly.

    Raises:
        MisuseError: redis-py is not installed, or it cannot read the URL.
    """

    def __init__(
        self,
        url: str,
        seal: SealedTokens,
        *,
        prefix: str = "workbench:answer",
        timeout: float = TIMEOUT_S,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.hits = self.misses = self.failures = 0
        self.breaker = breaker or CircuitBreaker(failures=3)
        self._seal = seal
        self._prefix = prefix
        self._timeout = timeout
        self._redis = redis_client(url, timeout, "cache_url")
        self._writing = BackgroundTasks("shared cache")

    async def get(self, key: CacheKey) -> CachedResult | None:
        """What is remembered; None when nothing is, or Redis does not say in time."""
        name, mark = self._name(key)
        found = await self._ask(lambda: self._redis.get(name))
        value = self._opened(found, mark) if isinstance(found, bytes) else None
        if value is None:
            self.misses += 1
            return None
        self.hits += 1
        return value

    def put(self, key: CacheKey, result: JSON, ttl: float) -> None:
        """Remember an answer for `ttl` seconds; nobody waits for that."""
        if len(self._writing) >= MAX_WRITING:
            return
        name, mark = self._name(key)
        now = time.time()
        value = self._seal.close(msgspec.json.encode([mark, now, now + ttl, result]))
        self._writing.start(self._write(name, value, ttl))

    async def close(self) -> None:
        """Wait for what is being written, and let go of the connections."""
        await self._writing.finish()
        await self._redis.aclose()

    async def _write(self, name: str, value: str, ttl: float) -> None:
        await self._ask(lambda: self._redis.set(name, value, px=max(1, int(ttl * 1000))))

    async def _ask(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """What Redis says; None when it does not."""
        from redis.exceptions import RedisError

        if not self.breaker.admit():
            return None
        try:
            async with asyncio.timeout(self._timeout):
                answer = await work()
        except (RedisError, OSError, TimeoutError) as e:
            self.failures += 1
            self.breaker.failed()
            _log.debug("Redis of the cache: %s", type(e).__name__)
            return None
        except BaseException:
            self.breaker.released()
            raise
        self.breaker.succeeded()
        return answer

    def _opened(self, value: bytes, mark: str) -> CachedResult | None:
        """What a value holds, if it is whole, ours, of this very key, and not over."""
        data = self._seal.open(value.decode("ascii", "replace"))
        try:
            of, at, until, result = msgspec.json.decode(data or b"", type=tuple[str, float, float, dict[str, Any]])
        except msgspec.DecodeError:
            return None
        now = time.time()
        if of != mark or now >= until:
            return None
        return CachedResult(result, max(0.0, now - at), min(until - now, until - at))

    def _name(self, key: CacheKey) -> tuple[str, str]:
        """Under what an answer is kept, and the mark of its key, which it carries inside."""
        whose = [sorted(part) if isinstance(part, frozenset) else part for part in key.whose]
        mark = hashlib.sha256(canonical([key.tool, key.definition, key.arguments.decode(), whose])).hexdigest()
        return f"{self._prefix}:{mark}", mark
