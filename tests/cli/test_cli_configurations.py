"""A stranger's configuration with eight servers is up in one command; what cannot run is named where people look."""

# ruff: noqa: E501 - configurations are read by their lines

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx2
import pytest

from tests.platforms import up
from workbench.platform.run_file import RunningPlatform

pytestmark = pytest.mark.slow

SERVER = '''
"""A server of the standard library alone: says who it is, where it runs, and what it sees."""
import json, os, sys

for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "x", "version": "1"}}
    elif message["method"] == "tools/list":
        result = {"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in ("look", "hide")]}
    elif message["method"] == "tools/call":
        seen = {"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}
        result = {"content": [{"type": "text", "text": json.dumps(seen)}]}
    else:
        result = {}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
'''


class Far(BaseHTTPRequestHandler):
    """The same over HTTP, if one knows the key."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.headers.get("Authorization") == "Bearer of-the-secrets"
        results = {
            "initialize": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "far", "version": "1"}},
            "tools/list": {"tools": [{"name": "look", "inputSchema": {"type": "object"}}]},
        }  # fmt: skip
        body = b""
        if "id" in message:
            answer = {"jsonrpc": "2.0", "id": message["id"], "result": results.get(message["method"], {})}
            body = json.dumps(answer).encode()
        self.send_response(401 if not known else 200 if body else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if known else 0))
        self.end_headers()
        self.wfile.write(body if known else b"")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stranger")


@pytest.fixture(scope="module", autouse=True)
def platform(folder: Path) -> Iterator[RunningPlatform]:
    far = ThreadingHTTPServer(("127.0.0.1", 0), Far)
    Thread(target=far.serve_forever, daemon=True).start()
    (folder / "server.py").write_text(SERVER)
    (folder / ".env").write_text("OF_FILE=1\n")
    python = sys.executable
    text = f"""// mine
    {{
      "inputs": [{{"id": "far-key", "type": "promptString", "password": true}},],
      "mcpServers": {{
        "time": {{"command": "{python}", "args": ["server.py", 8080, true], "env": {{"PORT": 8080, "KEY": "${{A_KEY}}"}}}},
        "one line": {{"command": "{python} server.py 'a b'", "disabledTools": ["hide"], "autoApprove": ["look"]}},
        "calendar": {{"command": "{python}", "args": ["${{workspaceFolder}}/server.py"], "envFile": "${{workspaceFolder}}/.env"}},
        "高德地图": {{"type": "local", "command": ["{python}", "server.py"], "_comment": "maps"}},
        "far": {{"type": "streamable_http", "serverUrl": "http://127.0.0.1:{far.server_port}/mcp",
                 "headers": {{"Authorization": "Bearer ${{input:far-key}}", "Accept": "application/json"}}}},
        "needs": {{"command": "{python}", "args": ["server.py"], "env": {{"K": "${{NOT_SET_ANYWHERE}}"}}}},
        "windows": {{"command": "cmd", "args": ["/c", "npx", "-y", "x", "C:\\\\Users\\\\me"]}},
        "idle": {{"command": "{python}", "args": ["server.py"], "disabled": true}},
      }},
    }}"""
    (folder / "mcp.json").write_text(text, encoding="utf-8")
    secrets = folder / "home" / "secrets"
    secrets.mkdir(parents=True)
    (secrets / "far-key").write_text("of-the-secrets")
    (secrets / "far-key").chmod(0o600)
    env = {
        "A_KEY": "key-of-ada",
        "OPENAI_API_KEY": "sk-nobody",
        "HTTPS_PROXY": "http://proxy.example:3128",
        "NO_PROXY": "127.0.0.1",
    }
    with up(folder / "home", "--servers", "", "--config", str(folder / "mcp.json"), env=env) as (running, _):
        yield running
    far.shutdown()
    far.server_close()


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench", "--home", str(folder / "home"), *command],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def seen(folder: Path, server: str) -> dict[str, object]:
    done = run(folder, "call", f"{server}.look", "--json")
    found: dict[str, object] = json.loads(json.loads(done.stdout)["result"]["content"][0]["text"])
    return found


def test_all_that_can_run_does(folder: Path) -> None:
    servers = {s["id"]: s["status"] for s in json.loads(run(folder, "servers", "--json").stdout)}
    assert servers == {
        "time": "ready", "one-line": "ready", "calendar-2": "ready", "server-586dfed1": "ready", "far": "ready",
        "needs": "invalid", "windows": "invalid", "idle": "disabled",
    }  # fmt: skip


def test_what_does_not_run_is_named_where_people_look(folder: Path, platform: RunningPlatform) -> None:
    log = (folder / "up.log").read_text(encoding="utf-8")
    headers = {"Authorization": f"Bearer {platform.token}"}
    listed = httpx2.get(f"{platform.url}/servers", headers=headers).text
    table = " ".join(run(folder, "servers").stdout.split())
    doctor = run(folder, "doctor", "--json").stdout
    for place in (log, listed):
        assert "the variable NOT_SET_ANYWHERE is not set. Set it: export NOT_SET_ANYWHERE=…" in place
        assert "has a path of Windows" in place
        assert "is true in its configuration" in place
        assert "Not used here: _comment." in place
    assert "5 of 7 servers" in log
    assert "invalid" in table
    assert "far: The header 'Accept' is set by the gateway itself" in run(folder, "servers").stderr
    assert "of-the-secrets" not in log + listed + doctor


def test_a_server_gets_what_its_configuration_says_and_the_way_to_the_network(folder: Path) -> None:
    time, line, calendar = (seen(folder, id) for id in ("time", "one-line", "calendar-2"))
    assert (time["argv"], line["argv"]) == (["8080", "true"], ["a b"])
    assert time["cwd"] == str(folder)
    env, of_file = time["env"], calendar["env"]
    assert isinstance(env, dict)
    assert isinstance(of_file, dict)
    assert (env["PORT"], env["HTTPS_PROXY"], env["NO_PROXY"]) == ("8080", "http://proxy.example:3128", "127.0.0.1")
    assert of_file["OF_FILE"] == "1"
    assert not [name for name in env if name.startswith("OPENAI") or name == "A_KEY"]


def test_a_hidden_tool_is_neither_listed_nor_called(folder: Path) -> None:
    assert "one-line.hide" not in run(folder, "tools", "--json").stdout
    assert run(folder, "call", "one-line.hide").returncode == 2
    assert run(folder, "call", "time.hide").returncode == 0


def test_a_call_of_what_does_not_run_says_why(folder: Path) -> None:
    done = run(folder, "call", "needs.look", "--json")
    assert done.returncode == 4
    assert "is invalid; its configuration has to be changed first" in done.stdout
    assert "NOT_SET_ANYWHERE" in done.stdout
    refused = run(folder, "servers", "restart", "windows")
    assert refused.returncode != 0
    assert "does not run" in refused.stderr
