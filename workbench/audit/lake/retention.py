"""Retention: what is older than a tenant's rule allows is removed, and the seals keep the proof of what that was.

The rules are in `retention.toml` in the state folder. Of sealed lines the bytes go; their digests, the hash at their
end and the signatures stay, so that what follows still verifies. Before anything is removed a `retention` line in
`seals.jsonl` states by which rule and what; `verify` accepts exactly that.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.manifest import Manifest
from workbench.audit.write.seals import SealLog, read_seals
from workbench.events import JSON, MisuseError, now_us

if TYPE_CHECKING:
    from workbench.config import Settings

DAY_US = 86_400_000_000
FILE = "retention.toml"

_PUNCH = 0x01 | 0x02  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
_CHUNK = 1 << 20


@dataclass(frozen=True)
class RetentionRules:
    """For how many days each tenant's records are kept."""

    tenants: Mapping[str, int] = field(default_factory=dict)
    default: int | None = None
    """For tenants without a rule of their own; None keeps forever."""

    @classmethod
    def read(cls, home: Path) -> RetentionRules:
        """The rules in `retention.toml`; without the file everything is kept.

        Raises:
            MisuseError: the file does not read, or a number of days is not a whole number above zero.
        """
        path = home / FILE
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return cls()
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise MisuseError(
                f"{path} does not read: {e}.", hint="Expected `default = 365` and a table [tenants]."
            ) from e
        unknown = sorted(set(found) - {"default", "tenants"})
        tenants = found.get("tenants", {})
        if unknown or not isinstance(tenants, dict):
            raise MisuseError(f"{path} sets {', '.join(unknown) or 'tenants'}.", hint="Expected default and [tenants].")
        for name, days in [("default", found.get("default", 1)), *tenants.items()]:
            if not isinstance(days, int) or isinstance(days, bool) or days < 1:
                raise MisuseError(f"{path} keeps {name} for {days!r} days.", hint="Expected a whole number above zero.")
        return cls(tenants, found.get("default"))

    def days(self, tenant: str) -> int | None:
        """For how many days records of `tenant` are kept; None: forever."""
        return self.tenants.get(tenant, self.default)


@dataclass
class RetentionRemoval:
    """What a rule removes, or would remove, of one tenant."""

    tenant: str
    days: int
    before_us: int
    """Only what is older goes: midnight, UTC."""
    lineage: list[JSON] = field(default_factory=list)
    """Ranges of lineage: file, start, bytes, rows, and the seal they are stated in."""
    dates: dict[str, int] = field(default_factory=dict)
    """Rows of the lake by date."""

    @property
    def rows(self) -> int:
        return sum(self.dates.values())

    @property
    def bytes(self) -> int:
        return sum(item["bytes"] - item["start"] for item in self.lineage)

    def __str__(self) -> str:
        until = datetime.fromtimestamp(self.before_us / 1e6, UTC).date()
        return (
            f"{self.tenant}: older than {self.days} days (before {until}): {self.rows} rows of {len(self.dates)} days, "
            f"{self.bytes / 1e6:,.1f} MB of lines"
        )

    def summary(self) -> JSON:
        """For the record."""
        return {
            "days": self.days, "before_us": self.before_us, "dates": sorted(self.dates), "rows": self.rows,
            "lines_bytes": self.bytes,
        }  # fmt: skip


def plan(folder: AuditFolder, rules: RetentionRules, now: int | None = None) -> list[RetentionRemoval]:
    """What the rules would remove now. Only what is compacted counts.

    Args:
        now: the present, µs since the epoch.
    """
    manifest = Manifest.read(folder)
    waiting = {path.name for _, _, path in folder.segments()}
    seals = [seal for _, seal in read_seals(folder)]
    stated = {(part["file"], part["start"]) for seal in seals for part in _stated(seal)}
    removals: dict[str, RetentionRemoval] = {}
    for seal in seals:
        if seal.get("type") != "segment" or seal["number"] >= manifest.marks.get(seal["writer"], 0):
            continue
        for part in seal["lineage"]:
            removal = _removal(removals, rules, part["tenant"], now)
            if removal is None or (part["file"], part["start"]) in stated or seal["segment"] in waiting:
                continue
            if _newest_us(seal) < removal.before_us:
                removal.lineage.append({key: part[key] for key in ("file", "start", "bytes", "rows")})
    _count_lake(folder, manifest, removals)
    return [removal for _, removal in sorted(removals.items()) if removal.lineage or removal.dates]


def _newest_us(seal: JSON) -> int:
    """No line of the segment is younger than this."""
    return max(int(seal["last_us"] or 0), int(seal["first_us"] or 0))


def _stated(seal: JSON) -> list[JSON]:
    return seal["lineage"] if seal.get("type") == "retention" else []


def _removal(
    removals: dict[str, RetentionRemoval], rules: RetentionRules, tenant: str, now: int | None
) -> RetentionRemoval | None:
    days = rules.days(tenant)
    if days is None:
        return None
    if tenant not in removals:
        moment = datetime.fromtimestamp((now or now_us()) / 1e6, UTC) - timedelta(days=days)
        midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
        removals[tenant] = RetentionRemoval(tenant, days, int(midnight.timestamp()) * 1_000_000)
    return removals[tenant]


