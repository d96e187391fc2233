"""`workbench connect`: the SDK's own stdio client through the bridge, in both eras."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.platforms import stop, up
from workbench.platform.run_file import RunningPlatform

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("connect") / "home"


@pytest.fixture(scope="module")
def platform(home: Path) -> Iterator[tuple[RunningPlatform, subprocess.Popen[str]]]:
    with up(home, "--servers", "products") as started:
        yield started


def command(home: Path, *more: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable, args=["-m", "workbench", "--home", str(home), "connect", *more], env=dict(os.environ)
    )


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_stdio_client_lists_and_calls_through_the_bridge(home: Path, platform: Any, mode: Any) -> None:
    async with Client(stdio_client(command(home)), mode=mode) as client:
        assert "products__check_stock" in {tool.name for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("products__check_stock", {"product_id": "P-0001"})
        assert answer.structured_content["product_id"] == "P-0001"
    async with Client(stdio_client(command(home, "--server", "products")), mode=mode) as client:
        assert "check_stock" in {tool.name for tool in (await client.list_tools()).tools}


def run(home: Path, text: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench", "--home", str(home), "connect", *more],
        input=text, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_a_message_that_is_nested_too_deep_is_answered_and_the_bridge_goes_on(home: Path, platform: Any) -> None:
    ping = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"})
    done = run(home, "[" * 5000 + "]" * 5000 + f"\n{ping}\n")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line).get("id") for line in done.stdout.splitlines()] == [None, 7]


def test_requests_under_way_are_answered_when_the_client_closes_our_input(home: Path, platform: Any) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {},
    }  # fmt: skip
    params = {"name": "products.check_stock", "arguments": {"product_id": "P-0001"}, "_meta": meta}
    lines = [{"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": params} for n in range(5)]
    done = run(home, "".join(json.dumps(line) + "\n" for line in lines))
    assert done.returncode == 0, done.stderr
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == {0, 1, 2, 3, 4}


def test_a_server_that_does_not_exist_is_said_so(home: Path, platform: Any) -> None:
    done = run(home, "", "--server", "nobody")
    assert done.returncode == 4
    assert "404" in done.stderr


def test_without_a_platform_it_says_how_to_start_one(tmp_path: Path) -> None:
    done = run(tmp_path / "nowhere", "")
    assert done.returncode == 4
    assert re.search(r"workbench --home \S+ up`", done.stderr)


def test_when_the_platform_stops_the_bridge_ends(home: Path, platform: Any) -> None:
    bridge = subprocess.Popen(
        [sys.executable, "-m", "workbench", "--home", str(home), "connect"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert bridge.stdin is not None
    assert bridge.stdout is not None
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    bridge.stdin.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}) + "\n")
    bridge.stdin.flush()
    assert json.loads(bridge.stdout.readline())["id"] == 1
    stop(platform[1])
    _, said = bridge.communicate(timeout=30)
    assert bridge.returncode == 4
    assert "closed the connection" in said
