"""A real MCP App, written by others: its page is found behind all servers and behind its own endpoint."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.platforms import up
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mcp-workbench-tests"
PACKAGE = "@modelcontextprotocol/server-basic-vanillajs@2.0.3"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = CACHE / "app-2.0.3"
    if not (folder / "ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, PACKAGE]
        subprocess.run(install, check=True)
        (folder / "ready").touch()
    home = tmp_path_factory.mktemp("apps")
    program = folder / "node_modules" / ".bin" / "mcp-server-basic-vanillajs"
    config = {"mcpServers": {"clock": {"command": str(program), "args": ["--stdio"]}}}
    (home / "mcp.json").write_text(json.dumps(config))
    with up(home / "home", "--servers", "crm", "--config", str(home / "mcp.json")) as (running, _):
        yield running


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize(
    ("path", "named", "page"), [("/mcp", "clock__", "ui://gateway/clock/"), ("/servers/clock/mcp", "", "ui://")]
)
async def test_the_page_is_where_the_tool_says(
    platform: RunningPlatform, mode: Any, path: str, named: str, page: str
) -> None:
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {platform.token}"}) as http:
        transport = streamable_http_client(platform.url + path, http_client=http)
        async with Client(transport, mode=mode) as client:
            (tool,) = [one for one in (await client.list_tools()).tools if one.name == f"{named}get-time"]
            uri = (tool.meta or {})["ui"]["resourceUri"]
            assert uri.startswith(page)
            (contents,) = (await client.read_resource(uri)).contents
            assert contents.mime_type == "text/html;profile=mcp-app"
            assert "<html" in contents.text  # type: ignore[union-attr]
            assert uri in [str(one.uri) for one in (await client.list_resources()).resources]
            assert not (await client.call_tool(tool.name, {})).is_error