def _count_lake(folder: AuditFolder, manifest: Manifest, removals: dict[str, RetentionRemoval]) -> None:
    import duckdb

    latest = max((r.before_us for r in removals.values()), default=0)
    old = [part for part in manifest.parts if _begin_us(part["date"]) < latest]
    if not old:
        return
    with duckdb.connect(":memory:", config={"threads": "1", "memory_limit": "256MB"}) as connection:
        for part in old:
            rows = connection.execute(
                "SELECT tenant, count(*) FROM read_parquet(?, hive_partitioning=false) GROUP BY 1",
                [str(folder.root / part["path"])],
            ).fetchall()
            for tenant, count in rows:
                removal = removals.get(tenant)
                if removal is not None and _begin_us(part["date"]) + DAY_US <= removal.before_us:
                    removal.dates[part["date"]] = removal.dates.get(part["date"], 0) + int(count)


def _begin_us(date: str) -> int:
    return int(datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()) * 1_000_000


def retain(
    folder: AuditFolder, rules: RetentionRules, *, grace_s: float | None = None, now: int | None = None
) -> list[RetentionRemoval]:
    """Remove what the rules say. May be killed at any point: what was stated is removed by the next run.

    Args:
        grace_s: seconds that replaced files of the lake stay for readers that still use them.
        now: the present, µs since the epoch.

    Raises:
        MisuseError: another compactor is at work.
        OSError: the disk says no.
    """
    compactor = Compactor(folder) if grace_s is None else Compactor(folder, grace_s=grace_s)
    with compactor.alone() as (alone, connection):
        if not alone:
            raise MisuseError("The compactor is at work.", hint="Try again in a moment.")
        removals = plan(folder, rules, now)
        for removal in removals:
            if removal.lineage:
                _state(folder, removal, now)
        by_date: dict[str, dict[str, int]] = {}
        for removal in removals:
            for date in removal.dates:
                by_date.setdefault(date, {})[removal.tenant] = removal.days
        for date, tenants in sorted(by_date.items()):
            compactor.rewrite_day(connection, date, without=tenants)
        erase_stated(folder)
        compactor.remove_retired()
    return removals


async def enforce(settings: Settings) -> list[RetentionRemoval]:
    """Remove what `retention.toml` says, and put that on the record of each tenant.

    Raises:
        MisuseError: the rules do not read, or the compactor is at work.
        NotRecordedError: the log cannot be written. What was removed is stated in the seals all the same.
    """
    from workbench.audit.format.records import administration
    from workbench.audit.write.log import AuditLog

    removals = await asyncio.to_thread(retain, AuditFolder(settings.home), RetentionRules.read(settings.home))
    if removals:
        log = await AuditLog.open(settings)
        try:
            for removal in removals:
                record = administration("retention", removal.summary(), None, tenant=removal.tenant)
                await log.write(removal.tenant, record)
        finally:
            await log.close()
    return removals


def _state(folder: AuditFolder, removal: RetentionRemoval, now: int | None) -> None:
    SealLog(folder).append(
        {
            "v": 1,
            "type": "retention",
            "tenant": removal.tenant,
            "days": removal.days,
            "before_us": removal.before_us,
            "lineage": removal.lineage,
            "sealed_us": now or now_us(),
        }
    )


def erase_stated(folder: AuditFolder) -> int:
    """Turn every range of lineage that a retention line states into zeros; returns how many were not zero before."""
    done = 0
    for _, seal in read_seals(folder):
        for part in _stated(seal):
            try:
                fd = os.open(folder.lineage / part["file"], os.O_RDWR)
            except FileNotFoundError:
                continue
            try:
                if not is_erased(fd, part["start"], part["bytes"]):
                    _erase(fd, part["start"], part["bytes"])
                    os.fsync(fd)
                    done += 1
            finally:
                os.close(fd)
    return done


def is_erased(fd: int, start: int, end: int) -> bool:
    """Whether a range of a file holds zeros only. A hole is recognised without reading it."""
    if os.fstat(fd).st_size < end:
        return False
    try:
        if os.lseek(fd, start, os.SEEK_DATA) >= end:
            return True
    except OSError as e:
        if e.errno == errno.ENXIO:  # no data up to the end of the file
            return True
    return all(not chunk.strip(b"\0") for chunk in _chunks(fd, start, end))


def _chunks(fd: int, start: int, end: int) -> Iterator[bytes]:
    while start < end and (chunk := os.pread(fd, min(_CHUNK, end - start), start)):
        yield chunk
        start += len(chunk)


def _erase(fd: int, start: int, end: int) -> None:
    """Give the disk back where the file system can; zeros in any case, so that positions stay what the seals say."""
    _punch(fd, start, end)
    if is_erased(fd, start, end):
        return
    zeros = bytes(_CHUNK)
    while start < end:
        start += os.pwrite(fd, zeros[: end - start], start)


def _punch(fd: int, start: int, end: int) -> None:
    libc: Any = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "fallocate"):
        libc.fallocate(fd, _PUNCH, ctypes.c_longlong(start), ctypes.c_longlong(end - start))
