"""Long lists: `tools/list` of fifty servers with 2,000 tools, and finding a tool among 10,000.

`python -m loadtests.bench_lists`. The list is asked for over HTTP as clients do, and timed from the first byte sent to
the last one read; beside it stands what the same bytes cost from a server that does nothing but send them, and what
making the list anew costs. The search is the gateway's own, as the agent uses it: words and meaning, among what the
caller may see, every query another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from loadtests.bare import TOOLS_EACH
from loadtests.bench_gateway import META, platform, process, report, row
from workbench.config import Settings
from workbench.events import Caller
from workbench.gateway import Gateway
from workbench.platform.platform import Platform

LISTED = 50
"""Servers whose tools are listed together."""

SEARCHED = 250
ROUNDS = 200
QUERIES = (
    *("refund of a customer", "which invoices are in the archive", "approve a payment", "count devices of a branch"),
    *("schedule the shipment", "compare budgets", "delete an old draft", "export contracts of a partner"),
    *("licence renewal", "supplier orders by region"),
)


def request(port: int, token: str) -> bytes:
    """`tools/list` as bytes."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}).encode()
    lines = [
        "POST /mcp HTTP/1.1", f"host: 127.0.0.1:{port}", "content-type: application/json", "accept: application/json",
        f"content-length: {len(body)}", f"authorization: Bearer {token}", "mcp-protocol-version: 2026-07-28",
        "mcp-method: tools/list",
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def listed(port: int, asked: bytes) -> tuple[list[float], bytes]:
    """Milliseconds of each `tools/list` of one client, and the last answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    times, body = [], b""
    for _ in range(ROUNDS):
        began = time.perf_counter()
        writer.write(asked)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        times.append((time.perf_counter() - began) * 1e3)
    writer.close()
    return times, body


def list_rows(folder: Path, base: str) -> list[dict[str, Any]]:
    """`tools/list` over HTTP."""
    servers = {f"s{n}": f"{base}/s{n}/mcp" for n in range(LISTED)}
    with platform(folder / "home", servers) as (port, _, token, _), contextlib.ExitStack() as stack:
        times, body = asyncio.run(listed(port, request(port, token)))
        tools = len(json.loads(body)["result"]["tools"])
        if tools != LISTED * TOOLS_EACH:
            raise SystemExit(f"{tools} tools were listed.")
        (folder / "list.json").write_bytes(body)
        sender = stack.enter_context(process("-m", "loadtests.bare", "file", str(folder / "list.json")))
        alone = int(sender.stdout.readline())  # type: ignore[union-attr]
        plain, _ = asyncio.run(listed(alone, request(alone, "")))
    return [
        row(f"tools/list, {LISTED} servers, {tools:,} tools, over HTTP: p50", statistics.median(times), "ms", 2),
        row("  the first one, made anew", times[0], "ms"),
        row("  its size", len(body) / 1024, "KiB"),
        row("  the same bytes from a server that only sends them: p50", statistics.median(plain), "ms"),
    ]


async def search_rows(folder: Path, base: str) -> list[dict[str, Any]]:
    """The search among the tools of many servers."""
    servers = {f"s{n}": {"url": f"{base}/s{n}/mcp"} for n in range(SEARCHED)}
    config = folder / "mcp.json"
    config.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    settings = Settings.load(env={}, cwd=folder, home=folder / "many", servers=(), mcp_config=config)
    bench = await Platform.open(settings)
    try:
        caller, gateway = bench.access.local_caller(), bench.gateway
        tools = len(gateway.tools(caller))
        if tools != SEARCHED * TOOLS_EACH:
            raise SystemExit(f"{tools} tools are there.")
        async with asyncio.timeout(60):
            while not gateway.search(caller, QUERIES[0]):  # noqa: ASYNC110 - the index is made in a thread
                await asyncio.sleep(0.1)
        held = frozenset(f"s{n}:read" for n in range(SEARCHED - 1))
        some = msgspec.structs.replace(caller, subject="some", roles=(), scopes=held)
        await gateway.judge(some)
        everything, part = [sorted(found(gateway, who)) for who in (caller, some)]
    finally:
        await bench.close()
    return [
        row(f"search among {tools:,} tools, all may be called: p50", everything[ROUNDS // 2], "ms", 10),
        row("  p99", everything[-1 - ROUNDS // 100], "ms"),
        row(f"search among {tools:,} tools, {tools - TOOLS_EACH:,} may be called: p50", part[ROUNDS // 2], "ms", 10),
        row("  p99", part[-1 - ROUNDS // 100], "ms"),
    ]


def found(gateway: Gateway, caller: Caller) -> list[float]:
    """Milliseconds of each search, every one for something else."""
    times = []
    for n in range(ROUNDS):
        query = f"{QUERIES[n % len(QUERIES)]} {n}"
        began = time.perf_counter()
        if not gateway.search(caller, query):
            raise SystemExit(f"Nothing was found for {query!r}.")
        times.append((time.perf_counter() - began) * 1e3)
    return times


def main(json_path: str | None = None) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    with (
        tempfile.TemporaryDirectory(prefix="workbench-lists-") as name,
        process("-m", "loadtests.bare", "server") as server,
    ):
        base = f"http://127.0.0.1:{int(server.stdout.readline())}"  # type: ignore[union-attr]
        rows = list_rows(Path(name), base) + asyncio.run(search_rows(Path(name), base))
    return report(rows, json_path)


if __name__ == "__main__":
    main()
