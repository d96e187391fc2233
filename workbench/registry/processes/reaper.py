"""The process that outlives us and cleans up. Started as `python -I -S reaper.py MARK`; standard library only.

It is told over stdin which process groups exist (`+pgid` and `-pgid`, one per line). When stdin ends, because the
platform closed it or was killed in whatever way, every group that is left gets SIGTERM and, shortly after, SIGKILL.
On Linux it then also looks for processes that carry MARK in their environment: a server may have moved a grandchild
into another group.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

VARIABLE = "WORKBENCH_LAUNCH"
"""Every child has it in its environment, and passes it on to what it starts itself."""

GRACE_S = 1.0
"""Seconds between SIGTERM and SIGKILL."""


def send(pgid: int, signum: int) -> bool:
    """Signal a process group; False when nobody is left in it."""
    try:
        os.killpg(pgid, signum)
    except ProcessLookupError:
        return False
    except PermissionError:  # macOS says so of a group that holds only zombies
        return False
    return True


def marked(mark: str) -> list[int]:
    """Processes of our user, except this one, that were started with VARIABLE = `mark`; none where /proc is missing."""
    wanted = f"{VARIABLE}={mark}".encode()
    found = []
    try:
        names = [n for n in os.listdir("/proc") if n.isdigit()]
    except OSError:
        return []
    for name in names:
        # a process may be gone by now, or be somebody else's
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if wanted in file.read().split(b"\0") and int(name) != os.getpid():
                found.append(int(name))
    return found


def sweep(mark: str) -> None:
    """Kill what carries the mark, until nothing more appears."""
    for _ in range(20):
        pids = marked(mark)
        if not pids:
            return
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def listen() -> set[int]:
    """Read stdin to its end and return the groups that are left."""
    groups: set[int] = set()
    for line in sys.stdin.buffer:
        text = line.decode("ascii", "replace").strip()
        if text[1:].isdigit():
            (groups.add if text[0] == "+" else groups.discard)(int(text[1:]))
    return groups


def main(mark: str) -> None:
    """Wait for the end of stdin, then end everything."""
    # A Ctrl-C in the terminal, or a closed one, concerns the platform; we act when its pipe ends.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    groups = listen()
    left = {g for g in groups if send(g, signal.SIGTERM)}
    end = time.monotonic() + GRACE_S
    while left and time.monotonic() < end:
        time.sleep(0.02)
        left = {g for g in left if send(g, 0)}
    for group in left:
        send(group, signal.SIGKILL)
    sweep(mark)


if __name__ == "__main__":
    main(sys.argv[1])
