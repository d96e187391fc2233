"""Whether a launched process does anything: processor time and I/O of it and all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import NamedTuple

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

MIN_CPU_SHARE = 0.01
"""Of one processor. Idle runtimes wake up now and then, which is less than that."""

SAMPLE_INTERVAL_S = 0.2
"""Seconds between two looks at a process."""


class ProcessUsage(NamedTuple):
    """What a process and its descendants have used so far."""

    cpu_s: float
    """Processor time, in seconds."""
    io_bytes: int
    """Bytes that they read and wrote, files and pipes alike."""
    processes: frozenset[int]

    def worked_since(self, before: ProcessUsage, seconds: float) -> bool:
        """Whether more was used than an idle process does, in the `seconds` since `before`."""
        return (
            self.processes != before.processes
            or self.io_bytes != before.io_bytes
            or self.cpu_s - before.cpu_s > MIN_CPU_SHARE * seconds
        )


def usage_of(pid: int) -> ProcessUsage | None:
    """The usage of the process group and session that `pid` leads, and of its descendants.

    Returns:
        None where the system does not tell (there is no /proc).
    """
    parents: dict[int, int] = {}
    found: dict[int, float] = {}
    cpu: dict[int, float] = {}
    try:
        entries = os.listdir("/proc")
    except OSError:
        return None
    for entry in entries:
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):  # it may be gone by now
            with open(f"/proc/{entry}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            number = int(entry)
            parents[number] = int(fields[1])
            cpu[number] = sum(map(int, fields[11:15])) / _TICKS_PER_SECOND
            if pid in (number, int(fields[2]), int(fields[3])):
                found[number] = cpu[number]
    if not parents:
        return None
    for number in parents:
        if number not in found and _descends(number, pid, parents):
            found[number] = cpu[number]
    return ProcessUsage(sum(found.values()), sum(map(_io_bytes, found)), frozenset(found))


async def works(pid: int) -> bool:
    """Whether the processes of `pid` use the processor right now."""
    before = await asyncio.to_thread(usage_of, pid)
    await asyncio.sleep(SAMPLE_INTERVAL_S)
    after = await asyncio.to_thread(usage_of, pid)
    return before is not None and after is not None and after.worked_since(before, SAMPLE_INTERVAL_S)


def _descends(number: int, ancestor: int, parents: dict[int, int]) -> bool:
    for _ in range(64):
        number = parents.get(number, 0)
        if number == ancestor:
            return True
        if number <= 1:
            return False
    return False


def _io_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/io", "rb") as file:
        lines = file.read().split()
        return int(lines[1]) + int(lines[3])
    return 0
