"""The record in a notebook: saved questions, asked by name, and listed so that a person can read them."""

from __future__ import annotations

import pytest

from workbench.client import Workbench
from workbench.events import MisuseError


def test_saved_questions_are_listed_as_a_table_with_their_statements(wb: Workbench) -> None:
    from rich.console import Console

    questions = wb.questions()
    shown = questions._repr_html_()  # type: ignore[attr-defined]
    console = Console(width=120, record=True, file=None, quiet=True)
    console.print(questions)
    for question in questions:
        assert f"<b>{question.name}</b>" in shown
        assert question.description.split(",")[0] in shown.replace("&#x27;", "'")
    assert "hours=24" in shown
    assert "FROM tool_calls" in shown


def test_a_saved_question_is_asked_by_name(wb: Workbench) -> None:
    wb.call("crm.search_customers", query="a")
    found = wb.question("slowest_tools", hours=1, limit=1)
    assert list(found["tool"])[:1]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("slowest_tool", {}, "Did you mean slowest_tools"),
        ("nothing", {}, "Saved are"),
        ("slowest_tools", {"days": 1}, "hours=24"),
        ("load_runs_compared", {"days": 1}, "no parameters"),
    ],
)
def test_what_is_no_question_says_what_there_is(wb: Workbench, name: str, given: dict[str, int], said: str) -> None:
    with pytest.raises(MisuseError) as raised:
        wb.question(name, **given)
    assert said in raised.value.hint


def test_an_export_by_its_ending(wb: Workbench, tmp_path) -> None:
    wb.call("crm.search_customers", query="a")
    assert b"crm" in wb.export(tmp_path / "calls.jsonl").read_bytes()
    with pytest.raises(MisuseError, match="format"):
        wb.export(tmp_path / "calls")
    with pytest.raises(MisuseError, match="no catalog"):
        wb.sql("select 1", fleet=True)
