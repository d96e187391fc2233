"""What people are asked to install is ours."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from workbench.events import DISTRIBUTION, MissingPackageError

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALL = re.compile(r"pip install [^\n`]*?'?([A-Za-z0-9._-]*workbench[A-Za-z0-9._-]*)(?:\[([a-z,]+)\])?'?")


def pages() -> list[Path]:
    return [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_pages_name_the_distribution_and_extras_that_exist(page: Path) -> None:
    for name, extras in INSTALL.findall(page.read_text(encoding="utf-8")):
        assert name == DISTRIBUTION
        assert {*extras.split(",")} - {""} <= set(PROJECT["optional-dependencies"])


def test_the_name_in_messages_is_the_name_in_the_metadata() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    assert MissingPackageError("psycopg", "postgres").hint == "pip install 'mcp-research-workbench[postgres]'"


def test_some_page_says_how_to_install_an_extra() -> None:
    assert any(INSTALL.search(page.read_text(encoding="utf-8")) for page in pages())


def test_every_extra_named_in_the_code_exists() -> None:
    named = set()
    for path in (ROOT / "workbench").rglob("*.py"):
        named |= set(re.findall(r'MissingPackageError\([^,]+, "(\w+)"\)', path.read_text(encoding="utf-8")))
        named |= set(re.findall(r'install_hint\("(\w+)"\)', path.read_text(encoding="utf-8")))
    assert named
    assert named <= set(PROJECT["optional-dependencies"])


def test_lock_files_carry_hashes_and_no_address_of_an_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", "requirements-ci.lock"):
        text = (ROOT / name).read_text(encoding="utf-8")
        pinned = re.findall(r"^[a-z0-9][^\n]*==", text, re.MULTILINE)
        assert len(pinned) > 50
        assert text.count("--hash=sha256:") >= len(pinned)
        assert "://" not in text
