"""Other gateways beside ours: same server, same client, same run.

`python -m loadtests.bench_peers`; not part of `make bench`, because it installs the others, each into a virtual
environment of its own under `~/.cache/mcp-workbench/peers`. They run in their fastest documented form for this client:
stateless, plain JSON. Ours has everything on: authentication, scopes, policy, schema, rates, redaction, and the record.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadtests.bench_gateway import IN_FLIGHT, Client, Target, crowd, narrow_key, platform, process, row

ROOT = Path(__file__).parents[1]
CACHE = Path.home() / ".cache" / "mcp-workbench" / "peers"
SECONDS = 3.0
SEQUENTIAL = 30
AT_LEAST = 15
"""How many times the throughput of each of the others ours should have."""

ARGUMENTS = {"product_id": "P-0001"}
FASTMCP = """
import sys
from fastmcp.server import create_proxy
create_proxy(sys.argv[1]).run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), stateless_http=True,
                              json_response=True, show_banner=False, log_level="ERROR")
"""
LITELLM = """
mcp_servers:
  products: {{url: "{url}", transport: http}}
general_settings: {{master_key: sk-bench}}
"""


def environment(package: str) -> Path:
    """The folder of programs of an environment with `package`; made once."""
    folder = CACHE / package.partition("[")[0]
    if not (folder / "installed").exists():
        print(f"Installing {package} …", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", package], check=True)
        (folder / "installed").touch()
    return folder / "bin"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(*command: str, cwd: Path) -> Iterator[int]:
    """A program that ends with the block; its process id."""
    with (cwd / "peer.log").open("w") as log:
        child = subprocess.Popen(command, cwd=cwd, stdout=log, stderr=log)
    try:
        yield child.pid
    finally:
        child.terminate()
        child.wait(15)


def answers(target: Target, within: float = 60.0) -> bool:
    """Wait until a call is answered; False when that does not come."""
    request = Client(target).request
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:])
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=20)
            connection.request("POST", "/mcp", body, headers)
            response = connection.getresponse()
            if response.status == 200 and b'"structuredContent"' in response.read():
                return True
        time.sleep(0.5)
    return False


async def measure(target: Target) -> tuple[float, float, float]:
    """p50 at one client in ms, processor ms per call and calls per second at 32."""
    client, times = await Client(target).open(), []
    for _ in range(SEQUENTIAL):
        began = time.perf_counter()
        await client.call()
        times.append((time.perf_counter() - began) * 1e3)
    client.writer.close()
    cpu_ms, per_second = await crowd(target, SECONDS)
    return statistics.median(times), cpu_ms, per_second


@contextlib.contextmanager
def peers(url: str, folder: Path) -> Iterator[dict[str, Target]]:
    """The other gateways, those of them that start here."""
    with contextlib.ExitStack() as stack:
        found = {}
        port = free_port()
        (folder / "proxy.py").write_text(FASTMCP, encoding="utf-8")
        python = str(environment("fastmcp") / "python")
        pid = stack.enter_context(running(python, "proxy.py", url, str(port), cwd=folder))
        found["FastMCP proxy"] = Target(port, (pid,), "check_stock", ARGUMENTS, legacy=True)
        port = free_port()
        (folder / "litellm.yaml").write_text(LITELLM.format(url=url), encoding="utf-8")
        litellm = str(environment("litellm[proxy]") / "litellm")
        command = (litellm, "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port))
        pid = stack.enter_context(running(*command, cwd=folder))
        found["LiteLLM"] = Target(port, (pid,), "products-check_stock", ARGUMENTS, "sk-bench", legacy=True)
        yield {name: target for name, target in found.items() if answers(target) or _missing(name, folder)}


def _missing(name: str, folder: Path) -> bool:
    print(f"{name} does not answer here: {(folder / 'peer.log').read_text()[-300:]}", file=sys.stderr)
    return False


def main(json_path: str | None = None) -> list[dict[str, Any]]:
    """Measure and print; rows also go to `json_path`."""
    with tempfile.TemporaryDirectory(prefix="workbench-peers-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        port = free_port()
        stack.enter_context(process("servers/products/server.py", "--http", "--port", str(port)))
        url = f"http://127.0.0.1:{port}/mcp"
        ours, pid, _, env = stack.enter_context(platform(folder / "home", url))
        token = narrow_key(env)
        targets = {"ours, everything on": Target(ours, (pid,), "bare.check_stock", ARGUMENTS, token, legacy=True)}
        targets |= stack.enter_context(peers(url, folder))
        found = {name: asyncio.run(measure(target)) for name, target in targets.items()}
    best = found["ours, everything on"][2]
    rows = []
    for name, (p50, cpu_ms, per_second) in found.items():
        rows.append(row(f"{name}: p50 at one client", p50, "ms"))
        rows.append(row(f"{name}: CPU per call", cpu_ms, "ms"))
        rows.append(row(f"{name}: throughput at {IN_FLIGHT} clients", per_second, "call/s"))
        if name in targets and not name.startswith("ours"):
            times = best / per_second
            rows.append(
                {**row(f"ours against {name}", times, "times"), "target": f"≥ {AT_LEAST}", "ok": times >= AT_LEAST}
            )
    for r in rows:
        print(f"{r['name']:<50} {r['value']:>10,.2f} {r['unit']:<7} {r['target']}")
    if json_path:
        Path(json_path).write_text(json.dumps(rows), encoding="utf-8")
    return rows


if __name__ == "__main__":
    main()
