"""Every report of `docs/reports.md` stands there once and names a test that is collected and not skipped."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = (TESTS.parent / "docs" / "reports.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (\d+) \| ([\w.-]+/[\w.-]+#\d+) \| ([^|]+) \| ([^|]+) \| `([\w/]+\.py)::(test_\w+)(\[[^`]+\])?` \|$", re.M
)
SKIPS = re.compile(r"\b(mark\.(skip|skipif|xfail)|pytest\.(skip|xfail|importorskip))\b")
ROWS = ROW.findall(DOCUMENT)
FILES = sorted({row[4] for row in ROWS})


@cache
def functions(file: str) -> dict[str, str]:
    """Tests of a file with the source of their decorators and bodies, and the marks of the file."""
    text = (TESTS / file).read_text(encoding="utf-8")
    tree = ast.parse(text)
    marks = [
        ast.unparse(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and "pytestmark" in ast.unparse(node.targets[0])
    ]
    return {
        node.name: " ".join([*marks, ast.unparse(node)])
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }  # fmt: skip


@pytest.fixture(scope="module")
def collected() -> frozenset[str]:
    """The ids of all tests in the files named, as pytest collects them."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-o",
        "addopts=",
        "--import-mode=importlib",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:cov",
    ]
    found = subprocess.run(
        [*command, *(f"tests/{file}" for file in FILES)], cwd=TESTS.parent, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout[-2000:] + found.stderr[-2000:]
    return frozenset(line.removeprefix("tests/") for line in found.stdout.splitlines() if "::" in line)


def test_there_are_at_least_sixty_reports_each_of_which_stands_once() -> None:
    assert len(ROWS) >= 60
    assert len(ROWS) == len(re.findall(r"^\| \d", DOCUMENT, re.M)), "a row has another form than the others"
    assert [int(row[0]) for row in ROWS] == list(range(1, len(ROWS) + 1))
    references = [row[1].lower() for row in ROWS]
    assert len(set(references)) == len(references)


def test_every_report_names_a_test_that_is_collected(collected: frozenset[str]) -> None:
    names = {id.partition("[")[0] for id in collected}
    missing = [
        f"{file}::{test}{parameter}"
        for *_, file, test, parameter in ROWS
        if f"{file}::{test}{parameter}" not in (collected if parameter else names)
    ]
    assert missing == []


def test_no_test_that_is_named_is_skipped() -> None:
    assert [f"{file}::{test}" for *_, file, test, _ in ROWS if SKIPS.search(functions(file)[test])] == []
