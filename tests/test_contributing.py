"""What contributors are offered works: recipes, hooks of pre-commit, and the files that the guide names."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from _pytest.mark.expression import Expression

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
HOOKS = {
    hook["id"]: hook
    for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    for hook in repository["hooks"]
}
TOOLS = Path(sys.executable).parent


def make(*arguments: str) -> str:
    # without what a `make test` around this test hands to its children
    env = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "ARGS")
    }
    return subprocess.run(["make", *arguments], cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


def selected(recipe: str) -> Expression:
    """The expression over markers by which a recipe chooses its tests."""
    [expression] = re.findall(r'-m "([^"]+)"', make("-n", "-o", ".venv/dev", recipe))
    return Expression.compile(expression)


def test_help_lists_every_recipe_with_one_line() -> None:
    [phony] = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.M)
    lines = dict(line.split(maxsplit=1) for line in make("-s", "help").splitlines())
    assert set(lines) == set(phony.split())


def test_unit_and_integration_tests_are_disjoint_and_leave_out_only_browser_and_full() -> None:
    unit, integration = selected("test-unit"), selected("test-integration")
    markers = ("slow", "interop", "browser", "full")
    for chosen in itertools.product([False, True], repeat=len(markers)):
        has = {name for name, there in zip(markers, chosen, strict=True) if there}
        if has == {"full"}:
            continue  # a test that takes many minutes is slow or interop, too
        runs = [unit.evaluate(has.__contains__), integration.evaluate(has.__contains__)]
        assert sum(runs) == (0 if has & {"browser", "full"} else 1), has


def test_coverage_measures_the_quick_tests() -> None:
    shown = make("-n", "-o", ".venv/dev", "coverage")
    assert set(make("-n", "-o", ".venv/dev", "test-unit").split()) <= set(shown.split())
    assert "--cov-report=html" in shown


@pytest.mark.parametrize("hook", HOOKS.values(), ids=HOOKS)
def test_a_hook_runs_a_tool_of_the_virtual_environment(hook: dict[str, str]) -> None:
    assert hook["language"] == "system"
    program, *arguments = hook["entry"].split()
    assert program.startswith(".venv/bin/")
    assert (TOOLS / Path(program).name).exists()
    for argument in arguments:
        assert not argument.startswith("tests/") or (ROOT / argument).exists()


def test_the_hooks_check_style_types_and_imports() -> None:
    assert set(HOOKS) == {"ruff", "ruff-format", "mypy", "imports"}
    assert re.search(HOOKS["mypy"]["files"], "workbench/config.py")
    assert re.search(HOOKS["imports"]["files"], "workbench/gateway/call.py")
    assert not re.search(HOOKS["imports"]["files"], "docs/policy.md")


def test_files_and_folders_that_the_guide_names_exist() -> None:
    named = set(re.findall(r"`([\w./-]+(?:/|\.(?:py|md|toml|yaml)))`", GUIDE)) - {".venv/", "htmlcov/"}
    named |= set(re.findall(r"pytest (tests/\S+)", GUIDE))
    assert len(named) > 8
    for name in named:
        assert (ROOT / name).exists(), name
