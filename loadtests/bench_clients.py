"""A hundred and a thousand clients at once: errors, latencies below saturation and at it, and the gateway's memory.

`python -m loadtests.bench_clients [--seconds S]`. Every client keeps its connection and its key open. Below saturation
means a load that is offered at fixed times, whether answers come or not, and that is stated with the figures; at
saturation every client calls again as soon as it is answered. The same load goes to the bare pass-through in turns, so
that it can be seen what the machine itself does to the slowest calls.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import threading
from pathlib import Path
from typing import Any

import psutil

from loadtests.bench_gateway import Client, Target, platform, process, report, row
from loadtests.clients import Crowd, run

COUNTS = (100, 1000)
OFFERED = 1000.0
"""Calls per second below saturation, or less where that would be more than a third of what is possible."""

ROUNDS = 3
ADD = {"a": 1, "b": 2}


class Memory:
    """The resident memory of a process while the block runs, in MiB."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.before = self.peak = self.after = self._now()

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.after = self._now()

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, self._now())

    def _now(self) -> float:
        return float(self._process.memory_info().rss / (1 << 20))


def middle(rounds: list[Crowd]) -> Crowd:
    """The round whose p99 is the median: neighbours on the machine disturb single ones."""
    return sorted(rounds, key=lambda found: found.p99_ms)[len(rounds) // 2]


def measure(target: Target, bare: Target, seconds: float) -> list[dict[str, Any]]:
    """All rows."""
    request, plain = [Client(target).request], [Client(bare).request]
    warm = run(target.port, request, count=32, seconds=1)
    rate = min(OFFERED, warm.per_second / 3)
    rows = []
    for count in COUNTS:
        with Memory(target.pids[0]) as memory:
            below, beside = [], []
            for _ in range(ROUNDS):
                below.append(run(target.port, request, count=count, seconds=seconds, rate=rate))
                beside.append(run(bare.port, plain, count=count, seconds=seconds, rate=rate))
            at = [run(target.port, request, count=count, seconds=seconds) for _ in range(ROUNDS)]
        calm, other, full = middle(below), middle(beside), middle(at)
        who = f"{count:,} clients, {rate:,.0f} calls/s offered"
        rows += [
            row(f"{who}: errors", sum(found.errors for found in below), "", 0),
            row(f"{who}: p50", calm.p50_ms, "ms"),
            row(f"{who}: p99", calm.p99_ms, "ms"),
            row(f"{who}: p99 as a multiple of p50", calm.p99_ms / calm.p50_ms, "times", 10),
            row(f"{who}: p99 through the bare pass-through", other.p99_ms, "ms"),
        ]
        who = f"{count:,} clients, each calls again at once"
        rows += [
            row(f"{who}: errors", sum(found.errors for found in at), ""),
            row(f"{who}: calls answered", full.per_second, "call/s"),
            row(f"{who}: p50", full.p50_ms, "ms"),
            row(f"{who}: p99 as a multiple of p50", full.p99_ms / full.p50_ms, "times", 10),
            row(f"{who}: what the clients themselves use", statistics.median(f.own_cpu for f in at), "CPUs"),
            row(f"{count:,} clients: memory of the gateway before", memory.before, "MiB"),
            row(f"{count:,} clients: memory of the gateway at its peak", memory.peak, "MiB"),
            row(f"{count:,} clients: memory of the gateway after", memory.after, "MiB"),
        ]
        for found in (*below, *at):
            if found.first_error:
                print(f"The first error of {count} clients: {found.first_error}")
                break
    return rows


def main(json_path: str | None = None, *, seconds: float = 3.0) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    with tempfile.TemporaryDirectory(prefix="workbench-clients-") as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(process("-m", "loadtests.bare", "server"))
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/mcp"  # type: ignore[union-attr]
        proxy = stack.enter_context(process("-m", "loadtests.bare", "passthrough", url))
        bare = Target(int(proxy.stdout.readline()), (proxy.pid,), "add", ADD)  # type: ignore[union-attr]
        port, pid, token, _ = stack.enter_context(platform(Path(folder) / "home", {"bare": url}))
        rows = measure(Target(port, (pid,), "bare.add", ADD, token), bare, seconds)
    return report(rows, json_path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each round")
    main(seconds=parser.parse_args().seconds)
