"""Clients that run in a browser, on a page of another origin: they list and call, where the page is allowed."""

from __future__ import annotations

import functools
import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.interop.node_tools import CHROMIUM, installed_node
from tests.platforms import up
from workbench.platform.run_file import RunningPlatform

pytestmark = [
    pytest.mark.interop,
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None, reason="4 web clients need a browser: Chromium is not installed"),
]

PACKAGES = (
    "esbuild@0.28.2",
    "@modelcontextprotocol/sdk@1.32.2",
    "@modelcontextprotocol/client@2.4.0",
    "@ai-sdk/mcp@2.0.99",
    "use-mcp@0.0.21",
    "react@19.3.1",
    "react-dom@19.3.1",
)

_SDK = """
const transport = new StreamableHTTPClientTransport(new URL(config.url), { requestInit: { headers: config.headers } });
const client = new Client({ name: "page", version: "1" }, OPTIONS);
report(async () => {
  await client.connect(transport);
  const { tools } = await client.listTools();
  const name = tools.map((tool) => tool.name).find((name) => name.endsWith("search_customers"));
  const found = await client.callTool({ name, arguments: config.arguments });
  await transport.terminateSession?.();
  await client.close();
  return found;
});
"""

_REPORT = """
const config = window.config;
const report = (work) => work().then(
  (found) => { window.found = JSON.stringify(found); },
  (error) => { window.found = JSON.stringify({ failed: String(error) }); },
);
"""

CLIENTS: dict[str, str] = {
    "TypeScript SDK 1": """
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
"""
    + _REPORT
    + _SDK.replace("OPTIONS", "{}"),
    "TypeScript SDK 2": """
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
"""
    + _REPORT
    + _SDK.replace("OPTIONS", "{ versionNegotiation: { mode: 'auto' } }"),
    "AI SDK": """
import { createMCPClient } from "@ai-sdk/mcp";
"""
    + _REPORT
    + """
report(async () => {
  const client = await createMCPClient({ transport: { type: "http", url: config.url, headers: config.headers } });
  const tools = await client.tools();
  const name = Object.keys(tools).find((name) => name.endsWith("search_customers"));
  const found = await tools[name].execute(config.arguments, { toolCallId: "1", messages: [] });
  await client.close();
  return found;
});
""",
    "use-mcp": """
import { createElement, useEffect } from "react";
import { createRoot } from "react-dom/client";
import { useMcp } from "use-mcp/react";
"""
    + _REPORT
    + """
function Page() {
  const mcp = useMcp({ url: config.url, customHeaders: config.headers, autoReconnect: false, autoRetry: false });
  useEffect(() => {
    if (mcp.state === "failed") report(async () => { throw new Error(mcp.error); });
    if (mcp.state !== "ready") return;
    const name = mcp.tools.map((tool) => tool.name).find((name) => name.endsWith("search_customers"));
    report(() => mcp.callTool(name, config.arguments));
  }, [mcp.state]);
  return null;
}
createRoot(document.body).render(createElement(Page));
""",
}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An origin of its own, with a page for each client."""
    node = installed_node()
    folder = node.install("web-clients-1", *PACKAGES)
    site = tmp_path_factory.mktemp("pages")
    for number, script in enumerate(CLIENTS.values()):
        source = folder / f"client{number}.js"
        source.write_text(script)
        bundle = ["--bundle", "--format=iife", "--platform=browser", f"--outfile={site / f'{number}.js'}"]
        esbuild = folder / "node_modules/.bin/esbuild"
        defined = '--define:process.env.NODE_ENV="production"'
        command = [esbuild, source, *bundle, defined, "--log-level=error"]
        subprocess.run(command, check=True, cwd=folder, env=node.environment)
        (site / f"{number}.html").write_text(f"<!doctype html><body><script src='{number}.js'></script></body>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def platform(pages: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    home: Path = tmp_path_factory.mktemp("web") / "home"
    with up(home, "--servers", "crm", env={"WORKBENCH_ALLOWED_ORIGINS": pages}) as (running, _):
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def result_on(browser: Any, page_url: str, platform: RunningPlatform, said: list[str]) -> Any:
    """What the client on this page found, or how it failed."""
    page = browser.new_page()
    config = {
        "url": platform.mcp_url,
        "headers": {"Authorization": f"Bearer {platform.token}"},
        "arguments": {"query": "john.smith@acme.com"},
    }
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.add_init_script(f"window.config = {json.dumps(config)};")
    page.goto(page_url)
    page.wait_for_function("window.found !== undefined", timeout=30_000)
    found = json.loads(page.evaluate("window.found"))
    page.close()
    return found


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_on_an_allowed_page_lists_and_calls(
    platform: RunningPlatform, pages: str, browser: Any, client: str
) -> None:
    said: list[str] = []
    found = result_on(browser, f"{pages}/{list(CLIENTS).index(client)}.html", platform, said)
    assert "failed" not in found, (found, said)
    assert not found.get("isError")
    assert "john.smith@acme.com" in json.dumps(found)
    assert not [line for line in said if "CORS" in line], said


def test_a_client_on_any_other_page_gets_nothing(platform: RunningPlatform, pages: str, browser: Any) -> None:
    other = pages.replace("127.0.0.1", "localhost")
    found = result_on(browser, f"{other}/0.html", platform, [])
    assert "failed" in found
    assert "john.smith" not in json.dumps(found)
