"""What a newcomer looks for and does not find in a list is named, with the reason: on the terminal and in the app."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from streamlit.testing.v1 import AppTest

import workbench
from tests.dashboards.test_screens import texts
from workbench.cli import cli
from workbench.registry import ConfigurationRemarks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

APP = Path(__file__).resolve().parents[2] / "dashboards" / "app.py"
ODD = """
import json, sys
TOOLS = [{"name": "get user", "inputSchema": {"type": "object"}},
         {"name": "find", "inputSchema": {"type": "object", "properties": {"x": {"type": "str"}}}}]
for line in sys.stdin:
    asked = json.loads(line)
    if "id" not in asked:
        continue
    answer = {"jsonrpc": "2.0", "id": asked["id"]}
    if asked["method"] == "initialize":
        answer["result"] = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                            "serverInfo": {"name": "odd", "version": "1"}}
    elif asked["method"] == "tools/list":
        answer["result"] = {"tools": TOOLS}
    else:
        answer["error"] = {"code": -32601, "message": "no such method"}
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with an odd server, one that cannot be used, one that is switched off, and keys that mean nothing."""
    entry = {"command": sys.executable, "args": ["-c", ODD]}
    servers = {"odd": entry, "needs": {**entry, "env": {"K": "${NOWHERE_SET}"}}, "off": {**entry, "disabled": True}}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers, "context_servers": ["wrong"], "theme": "dark"}))
    monkeypatch.setenv("WORKBENCH_MCP_CONFIG", str(path))
    monkeypatch.setenv("WORKBENCH_SERVERS", "")
    return path


def test_the_terminal_says_what_is_not_listed_and_what_is_read_otherwise(config: Path, tmp_path: Path) -> None:
    def run(*words: str) -> Any:
        return CliRunner().invoke(cli, ["--home", str(tmp_path / "home"), *words], standalone_mode=False)

    for _ in range(4):  # on a machine that is busy its server may still be starting when the command gives up waiting
        listed = run("tools")
        if "odd is starting" not in listed.stderr:
            break
    assert "Not listed - needs is invalid: " in listed.stderr
    assert "the variable NOWHERE_SET is not set" in listed.stderr
    assert "off is" not in listed.stderr
    assert "To look at - odd.get_user_d77d8fbc: Its server calls it 'get user'" in listed.stderr
    assert "Definitions read otherwise than they are written: odd.find; " in listed.stderr
    assert "Read otherwise - /inputSchema/properties/x/type" in run("tools", "odd.find").stderr
    assert "Not listed" not in run("tools", "--json").output
    servers = run("servers")
    assert "key context_servers" in servers.stderr
    assert "not read: theme." in servers.stderr
    assert "1 tool is called otherwise than by the server: get_user_d77d8fbc." in servers.stderr


def test_the_app_says_so_in_sight(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit

    with workbench.open(home=tmp_path / "home", attach=False, source="app") as bench:
        remarks = bench.configuration()
        assert remarks != ConfigurationRemarks()
        monkeypatch.setattr(workbench, "open", lambda **_: bench)
        streamlit.cache_resource.clear()
        app = AppTest.from_file(str(APP), default_timeout=50).run()
        assert not app.exception
        home = texts(app)
        assert "the variable NOWHERE_SET is not set" in home
        assert "not read: theme." in home
        assert "key context_servers" in home
        app.query_params["tool"] = "odd.get_user_d77d8fbc"
        app.switch_page("screens/tools.py").run()
        assert not app.exception
        assert "Its server calls it 'get user'; here it is 'get_user_d77d8fbc'." in texts(app)
        streamlit.cache_resource.clear()
