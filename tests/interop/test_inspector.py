"""MCP Inspector against a running gateway: its page, which speaks by itself or through its proxy, and its program."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.interop.node_tools import CHROMIUM, Node, installed_node
from tests.platforms import up
from tests.waiting import soon
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PAGE = "@modelcontextprotocol/inspector@1.0.3"
"""The last generation whose page can speak to a server directly."""

PROGRAM = "@modelcontextprotocol/inspector@2.12.0"
PROXY_TOKEN = "t" * 64


@pytest.fixture(scope="module")
def node() -> Node:
    return installed_node()


@pytest.fixture(scope="module")
def page_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, page_port: int) -> Iterator[RunningPlatform]:
    origins = {"WORKBENCH_ALLOWED_ORIGINS": f"http://localhost:{page_port}"}
    with up(tmp_path_factory.mktemp("inspector") / "home", "--servers", "crm", env=origins) as (running, _):
        yield running


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def listens(port: int) -> bool:
    try:
        socket.create_connection(("localhost", port), 1).close()
    except OSError:
        return False
    return True


@contextmanager
def inspector(node: Node, page_port: int, log: Path) -> Iterator[str]:
    """The Inspector's page and its proxy; the URL of the page."""
    folder, proxy_port = node.install("inspector-1.0.3", PAGE), free_port()
    script = folder / "node_modules/@modelcontextprotocol/inspector/client/bin/start.js"
    env = {
        **node.environment,
        "HOST": "localhost",
        "CLIENT_PORT": str(page_port),
        "SERVER_PORT": str(proxy_port),
        "MCP_PROXY_AUTH_TOKEN": PROXY_TOKEN,
        "MCP_AUTO_OPEN_ENABLED": "false",
    }
    with log.open("w") as output:
        process = subprocess.Popen(
            [node.program, script], env=env, stdout=output, stderr=output, start_new_session=True
        )
    try:
        soon(lambda: listens(page_port) and listens(proxy_port), 60)
        yield f"http://localhost:{page_port}/?MCP_PROXY_AUTH_TOKEN={PROXY_TOKEN}&MCP_PROXY_PORT={proxy_port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it has children, which it leaves behind
        process.wait(10)


@pytest.mark.parametrize("mode", ["direct", "proxy"])
def test_the_page_lists_and_calls_in_each_of_its_modes(
    platform: RunningPlatform, node: Node, page_port: int, mode: str, tmp_path: Path
) -> None:
    if CHROMIUM is None:
        pytest.skip("1 mode of the Inspector needs a browser: Chromium is not installed")
    from playwright.sync_api import expect, sync_playwright

    headers = json.dumps([{"name": "Authorization", "value": f"Bearer {platform.token}", "enabled": True}])
    asked: list[str] = []
    with inspector(node, page_port, tmp_path / "inspector.log") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url) if request.method == "POST" else None)
        page.add_init_script(
            f"localStorage.setItem('lastConnectionType', '{mode}');"
            f"localStorage.setItem('lastCustomHeaders', {json.dumps(headers)});"
        )
        page.goto(f"{url}&transport=streamable-http&serverUrl={platform.mcp_url}/")
        page.get_by_role("button", name="Connect", exact=True).click()
        page.get_by_role("tab", name="Tools").click(timeout=30_000)
        page.get_by_role("button", name="List Tools").click()
        page.get_by_text("Search customers").first.click()
        page.get_by_role("checkbox", name="query null").click()
        page.locator("textarea#query").fill("john.smith@acme.com")
        page.get_by_role("button", name="Run Tool").click()
        expect(page.get_by_text("Tool Result: Success")).to_be_visible(timeout=15_000)
        expect(page.get_by_text("john.smith@acme.com").nth(1)).to_be_visible()
        browser.close()
    spoken_to = {address.split("?")[0].rstrip("/") for address in asked}
    assert (platform.mcp_url in spoken_to) is (mode == "direct"), spoken_to


def run(node: Node, script: Path, url: str, token: str, *arguments: str) -> Any:
    """What the Inspector's program prints, as JSON."""
    command = [node.program, script, "--cli", url, "--transport", "http", "--header", f"Authorization: Bearer {token}"]
    home = {**node.environment, "HOME": str(script.parent)}
    ran = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=home, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize(
    ("name", "package", "script"),
    [
        ("inspector-1.0.3", PAGE, "cli/build/cli.js"),
        ("inspector-2.12.0", PROGRAM, "clients/launcher/build/index.js"),
    ],
)
def test_the_program_lists_and_calls(
    platform: RunningPlatform, node: Node, name: str, package: str, script: str
) -> None:
    path = node.install(name, package) / "node_modules/@modelcontextprotocol/inspector" / script
    listed = run(node, path, platform.mcp_url, platform.token, "--method", "tools/list")
    tool = next(tool["name"] for tool in listed["tools"] if tool["name"].endswith("search_customers"))
    call = ("--method", "tools/call", "--tool-name", tool, "--tool-arg", "query=john.smith@acme.com")
    found = run(node, path, platform.mcp_url, platform.token, *call)
    assert not found.get("isError")
    assert "john.smith@acme.com" in json.dumps(found)
