"""How a server is served: who is let in, what it tells of itself, and that it starts, serves both eras and ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from servers.serving import SECRET_VARIABLE, application

SECRET = "s3cret-of-the-gateway"
HELLO = (
    '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-11-25", '
    '"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}}\n'
)


@pytest.fixture
def crm() -> Any:
    from servers.crm.server import server

    return server


def client_of(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://127.0.0.1:9000")


async def test_health_is_open_and_everything_else_needs_the_secret(crm: Any) -> None:
    async with client_of(application(crm, secret=SECRET)) as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["status"], health.json()["server"]) == (200, "ok", "crm")
        for path in ("/mcp", "/.well-known/mcp-capabilities", "/anything"):
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": SECRET}, {"Authorization": ""}):
                refused = await client.get(path, headers=given)
                assert refused.status_code == 401, (path, given)
                assert refused.headers["www-authenticate"] == "Bearer"
                assert SECRET not in refused.text
        told = await client.get("/.well-known/mcp-capabilities", headers={"Authorization": f"Bearer {SECRET}"})
        assert told.status_code == 200


async def test_capabilities_are_the_definitions_of_the_protocol(crm: Any) -> None:
    async with client_of(application(crm)) as client:
        told = (await client.get("/.well-known/mcp-capabilities")).json()
    assert told["name"] == "crm"
    assert "2026-07-28" in told["protocolVersions"]
    assert "2025-11-25" in told["protocolVersions"]
    tools = {t["name"]: t for t in told["tools"]}
    assert tools["get_customer"]["inputSchema"]["required"] == ["customer_id"]
    assert tools["get_customer"]["_meta"]["workbench/scopes"] == ["crm:read"]
    assert told["prompts"][0]["name"] == "prepare_call"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:9000", 200),
        ("localhost:9000", 200),
        ("localhost", 200),
        ("[::1]:9000", 200),
        ("[::1]", 200),
        ("evil.example", 421),
        ("evil.example:9000", 421),
        ("127.0.0.1.evil.example:9000", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1:9000@evil.example", 421),
        ("localhost:evil", 421),
        ("", 421),
    ],
)
async def test_on_loopback_only_loopback_names_are_answered(crm: Any, host: str, status: int) -> None:
    async with client_of(application(crm)) as client:
        assert (await client.get("/health", headers={"Host": host})).status_code == status


async def test_a_server_that_cannot_answer_says_why(crm: Any) -> None:
    def broken() -> dict[str, Any]:
        raise FileNotFoundError("the tables are gone")

    async with client_of(application(crm, health=broken)) as client:
        health = await client.get("/health")
    assert health.status_code == 503
    assert health.json()["error"] == "the tables are gone"


# --- real processes


def start(root: Path, name: str, *options: str, fd: int | None = None, **env: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, str(root / "servers" / name / "server.py"), *options],
        env={**os.environ, **env},
        pass_fds=[fd] if fd is not None else [],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.fixture
def served(root: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The crm server on an inherited socket, as the registry launches it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = start(
            root, "crm", "--http", "--fd", str(listener.fileno()), fd=listener.fileno(), **{SECRET_VARIABLE: SECRET}
        )
        try:
            yield process, f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            process.kill()
            process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "era"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_both_eras_are_served_over_http(served: tuple[subprocess.Popen[bytes], str], mode: Any, era: str) -> None:
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    _, url = served
    http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {SECRET}"}, timeout=30)
    async with http, Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client:
        assert client.protocol_version == era
        result = await client.call_tool("search_customers", {"email": "john.smith@acme.com"})
        assert result.structured_content["customers"][0]["company"] == "Acme Corporation"
        wrong = await client.call_tool("get_customer", {"customer_id": "C-99999"})
        assert wrong.is_error


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "era"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
async def test_both_eras_are_served_over_stdio(root: Path, mode: Any, era: str) -> None:
    from mcp import Client, StdioServerParameters

    parameters = StdioServerParameters(command=sys.executable, args=[str(root / "servers" / "crm" / "server.py")])
    async with Client(parameters, mode=mode) as client:
        assert client.protocol_version == era
        result = await client.call_tool("count_customers", {})
        assert result.structured_content["total"] == 3200


@pytest.mark.slow
async def test_a_call_without_the_secret_reaches_no_tool(served: tuple[subprocess.Popen[bytes], str]) -> None:
    _, url = served
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    async with httpx2.AsyncClient(timeout=30) as client:
        refused = await client.post(f"{url}/mcp", json=body, headers={"Accept": "application/json, text/event-stream"})
    assert refused.status_code == 401
    assert "tools" not in refused.text


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crm", "tables"])
async def test_it_ends_at_once_and_leaves_nothing(root: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "t.csv").write_text("n\n1\n")
    options = ["--folder", str(tmp_path / "data")] if name == "tables" else []
    (tmp_path / "tmp").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = start(
            root, name, "--http", "--fd", str(listener.fileno()), *options, fd=listener.fileno(),
            TMPDIR=str(tmp_path / "tmp"),
        )  # fmt: skip
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        from mcp import Client

        tool, arguments = ("query", {"sql": "select * from t"}) if name == "tables" else ("count_customers", {})
        async with Client(f"{url}/mcp") as client:
            assert not (await client.call_tool(tool, arguments)).is_error
            # a client that listens must not hold the server up
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 10) == 0
    assert process.communicate()[1] == b""
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
def test_stdio_ends_with_its_input_and_at_sigterm(root: Path) -> None:
    script = str(root / "servers" / "files" / "server.py")
    ended = subprocess.run([sys.executable, script], stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
    assert ended.returncode == 0
    with subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(HELLO.encode())
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "files"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.slow
def test_a_port_in_use_is_said_in_one_line(root: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(root, "files", "--http", "--port", str(port))
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.decode().strip() == f"Cannot listen on 127.0.0.1:{port}: Address already in use. Choose another --port."


@pytest.mark.slow
def test_a_wrong_folder_is_said_before_anything_is_served(root: Path, tmp_path: Path) -> None:
    for name, option in (("tables", "--folder"), ("knowledge", "--folder"), ("files", "--root")):
        process = start(root, name, option, str(tmp_path / "nowhere"))
        _, said = process.communicate(timeout=30)
        assert process.returncode == 2
        assert "nowhere is no folder" in said.decode()


@pytest.mark.slow
def test_it_works_where_a_wheel_puts_it(root: Path, tmp_path: Path) -> None:
    """Servers and data lie side by side under another folder, and nothing of the clone is importable."""
    import shutil

    shipped = tmp_path / "site" / "workbench" / "_shipped"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "servers", shipped / "servers", ignore=ignored)
    shutil.copytree(root / "data", shipped / "data", ignore=ignored)
    call = '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"count_customers","arguments":{}}}\n'
    script = str(shipped / "servers" / "crm" / "server.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(HELLO)
        process.stdin.flush()
        process.stdout.readline()
        process.stdin.write('{"jsonrpc":"2.0","method":"notifications/initialized"}\n' + call)
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        process.stdin.close()
    assert answer["result"]["structuredContent"]["total"] == 3200


def test_importing_a_server_loads_no_data_frame_library(root: Path) -> None:
    code = """
