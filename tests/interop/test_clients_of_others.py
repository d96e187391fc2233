"""Any MCP client works against the printed endpoint: the Python SDK in both eras, TypeScript in both generations."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.platforms import up
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    with up(tmp_path_factory.mktemp("interop") / "home", "--servers", "crm,payments") as (running, _):
        yield running


@pytest.mark.parametrize(("mode", "revision"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_the_python_sdk_lists_and_calls_in_both_eras(platform: RunningPlatform, mode: str, revision: str) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {platform.token}"}) as http:
        transport = streamable_http_client(platform.mcp_url, http_client=http)
        async with Client(transport, mode=mode) as client:
            assert client.protocol_version == revision
            tools = {t.name for t in (await client.list_tools()).tools}
            assert "crm__search_customers" in tools
            found = await client.call_tool("crm__search_customers", {"query": "john.smith@acme.com"})
            assert not found.is_error
            assert "john.smith@acme.com" in json.dumps(found.structured_content)


SCRIPT = """
import { Client } from "@modelcontextprotocol/PACKAGE";
import { StreamableHTTPClientTransport } from "TRANSPORT";
const headers = { Authorization: `Bearer ${process.env.TOKEN}` };
const transport = new StreamableHTTPClientTransport(new URL(process.env.URL), { requestInit: { headers } });
const client = new Client({ name: "interop", version: "1" }, OPTIONS);
await client.connect(transport);
const { tools } = await client.listTools();
const found = await client.callTool({ name: "crm__search_customers", arguments: { query: "john.smith@acme.com" } });
const names = tools.map((t) => t.name);
console.log(JSON.stringify({ tools: names, error: found.isError ?? false, found: found.structuredContent }));
await client.close();
"""

TYPESCRIPT = {
    "v1, 2025-11-25": (
        "@modelcontextprotocol/sdk@1.32.2",
        SCRIPT.replace("PACKAGE", "sdk/client/index.js")
        .replace("TRANSPORT", "@modelcontextprotocol/sdk/client/streamableHttp.js")
        .replace("OPTIONS", "{}"),
    ),
    "v2, 2026-07-28": (
        "@modelcontextprotocol/client@2.4.0",
        SCRIPT.replace("PACKAGE", "client")
        .replace("TRANSPORT", "@modelcontextprotocol/client")
        .replace("OPTIONS", "{ versionNegotiation: { mode: 'auto' } }"),
    ),
}


@pytest.mark.parametrize("generation", TYPESCRIPT)
def test_the_typescript_sdk_lists_and_calls(platform: RunningPlatform, generation: str, tmp_path: Path) -> None:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    package, script = TYPESCRIPT[generation]
    (tmp_path / "package.json").write_text('{"type": "module"}')
    subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", package], cwd=tmp_path, check=True)
    (tmp_path / "client.mjs").write_text(script)
    ran = subprocess.run(
        ["node", "client.mjs"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/usr/local/bin", "URL": platform.mcp_url, "TOKEN": platform.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout)
    assert "crm__search_customers" in answer["tools"]
    assert answer["error"] is False
    assert "john.smith@acme.com" in json.dumps(answer["found"])
