"""A task that was begun before the platform was killed is followed after another one has taken its place."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.platforms import start, stop, up, wait
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

SERVER = Path(__file__).parents[1] / "interop" / "conformance_server.py"
MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}},
}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """An `mcp.json` with a server that has tasks and outlives the platform."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, str(SERVER), "--port", str(port)])
    try:
        deadline = time.monotonic() + 30
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert time.monotonic() < deadline
            time.sleep(0.05)
        config = tmp_path / "mcp.json"
        config.write_text(json.dumps({"mcpServers": {"works": {"url": f"http://localhost:{port}/mcp"}}}))
        yield config
    finally:
        process.terminate()
        process.wait()


def ask(running: RunningPlatform, method: str, called: str, **params: Any) -> Any:
    headers = {
        "Authorization": f"Bearer {running.token}", "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": MODERN, "Mcp-Method": method, "Mcp-Name": called,
    }  # fmt: skip
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": META}}
    response = httpx2.post(running.mcp_url, json=body, headers=headers, timeout=30)
    return response.json()


def test_a_task_outlives_the_platform_that_began_it(server: Path, tmp_path: Path) -> None:
    home, options = tmp_path / "home", ("--servers", "crm", "--config", str(server))
    first = start(home, options)
    try:
        running = wait(home, first)
        arguments = {"seconds": 0.1, "label": "x"}
        begun = ask(running, "tools/call", "works.slow_compute", name="works.slow_compute", arguments=arguments)
        assert begun["result"]["resultType"] == "task", begun
        id = begun["result"]["taskId"]
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    finally:
        stop(first)
    with up(home, *options) as (again, second):
        assert second.pid != first.pid
        deadline = time.monotonic() + 30
        while (found := ask(again, "tasks/get", id, taskId=id)["result"])["status"] == "working":
            assert time.monotonic() < deadline
        assert (found["taskId"], found["status"]) == (id, "completed")
        assert found["result"]["structuredContent"] == {"result": "computed x"}
