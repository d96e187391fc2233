"""Every command and option that a message, a hint or a help text names exists, whoever says it."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from workbench.cli import cli

PACKAGE = Path(__file__).parents[2] / "workbench"
PROGRAMS = [*sorted(PACKAGE.rglob("*.py")), *sorted((PACKAGE.parent / "dashboards").rglob("*.py"))]
ROOT = PACKAGE.parent
PROSE = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted(PACKAGE.rglob("*.toml"))]
ANY = "⟨any⟩"
"""Stands for what is filled in when the message is made."""


def texts(path: Path) -> Iterator[str]:
    """All text literals of a module, formatted ones with `ANY` for each field."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else ANY for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def commands(text: str) -> Iterator[str]:
    """What follows `workbench` in commands: between backticks, at the begin of a line, after `program()`."""
    yield from re.findall(rf"`(?:[A-Z_]+=\S+ )*(?:workbench|{ANY}) ([a-z][^`]*)`", text)
    yield from re.findall(r"^ *(?:\$ )?(?:\.venv/bin/)?workbench ([a-z][^\n#]*)", text, re.M)


def mistake(command: str) -> str:
    """What is wrong with a command line of ours; empty when it can be typed."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:  # only its begin is shown
        words = command.split()
    found: click.Command = cli
    options: set[str] = set()
    for number, word in enumerate(words):
        if word == "|" or word == "&&" or word.startswith((">", "then")):
            break
        if word.startswith("--") and len(word) > 2:
            context = click.Context(found)
            options |= {name for each in found.get_params(context) for name in (*each.opts, *each.secondary_opts)}
            if word.partition("=")[0].rstrip(",.") not in options:
                return f"{' '.join(words[:number])} has no option {word}"
        elif isinstance(found, click.Group) and ANY not in word:
            inner = found.get_command(click.Context(found), word)
            if inner is None:
                return "" if found is not cli and not re.fullmatch("[a-z-]+", word) else f"there is no {command!r}"
            found = inner
    return ""


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_every_command_that_a_message_names_exists(path: Path) -> None:
    wrong = [(said, why) for text in texts(path) for said in commands(text) if (why := mistake(said))]
    assert not wrong


@pytest.mark.parametrize("path", PROSE, ids=lambda path: str(path.relative_to(PACKAGE.parent)))
def test_every_command_that_a_page_shows_exists_with_its_options(path: Path) -> None:
    said = list(commands(path.read_text(encoding="utf-8")))
    assert not [(each, why) for each in said if (why := mistake(each))]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("pending", "there is no 'pending'"),
        ("servers list", "there is no 'servers list'"),
        ("approvals approve --now X", "approvals approve has no option --now"),
        ("approvals approve X --note 'as asked'", ""),
        ('sql "select --x from t"', ""),
        (f"servers restart {ANY}", ""),
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str, why: str) -> None:
    assert mistake(command) == why


def test_no_hint_sends_a_user_of_the_command_line_to_an_http_route_alone() -> None:
    alone = [
        (path.name, text)
        for path in PROGRAMS
        for text in texts(path)
        if re.match(r"(?:GET|POST|DELETE|See) /\S+ (?:lists|shows)|`[a-z_]+` (?:lists|shows)", text)
    ]
    assert not alone
