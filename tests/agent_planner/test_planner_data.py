"""The planner's words and numbers: read from files beside the code, once, and refused when they do not fit."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from workbench.agent.planner import planner_data
from workbench.agent.planner.language.lexicon import close
from workbench.agent.planner.planner_data import Lexicon, PlannerDataError, Weights, lexicon, read_data, weights

ROOM = Path(planner_data.__file__).parent


def test_the_files_are_read_once() -> None:
    assert lexicon() is lexicon()
    assert weights() is weights()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("meaning = 0.45", "meaning = 1.45", "relevance.meaning"),
        ("meaning = 0.45", 'meaning = "much"', "relevance.meaning"),
        ("meaning = 0.45", "", "`meaning`"),
        ("meaning = 0.45", "meaning = 0.45\nmeanings = 0.4", "`meanings`"),
        ("meaning = 0.45", "meaning = ", "Invalid value"),
    ],
)
def test_a_weight_that_does_not_fit_is_refused_by_its_name(tmp_path: Path, old: str, new: str, reason: str) -> None:
    text = (ROOM / "weights.toml").read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "weights.toml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(PlannerDataError, match=reason) as refused:
        read_data(path, Weights)
    assert str(path) in str(refused.value)


def test_an_empty_list_of_words_is_refused_by_its_name(tmp_path: Path) -> None:
    text = (ROOM / "lexicon.toml").read_text(encoding="utf-8")
    path = tmp_path / "lexicon.toml"
    path.write_text(text.replace('acronyms = "ok id sql url csv api usd mcp"', 'acronyms = ""'), encoding="utf-8")
    with pytest.raises(PlannerDataError, match=r"names\.acronyms"):
        read_data(path, Lexicon)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(PlannerDataError, match="install it again"):
        read_data(tmp_path / "weights.toml", Weights)


def test_no_weight_stands_in_the_code() -> None:
    found = [
        f"{path.relative_to(ROOM)}:{node.lineno} {node.value}"
        for path in ROOM.rglob("*.py")
        if path.name != "planner_data.py"  # there the bounds of what the files may say
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value not in (0.0, 1.0)
    ]
    assert found == []


def test_a_clear_abbreviation_counts_as_the_same_word_and_a_likeness_does_not() -> None:
    assert close("departure", "dep")
    assert close("customers", "customer")
    assert not close("quantity", "qnt")
    assert not close("ticket", "flight")
