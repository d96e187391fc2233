"""Servers of the first SDK behind stdio and HTTP+SSE, and clients of HTTP+SSE at the front: everything crosses."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CreateMessageResult, ElicitResult, ListRootsResult, Root, TextContent

from tests.platforms import up
from workbench.platform.run_file import RunningPlatform

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]

SERVER = Path(__file__).parent / "older_server.py"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mcp-workbench-tests"
SERVERS = ("piped", "streamed", "found")
NEWEST = "2026-07-28"
FRONTS = ("/sse", "/mcp, older", f"/mcp, {NEWEST}")


@pytest.fixture(scope="module")
def python() -> Path:
    """Of an environment with the SDK before 2.0, kept for the next run."""
    folder = CACHE / "mcp-1"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", "mcp<2"], check=True)
        (folder / "ready").touch()
    return folder / "bin/python"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, python: Path) -> Iterator[RunningPlatform]:
    folder = tmp_path_factory.mktemp("older")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    streaming = subprocess.Popen([python, SERVER, "sse", str(port)])
    url = f"http://127.0.0.1:{port}/sse"
    servers = {
        "piped": {"command": str(python), "args": [str(SERVER), "stdio"]},
        "streamed": {"type": "sse", "url": url},
        "found": {"url": url},
    }
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with up(folder / "home", "--servers", "crm", "--config", str(folder / "mcp.json")) as (running, _):
            yield running
    finally:
        streaming.terminate()
        streaming.wait()


@asynccontextmanager
async def client(platform: RunningPlatform, front: str, heard: list[Any]) -> AsyncIterator[Client]:
    """A client of the SDK that can be asked everything; `heard` gets what it is told."""
    headers = {"Authorization": f"Bearer {platform.token}"}

    async def elicited(*_: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"name": "Ada"})

    async def sampled(*_: Any) -> CreateMessageResult:
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="Paris"), model="m")

    async def roots(*_: Any) -> ListRootsResult:
        return ListRootsResult(roots=[Root(uri="file:///tmp")])

    async def logged(params: Any) -> None:
        heard.append(params.data)

    more: dict[str, Any] = {
        "elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": roots,
        "logging_callback": logged,
    }  # fmt: skip
    more |= {"log_level": "info"} if front.endswith(NEWEST) else {"mode": "legacy"}
    async with httpx2.AsyncClient(headers=headers) as http:
        if front == "/sse":
            transport: Any = sse_client(f"{platform.url}/sse", headers=headers)
        else:
            transport = streamable_http_client(platform.mcp_url, http_client=http)
        async with Client(transport, **more) as connected:
            yield connected


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("server", SERVERS)
async def test_questions_logs_and_progress_cross(platform: RunningPlatform, front: str, server: str) -> None:
    heard: list[Any] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        heard.append(message)

    async with client(platform, front, heard) as connected:
        assert connected.protocol_version == (NEWEST if front.endswith(NEWEST) else "2025-11-25")
        for tool, said in (("greet", "Hello Ada"), ("think", "Paris"), ("folders", "file:///tmp")):
            result = await connected.call_tool(f"{server}.{tool}", {})
            assert result.content[0].text.rstrip("/") == said
        await connected.call_tool(f"{server}.steps", {}, progress_callback=progress)
    assert sorted(heard) == ["careful", "half"]


async def test_what_each_server_speaks_is_told(platform: RunningPlatform) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {platform.token}"}) as http:
        found = (await http.get(f"{platform.url}/servers")).json()
    servers = {server["id"]: server for server in (found if isinstance(found, list) else found["servers"])}
    assert {id: servers[id]["transport"] for id in SERVERS} == {"piped": "stdio", "streamed": "sse", "found": "sse"}
    assert {servers[id]["era"] for id in SERVERS} == {"2025-11-25"}


SCRIPT = """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
const transport = new SSEClientTransport(new URL(process.env.URL), { requestInit: { headers } });
const client = new Client({ name: "interop", version: "1" }, {});
await client.connect(transport);
const { tools } = await client.listTools();
const found = await client.callTool({ name: "crm__search_customers", arguments: { query: "john.smith@acme.com" } });
console.log(JSON.stringify({ tools: tools.map((t) => t.name), found: found.structuredContent }));
await client.close();
"""


def test_the_typescript_sdks_client_of_the_old_transport(platform: RunningPlatform) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = CACHE / "typescript-1.32.2"
    if not (folder / "ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text('{"type": "module"}')
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "@modelcontextprotocol/sdk@1.32.2"]
        subprocess.run(install, cwd=folder, check=True)
        (folder / "ready").touch()
    (folder / "sse.mjs").write_text(SCRIPT)
    ran = subprocess.run(
        ["node", "sse.mjs"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "URL": f"{platform.url}/sse", "TOKEN": platform.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert "crm__search_customers" in answer["tools"]
    assert "john.smith@acme.com" in json.dumps(answer["found"])
