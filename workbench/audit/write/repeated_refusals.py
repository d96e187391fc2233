"""Many identical refusals become one record with their number, so that asking for nothing fills no disk.

The first of a kind in a minute are recorded one by one. Beyond that they are counted, and every few seconds one record
states the count with the first and the last time. What is counted but not recorded yet stands in a file beside the log,
so that the death of the process loses nothing: the next start records it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from workbench.events import JSON, NotRecordedError, now_us

if TYPE_CHECKING:
    from workbench.audit.write.log import AuditLog

SINGLY: Final = 60
"""Identical refusals that are recorded one by one in a minute."""
MINUTE_US: Final = 60_000_000
FLUSH_S: Final = 10.0
"""Seconds after which what was counted is recorded."""
MAX_KINDS: Final = 4096
"""Kinds of refusals that are remembered at once; those longest not seen are forgotten, after they were recorded."""
MAX_JOURNAL_BYTES: Final = 8 << 20
SUFFIX: Final = ".pending"
_RECOVERED: Final = 90_000_000
"""Journals of other writers are renumbered from here on."""
_PERSONAL: Final = ("args_redacted", "response_redacted", "error_message")

_log = logging.getLogger(__name__)

Key = tuple[str, ...]


class _Kind:
    """What is remembered of refusals of one kind."""

    __slots__ = ("count", "first_us", "last_us", "record", "seen", "since_us", "slot", "tenant")

    def __init__(self, tenant: str, now: int) -> None:
        self.tenant = tenant
        self.since_us = now
        self.seen = 0
        self.record: JSON | None = None
        self.count = 0
        self.first_us = self.last_us = 0
        self.slot = 0


class RepeatedRefusals:
    """Counts refusals that are alike. For the event loop of the log alone.

    Args:
        log: where records go.
        folder: where what is counted is kept until it is recorded.
        clock: microseconds since the epoch.
    """

    def __init__(self, log: AuditLog, folder: Path, *, clock: Callable[[], int] = now_us) -> None:
        self._log = log
        self._folder = folder
        self._clock = clock
        self._kinds: OrderedDict[Key, _Kind] = OrderedDict()
        self._pending: dict[Key, _Kind] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._journal = _Journal(folder, log.writer)
        self._writing: set[asyncio.Future[Any]] = set()

    def add(self, tenant: str, key: Key, make: Callable[[], JSON], *, singly: int = SINGLY) -> bool:
        """Take note of one refusal; False when it is to be recorded by itself.

        Args:
            tenant: on whose record it is.
            key: equal for refusals that are alike.
            make: builds the record of this one; called only for the first that is counted.
            singly: how many of a minute are recorded by themselves.
        """
        now = self._clock()
        kind = self._kinds.get((tenant, *key))
        if kind is None:
            kind = self._new((tenant, *key), now)
        elif kind.record is None and now - kind.since_us >= MINUTE_US:
            kind.since_us, kind.seen = now, 0
        self._kinds.move_to_end((tenant, *key))
        kind.seen += 1
        if kind.seen <= singly:
            return False
        if kind.record is None:
            kind.record, kind.count, kind.first_us = self._kept(make()), 0, now
            kind.slot = self._journal.begin(tenant, kind.record, now)
            self._pending[(tenant, *key)] = kind
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._due)
        kind.count += 1
        kind.last_us = now
        self._journal.count(kind.slot, now)
        if self._journal.size > MAX_JOURNAL_BYTES:
            self.flush()
        return True

    def flush(self) -> asyncio.Future[Any] | None:
        """Record everything that was counted. What cannot be recorded now is kept, and tried again.

        Returns:
            A future that ends when all of it is acknowledged; None when there is nothing to wait for.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pending:
            return None
        pending, self._pending = self._pending, {}
        old, self._journal = self._journal, _Journal(self._folder, self._log.writer, self._journal.number + 1)
        acknowledged: list[asyncio.Future[None]] = []
        for key, kind in pending.items():
            assert kind.record is not None
            try:
                waiter = self._log.put(kind.tenant, _summed(kind.record, kind.count, kind.first_us, kind.last_us))
            except NotRecordedError as e:
                _log.warning("%d refusals were not recorded yet: %s", kind.count, e)
                kind.slot = self._journal.begin(kind.tenant, kind.record, kind.first_us, kind.count)
                self._pending[key] = kind
                continue
            if waiter is not None:
                acknowledged.append(waiter)
            kind.record = None
        if self._pending:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._due)
        if not acknowledged:
            old.remove()
            return None
        written = asyncio.gather(*acknowledged)
        self._writing.add(written)
        written.add_done_callback(lambda done: self._written(done, old))
        return written

    async def close(self) -> None:
        """Record what was counted, and wait until it is there."""
        if self.flush() is not None or self._writing:
            await asyncio.gather(*self._writing, return_exceptions=True)
        if not self._pending:
            self._journal.remove()

    async def recover(self) -> int:
        """Record what dead writers had counted and not recorded; how many refusals that were.

        Raises:
            NotRecordedError: the log cannot be written. It is tried again at the next start.
        """
        found = 0
        for number, path in enumerate(sorted(self._folder.glob(f"*{SUFFIX}"))):
            writer = path.name.partition("-")[0]
            if writer == self._log.writer or _alive(self._log.folder.lock_of(writer)):
                continue
            mine = path.with_name(f"{self._log.writer}-{_RECOVERED + number:08d}{SUFFIX}")
            try:
                path.rename(mine)  # two processes may start at once, and we may die, too
            except FileNotFoundError:
                continue
            for tenant, record, count, first_us, last_us in read_journal(mine):
                await self._log.write(tenant, _summed(record, count, first_us, last_us))
                found += count
            mine.unlink(missing_ok=True)
        return found

    def _kept(self, record: JSON) -> JSON:
        """What may stand in the journal: where the record is encrypted, nothing that its user sent or got."""
        return {k: v for k, v in record.items() if k not in _PERSONAL} if self._log.encrypts else record

    def _due(self) -> None:
        self._timer = None
        self.flush()

    def _written(self, done: asyncio.Future[Any], old: _Journal) -> None:
        self._writing.discard(done)
        if done.cancelled() or done.exception() is not None:
            return  # the log has failed; the journal stays for the next start
        old.remove()

    def _new(self, key: Key, now: int) -> _Kind:
        if len(self._kinds) >= MAX_KINDS:
            oldest = next(iter(self._kinds))
            if oldest in self._pending:
                self.flush()
            self._kinds.pop(oldest, None)
        kind = self._kinds[key] = _Kind(key[0], now)
        return kind


