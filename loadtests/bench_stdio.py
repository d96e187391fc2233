"""A server over stdio through the gateway, against a client that runs the same server itself.

`python -m loadtests.bench_stdio`. The server is the bundled one for products, started as a command by both. The direct
client writes JSON lines of 2026-07-28, as the gateway does, and reads them, nothing else, so that everything of the
gateway counts: its HTTP, its rules and its record. Both are asked in turns. Beside it, without a target, stands a
server that answers at once: there the whole time is what the way costs.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import uvloop

from loadtests.bench_gateway import META, ROOT, Client, Target, platform, report, row

ROUNDS = 6
EACH = 100
IN_FLIGHT = 32
PRODUCTS = (sys.executable, str(ROOT / "servers/products/server.py"))
QUICK = (sys.executable, "-m", "loadtests.bare", "stdio")
CASES: dict[str, tuple[tuple[str, ...], str, dict[str, Any]]] = {
    "shop": (PRODUCTS, "check_stock", {"product_id": "P-0001"}),
    "quick": (QUICK, "add", {"a": 1, "b": 2}),
}


class Direct:
    """A server over stdio and the one client of it."""

    def __init__(self, command: tuple[str, ...], tool: str, arguments: dict[str, Any]) -> None:
        self._command = command
        self._params = {"name": tool, "arguments": arguments, "_meta": META}
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = itertools.count(1)

    async def open(self) -> Direct:
        self._process = await asyncio.create_subprocess_exec(
            *self._command, cwd=ROOT, limit=1 << 22,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._reading = asyncio.create_task(self._read())
        return self

    async def close(self) -> None:
        self._process.terminate()
        await self._process.wait()
        self._reading.cancel()

    async def call(self) -> None:
        answer = await self.request("tools/call", self._params)
        if "structuredContent" not in answer["result"]:
            raise SystemExit(f"The call failed: {answer}")

    async def request(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        id = next(self._ids)
        answered: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[id] = answered
        message = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        return await answered

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "id" in message and message["id"] in self._waiting:
                self._waiting.pop(message["id"]).set_result(message)


async def one_after_another(call: Callable[[], Awaitable[None]]) -> list[float]:
    """Milliseconds of each call of one client."""
    times = []
    for _ in range(EACH):
        began = time.perf_counter()
        await call()
        times.append((time.perf_counter() - began) * 1e3)
    return times


async def together(calls: Sequence[Callable[[], Awaitable[None]]]) -> float:
    """Milliseconds for each call while many are under way."""

    async def work(call: Callable[[], Awaitable[None]]) -> None:
        for _ in range(EACH // 5):
            await call()

    began = time.perf_counter()
    await asyncio.gather(*map(work, calls))
    return (time.perf_counter() - began) * 1e3 / (len(calls) * (EACH // 5))


async def measure(name: str, port: int, token: str) -> list[dict[str, Any]]:
    """The rows of one server."""
    command, tool, arguments = CASES[name]
    direct = await Direct(command, tool, arguments).open()
    target = Target(port, (), f"{name}.{tool}", arguments, token)
    singles: dict[str, list[float]] = {"direct": [], "gateway": []}
    many: dict[str, list[float]] = {"direct": [], "gateway": []}
    for _ in range(ROUNDS):
        clients = [await Client(target).open() for _ in range(IN_FLIGHT)]
        for who, calls in {"direct": [direct.call] * IN_FLIGHT, "gateway": [c.call for c in clients]}.items():
            await calls[0]()
            singles[who] += await one_after_another(calls[0])
            many[who].append(await together(calls))
        for client in clients:
            client.writer.close()
    await direct.close()
    one = {who: statistics.median(times) for who, times in singles.items()}
    all_ = {who: statistics.median(times) for who, times in many.items()}
    limit = 1.2 if name == "shop" else None
    return [
        row(f"stdio server {name!r}, direct: p50", one["direct"], "ms"),
        row(f"stdio server {name!r}, through the gateway: p50", one["gateway"], "ms"),
        row("  as a multiple", one["gateway"] / one["direct"], "times", limit),
        row(f"stdio server {name!r}, direct: time per call with {IN_FLIGHT} under way", all_["direct"], "ms"),
        row(f"stdio server {name!r}, through the gateway: the same", all_["gateway"], "ms"),
        row("  as a multiple", all_["gateway"] / all_["direct"], "times", limit),
    ]


def main(json_path: str | None = None) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    servers = {
        name: {"command": command[0], "args": list(command[1:]), "env": {"PYTHONPATH": str(ROOT)}}
        for name, (command, _, _) in CASES.items()
    }
    with tempfile.TemporaryDirectory(prefix="workbench-stdio-") as folder, contextlib.ExitStack() as stack:
        port, _, token, _ = stack.enter_context(platform(Path(folder) / "home", servers))
        rows = [found for name in CASES for found in uvloop.run(measure(name, port, token))]
    return report(rows, json_path)


if __name__ == "__main__":
    main()
