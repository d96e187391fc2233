"""What `docs/security.md` says that a test shows, a test shows: every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
DOCUMENT = (TESTS.parent / "docs" / "security.md").read_text(encoding="utf-8")
TOP_TEN = DOCUMENT.partition("## The OWASP MCP Top 10\n")[2].partition("\n## ")[0]
NAMED = re.findall(r"`((?:\w+/)?test_\w+\.py)(?:::(test_\w+))?`", DOCUMENT)


@cache
def functions_of(file: Path) -> frozenset[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)), ids=lambda part: part or "file")
def test_what_is_named_is_there(file: str, test: str) -> None:
    found = [TESTS / file] if "/" in file else list(TESTS.rglob(file))
    assert [path for path in found if path.is_file()], f"{file} is not there any more"
    if test:
        assert test in functions_of(found[0]), f"{file} has no {test}"


def test_each_of_the_ten_risks_names_its_control_and_at_least_three_tests() -> None:
    rows = re.findall(r"^\| (MCP\d\d) [^|]+\| ([^|]+) \| ([^|]+) \|$", TOP_TEN, re.MULTILINE)
    assert [risk for risk, _, _ in rows] == [f"MCP{number:02}" for number in range(1, 11)]
    for risk, control, tests in rows:
        assert len(control) > 40, risk
        assert len(re.findall(r"::test_", tests)) >= 3, risk
