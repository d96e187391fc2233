"""The installed package works outside a clone: servers, sample data, documents and app travel inside the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel would install."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(build, check=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_a_tool_is_called_with_nothing_but_the_wheel(unpacked: Path, tmp_path: Path) -> None:
    env = {
        **os.environ,
        "PYTHONPATH": str(unpacked),
        "WORKBENCH_SERVERS": "crm",
        "WORKBENCH_HOME": str(tmp_path / "home"),
    }
    code = "import workbench; print(workbench.__file__)"
    where = subprocess.run([sys.executable, "-P", "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert str(unpacked) in where.stdout
    called = subprocess.run(
        [sys.executable, "-P", "-m", "workbench", "call", "crm.search_customers", "query=john.smith@acme.com"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert called.returncode == 0, called.stderr
    assert "C-01409" in called.stdout


def test_the_wheel_carries_its_license_and_a_name_of_its_own(unpacked: Path) -> None:
    [metadata] = unpacked.glob("*.dist-info/METADATA")
    text = metadata.read_text(encoding="utf-8")
    assert "\nName: mcp-research-workbench\n" in text
    assert "\nLicense-Expression: Apache-2.0\n" in text
    assert "Version 2.0, January 2004" in (metadata.parent / "licenses" / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "part",
    ["dashboards/app.py", "loadtests/locustfile.py", "docs/architecture.md", "examples/call_a_tool.py", "data/company"],
)
def test_everything_that_ships_is_there(unpacked: Path, part: str) -> None:
    assert (unpacked / "workbench" / "_shipped" / part).exists()
