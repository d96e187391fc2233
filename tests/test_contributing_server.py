"""The guide to a new bundled server works in a clone to which nothing but its files were added."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workbench.server_manifests import PUBLISHER

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "contributing" / "server.md").read_text(encoding="utf-8")
ASKS = """
import json, sys, workbench
from workbench.server_manifests import default_servers
with workbench.open(home=sys.argv[1], servers=("units",)) as wb:
    print(json.dumps({
        "default": default_servers(),
        "servers": [s.id for s in wb.servers()],
        "tools": [t.qualified for t in wb.tools()],
        "data": wb.call("units.convert_length", value=1.0, unit="mi", to="km").data,
        "examples": wb.examples(),
    }))
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


SERVER, TEST = blocks("python")
[BY_HAND] = map(json.loads, blocks("json"))
MANIFEST, CALL, PYTEST = (shlex.split(line) for line in blocks("sh"))


def run(clone: Path, command: list[str], home: Path, **more: str) -> str:
    """What one command of the page prints, run in the clone with this interpreter."""
    assert command[0] == "python"
    env = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and not k.startswith("WORKBENCH_")}
    env |= {"PYTHONPATH": str(clone), "WORKBENCH_HOME": str(home), **more}
    done = subprocess.run([sys.executable, *command[1:]], cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A copy of the code, and the files of the page."""
    folder = tmp_path / "clone"
    for part in ("workbench", "servers"):
        shutil.copytree(ROOT / part, folder / part)
    (folder / "servers" / "units").mkdir()
    (folder / "servers" / "units" / "server.py").write_text(SERVER, encoding="utf-8")
    run(folder, MANIFEST, tmp_path)
    return folder


def manifest(clone: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((clone / "servers" / "units" / "server.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_server_of_the_page_is_listed_and_called_with_no_other_edit(clone: Path, tmp_path: Path) -> None:
    edited = manifest(clone)
    edited["_meta"][PUBLISHER] |= BY_HAND
    (clone / "servers" / "units" / "server.json").write_text(json.dumps(edited), encoding="utf-8")
    run(clone, MANIFEST, tmp_path)
    assert manifest(clone) == edited, "what was written by hand is kept"
    said = json.loads(run(clone, ["python", "-c", ASKS, str(tmp_path / "home")], tmp_path / "home").splitlines()[-1])
    assert said == {
        "default": [*said["default"][:-1], "units"],
        "servers": ["units"],
        "tools": ["units.convert_length"],
        "data": {"value": 1.609344, "unit": "km"},
        "examples": [BY_HAND["workbench/examples"][0]["question"]],
    }
    called = run(clone, CALL, tmp_path / "home", WORKBENCH_SERVERS="units")
    assert "26.218757" in called


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_tests_of_the_page_pass(clone: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", clone)
    (clone / "tests").mkdir()
    for path in (ROOT / "tests").glob("*.py"):
        shutil.copy(path, clone / "tests")
    (clone / "tests" / "servers").mkdir()
    for name in ("conftest.py", "test_server_definitions.py"):
        shutil.copy(ROOT / "tests" / "servers" / name, clone / "tests" / "servers")
    (clone / "tests" / "servers" / "test_server_units.py").write_text(TEST, encoding="utf-8")
    printed = run(clone, [*PYTEST, "-vv"], tmp_path / "home")
    assert "test_a_marathon_is_as_long_in_miles" in printed
    assert "test_the_manifest_says_what_the_server_says[units]" in printed


def test_the_table_of_the_page_lists_what_a_manifest_may_say_of_the_launch() -> None:
    from workbench.server_manifests import LaunchOptions

    listed = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert set(listed) == set(LaunchOptions.__struct_fields__) - {"kind"}, "`kind` is for the one server of own tables"
