"""The scripts in `examples/` run by themselves and print what their descriptions promise."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.py"))


def printed(script: str, folder: Path) -> str:
    """Standard output of an example that runs in an empty folder, without what this machine has set."""
    env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and not k.startswith("WORKBENCH_")}
    done = subprocess.run([sys.executable, EXAMPLES / script], env=env, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    assert not list(folder.iterdir()), "it leaves nothing behind"
    return done.stdout


@pytest.mark.timeout(180)
def test_a_tool_is_found_called_and_recorded(tmp_path: Path) -> None:
    shown = printed("call_a_tool.py", tmp_path)
    assert "found payments.list_invoices" in shown
    assert "'customer_id': 'C-01409'" in shown
    assert "ok: False because" in shown
    assert "Did you mean 'customer_id'?" in shown
    assert re.findall(r"recorded (\w+) (\w+)", shown) == [("list_invoices", "ok"), ("list_invoices", "invalid")]


@pytest.mark.timeout(180)
def test_a_server_of_ones_own_is_called_through_the_gateway(tmp_path: Path) -> None:
    shown = printed("custom_server.py", tmp_path)
    assert "server rates ready" in shown
    assert "250 USD in EUR: {'result': 230.0}" in shown
    assert "recorded: [{'server': 'rates', 'tool': 'convert', 'outcome': 'ok'}]" in shown


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_question_is_answered_with_a_tool(tmp_path: Path) -> None:
    shown = printed("ask_a_question.py", tmp_path)
    assert "called crm.search_customers ok" in shown
    assert "answered by planner" in shown
    assert "past_due" in shown


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_official_client_finds_and_calls_a_tool(tmp_path: Path) -> None:
    shown = printed("foreign_client.py", tmp_path)
    assert "'crm__get_customer'" in shown
    assert "'customer_id': 'C-01409'" in shown
    assert "recorded: [{'tool': 'search_customers', 'outcome': 'ok', 'source': 'mcp'}]" in shown


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_gateways_answer_and_each_keeps_its_own_record(tmp_path: Path) -> None:
    shown = printed("several_gateways.py", tmp_path)
    assert "'customer_id': 'C-01409'" in shown
    assert "invoices: True" in shown
    assert "first recorded [{'server': 'crm', 'tool': 'search_customers', 'outcome': 'ok'}]" in shown
    assert "second recorded [{'server': 'payments', 'tool': 'list_invoices', 'outcome': 'ok'}]" in shown


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_an_example_uses_only_the_public_names_and_public_packages(script: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    ours = {name for name in imported if name.split(".")[0] == "workbench"}
    public = {"mcp", "mcp_types", "httpx2"} | {each.stem for each in SCRIPTS} | sys.stdlib_module_names
    assert ours <= {"workbench"}
    assert {name.split(".")[0] for name in imported - ours} <= public


def test_the_list_of_examples_names_every_script() -> None:
    listed = set(re.findall(r"\]\((\w+\.py)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8")))
    assert listed == {script.name for script in SCRIPTS}
