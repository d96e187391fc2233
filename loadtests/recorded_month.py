"""A month of a busy platform on the record: millions of calls over 31 days, as its log and compactor leave them.

The log writes day after day while the compactor publishes beside it, in a process of its own as the platform runs it.
The newest hours come in small portions with a compaction after each, as they do every minute on a running platform.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.config import Settings
from workbench.events import Call, Caller, Decision, Outcome, Tool, now_us

DAYS = 31
PORTIONS = 40
"""Compactions that the newest day goes through."""

_DAY_US = 86_400_000_000
_AT_ONCE = 4000
Recorded = tuple[str, dict[str, Any]]


@dataclass
class Load:
    """What it took to put the month on the record."""

    seconds: float
    """From the first record until the last was published."""
    writing_s: float
    """Of that, until the last was acknowledged."""
    compactor_mib: float
    """Most memory that a compactor held."""


def settings(home: Path, **changes: Any) -> Settings:
    """Settings of a fresh state folder."""
    return Settings.load(env={}, cwd=home.parent, home=home, **changes)


def events(count: int, seed: int = 1) -> Iterator[Recorded]:
    """Tenant and record of `count` calls of this moment; the same for the same seed, save for ids and times."""
    chance = random.Random(seed)
    decision = Decision(allow=True, rule="tool_scopes.allow", revision="c0ffee", engine="rego", elapsed_us=40)
    for _ in range(count):
        tenant = f"tenant-{int(41 ** chance.random()) - 1:02d}"
        number = int(61 ** chance.random()) - 1
        tool = Tool(server=f"server{number % 12}", name=f"tool_{number:02d}", definition_hash="d" * 16)
        arguments = {"query": f"customer {chance.randrange(100_000)}", "limit": chance.randrange(500)}
        caller = Caller(tenant=tenant, subject=f"user{chance.randrange(50)}", credential="key-1")
        call = Call(caller=caller, tool=tool.qualified, arguments=arguments, source="mcp", protocol="2026-07-28")
        outcome = Outcome(
            kind=_kind(chance.random()),  # type: ignore[arg-type]
            call=call.id,
            tool=tool.qualified,
            decision=decision,
            latency_us=int(chance.lognormvariate(8.5, 0.9)),
            upstream_us=900,
        )
        answer = {"content": [{"type": "text", "text": "x" * 150}]}
        yield tenant, records.call(call, tool, outcome, args_redacted=arguments, response_redacted=answer)


def _kind(luck: float) -> str:
    return "tool_error" if luck < 0.03 else "denied" if luck < 0.04 else "ok"


def month(count: int, until_us: int, seed: int = 2) -> Iterator[Recorded]:
    """`count` calls in the order of their times, the last at `until_us`.

    A record of each tenant and tool comes from the builder; ids, times, arguments and outcomes are filled in.
    Three calls in a row share a trace.
    """
    chance = random.Random(seed)
    pairs: dict[tuple[str, str], Recorded] = {}
    for tenant, record in events(40_000, seed):
        pairs.setdefault((tenant, record["tool"]), (tenant, record))
    kinds = [pairs[key] for key in sorted(pairs)]
    # the few busy tenants and tools make most of the calls
    weights = [1.0 / (1 + int(t[-2:])) / (1 + int(r["tool"][-2:])) for t, r in kinds]
    picked = iter(())  # type: Iterator[Recorded]
    begin, bits, draw, skewed = until_us - DAYS * _DAY_US, chance.getrandbits, chance.random, chance.lognormvariate
    trace = ""
    for number in range(count):
        if number % 30_000 == 0:
            picked = iter(chance.choices(kinds, weights, k=10_000))
        if number % 3 == 0:
            trace = f"{bits(128):032x}"
            tenant, template = next(picked)
        at = begin + (number + 1) * (until_us - begin) // count
        ids = f"{bits(144):036x}"
        stamp = f"{at // 1000:012x}"
        luck = draw()
        yield (
            tenant,
            {
                **template,
                "event_id": f"{stamp[:8]}-{stamp[8:]}-7{ids[:3]}-8{ids[3:6]}-{ids[6:18]}",
                "request_id": f"{stamp[:8]}-{stamp[8:]}-7{ids[18:21]}-9{ids[21:24]}-{ids[24:]}",
                "timestamp": at,
                "user": f"user{int(50 * luck)}",
                "args_redacted": {"query": f"customer {int(1e5 * luck)}", "limit": number % 500},
                "outcome": _kind(luck),
                "latency_us": int(skewed(8.5, 0.9)),
                "trace_id": trace,
                "span_id": f"{bits(64):016x}",
            },
        )


def record_month(home: Path, count: int, said: Callable[[str], object]) -> Load:
    """Put `count` calls of the last month on the record of a fresh state folder.

    Args:
        said: told now and then how far it is.
    """
    began = time.perf_counter()
    until = now_us()
    made = month(count, until)
    newest = count // DAYS
    children = [_compactor(home, "--every", "2")]
    try:
        asyncio.run(_record(home, made, count - newest, said, count))
        children[0].send_signal(signal.SIGTERM)
        peak = _wait(children[0])
        said("publishing the rest")
        children.append(_compactor(home))
        peak = max(peak, _wait(children[1]))
        writing = time.perf_counter() - began
        asyncio.run(_in_portions(home, made, newest, said))
    finally:
        for child in children:
            child.kill()
    return Load(time.perf_counter() - began, writing, peak)


async def _record(home: Path, made: Iterator[Recorded], count: int, said: Callable[[str], object], of: int) -> None:
    log = await AuditLog.open(settings(home, audit_mode="os"))
    done = 0
    while done < count:
        done += await _put(log, made, min(_AT_ONCE, count - done))
        if done % (50 * _AT_ONCE) == 0:
            said(f"{done:,} of {of:,} recorded")
    await log.close()


async def _put(log: AuditLog, made: Iterator[Recorded], count: int) -> int:
    waiter = None
    for _ in range(count):
        waiter = log.put(*next(made))
    if waiter is not None:
        await waiter  # they are acknowledged in order
    return count


async def _in_portions(home: Path, made: Iterator[Recorded], count: int, said: Callable[[str], object]) -> None:
    from workbench.audit.compact import compact

    log = await AuditLog.open(settings(home, audit_mode="os", audit_segment_seconds=0.01))
    for number in range(PORTIONS):
        await _put(log, made, count * (number + 1) // PORTIONS - count * number // PORTIONS)
        await asyncio.to_thread(compact, home)
        if number % 10 == 0:
            said(f"the newest day: portion {number} of {PORTIONS}")
    await log.close()
    await asyncio.to_thread(compact, home)


def _compactor(home: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "workbench.audit.compact", str(home), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _wait(child: subprocess.Popen[bytes]) -> float:
    """The most memory it held, MiB."""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"the compactor ended with {child.returncode}")
    return used.ru_maxrss / 1024