class _Journal:
    """What is counted and not recorded yet, as appended lines: a record when counting begins, then a line for each."""

    def __init__(self, folder: Path, writer: str, number: int = 0) -> None:
        self.number = number
        self.size = 0
        self._path = folder / f"{writer}-{number:08d}{SUFFIX}"
        self._fd = -1
        self._slots = 0

    def begin(self, tenant: str, record: JSON, first_us: int, count: int = 0) -> int:
        """Start counting; returns the number to count under."""
        if self._fd < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        self._slots += 1
        self._write(orjson.dumps([self._slots, tenant, record, first_us, count]))
        return self._slots

    def count(self, slot: int, now: int) -> None:
        """One more."""
        self._write(b"%d %d" % (slot, now))

    def remove(self) -> None:
        """It is all recorded."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self._path.unlink(missing_ok=True)

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk: what is in memory is recorded all the same when it can be
            self.size += os.write(self._fd, line + b"\n")


def read_journal(path: Path) -> list[tuple[str, JSON, int, int, int]]:
    """Tenant, record, count, first and last time of each kind in a journal; a torn line is passed over."""
    kinds: dict[int, list[Any]] = {}
    for line in path.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            if line.startswith(b"["):
                slot, tenant, record, first_us, count = orjson.loads(line)
                kinds[slot] = [tenant, record, count, first_us, first_us]
            elif line:
                number, _, now = line.partition(b" ")
                kind, last = kinds[int(number)], int(now)
                kind[2] += 1
                kind[4] = last
    return [(kind[0], kind[1], kind[2], kind[3], kind[4]) for kind in kinds.values() if kind[2]]


def _summed(record: JSON, count: int, first_us: int, last_us: int) -> JSON:
    """The record of the first one, as that of all of them."""
    data = record.get("data")
    repeated = {"count": count, "first_us": first_us, "last_us": last_us}
    return {
        **record,
        "timestamp": last_us,
        "data": {**(data if isinstance(data, dict) else {}), "repeated": repeated},
    }


def _alive(lock: Path) -> bool:
    """Whether the writer of this lock lives."""
    try:
        fd = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)
