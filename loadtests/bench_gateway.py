"""What governance costs: the gateway with everything on, beside a bare pass-through, in one run.

`python -m loadtests.bench_gateway [--seconds S] [--rounds N]`. Measured are processor milliseconds per call of the
proxy's own process with 32 calls in flight (the figure that neighbours on the machine disturb least), the latency that
it adds for one client, and calls per second. The client speaks raw sockets, so that it is not what is measured.

With `--beside FOLDER` the gateway of another checkout (`git worktree add --detach FOLDER COMMIT`) answers the same
calls in the same rounds, and this one's figures are given as multiples of its: a comparison of two versions that
nothing on the machine can tilt.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

ROOT = Path(__file__).parents[1]
ROUNDS = 9
IN_FLIGHT = 32
SEQUENTIAL = 80
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Target(NamedTuple):
    """Something that answers `tools/call`."""

    port: int
    pids: tuple[int, ...]
    """Whose processor time counts."""
    tool: str
    arguments: dict[str, Any]
    token: str = ""
    legacy: bool = False
    sessions: bool = False
    """Whether every client has to open a session first."""


class Client:
    """One keep-alive connection that sends the same call again and again, and checks every answer."""

    def __init__(self, target: Target) -> None:
        self.target = target
        params: dict[str, Any] = {"name": target.tool, "arguments": target.arguments}
        headers = {"mcp-protocol-version": "2025-11-25"}
        if not target.legacy:
            params["_meta"] = META
            headers = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": target.tool}
        if target.token:
            headers["authorization"] = f"Bearer {target.token}"
        body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params}).encode()
        lines = [
            "POST /mcp HTTP/1.1", f"host: 127.0.0.1:{target.port}", "content-type: application/json",
            "accept: application/json, text/event-stream", f"content-length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]  # fmt: skip
        self.request = "\r\n".join(lines).encode() + b"\r\n\r\n" + body

    async def open(self) -> Client:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.target.port)
        if self.target.sessions:
            await self._begin()
        return self

    async def _begin(self) -> None:
        """Open a session, and name it in the request."""
        head = self.request.partition(b"\r\n\r\n")[0]
        info = {"name": "bench", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": info}
        asked = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        for message in (asked, {"jsonrpc": "2.0", "method": "notifications/initialized"}):
            body = json.dumps(message).encode()
            length = b"content-length: %d" % len(body)
            self.writer.write(re.sub(rb"content-length: \d+", length, head) + b"\r\n\r\n" + body)
            answer, _ = await self._read()
            if message is asked:
                session = re.search(rb"(?i)\r\nmcp-session-id: *(\S+)", answer)
                head += b"\r\nmcp-session-id: " + (session[1] if session else b"")
        self.request = head + b"\r\n\r\n" + self.request.partition(b"\r\n\r\n")[2]

    async def call(self) -> None:
        self.writer.write(self.request)
        head, body = await self._read()
        if not head.startswith(b"HTTP/1.1 200") or b'"structuredContent"' not in body:
            raise SystemExit(f"The call failed: {head!r} {body[:500]!r}")

    async def _read(self) -> tuple[bytes, bytes]:
        """Head and body of one answer."""
        got = await self.reader.readuntil(b"\r\n\r\n")
        head = got.lower()
        if b"content-length:" in head:
            body = await self.reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        elif b"transfer-encoding:" in head:
            body = await self.reader.readuntil(b"0\r\n\r\n")  # not ours, but some of the others
        else:
            body = b""
        return got, body


class Figures(NamedTuple):
    p50_ms: float
    """One client."""
    cpu_ms: float
    """Per call, 32 in flight."""
    per_second: float
    each_cpu_ms: list[float]
    """Of every round, to be compared with the others' of the same round."""


async def sequential(client: Client) -> list[float]:
    times = []
    for _ in range(SEQUENTIAL):
        began = time.perf_counter()
        await client.call()
        times.append((time.perf_counter() - began) * 1e3)
    return times


async def crowd(target: Target, seconds: float) -> tuple[float, float]:
    """Processor milliseconds per call, and calls per second, with many calls in flight."""
    clients = [await Client(target).open() for _ in range(IN_FLIGHT)]
    await asyncio.gather(*(client.call() for client in clients))
    calls, stop = 0, time.perf_counter() + seconds

    async def work(client: Client) -> None:
        nonlocal calls
        while time.perf_counter() < stop:
            await client.call()
            calls += 1

    before, began = cpu(target.pids), time.perf_counter()
    await asyncio.gather(*(work(client) for client in clients))
    elapsed, used = time.perf_counter() - began, cpu(target.pids) - before
    for client in clients:
        client.writer.close()
    return used / calls * 1e3, calls / elapsed


