"""Frequent failures of launched servers say what to put into the entry, whatever words the launcher has for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import workbench
from workbench.registry.remedies import remedy

UVX, RUN = ("uvx", "some-mcp"), ("/opt/bin/uv", "--directory", "/srv/x", "run", "server.py")
UNSATISFIED = (
    "× No solution found when resolving tool dependencies:\n╰─▶ Because the current Python version (3.11.7) does not "
    "satisfy Python>=3.14,<4 and some-mcp==1.0 depends on Python>=3.14,<4, we can conclude that some-mcp==1.0 cannot be"
)
OLD_NAMES = [
    "from mcp.server.fastmcp import FastMCP",
    "from mcp import McpError",
    "from mcp.client.streamable_http import streamablehttp_client",
    "from mcp.server import Server; Server('x').list_tools()",
    "import mcp.server.lowlevel.server as server; server.request_ctx",
]


@pytest.mark.parametrize("code", OLD_NAMES)
def test_a_server_of_version_1_of_the_package_is_told_the_pin(code: str) -> None:
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr
    told = remedy(said, UVX, "/home/ada/mcp.json")
    assert "written for version 1" in told
    assert 'Put "--with", "mcp<2" before the name of the package in "args" of its entry in /home/ada/mcp.json.' in told
    assert 'after "run" in "args"' in remedy(said, RUN, "")
    assert "Install 'mcp<2' where 'python3' looks" in remedy(said, ("/usr/bin/python3", "server.py"), "")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (UNSATISFIED, 'needs Python >=3.14,<4, and would run on 3.11.7. Put "--python", "3.14" before'),
        ("does not satisfy Python<3.11", ""),
        ("Because the current Python version (3.13.1) does not satisfy Python<3.12 and x", '"--python", "3.11"'),
        ("error: The requested interpreter resolved to Python 3.11.7, which is incompatible with the project's Python "
         "requirement: `>=3.13`", 'needs Python >=3.13, and would run on 3.11.7. Put "--python", "3.13"'),
        ("error: No interpreter found for Python >=3.14 in managed installations or search path",
         "needs Python >=3.14, which was not found on this machine. `uv python install 3.14` brings it."),
        ("ERROR: Package 'x' requires a different Python: 3.11.7 not in '>=3.12'", "needs Python >=3.12, and would"),
    ],
)  # fmt: skip
def test_a_package_for_another_python_is_told_which(said: str, told: str) -> None:
    found = remedy(said, UVX, "mcp.json")
    assert (told in found) if told else found == ""


@pytest.mark.parametrize(
    "said",
    ["ModuleNotFoundError: No module named 'requests'", "ImportError: cannot import name 'x' from 'mcpx.y'",
     "KeyError: 'mcp'", "AttributeError: 'Client' object has no attribute 'list_tools'", "Python 3.11.7", ""],
)  # fmt: skip
def test_other_failures_are_left_as_they_are(said: str) -> None:
    assert remedy(said, UVX, "mcp.json") == ""


def test_the_state_of_such_a_server_says_it(tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    entry = {"command": sys.executable, "args": ["-c", "from mcp.server.fastmcp import FastMCP"]}
    config.write_text(json.dumps({"mcpServers": {"older": entry}}))
    with workbench.open(home=tmp_path / "home", config=config, servers=(), attach=False) as bench:
        (state,) = bench.servers()
    assert state.status == "failed"
    assert "pin 'mcp<2'" in state.last_error
    assert "\nIt was written for version 1 of the Python package 'mcp', and has version 2. Install" in state.last_error


def test_what_uv_says_today_is_understood(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "future-mcp"\nversion = "1"\nrequires-python = ">=3.99"\n'
        '[project.scripts]\nfuture-mcp = "f:f"\n'
    )
    uvx = Path(sys.executable).with_name("uvx")
    command = [str(uvx), "--offline", "--no-cache", "--from", str(tmp_path), "future-mcp"]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert "needs Python >=3.99" in remedy(ran.stderr, UVX, ""), ran.stderr
