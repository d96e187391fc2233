"""The walls of the house: which room may import which, and how fast the door opens."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "workbench"

LOWER = {
    "version": set[str](),
    "error_codes": set[str](),
    "events": set[str](),
    "json_values": {"events"},
    "show": {"events", "registry"},
    "setting_values": set[str](),
    "lookalikes": set[str](),
    "config": {"setting_values", "events"},
    "scanning": set[str](),
    "embeddings": {"events"},
    "control": {"secrets", "config", "events"},
    "address": {"events"},
    "resolver": {"address", "events"},
    "secrets": {"config", "events"},
    "audit": {"control", "version", "error_codes", "json_values", "secrets", "config", "events"},
    "access": {
        "version",
        "error_codes",
        "json_values",
        "lookalikes",
        "control",
        "secrets",
        "address",
        "resolver",
        "config",
        "events",
    },
    "policy": {"scanning", "control", "secrets", "config", "events"},
    "registry": {
        "embeddings",
        "control",
        "version",
        "error_codes",
        "json_values",
        "lookalikes",
        "setting_values",
        "scanning",
        "secrets",
        "address",
        "audit",
        "config",
        "events",
    },
    "gateway": {
        "cluster",
        "upstream",
        "embeddings",
        "control",
        "version",
        "error_codes",
        "json_values",
        "scanning",
        "policy",
        "access",
        "registry",
        "audit",
        "secrets",
        "address",
        "resolver",
        "config",
        "events",
    },
    "agent": {"embeddings", "gateway", "registry", "secrets", "config", "events"},
    "state": {"audit", "access", "control", "secrets", "config", "events"},
    "upstream": {
        "version",
        "error_codes",
        "json_values",
        "scanning",
        "registry",
        "access",
        "secrets",
        "address",
        "resolver",
        "config",
        "events",
    },
    "cluster": {"control", "secrets", "config", "events"},
    "endpoint": {
        "version",
        "error_codes",
        "json_values",
        "cluster",
        "gateway",
        "upstream",
        "scanning",
        "policy",
        "access",
        "registry",
        "audit",
        "secrets",
        "address",
        "resolver",
        "config",
        "events",
    },
    "platform": {
        "version",
        "error_codes",
        "json_values",
        "control",
        "secrets",
        "agent",
        "endpoint",
        "cluster",
        "gateway",
        "upstream",
        "policy",
        "access",
        "registry",
        "audit",
        "lookalikes",
        "address",
        "config",
        "events",
        "show",
    },
    "client": {
        "platform",
        "version",
        "error_codes",
        "json_values",
        "control",
        "secrets",
        "agent",
        "endpoint",
        "cluster",
        "gateway",
        "upstream",
        "policy",
        "access",
        "registry",
        "audit",
        "lookalikes",
        "address",
        "config",
        "events",
        "show",
    },
    "serve": {
        "platform",
        "api",
        "version",
        "error_codes",
        "json_values",
        "control",
        "secrets",
        "agent",
        "endpoint",
        "cluster",
        "gateway",
        "upstream",
        "policy",
        "access",
        "registry",
        "audit",
        "lookalikes",
        "address",
        "config",
        "events",
        "show",
    },
}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imported(path: Path) -> set[str]:
    """The rooms that a file names in its imports, wherever they stand."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module] if node.module != "workbench" else [f"workbench.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        found |= {room_of(n) for n in names if n.split(".")[0] == "workbench"}
    return found - {""}


@pytest.mark.parametrize("room", LOWER)
def test_imports_run_downward_only(room: str) -> None:
    files = sorted((PACKAGE / room).rglob("*.py")) or [PACKAGE / f"{room}.py"]
    for file in files:
        wrong = imported(file) & set(LOWER) - LOWER[room] - {room}
        assert not wrong, f"{file.relative_to(PACKAGE)} reaches {', '.join(sorted(wrong))}"
        assert not imported(file) & {"cli", "api"}, f"{file.relative_to(PACKAGE)} reaches a door"


def test_every_module_is_a_room_or_a_door() -> None:
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found - set(LOWER) == {"__init__", "__main__", "api", "cli"}


def test_servers_know_nothing_of_the_workbench() -> None:
    for file in (PACKAGE.parent / "servers").rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert not {n for n in names if n.split(".")[0] == "workbench"}, file


def test_dashboards_notebooks_and_load_tests_use_only_the_public_names() -> None:
    for folder in ("dashboards", "notebooks"):
        for file in (PACKAGE.parent / folder).rglob("*.py"):
            rooms = imported(file) - {"events", "show", "__version__", "open", "Workbench"}
            assert not rooms, f"{file} reaches {', '.join(sorted(rooms))}"


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = (
        "duckdb",
        "pandas",
        "pyarrow",
        "streamlit",
        "openai",
        "anthropic",
        "google.genai",
        "mcp",
        "aiohttp",
        "fastapi",
    )
    code = f"import workbench, sys; print([m for m in {heavy!r} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_help_text_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv=['workbench','--help']\n"
        "from workbench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = ('duckdb', 'pandas', 'mcp', 'aiohttp', 'rich', 'workbench.client')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in found.stdout
    assert found.stderr.strip() == "[]"
