"""The protocol's official conformance suite: what a server passes by itself, it passes behind the gateway.

For each revision the suite runs three times: directly against `conformance_server.py`, through the endpoint of that one
server, and through the endpoint of all servers. There the suite speaks through a small proxy, because names have the
server in front of them and the suite cannot be told so.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.interop.node_tools import installed_node
from tests.platforms import up

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
HERE = Path(__file__).parent

REVISIONS = {
    "2026-07-28": ("--requirements", "2026-07-28"),
    "2025-11-25": ("--requirements", "2025-11-25"),
    "2025-06-18": ("--suite", "all", "--spec-version", "2025-06-18"),
    "2025-03-26": ("--suite", "all", "--spec-version", "2025-03-26"),
}

_RESULT = re.compile(r"^[✓✗] ([\w-]+): (\d+) passed, (\d+) failed$", re.MULTILINE)


@dataclass(frozen=True)
class Suite:
    """The installed suite and a Node that can run it."""

    node: Path
    script: Path

    def run(self, url: str, revision: str, folder: Path) -> dict[str, tuple[int, int]]:
        """Scenario → how many checks passed and failed."""
        command = [self.node, self.script, "server", "--url", url, *REVISIONS[revision], "-o", folder]
        ran = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
        found = {name: (int(passed), int(failed)) for name, passed, failed in _RESULT.findall(ran.stdout)}
        assert found, ran.stdout[-2000:] + ran.stderr[-2000:]
        return found


@pytest.fixture(scope="module")
def suite() -> Suite:
    """Node comes from the package index, the suite from npm. Both are kept for the next run."""
    node = installed_node()
    folder = node.install("conformance-0.2.0-alpha.12", SUITE)
    return Suite(node.program, folder / "node_modules/@modelcontextprotocol/conformance/dist/index.js")


@contextmanager
def program(script: str, *arguments: str) -> Iterator[str]:
    """A server of this folder on a free port; its base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(HERE / script), "--port", str(port), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        assert process.poll() is None, f"{script} ended"
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Endpoints:
    """Where one server can be reached: by itself, and in both ways behind the gateway."""

    direct: str
    alone: str
    among_all: str


@pytest.fixture(scope="module")
def endpoints(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Endpoints]]:
    """By era: a server of both eras, and one that knows only the older revisions."""
    folder = tmp_path_factory.mktemp("conformance")
    with ExitStack() as stack:
        servers = {
            "modern": stack.enter_context(program("conformance_server.py")),
            "older": stack.enter_context(program("conformance_server.py", "--older")),
        }
        config = folder / "mcp.json"
        urls = {id: {"url": url.replace("localhost", "127.0.0.1") + "/mcp"} for id, url in servers.items()}
        config.write_text(json.dumps({"mcpServers": urls}))
        open_to_all = {"WORKBENCH_AUTHENTICATION": "false", "WORKBENCH_RATE_PER_MINUTE": "100000"}
        options = ("--servers", "", "--config", str(config))
        running, _ = stack.enter_context(up(folder / "home", *options, env=open_to_all))
        base = running.url.replace("127.0.0.1", "localhost")
        yield {
            id: Endpoints(
                f"{url}/mcp",
                f"{base}/servers/{id}/mcp",
                stack.enter_context(program("conformance_names.py", "--server", id, "--gateway", running.url)) + "/mcp",
            )
            for id, url in servers.items()
        }


def expected(revision: str, way: str) -> dict[str, str]:
    """Scenario → why it may fail there although the server passes it by itself. The list may only shrink."""
    lines = (HERE / "conformance_expected_failures.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return {scenario: reason for at, where, scenario, reason in rows if (at, where) == (revision, way)}


@pytest.mark.parametrize("revision", REVISIONS)
def test_what_a_server_passes_it_passes_behind_the_gateway(
    suite: Suite, endpoints: dict[str, Endpoints], revision: str, tmp_path: Path, capsys: Any
) -> None:
    at = endpoints["modern" if revision >= "2026" else "older"]
    direct = suite.run(at.direct, revision, tmp_path)
    for way, url in (("alone", at.alone), ("among all", at.among_all)):
        behind = suite.run(url, revision, tmp_path)
        worse = {name for name, (_, failed) in direct.items() if not failed and behind.get(name, (0, 1))[1]}
        with capsys.disabled():
            sums = [f"{sum(p for p, _ in r.values())}/{sum(p + f for p, f in r.values())}" for r in (direct, behind)]
            print(f"\n{revision}  direct {sums[0]:>8}  {way:>9} {sums[1]:>8}  {' '.join(sorted(worse))}")
        reasons = expected(revision, way)
        assert worse <= reasons.keys(), f"{way}: fails behind the gateway: {sorted(worse - reasons.keys())}"
        assert reasons.keys() <= worse, f"{way}: passes now, take it off the list: {sorted(reasons.keys() - worse)}"
