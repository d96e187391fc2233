"""A call with everything on and nothing remembered: rules in full, quota, search for personal data, record.

`python -m loadtests.bench_governed`. A hundred callers use 120 tools in turn, so that no decision is found among those
that were made before (8,192 of them are kept): each call asks the Rego engine. Nobody may see personal data, so every
result is searched for it; every tool has a quota. Beside it stands the same load of one caller and one tool.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from loadtests.bare import TOOLS_EACH, numbered
from loadtests.bench_gateway import IN_FLIGHT, Client, Target, cpu, platform, process, report, row
from loadtests.clients import run
from workbench.access import Access
from workbench.config import Settings

SERVERS = 3
CALLERS = 100
ROUNDS = 3
SECONDS = 2.5
QUOTAS = {"workbench": {"quotas": {"default": {"*": 1_000_000_000}, "tenants": {}}}}


def policy(folder: Path) -> Path:
    """The shipped rules with a quota for every tool."""
    folder.mkdir()
    (folder / "quotas.json").write_text(json.dumps(QUOTAS), encoding="utf-8")
    return folder


def keys(home: Path) -> list[str]:
    """Keys of callers who may read, and see no personal data."""
    access = Access(Settings.load(env={}, cwd=home.parent, home=home))
    scopes = [f"s{n}:read" for n in range(SERVERS)]
    made = [access.create_key(f"user{n}", roles=("owner",), scopes=scopes)[1] for n in range(CALLERS)]
    access.close()
    return made


def calls(port: int, pid: int, tokens: list[str]) -> list[bytes]:
    """One request of every caller to every tool; no two calls of the same pair are near each other."""
    tools = [
        (f"s{n}.{tool['name']}", tool["inputSchema"]["required"][0]) for n in range(SERVERS) for tool in numbered(n)
    ]
    return [
        Client(Target(port, (pid,), name, {argument: "A-1"}, token)).request
        for name, argument in tools
        for token in tokens
    ]


def measure(port: int, pid: int, requests: list[bytes]) -> tuple[float, float]:
    """Processor milliseconds of the gateway per call, and calls per second."""
    found = []
    run(port, requests[-2000:], count=IN_FLIGHT, seconds=1)
    for _ in range(ROUNDS):
        before = cpu((pid,))
        crowd = run(port, requests, count=IN_FLIGHT, seconds=SECONDS)
        if crowd.errors:
            raise SystemExit(f"A call failed: {crowd.first_error}")
        requests = requests[crowd.calls :] + requests[: crowd.calls]  # go on where it ended
        found.append(((cpu((pid,)) - before) / crowd.calls * 1e3, crowd.per_second))
    return statistics.median(one[0] for one in found), statistics.median(one[1] for one in found)


def main(json_path: str | None = None) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    with tempfile.TemporaryDirectory(prefix="workbench-governed-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        server = stack.enter_context(process("-m", "loadtests.bare", "server"))
        base = f"http://127.0.0.1:{int(server.stdout.readline())}"  # type: ignore[union-attr]
        servers = {f"s{n}": f"{base}/s{n}/mcp" for n in range(SERVERS)}
        port, pid, _, _ = stack.enter_context(platform(folder / "home", servers, policy=policy(folder / "policy")))
        requests = calls(port, pid, keys(folder / "home"))
        full, fast = measure(port, pid, requests)
        known, faster = measure(port, pid, requests[:1])
    pairs = f"{CALLERS} callers, {SERVERS * TOOLS_EACH} tools"
    rows = [
        row(f"CPU per call, {pairs}: Rego in full, redaction, quotas", full, "ms", 0.5),
        row("  calls per second", fast, "call/s"),
        row("CPU per call, one caller and one tool: decision remembered", known, "ms"),
        row("  calls per second", faster, "call/s"),
    ]
    return report(rows, json_path)


if __name__ == "__main__":
    main()
