"""Two real gateway processes on one state folder and one Redis: clients may change between them, and one may die."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.gateway.conftest import Serve
from tests.gateway.test_crossings import ACCEPTED, Older, older_server
from tests.redis_server import RedisServer
from workbench.config import prepare_home

pytestmark = pytest.mark.slow

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
}


@dataclass
class Process:
    """One gateway."""

    running: subprocess.Popen[str]
    url: str
    token: str

    def headers(self, **more: str) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self.token}", "accept": "application/json, text/event-stream",
            "content-type": "application/json", **more,
        }  # fmt: skip

    async def modern(self, http: httpx2.AsyncClient, **params: Any) -> Any:
        body = {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": "older.greet", "arguments": {}, **params, "_meta": META},
        }  # fmt: skip
        headers = self.headers(
            **{"mcp-protocol-version": MODERN, "mcp-method": "tools/call", "mcp-name": "older.greet"}
        )
        return (await http.post(f"{self.url}/mcp", json=body, headers=headers)).json()


def start(*arguments: str) -> subprocess.Popen[str]:
    """One gateway process."""
    child = str(Path(__file__).with_name("gateway_child.py"))
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.Popen([sys.executable, child, *arguments], stdout=subprocess.PIPE, text=True, env=environment)


@pytest.fixture
async def two(tmp_path: Path, serve: Serve) -> AsyncIterator[tuple[Process, Process]]:
    upstream = await serve(Older(older_server().streamable_http_app()))
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"older": {"url": f"{upstream}/mcp"}}}))
    home = prepare_home(tmp_path / "home")
    redis = RedisServer(tmp_path)
    started: list[subprocess.Popen[str]] = []
    try:
        found = []
        for _ in range(2):  # one after the other: the first makes what the state folder needs
            one = start(str(home), str(config), redis.url)
            started.append(one)
            assert one.stdout is not None
            line = await asyncio.wait_for(asyncio.to_thread(one.stdout.readline), 60)
            port, token = line.split()
            found.append(Process(one, f"http://127.0.0.1:{port}", token))
        yield found[0], found[1]
    finally:
        for one in started:
            one.kill()  # nothing is launched by them, and nobody reads their record
        for one in started:
            await asyncio.to_thread(one.wait, 20)
            assert one.stdout is not None
            one.stdout.close()
        redis.kill()


async def test_a_call_that_waits_in_one_process_is_continued_by_the_other_and_not_lost_silently(
    two: tuple[Process, Process],
) -> None:
    one, other = two
    async with httpx2.AsyncClient(timeout=30) as http:

        async def begin() -> dict[str, Any]:
            first = (await one.modern(http))["result"]
            ((key, _),) = first["inputRequests"].items()
            return {"requestState": first["requestState"], "inputResponses": {key: ACCEPTED}}

        answer = await other.modern(http, **await begin())
        assert answer["result"]["content"][0]["text"] == "Hello Ada"
        left = await begin()
        one.running.kill()
        one.running.wait()
        over = await other.modern(http, **left)
        assert over["error"]["code"] == -32602
        assert over["error"]["message"] == "The gateway process that held this call has ended. Make the call again."


async def test_a_session_begun_in_one_process_is_used_in_the_other_and_outlives_the_first(
    two: tuple[Process, Process],
) -> None:
    one, other = two
    async with httpx2.AsyncClient(timeout=30) as http:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {"elicitation": {}}, "clientInfo": {}}
        begun = await http.post(
            f"{one.url}/mcp", headers=one.headers(),
            json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        )  # fmt: skip
        session = {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "older.greet", "arguments": {}}}
        asked = http.stream("POST", f"{one.url}/mcp", json=call, headers=one.headers(**session))
        async with asked as stream:
            messages = (json.loads(line[6:]) async for line in stream.aiter_lines() if line.startswith("data: "))
            question = await anext(messages)
            answer = {"jsonrpc": "2.0", "id": question["id"], "result": ACCEPTED}
            told = await http.post(f"{other.url}/mcp", json=answer, headers=other.headers(**session))
            assert told.status_code == 202
            assert (await anext(messages))["result"]["content"][0]["text"] == "Hello Ada"
        one.running.kill()
        one.running.wait()
        ping = {"jsonrpc": "2.0", "id": 3, "method": "ping"}
        alive = await http.post(f"{other.url}/mcp", json=ping, headers=other.headers(**session))
        assert alive.json()["result"] == {}
        late = await http.post(f"{other.url}/mcp", json=answer, headers=other.headers(**session))
        assert (late.status_code, late.json()["error"]["code"]) == (400, -32600)
