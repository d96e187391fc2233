"""Which tools are called, in which order, with what: over made-up servers, so that nothing rests on known names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.events import Tool

ID = {"type": "string", "pattern": r"^MBR-\d{4}$", "description": "Id of a member."}
MEMBER = {"member_id": "MBR-0042", "name": "Ann Lee", "email": "ann@lee.example", "standing": "suspended"}

MakeTool = Callable[..., Tool]
Play = Callable[..., Any]


def library(tool: MakeTool) -> list[Tool]:
    """Members and loans of a library."""
    return [
        tool(
            "people.lookup_member",
            {"email": {"type": "string", "description": "Email address of a member."}},
            ("email",),
            returns={"member_id": {}, "name": {}, "email": {}, "standing": {}},
            description="Look up a member by email.",
        ),
        tool(
            "desk.list_loans",
            {"member_id": ID, "state": {"enum": ["out", "returned", "overdue"]}},
            ("member_id",),
            description="Books a member has on loan.",
            returns={"loans": {"items": {"properties": {"loan_id": {}, "title": {}, "state": {}}}}},
        ),
        tool(
            "desk.renew_loan",
            {"loan_id": {"type": "string"}},
            ("loan_id",),
            read_only=False,
            description="Renew a loan.",
        ),
        tool(
            "desk.delete_member",
            {"member_id": ID},
            ("member_id",),
            read_only=False,
            destructive=True,
            description="Delete a member.",
        ),
        tool(
            "weather.get_forecast", {"city": {"type": "string"}}, ("city",), description="Weather forecast of a city."
        ),
    ]


LOANS = {
    "loans": [
        {"loan_id": "L-1", "title": "On Growth and Form", "state": "overdue"},
        {"loan_id": "L-2", "title": "Flatland", "state": "out"},
    ]
}


def test_an_email_finds_the_member_and_the_members_id_finds_the_loans(tool: MakeTool, play: Play) -> None:
    asked = play(
        "Which overdue loans does ann@lee.example have?",
        library(tool),
        {
            "people.lookup_member": MEMBER,
            "desk.list_loans": lambda given: {"loans": [x for x in LOANS["loans"] if x["state"] == given.get("state")]},
        },
    )
    assert asked.calls == [
        ("people.lookup_member", {"email": "ann@lee.example"}),
        ("desk.list_loans", {"member_id": "MBR-0042", "state": "overdue"}),
    ]
    assert "On Growth and Form" in asked.answer
    assert "Flatland" not in asked.answer


def test_an_id_in_the_question_needs_no_lookup(tool: MakeTool, play: Play) -> None:
    asked = play("List the loans of member MBR-0042", library(tool), {"desk.list_loans": LOANS})
    assert asked.tools == ["desk.list_loans"]
    assert "2 loans" in asked.answer


def test_what_is_known_already_is_not_asked_again(tool: MakeTool, play: Play) -> None:
    asked = play(
        "Show the loans and the standing of ann@lee.example",
        library(tool),
        {"people.lookup_member": MEMBER, "desk.list_loans": LOANS},
    )
    assert asked.tools == ["people.lookup_member", "desk.list_loans"]
    assert "suspended" in asked.answer


def test_an_id_of_another_kind_is_not_passed(tool: MakeTool, play: Play) -> None:
    asked = play("What loans does XYZ-1 have?", library(tool), {})
    assert asked.calls == []
    assert "not found" in asked.answer


def test_nothing_is_changed_by_a_question(tool: MakeTool, play: Play) -> None:
    asked = play("Was loan L-1 renewed?", library(tool), {"desk.list_loans": LOANS, "people.lookup_member": MEMBER})
    assert "desk.renew_loan" not in asked.tools


def test_an_order_is_carried_out_when_everything_is_given(tool: MakeTool, play: Play) -> None:
    tools = [
        tool(
            "desk.add_note",
            {"loan_id": {"type": "string"}, "body": {"type": "string"}},
            ("loan_id", "body"),
            read_only=False,
            destructive=False,
            description="Add a note to a loan.",
        )
    ]
    asked = play('Add a note to loan L-7 saying "back is torn"', tools, {"desk.add_note": {"note_id": "N-1"}})
    assert asked.calls == [("desk.add_note", {"loan_id": "L-7", "body": "back is torn"})]


def test_an_order_that_lacks_something_says_what(tool: MakeTool, play: Play) -> None:
    tools = [
        tool(
            "desk.add_note",
            {"loan_id": {"type": "string"}, "body": {"type": "string"}},
            ("loan_id", "body"),
            read_only=False,
            destructive=False,
            description="Add a note to a loan.",
        )
    ]
    asked = play("Add a note to loan L-7", tools, {})
    assert asked.calls == []
    assert "needs body" in asked.answer


def test_what_destroys_is_never_called_and_that_is_said(tool: MakeTool, play: Play) -> None:
    asked = play("Delete member MBR-0042", library(tool), {})
    assert asked.calls == []
    assert "desk.delete_member would do this" in asked.answer


def test_a_tool_that_fails_is_followed_by_the_next_best(tool: MakeTool, play: Play) -> None:
    tools = [
        tool("a.get_loans", {"member_id": ID}, ("member_id",), description="Loans of a member."),
        tool("b.list_loans", {"member_id": ID}, ("member_id",), description="Loans of a member."),
    ]
    asked = play("loans of MBR-0042?", tools, {"b.list_loans": RuntimeError("down"), "a.get_loans": LOANS})
    assert asked.tools == ["b.list_loans", "a.get_loans"]
    assert "Flatland" in asked.answer


def test_when_all_fail_the_reason_is_told(tool: MakeTool, play: Play) -> None:
    tools = [tool("a.get_loans", {"member_id": ID}, ("member_id",), description="Loans of a member.")]
    asked = play("loans of MBR-0042?", tools, {"a.get_loans": RuntimeError("the shelf is on fire")})
    assert "the shelf is on fire" in asked.answer


def test_an_empty_answer_says_what_was_asked_for(tool: MakeTool, play: Play) -> None:
    asked = play("overdue loans of MBR-0042?", library(tool), {"desk.list_loans": {"loans": [], "total": 0}})
    assert "none found" in asked.answer
    assert "overdue" in asked.answer


def test_a_relative_time_without_rows_is_widened_and_that_is_said(tool: MakeTool, play: Play) -> None:
    tools = [
        tool(
            "door.list_visits",
            {"since": {"type": "string", "format": "date"}, "until": {"type": "string", "format": "date"}},
            description="Visits by day.",
        )
    ]
    rows = {"visits": [{"visit_id": "V-1", "day": "2024-01-02"}]}
    asked = play(
        "Which visits were there last week?", tools, {"door.list_visits": lambda g: {"visits": []} if g else rows}
    )
    assert asked.calls == [
        ("door.list_visits", {"since": "2026-11-09", "until": "2026-11-15"}),
        ("door.list_visits", {}),
    ]
    assert "nothing within 2026-11-09 to 2026-11-15" in asked.answer
    assert "V-1" in asked.answer


def test_all_pages_are_read_before_something_is_computed(tool: MakeTool, play: Play) -> None:
    tools = [
        tool(
            "shop.list_sales",
            {"offset": {"type": "integer"}, "limit": {"type": "integer", "maximum": 2}},
            description="Sales.",
        )
    ]
    sales = [{"sale_id": f"S-{n}", "amount": n} for n in range(1, 6)]

    def page(given: dict[str, Any]) -> dict[str, Any]:
        start = given.get("offset", 0)
        following = start + 2 if start + 2 < len(sales) else None
        return {"total": len(sales), "next_offset": following, "sales": sales[start : start + 2]}

    asked = play("What is the average amount of the sales?", tools, {"shop.list_sales": page})
    assert [c[1].get("offset") for c in asked.calls] == [None, 2, 4]
    assert "avg of amount = 3 over 5 sales" in asked.answer


def test_places_become_timezones_in_the_right_order(tool: MakeTool, play: Play) -> None:
    zone = {"type": "string", "description": "IANA timezone name"}
    tools = [
        tool(
            "clock.convert_time",
            {"source_timezone": zone, "time": {"type": "string"}, "target_timezone": zone},
            ("source_timezone", "time", "target_timezone"),
            description="Convert time between timezones.",
        )
    ]
    asked = play(
        "What time is it in Tokyo when it is 2:30 pm in New York?", tools, {"clock.convert_time": {"time": "04:30"}}
    )
    assert asked.calls == [
        (
            "clock.convert_time",
            {"source_timezone": "America/New_York", "time": "14:30", "target_timezone": "Asia/Tokyo"},
        )
    ]


def test_a_country_becomes_its_code_where_a_code_is_wanted(tool: MakeTool, play: Play) -> None:
    tools = [
        tool("crew.count_crew", {"country": {"type": "string", "pattern": "^[A-Z]{2}$"}}, description="Count crew.")
    ]
    asked = play("How many crew are in Germany?", tools, {"crew.count_crew": {"total": 7, "groups": []}})
    assert asked.calls == [("crew.count_crew", {"country": "DE"})]
    assert "7" in asked.answer


def test_text_that_is_no_json_is_shown_as_it_is(tool: MakeTool, play: Play) -> None:
    tools = [
        tool(
            "vcs.log",
            {"repo_path": {"type": "string"}, "max_count": {"type": "integer"}},
            ("repo_path",),
            read_only=None,
            description="Shows the commit logs",
        )
    ]
    asked = play("Show the last 2 commits in /srv/repo", tools, {"vcs.log": "Commit: a1\nCommit: b2"})
    assert asked.calls == [("vcs.log", {"repo_path": "/srv/repo", "max_count": 2})]
    assert "Commit: b2" in asked.answer


def test_documents_are_searched_when_no_tool_is_made_for_the_subject(tool: MakeTool, play: Play) -> None:
    tools = [
        tool("kb.search_documents", {"query": {"type": "string"}}, ("query",), description="Find documents by meaning.")
    ]
    found = {"documents": [{"title": "Resetting the badge", "passage": "Hold the badge to the reader to reset it."}]}
    asked = play("How do I reset my badge?", tools, {"kb.search_documents": found})
    assert "Resetting the badge" in asked.answer


def test_a_document_about_something_else_is_no_answer(tool: MakeTool, play: Play) -> None:
    tools = [
        tool("kb.search_documents", {"query": {"type": "string"}}, ("query",), description="Find documents by meaning.")
    ]
    found = {"documents": [{"title": "Parking", "passage": "Cars stand behind the house."}]}
    asked = play("How do I reset my badge?", tools, {"kb.search_documents": found})
    assert "Parking" not in asked.answer


def test_the_planner_says_what_it_is(tool: MakeTool, play: Play) -> None:
    assert "not a language model" in play("hello", library(tool), {}).answer


def test_quarantined_tools_are_not_called(tool: MakeTool, play: Play) -> None:
    import msgspec

    tools = [msgspec.structs.replace(t, quarantined="its definition changed") for t in library(tool)]
    assert play("loans of MBR-0042", tools, {}).calls == []
