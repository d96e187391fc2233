"""Answers in words: what is said first, what is counted, what is computed, what is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from workbench.events import Tool

MakeTool = Callable[..., Tool]
Play = Callable[..., Any]
PARCELS = {
    "parcels": [
        {"parcel_id": f"P-{n}", "name": f"Box {n}", "status": "lost" if n == 3 else "sent", "amount": float(n),
         "currency": "EUR", "city": "Oslo" if n % 2 else "Rome", "sent_at": f"2026-0{1 + n % 3}-01T08:00:00Z"}
        for n in range(1, 13)
    ]
}  # fmt: skip


@pytest.fixture
def tools(tool: MakeTool) -> list[Tool]:
    return [tool("post.list_parcels", description="Parcels that were sent.")]


def ask(play: Play, tools: list[Tool], question: str, data: Any = PARCELS) -> str:
    return str(play(question, tools, {"post.list_parcels": data}).answer)


def test_many_rows_are_counted_broken_down_and_cut(play: Play, tools: list[Tool]) -> None:
    answer = ask(play, tools, "Show the parcels")
    assert "12 parcels (11 sent, 1 lost):" in answer
    assert "… and 4 more" in answer


def test_a_value_in_the_question_narrows_the_rows(play: Play, tools: list[Tool]) -> None:
    assert "1 parcel" in ask(play, tools, "Which parcels are lost?")
    assert "P-3" in ask(play, tools, "Which parcels are lost?")


def test_sums_and_averages_are_computed_over_the_rows_that_fit(play: Play, tools: list[Tool]) -> None:
    assert "sum of amount = 78.00 EUR over 12 parcels" in ask(play, tools, "What is the total amount of the parcels?")
    assert "avg of amount = 6.50 EUR" in ask(play, tools, "What is the average amount of the parcels?")


def test_groups_are_computed_when_the_tool_has_none(play: Play, tools: list[Tool]) -> None:
    answer = ask(play, tools, "What is the total amount of the parcels per city?")
    assert "by city" in answer
    assert "Rome: 42" in answer
    assert "Oslo: 36" in answer


def test_the_extreme_comes_first(play: Play, tools: list[Tool]) -> None:
    answer = ask(play, tools, "Show the 2 parcels with the highest amount")
    assert answer.index("P-12") < answer.index("P-11")
    assert "P-10" not in answer


def test_rows_outside_the_time_are_left_out(play: Play, tools: list[Tool]) -> None:
    assert "4 parcels" in ask(play, tools, "Which parcels were sent in March 2026?")
    assert "none within 2025-03-01 to 2025-03-31" in ask(play, tools, "Which parcels were sent in March 2025?")


def test_what_the_rows_do_not_hold_is_said(play: Play, tools: list[Tool]) -> None:
    assert "not found" in ask(play, tools, "Show the parcel P-99")


def test_a_yes_is_said(play: Play, tools: list[Tool]) -> None:
    assert "yes: 1 parcel" in ask(play, tools, "Are there any lost parcels?")


def test_trouble_comes_first_where_the_question_is_about_trouble(play: Play, tools: list[Tool]) -> None:
    rows = [
        {"try_id": f"T-{n}", "status": "failed" if n == 5 else "done", "reason": "wet" if n == 5 else None}
        for n in range(6)
    ]
    answer = ask(play, tools, "The parcels failed. Show the parcels", {"tries": rows})
    assert answer.index("T-5") < answer.index("T-0")
    assert "wet" in answer


def test_one_thing_is_told_by_the_field_that_was_asked(play: Play, tool: MakeTool) -> None:
    tools = [tool("post.get_parcel", {"parcel_id": {"type": "string"}}, ("parcel_id",), description="One parcel.")]
    data = {
        "parcel_id": "P-3",
        "name": "Box 3",
        "status": "lost",
        "weight": 2.5,
        "events": [{"event_id": "E-1", "place": "Oslo"}],
    }
    answer = play("What is the weight of parcel P-3?", tools, {"post.get_parcel": data}).answer
    assert "2.5 (P-3" in answer
    whole = play("Tell me about parcel P-3", tools, {"post.get_parcel": data}).answer
    assert "status lost" in whole
    assert "Oslo" in whole


def test_a_table_of_columns_and_cells_is_read(play: Play, tools: list[Tool]) -> None:
    data = {"columns": ["parcel_id", "status"], "rows": [["P-1", "sent"], ["P-2", "lost"]]}
    assert "2 parcels (1 sent, 1 lost)" in ask(play, tools, "Show the parcels", data)


@pytest.mark.parametrize("data", [None, "", "No results.", [], {}, {"parcels": [], "total": 0}, {"result": []}])
def test_nothing_is_told_as_nothing(play: Play, tools: list[Tool], data: Any) -> None:
    answer = ask(play, tools, "Show the parcels", data)
    assert any(word in answer for word in ("none found", "nothing", "No results"))
