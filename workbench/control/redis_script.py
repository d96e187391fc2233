"""A Lua script in the Redis of all gateways, asked within a bound of time and behind a circuit breaker."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from workbench.control.circuit_breaker import CircuitBreaker
from workbench.control.redis_client import redis_client
from workbench.events import UnreachableError

TIMEOUT_S = 0.25
"""Seconds for one answer, connecting included."""


T = TypeVar("T")


class ScriptCall(NamedTuple):
    """One run of a script."""

    keys: Sequence[str]
    arguments: Sequence[str | int]


class RedisScript:
    """Counts something in Redis.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        source: Lua; answers with a list of whole numbers.
        counted: what it counts, for messages.
        timeout: seconds for one answer, connecting included.
        breaker: after several failures in a row Redis is not asked for a while.

    Raises:
        MisuseError: redis-py is not installed, or it cannot read the URL.
    """

    def __init__(
        self,
        url: str,
        source: str,
        counted: str,
        *,
        timeout: float = TIMEOUT_S,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        self.client = redis_client(url, timeout)
        self.breaker = breaker or CircuitBreaker()
        self.problem = ""
        """Why Redis did not count when it was last asked; empty when it did."""
        self._counted = counted
        self._timeout = timeout
        self._script = self.client.register_script(source)

    async def run(self, keys: Sequence[str], arguments: Sequence[str | int]) -> list[int]:
        """What the script answers.

        Raises:
            UnreachableError: Redis does not answer in time, or is not asked for a moment.
        """
        return await self._asked(lambda: self._one(keys, arguments))

    async def run_all(self, calls: Sequence[ScriptCall]) -> list[list[int]]:
        """What the script answers to each of several calls, in one round trip.

        Raises:
            UnreachableError: as for `run`; some of the calls may have been counted.
        """
        return await self._asked(lambda: self._several(calls))

    async def disconnect(self) -> None:
        """Close the connections; asking again opens new ones."""
        await self.client.aclose()

    async def _one(self, keys: Sequence[str], arguments: Sequence[str | int]) -> list[int]:
        return _numbers(await self._script(keys=keys, args=arguments))

    async def _several(self, calls: Sequence[ScriptCall]) -> list[list[int]]:
        async with self.client.pipeline(transaction=False) as pipeline:
            for call in calls:
                await self._script(keys=call.keys, args=call.arguments, client=pipeline)
            return [_numbers(answer) for answer in await pipeline.execute()]

    async def _asked(self, work: Callable[[], Awaitable[T]]) -> T:
        from redis.exceptions import RedisError

        if not self.breaker.admit():
            raise UnreachableError(
                f"Redis has failed repeatedly and is not asked for a moment, so {self._counted} cannot be counted."
            )
        try:
            async with asyncio.timeout(self._timeout):
                found = await work()
        except (RedisError, OSError, TimeoutError, ValueError, TypeError) as e:
            self.breaker.failed()
            self.problem = f"Redis does not count {self._counted} ({type(e).__name__})."
            raise UnreachableError(self.problem, hint="Check redis_url; calls go on when it answers again.") from e
        except BaseException:
            self.breaker.released()
            raise
        self.breaker.succeeded()
        self.problem = ""
        return found


def hash_of(name: str) -> str:
    """How a tenant, a person, a tool or an address appears in a key."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _numbers(answer: Any) -> list[int]:
    return [int(each) for each in answer]
