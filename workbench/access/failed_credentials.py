"""Credentials that were refused: counted, throttled by address and by credential, and told to whoever records them."""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from workbench.bounded_dict import BoundedDict
from workbench.events import Record, UnauthenticatedError

MINUTE_S: Final = 60.0
MAX_REMEMBERED: Final = 4096
"""Addresses, and credentials at addresses, that are counted at once; those longest not seen are forgotten."""
MIN_HASHED: Final = 20
"""Characters of a credential from which on a part of its hash is kept: what is shorter could be guessed from that."""

_KEY: Final = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] (mk_[A-Za-z0-9]{1,32})_")


class TooManyFailuresError(UnauthenticatedError):
    """So many wrong credentials came from an address that what it shows is not looked at for a while.

    Args:
        retry_after: seconds to wait.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "Too many wrong credentials came from this address.",
            hint=f"Wait {retry_after} s, then try again with a valid one.",
        )
        self.retry_after = retry_after


class CredentialFailure(Record, frozen=True, kw_only=True):
    """One credential that was refused. Holds nothing that could be used."""

    address: str
    door: str
    reason: str
    credential: str
    """The id of a key of ours, eight hex digits of the hash of another credential, or what else is known of it."""
    throttled: bool = False


class CredentialFailures:
    """Counts in sliding minutes, for one event loop.

    Args:
        per_minute: wrong credentials of one address, and half as many of one credential there, before it has to wait.
        clock: seconds that only grow.
    """

    def __init__(self, per_minute: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._clock = clock
        self._seen: BoundedDict[tuple[str, str], deque[float]] = BoundedDict(MAX_REMEMBERED)
        self.on_failure: Callable[[CredentialFailure], None] | None = None
        """Told of each; must be quick and not raise."""
        self.counts: dict[tuple[str, str], int] = {}
        """By door and outcome (`missing`, `refused`, `throttled`), since the start."""

    def wait(self, address: str, authorization: str) -> int:
        """Seconds that this credential from this address has to wait; 0 when it may be looked at."""
        return max(self._left(key, most) for key, most in self._limits(address, name_of(authorization)))

    def missing(self, door: str) -> None:
        """Count a request that shows nothing."""
        self.counts[door, "missing"] = self.counts.get((door, "missing"), 0) + 1

    def add(self, address: str, authorization: str, door: str, reason: str) -> int:
        """Count one that was refused; the seconds to wait when it is one too many, else 0."""
        wait, name = self.wait(address, authorization), name_of(authorization)
        self._count(address, name)
        self._tell(address, name, door, reason, wait)
        return wait

    async def wait_shared(self, address: str, authorization: str) -> int:
        """`wait`, where the counters may lie in another process.

        Raises:
            UnreachableError: they cannot be reached, and the setting says that nothing goes on then.
        """
        return self.wait(address, authorization)

    async def add_shared(self, address: str, authorization: str, door: str, reason: str) -> int:
        """`add`, where the counters may lie in another process. Never raises."""
        return self.add(address, authorization, door, reason)

    async def disconnect(self) -> None:
        """Close connections, where there are any."""

    def _limits(self, address: str, name: str) -> tuple[tuple[tuple[str, str], int], ...]:
        """What a failure counts against, and how many of a minute are let through."""
        return ((address, ""), self._per_minute), ((address, name), max(self._per_minute // 2, 1))

    def _count(self, address: str, name: str) -> None:
        now = self._clock()
        for key, most in self._limits(address, name):
            times = self._times(key)
            if len(times) < most:
                times.append(now)

    def _tell(self, address: str, name: str, door: str, reason: str, wait: int) -> None:
        outcome = "throttled" if wait else "refused"
        self.counts[door, outcome] = self.counts.get((door, outcome), 0) + 1
        if self.on_failure is not None:
            self.on_failure(
                CredentialFailure(address=address, door=door, reason=reason, credential=name, throttled=bool(wait))
            )

    def _left(self, key: tuple[str, str], most: int) -> int:
        times = self._seen.get(key)
        if times is None:
            return 0
        now = self._clock()
        while times and times[0] <= now - MINUTE_S:
            times.popleft()
        return math.ceil(max(times[0] + MINUTE_S - now, 1)) if len(times) >= most else 0

    def _times(self, key: tuple[str, str]) -> deque[float]:
        times = self._seen.use(key)
        if times is None:
            times = self._seen[key] = deque()
        return times


def is_own_key(authorization: str) -> bool:
    """Whether it has the form of a key of ours, which costs one look-up to check."""
    return _KEY.match(authorization) is not None


def name_of(authorization: str) -> str:
    """What may be said of a credential: nothing that could be used, or guessed from it."""
    key = _KEY.match(authorization)
    if key is not None:
        return key[1]
    scheme, _, rest = authorization.partition(" ")
    if len(rest) < MIN_HASHED:
        return "short" if rest else "malformed"
    kind = "bearer" if scheme.lower() == "bearer" else "other"
    return f"{kind}:{hashlib.sha256(authorization.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
