"""How long a start may take: as long as the process works, and no longer than agreed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from workbench.events import UnreachableError
from workbench.registry.processes.activity import usage_of

T = TypeVar("T")

POLL_INTERVAL_S: Final = 1.0
REPORT_INTERVAL_S: Final = 10.0
"""Seconds of a start after which, and again and again, it is said how it goes."""

MAX_START_PROCESSES: Final = 256
"""Processes that a start may have at one time. A package manager has a dozen, a browser fifty; a launcher that finds
itself in place of the program that it should run starts itself without end."""


class StartTimeoutError(UnreachableError):
    """A process that was started has not become a server in time."""


async def within_start_timeout(
    work: Coroutine[Any, Any, T],
    pid: Callable[[], int],
    *,
    longest: float,
    idle: float,
    wrote: Callable[[], str],
    report: Callable[[str], None],
) -> T:
    """Await `work`, which starts a server, as long as there is reason to.

    Args:
        work: launches the process and speaks with it.
        pid: the process, or 0 before there is one.
        longest: seconds that the start may take although the process works.
        idle: seconds after which a process that does not work is given up.
        wrote: the last line of its standard output that is no message of MCP.
        report: told every ten seconds how the start goes.

    Raises:
        StartTimeoutError: it took too long; the message says in which way, the hint what to do.
        UnreachableError: it has more processes than any start needs.
    """
    clock = asyncio.get_running_loop().time
    task = asyncio.ensure_future(work)
    began = busy_at = sampled_at = reported_at = clock()
    before, number = None, 0
    try:
        while True:
            step = min(POLL_INTERVAL_S, idle / 8, longest / 8)
            await asyncio.wait({task}, timeout=min(step, max(0.001, began + longest - clock())))
            if task.done():
                return task.result()
            now, leader = clock(), pid()
            usage = await asyncio.to_thread(usage_of, leader) if leader else None
            if usage is not None and len(usage.processes) > MAX_START_PROCESSES:
                raise _too_many_processes(len(usage.processes))
            if usage is None or before is None or leader != number or usage.worked_since(before, now - sampled_at):
                busy_at = now
            before, number, sampled_at = usage, leader, now
            if now - began >= longest:
                raise _took_too_long(longest, wrote())
            if now - busy_at >= idle:
                raise _does_nothing(idle, wrote())
            if now - reported_at >= REPORT_INTERVAL_S:
                reported_at = now
                how = "works" if now - busy_at <= 2 * step else f"has done nothing for {now - busy_at:.0f} s"
                report(f"It has been starting for {now - began:.0f} s and {how}.{_last(wrote())}")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _took_too_long(longest: float, wrote: str) -> StartTimeoutError:
    return StartTimeoutError(
        f"It was still not ready after {longest:g} s.{_last(wrote)}",
        hint="Raise the setting start_timeout if it needs longer, or run its command once by hand so that what it has "
        "to download is there.",
    )


def _too_many_processes(number: int) -> UnreachableError:
    return UnreachableError(
        f"Its start had {number} processes at one time, more than the {MAX_START_PROCESSES} that are allowed, and was "
        "ended.",
        hint="A launcher that does not find the program of its package often starts itself instead: see whether the "
        "package has a program for this system, and name that by its path as command.",
    )


def _does_nothing(idle: float, wrote: str) -> StartTimeoutError:
    if wrote:
        return StartTimeoutError(
            f"It wrote {wrote!r} to its standard output and no message of MCP, and then did nothing for {idle:g} s.",
            hint="See its command and arguments; what it logs belongs on standard error.",
        )
    return StartTimeoutError(
        f"It has not answered, and did nothing for {idle:g} s: it used no processor time, and read and wrote nothing.",
        hint="See whether its command starts an MCP server over stdio (some need an argument for that), and whether it "
        "waits for an answer, a login or a lock.",
    )


def _last(wrote: str) -> str:
    return f" Its standard output says {wrote!r}." if wrote else ""
