"""Remembered answers of tools that declare themselves cacheable, in memory and bounded, and perhaps in Redis as well.

What is remembered is what the server said, before anything is withheld: whoever gets it passes the same rules as
everybody, and is shown what those rules let them see.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from workbench.events import JSON, Call, Caller, Tool, canonical
from workbench.upstream.jsonrpc_messages import encode

if TYPE_CHECKING:
    from workbench.gateway.results.redis_cache import SharedCache

DECLARED: Final = "workbench/cache"
"""Key in `_meta` of a tool: {"ttl_ms": milliseconds, "scope": "private" or "public"}."""

MAX_TTL_S: Final = 24 * 3600.0
MAX_BYTES: Final = 64 << 20
MAX_ENTRY_BYTES: Final = 1 << 20
MAX_HINTS: Final = 10_000

_IGNORED: Final = frozenset(
    {
        "progressToken", "traceparent", "tracestate", "baggage", "workbench/approval",
        "io.modelcontextprotocol/clientInfo", "io.modelcontextprotocol/clientCapabilities",
        "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/logLevel",
    }
)  # fmt: skip
"""Keys of `_meta` that do not change an answer."""


class CacheKey(NamedTuple):
    """What makes two calls the same: tool, definition, arguments, and on whose behalf."""

    tool: str
    definition: str
    arguments: bytes
    whose: tuple[Any, ...]


Answered = tuple[JSON, JSON]
"""A result, and what is to be said of how it was got."""


class _CachedResult(NamedTuple):
    result: JSON
    size: int
    since: float
    until: float


class InFlightRequest:
    """One question to a server that several callers wait for."""

    __slots__ = ("task", "waiting")

    def __init__(self, task: asyncio.Future[Answered]) -> None:
        self.task = task
        self.waiting = 0


class ResultCache:
    """Answers by `CacheKey`, the least recently used dropped first.

    A tool is cacheable when it is read-only and says so: in its definition (`_meta`, `workbench/cache`), or with
    `ttlMs` in a result, as 2026-07-28 does for lists and resources (server/utilities/caching). Answers belong to one
    caller unless the tool says `public`; then they belong to the tenant.

    Args:
        most_bytes: of all answers together, in this process.
        clock: seconds that only grow.
        shared: what further processes remember.
    """

    def __init__(
        self,
        most_bytes: int = MAX_BYTES,
        *,
        clock: Callable[[], float] = time.monotonic,
        shared: SharedCache | None = None,
    ) -> None:
        self.flights: dict[CacheKey, InFlightRequest] = {}
        self.hits = self.misses = 0
        self.shared = shared
        self._most_bytes = most_bytes
        self._clock = clock
        self._kept: OrderedDict[CacheKey, _CachedResult] = OrderedDict()
        self._bytes = 0
        self._hinted: dict[str, bool] = {}

    def key(self, call: Call, tool: Tool) -> CacheKey | None:
        """Under what the answer to `call` is remembered; None when it must not be."""
        declared = _declared(tool)
        if declared is None and tool.definition_hash not in self._hinted:
            return None
        return self._key(call, tool, public=declared[1] if declared else self._hinted[tool.definition_hash])

    @property
    def bytes(self) -> int:
        """Of the answers that this process remembers."""
        return self._bytes

    async def elsewhere(self, key: CacheKey) -> Answered | None:
        """An answer that another process remembers; it is remembered here, too."""
        found = await self.shared.get(key) if self.shared is not None else None
        if found is None:
            return None
        self._keep(key, found.result, found.left, found.age)
        return found.result, {"cached": True, "age_ms": round(found.age * 1e3)}

    def get(self, key: CacheKey) -> Answered | None:
        """A remembered answer and what to say of it, or None."""
        kept = self._kept.get(key)
        now = self._clock()
        if kept is None or now >= kept.until:
            self.misses += 1
            return None
        self._kept.move_to_end(key)
        self.hits += 1
        return kept.result, {"cached": True, "age_ms": round((now - kept.since) * 1e3)}

    def fly(self, key: CacheKey, asking: asyncio.Future[Answered]) -> None:
        """Let others wait for the answer that `asking` is about to get."""
        flight = self.flights[key] = InFlightRequest(asking)
        asking.add_done_callback(lambda _: self._landed(key, flight))

    @contextmanager
    def waiting(self, key: CacheKey) -> Iterator[asyncio.Future[Answered]]:
        """Around the wait of one caller for a flight; it is given up when nobody waits for it any more."""
        flight = self.flights[key]
        flight.waiting += 1
        try:
            yield flight.task
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                self._landed(key, flight)
                flight.task.cancel()

    def learn(self, call: Call, tool: Tool, result: JSON) -> None:
        """Remember `result` if tool and server allow that."""
        if result.get("resultType") not in (None, "complete") or result.get("isError") is True:
            return
        hinted = _hint(tool, result)
        declared = _declared(tool)
        if hinted is None and declared is None:
            return
        ttl, public = hinted or declared or (0.0, False)
        if declared is not None:
            ttl, public = min(ttl, declared[0]), public and declared[1]
        elif len(self._hinted) < MAX_HINTS:
            self._hinted[tool.definition_hash] = public
        key = self._key(call, tool, public=public)
        if key is not None and ttl > 0 and self._keep(key, result, ttl) and self.shared is not None:
            self.shared.put(key, result, ttl)

    def _key(self, call: Call, tool: Tool, *, public: bool) -> CacheKey | None:
        if call.meta and not call.meta.keys() <= {"_meta"}:
            return None  # a continuation of an earlier request, for instance, is no question by itself
        meta = {k: v for k, v in (call.meta.get("_meta") or {}).items() if k not in _IGNORED}
        return CacheKey(
            tool.qualified,
            tool.definition_hash,
            canonical([call.arguments, meta] if meta else [call.arguments]),
            (call.caller.tenant,) if public else _whose(call.caller),
        )

    def _keep(self, key: CacheKey, result: JSON, ttl: float, age: float = 0.0) -> bool:
        """Remember an answer, unless it is too large."""
        size = len(encode(result)) + len(key.arguments)
        if size > MAX_ENTRY_BYTES:
            return False
        self._forget(key)
        now = self._clock()
        self._kept[key] = _CachedResult(result, size, now - age, now + ttl)
        self._bytes += size
        while self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))
        return True

    def _forget(self, key: CacheKey) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= kept.size

    def _landed(self, key: CacheKey, flight: InFlightRequest) -> None:
        if self.flights.get(key) is flight:
            del self.flights[key]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # everybody may have gone meanwhile


def _declared(tool: Tool) -> tuple[float, bool] | None:
    """Seconds and whether `public`, as the definition of a read-only tool says."""
    meta = tool.definition.get("_meta")
    said = meta.get(DECLARED) if isinstance(meta, dict) else None
    if not isinstance(said, dict) or not tool.read_only:
        return None
    return _span(said.get("ttl_ms"), said.get("scope"))


def _hint(tool: Tool, result: JSON) -> tuple[float, bool] | None:
    """The same from a result; the protocol's default scope is private."""
    if "ttlMs" not in result or not tool.read_only:
        return None
    return _span(result["ttlMs"], result.get("cacheScope"))


def _span(ttl_ms: Any, scope: Any) -> tuple[float, bool] | None:
    if isinstance(ttl_ms, bool) or not isinstance(ttl_ms, int | float) or not 0 <= ttl_ms < float("inf"):
        return None
    return min(ttl_ms / 1e3, MAX_TTL_S), scope == "public"


def _whose(caller: Caller) -> tuple[Any, ...]:
    return (caller.tenant, caller.subject, caller.method, caller.credential, caller.roles, caller.scopes)