def cpu(pids: tuple[int, ...]) -> float:
    """Seconds of processor time used so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


async def measure(targets: dict[str, Target], seconds: float, rounds: int = ROUNDS) -> dict[str, Figures]:
    """All targets in turn, many short rounds, so that a disturbance of the machine hits all of them alike."""
    latencies: dict[str, list[float]] = {name: [] for name in targets}
    crowds: dict[str, list[tuple[float, float]]] = {name: [] for name in targets}
    clients = {name: await Client(target).open() for name, target in targets.items()}
    for client in clients.values():
        for _ in range(50):
            await client.call()
    for _ in range(rounds):
        for name, client in clients.items():
            latencies[name] += await sequential(client)
        for name, target in targets.items():
            crowds[name].append(await crowd(target, seconds))
        clients = {name: await Client(target).open() for name, target in targets.items()}  # idle ones were closed
    return {
        name: Figures(
            statistics.median(latencies[name]),
            statistics.median(one[0] for one in crowds[name]),
            statistics.median(one[1] for one in crowds[name]),
            [one[0] for one in crowds[name]],
        )
        for name in targets
    }


@contextlib.contextmanager
def process(*command: str, env: dict[str, str] | None = None, root: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """A child that ends with the block."""
    child = subprocess.Popen([sys.executable, *command], cwd=root, stdout=subprocess.PIPE, text=True, env=env)
    try:
        yield child
    finally:
        child.terminate()
        child.communicate(timeout=15)


@contextlib.contextmanager
def platform(
    home: Path, servers: dict[str, Any], *, bundled: str = "", policy: Path | None = None, root: Path = ROOT
) -> Iterator[tuple[int, int, str, dict[str, str]]]:
    """A whole platform: port, pid, token, environment. `servers` by name: a URL, or how `mcp.json` describes one.

    `root` is the checkout whose platform it is.
    """
    config = home.with_name("mcp.json")
    described = {name: found if isinstance(found, dict) else {"url": found} for name, found in servers.items()}
    config.write_text(json.dumps({"mcpServers": described}), encoding="utf-8")
    env = {
        **os.environ, "WORKBENCH_HOME": str(home), "WORKBENCH_RATE_PER_MINUTE": "100000000",
        "WORKBENCH_AUDIT_MODE": "os", "PYTHONPATH": str(root),
        **({"WORKBENCH_POLICY": str(policy)} if policy else {}),
    }  # fmt: skip
    up = ("-m", "workbench", "up", "--no-app", "--port", "auto", "--servers", bundled, "--config", str(config))
    with process(*up, env=env, root=root) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if "Ctrl-C" in line:
                break
        running = json.loads((home / "run.json").read_text(encoding="utf-8"))
        yield int(running["url"].rpartition(":")[2]), running["pid"], running["token"], env


def narrow_key(env: dict[str, str], root: Path = ROOT, scopes: tuple[str, ...] = ("bare:read", "products:read")) -> str:
    """A key that sees no personal data in clear, so that every result is searched for it."""
    given = [each for scope in scopes for each in ("--scope", scope)]
    made = subprocess.run(
        [sys.executable, "-m", "workbench", "access", "create", "bench", "--role", "owner", *given, "--json"],
        cwd=root, env=env, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return str(json.loads(made.stdout)["secret"])


def table(found: dict[str, Figures]) -> list[dict[str, Any]]:
    """Rows with their targets."""
    bare, full = found["bare pass-through"], found["gateway, narrow key (redaction)"]
    rows = []
    for name, figures in found.items():
        rows.append(row(f"{name}: p50 at one client", figures.p50_ms, "ms"))
        if name != "server alone":
            rows.append(row(f"{name}: CPU per call", figures.cpu_ms, "ms"))
        rows.append(row(f"{name}: throughput at {IN_FLIGHT} clients", figures.per_second, "call/s"))
    own = found["gateway"]
    alone = found["server alone"]
    ratios = [ours / theirs for ours, theirs in zip(own.each_cpu_ms, bare.each_cpu_ms, strict=True)]
    return [
        row("CPU per call, audit os, cached policy", own.cpu_ms, "ms", 0.25),
        row(
            "  as a multiple of the bare pass-through, median of paired rounds", statistics.median(ratios), "times", 1.8
        ),
        row("CPU per call, also redaction and quotas", full.cpu_ms, "ms", 0.5),
        row("added p50 at one client, full governance", full.p50_ms - alone.p50_ms, "ms", 0.6),
        *rows,
    ]


def row(name: str, value: float, unit: str, target: float | None = None, *, at_least: bool = False) -> dict[str, Any]:
    """One figure; without a target it is there to compare with."""
    met = None if target is None else value >= target if at_least else value <= target
    said = "" if target is None else f"{'≥' if at_least else '≤'} {target:g}"
    return {"name": name, "value": round(value, 3), "unit": unit, "target": said, "ok": met}


def report(rows: list[dict[str, Any]], json_path: str | None) -> list[dict[str, Any]]:
    """Print the rows; they also go to `json_path`."""
    for found in rows:
        met = {True: "yes", False: "NO", None: ""}[found["ok"]]
        value = "-" if found["value"] is None else f"{found['value']:,.3f}"
        print(f"{found['name']:<76} {value:>12} {found['unit']:<8} {found['target']:<8} {met}")
    if json_path:
        Path(json_path).write_text(json.dumps(rows), encoding="utf-8")
    return rows


def gateways(port: int, pid: int, token: str, narrow: str) -> dict[str, Target]:
    """What is asked of a gateway."""
    add = {"a": 1, "b": 2}
    return {
        "gateway": Target(port, (pid,), "bare.add", add, token),
        "gateway, narrow key (redaction)": Target(port, (pid,), "bare.add", add, narrow),
        "gateway, client of 2025-11-25": Target(port, (pid,), "bare.add", add, token, legacy=True),
        "gateway, real server (products)": Target(
            port, (pid,), "products.check_stock", {"product_id": "P-0001"}, token
        ),
    }


def beside(found: dict[str, Figures], other: str) -> list[dict[str, Any]]:
    """This checkout's figures as multiples of another's, round by round."""
    rows = []
    for name, ours in found.items():
        if (theirs := found.get(other + name)) is None:
            continue
        ratios = [a / b for a, b in zip(ours.each_cpu_ms, theirs.each_cpu_ms, strict=True)]
        rows.append(row(f"{name}: CPU per call, as a multiple of the other's", statistics.median(ratios), "times", 1))
        rows.append(row("  p50 at one client, as a multiple of the other's", ours.p50_ms / theirs.p50_ms, "times", 1))
    return rows


def main(
    json_path: str | None = None, *, seconds: float = 0.5, rounds: int = ROUNDS, other: str = ""
) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    with tempfile.TemporaryDirectory(prefix="workbench-gateway-") as folder, contextlib.ExitStack() as stack:
        server = stack.enter_context(process("-m", "loadtests.bare", "server"))
        server_port = int(server.stdout.readline())  # type: ignore[union-attr]
        url = f"http://127.0.0.1:{server_port}/mcp"
        proxy = stack.enter_context(process("-m", "loadtests.bare", "passthrough", url))
        proxy_port = int(proxy.stdout.readline())  # type: ignore[union-attr]
        targets = {
            "server alone": Target(server_port, (server.pid,), "add", {"a": 1, "b": 2}),
            "bare pass-through": Target(proxy_port, (proxy.pid,), "add", {"a": 1, "b": 2}),
        }
        for label, root in {"": ROOT, **({"other: ": Path(other).resolve()} if other else {})}.items():
            home = Path(folder) / (root.name if label else "") / "home"
            home.parent.mkdir(exist_ok=True)
            port, pid, token, env = stack.enter_context(platform(home, {"bare": url}, bundled="products", root=root))
            asked = gateways(port, pid, token, narrow_key(env, root))
            targets |= {label + name: target for name, target in asked.items()}
        found = asyncio.run(measure(targets, seconds, rounds))
        rows = [*beside(found, "other: "), *table(found)]
    return report(rows, json_path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.5, help="length of each burst")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="bursts of each target")
    parser.add_argument("--beside", default="", metavar="FOLDER", help="another checkout, to be compared with")
    given = parser.parse_args()
    main(seconds=given.seconds, rounds=given.rounds, other=given.beside)
