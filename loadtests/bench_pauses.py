"""How long one huge request or answer holds up everybody else: the longest pause of the gateway's event loop.

`python -m loadtests.bench_pauses`. A small call is made again and again by one client while another sends what is
huge; what counts is how long the small one had to wait at most, compared with before. Also measured: what is kept in
memory for clients that do not read.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from loadtests.bench_gateway import META, Client, Target, platform, process, report, row

REPEATS = 5
BETWEEN_S = 0.001
"""Seconds between two small calls: without a rest, Linux takes the processor from processes of a `chrt` for 50 ms."""
SLOW_READERS = 50


def request(port: int, token: str, tool: str, arguments: dict[str, Any]) -> bytes:
    """One `tools/call` as bytes."""
    params = {"name": tool, "arguments": arguments, "_meta": META}
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()
    lines = [
        "POST /mcp HTTP/1.1", f"host: 127.0.0.1:{port}", "content-type: application/json",
        "accept: application/json, text/event-stream", f"content-length: {len(body)}",
        f"authorization: Bearer {token}", "mcp-protocol-version: 2026-07-28", "mcp-method: tools/call",
        f"mcp-name: {tool}",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def send(port: int, data: bytes) -> bytes:
    """Send it on a connection of its own and read the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 26)
    writer.write(data)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if b"content-length:" not in head:  # events
        body = await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        return body
    body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
    writer.close()
    return body


def step_back() -> None:
    """Let the gateway, and who measures it, run before this process."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # where all were started with `chrt`
    os.nice(5)


@contextmanager
def other_client() -> Iterator[Executor]:
    """A process that sends what is huge: neither its own work nor its need of a processor counts as a wait."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, initializer=step_back) as pool:
        yield pool


_kept = b""


def _keep(data: bytes) -> None:
    global _kept
    _kept = data


def _send_kept(port: int) -> int:
    return len(asyncio.run(send(port, _kept)))


async def longest_wait(small: Target, other: Executor, huge: bytes | None) -> float:
    """Milliseconds that the small call waited at most, while `huge` was dealt with once (or for half a second)."""
    loop = asyncio.get_running_loop()
    if huge:
        await loop.run_in_executor(other, _keep, huge)
    client, longest = await Client(small).open(), 0.0
    for _ in range(20):
        await client.call()
    deadline = time.perf_counter() + 0.5
    working = loop.run_in_executor(other, _send_kept, small.port) if huge else None
    while (working is not None and not working.done()) or (working is None and time.perf_counter() < deadline):
        began = time.perf_counter()
        await client.call()
        longest = max(longest, (time.perf_counter() - began) * 1e3)
        await asyncio.sleep(BETWEEN_S)
    client.writer.close()
    if working is not None:
        await working
    return longest


async def slow_readers(port: int, pid: int, data: bytes) -> float:
    """MiB by which the gateway grows for each client that asks for an answer of 7 MB and does not read it."""
    process_of = psutil.Process(pid)
    before = process_of.memory_info().rss
    writers = []
    for _ in range(SLOW_READERS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 10)
        writer.write(data)
        writers.append((reader, writer))
    most, settled = 0, 0
    while settled < 20:
        await asyncio.sleep(0.1)
        now = process_of.memory_info().rss
        most, settled = max(most, now), settled + 1 if now <= most else 0
    for _, writer in writers:
        writer.transport.abort()
    return (most - before) / (1 << 20) / SLOW_READERS


async def measure(port: int, pid: int, token: str) -> list[dict[str, Any]]:
    """All rows."""
    small = Target(port, (pid,), "bare.add", {"a": 1, "b": 2}, token)
    large = request(port, token, "bare.large", {"bytes": 7_000_000})
    cases = {
        "nothing else": None,
        "a body of 4 MiB in one text": request(port, token, "bare.add", {"a": "x" * ((4 << 20) - 2000)}),
        "a body with 100,000 values": request(port, token, "bare.add", {"a": list(range(99_000))}),
        "a result of 7 MB": large,
    }
    if len(await send(port, large)) < 7_000_000:
        raise SystemExit("The large answer did not come.")
    rows = []
    with other_client() as other:
        for name, huge in cases.items():
            waits = sorted([await longest_wait(small, other, huge) for _ in range(REPEATS)])
            about = f"longest wait of a small call beside {name}, median of {REPEATS}"
            rows.append(row(about, waits[REPEATS // 2], "ms"))
    rows.append(
        row(
            f"peak memory for each of {SLOW_READERS} clients that do not read their 7 MB",
            await slow_readers(port, pid, large),
            "MiB",
        )
    )
    return rows


def main(json_path: str | None = None) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    with (
        tempfile.TemporaryDirectory(prefix="workbench-pauses-") as folder,
        process("-m", "loadtests.bare", "server") as server,
    ):
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/mcp"
        with platform(Path(folder) / "home", {"bare": url}) as (port, pid, token, _):
            rows = asyncio.run(measure(port, pid, token))
    return report(rows, json_path)


if __name__ == "__main__":
    main()
