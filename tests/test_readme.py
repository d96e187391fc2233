"""What the README shows is true: snippets run, commands and recipes exist, links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import workbench
from workbench.cli import cli
from workbench.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "examples" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "data").glob("*.md")),
]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


@pytest.mark.slow
def test_the_notebook_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [snippet] = blocks(README, "python")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORKBENCH_SERVERS", "crm,payments,tickets")
    monkeypatch.setenv("WORKBENCH_PROVIDER", "planner")  # whatever keys and models this machine has
    names: dict[str, object] = {}
    exec(snippet.replace("wb.close()", "rows = wb.sql('select outcome from tool_calls')\nwb.close()"), names)
    run, rows = names["run"], names["rows"]
    assert run.ok, run.done  # type: ignore[attr-defined]
    assert set(rows["outcome"]) == {"ok"}  # type: ignore[index]


@pytest.mark.parametrize("document", DOCS, ids=lambda p: p.name)
def test_every_link_leads_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    missing = [link for link in links if "://" not in link and not (document.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCS, ids=lambda p: p.name)
def test_every_command_that_is_shown_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    shown = re.findall(
        r"(?:^|[`$ /])workbench ([a-z]+)(?: ([a-z]+))?", "\n".join(re.findall(r"`[^`\n]+`|^\$.*$", text, re.M))
    )
    context = cli.make_context("workbench", ["status"])
    for name, second in shown:
        assert name in COMMANDS, f"{document.name} shows `workbench {name}`"
        command = cli.get_command(context, name)
        if second and hasattr(command, "commands"):
            assert second in command.commands, f"{document.name} shows `workbench {name} {second}`"


def test_the_readme_says_how_its_commands_are_found_before_it_shows_any() -> None:
    first = re.search(r"^(?:\$ )?workbench ", README, re.M)
    assert first is not None
    assert README.index("source .venv/bin/activate") < first.start()


def test_every_recipe_that_is_shown_exists() -> None:
    recipes = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for document in DOCS:
        for name in re.findall(r"(?:`|^)make ([a-z-]+)", document.read_text(encoding="utf-8"), re.M):
            assert name in recipes, f"{document.name} shows `make {name}`"


def test_the_readme_names_every_command() -> None:
    for name in COMMANDS:
        if name != "status":  # it is what bare `workbench` shows
            assert f"`{name}`" in README or f"workbench {name}" in README, name


def test_the_version_is_said_once() -> None:
    declared = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert declared is not None
    assert declared[1] == workbench.__version__
