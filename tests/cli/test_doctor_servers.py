"""The doctor names what of a configuration cannot run on this machine, before it is started."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from workbench.cli import cli

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

NEEDY = "import sys; sys.exit('Error: API_KEY environment variable is required')"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "mcp.json"
    needy = {"command": sys.executable, "args": ["-c", NEEDY]}
    absent = {"command": "mcp-server-not-there", "args": ["--x"]}
    path.write_text(json.dumps({"mcpServers": {"needy": needy, "absent": absent}}))
    return path


def checks(home: Path) -> dict[str, Any]:
    ran = CliRunner().invoke(cli, ["--home", str(home), "doctor", "--json"])
    return {check["name"]: check for check in json.loads(ran.stdout)["checks"]}


def test_a_program_that_is_not_there_is_a_problem_before_any_start(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_MCP_CONFIG", str(config))
    found = checks(tmp_path / "home")["mcp.json"]
    assert found["verdict"] == "problem"
    assert "absent: The program 'mcp-server-not-there' is not on the PATH. Install it" in found["finding"]
    assert "needy:" not in found["finding"]
