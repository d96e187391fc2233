"""Other gateways beside ours: same server, same client, same run.

`python -m loadtests.bench_peers [--install] [NAME …]`. The server is the bare one, which answers more than ten
thousand calls a second, so that it does not set the pace; the client is of 2025-11-25, which all of them serve. All are
asked in turns, and processor time is that of a gateway's whole process tree. Ours has everything on: authentication,
scopes, policy, schema, rates, redaction, and the record; theirs are described in `loadtests/peers.py`.

`--install` puts those that are not there yet into `~/.cache/mcp-workbench/peers`. One that is not there, or does not
run here, has a row that says why.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from loadtests.bench_gateway import IN_FLIGHT, Client, Target, crowd, narrow_key, platform, process, report, row
from loadtests.peers import ARGUMENTS, PEERS, Unavailable, available, post, until

OURS, SERVER, DOCKER = "ours, everything on", "the server alone", "docker/mcp-gateway"
ROUNDS = 3
SECONDS = 2.0
SEQUENTIAL = 40
AT_LEAST = 15
"""How many times the throughput of each of the others in Python ours should have."""

Measured = dict[str, tuple[float, float, float]]
"""p50 at one client in ms, processor ms per call and calls per second with many under way."""


def answers(target: Target) -> bool:
    """Whether a call is answered as it should be."""
    head, _, body = Client(target).request.partition(b"\r\n\r\n")
    headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
    del headers["content-length"]
    if target.sessions:
        return post(target.port, "/mcp", {}, headers)[0] in (200, 400)  # it listens, and wants a session
    status, told = post(target.port, "/mcp", json.loads(body), headers)
    return status == 200 and b'"structuredContent"' in told


def tree(target: Target) -> Target:
    """With the processor time of every process that a gateway has started counted."""
    children = [child.pid for pid in target.pids for child in psutil.Process(pid).children(recursive=True)]
    return target._replace(pids=(*target.pids, *children))


async def sequential(target: Target) -> list[float]:
    """Milliseconds of the calls of one client."""
    client, times = await Client(target).open(), []
    for _ in range(SEQUENTIAL):
        began = time.perf_counter()
        await client.call()
        times.append((time.perf_counter() - began) * 1e3)
    client.writer.close()
    return times[5:]


async def measure(targets: dict[str, Target]) -> Measured:
    """All in turns, so that a disturbance of the machine hits them alike."""
    alone: dict[str, list[float]] = {name: [] for name in targets}
    many: dict[str, list[tuple[float, float]]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, target in targets.items():
            alone[name] += await sequential(target)
            many[name].append(await crowd(tree(target), SECONDS))
    return {
        name: (
            statistics.median(alone[name]),
            statistics.median(one[0] for one in many[name]),
            statistics.median(one[1] for one in many[name]),
        )
        for name in targets
    }


def missing(name: str, why: str) -> dict[str, Any]:
    """The row of a gateway that there are no figures of."""
    return {"name": f"{name}: not available: {why}", "value": None, "unit": "", "target": "", "ok": None}


def table(found: Measured) -> list[dict[str, Any]]:
    """Rows with their targets."""
    rows = []
    for name, (p50, cpu_ms, per_second) in found.items():
        rows.append(row(f"{name}: p50 at one client", p50, "ms"))
        rows.append(row(f"{name}: CPU per call", cpu_ms, "ms"))
        rows.append(row(f"{name}: throughput at {IN_FLIGHT} clients", per_second, "call/s"))
    p50, cpu_ms, per_second = found[OURS]
    for name, (other_p50, other_cpu, other_rate) in found.items():
        if name == DOCKER:
            rows.append(row(f"our CPU per call as a multiple of that of {name}", cpu_ms / other_cpu, "times", 1))
            rows.append(row(f"our p50 less that of {name}", p50 - other_p50, "ms", 0.2))
        elif name not in (OURS, SERVER):
            rows.append(
                row(f"our throughput against {name}", per_second / other_rate, "times", AT_LEAST, at_least=True)
            )
    return rows


def main(json_path: str | None = None, *, install: bool = False, only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`. `only` names some of the others."""
    absent = []
    with tempfile.TemporaryDirectory(prefix="workbench-peers-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(process("-m", "loadtests.bare", "server"))
        port = int(server.stdout.readline())  # type: ignore[union-attr]
        url = f"http://127.0.0.1:{port}/mcp"
        ours, pid, _, env = stack.enter_context(platform(folder / "home", {"bare": url}))
        targets = {
            SERVER: Target(port, (server.pid,), "add", ARGUMENTS, legacy=True),
            OURS: Target(ours, (pid,), "bare.add", ARGUMENTS, narrow_key(env), legacy=True),
        }
        for make in PEERS:
            if only and make.__name__ not in only:
                continue
            peer = make()
            place = folder / peer.name.replace("/", "-")
            place.mkdir()
            try:
                available(peer, install=install)
                target = stack.enter_context(peer.start(url, place))
                until(lambda target=target: answers(target), place)  # type: ignore[misc]
                targets[peer.name] = target
            except Unavailable as e:
                absent.append(missing(peer.name, str(e)))
        found = asyncio.run(measure(targets))
    return report(table(found) + absent, json_path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--install", action="store_true", help="install those that are not there yet")
    parser.add_argument("only", nargs="*", help=f"some of {', '.join(make.__name__ for make in PEERS)}")
    given = parser.parse_args()
    main(install=given.install, only=given.only)