import sys
import servers.crm.server, servers.tables.server, servers.knowledge.server
heavy = {"pandas", "numpy", "pyarrow"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


async def test_a_crash_of_a_tool_is_logged_with_its_cause_and_its_traceback() -> None:
    import io
    import logging

    from mcp import Client

    from servers.serving import Trace
    from servers.tool_server import ToolServer

    server = ToolServer("odd")

    @server.tool()
    def divide(by: int) -> float:
        """Divide one by a number."""
        return 1 / by

    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(Trace("odd: %(message)s"))
    logger = logging.getLogger("mcp.server.mcpserver.server")
    logger.addHandler(handler)
    try:
        async with Client(server) as client:
            result = await client.call_tool("divide", {"by": 0})
            assert (await client.call_tool("divide", {"by": 4})).structured_content == {"result": 0.25}
    finally:
        logger.removeHandler(handler)
    assert result.is_error
    assert "division" not in result.content[0].text, "what a crash says may hold what a caller must not see"
    first, *rest = written.getvalue().splitlines()
    assert first == "odd: Tool 'divide' raised an unexpected exception: ZeroDivisionError: division by zero"
    assert rest[0].startswith("Traceback")
    assert any("return 1 / by" in line for line in rest)
    assert rest[-1] == "ZeroDivisionError: division by zero"
