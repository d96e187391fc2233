"""What stands in an answer is what was asked for: no other kind of thing, no count for a figure, no guess."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from workbench.agent.planner.answer.passages import quoted
from workbench.agent.planner.language.dates import periods
from workbench.agent.planner.language.question_parser import understand
from workbench.agent.planner.question_plan import QuestionPlan
from workbench.agent.planner.tables.joins import joined
from workbench.agent.planner.tables.query_parser import read
from workbench.agent.planner.tables.table_columns import TableColumn
from workbench.agent.planner.tables.table_query import Filter, Metric
from workbench.events import Tool

Play = Callable[..., Any]
MakeTool = Callable[..., Tool]
TODAY = date(2026, 11, 20)
PAGED = {"limit": {"type": "integer", "maximum": 100}, "offset": {"type": "integer"}}
RENTALS = [
    TableColumn("rental_id", "text"), TableColumn("city", "text", ("Oslo", "Bergen"), distinct=2),
    TableColumn("item", "text", ("bike", "kayak"), distinct=2), TableColumn("price_nok", "number"),
    TableColumn("days", "number"),
    TableColumn("returned_on", "date", (), "2026-01-01", "2026-11-01"),
]  # fmt: skip


def query(text: str, columns: list[TableColumn] = RENTALS, noun: str = "rental") -> Any:
    return read(understand(text, TODAY).needs[0], columns, [noun])


def listing(rows: list[dict[str, Any]], key: str) -> Callable[[dict[str, Any]], Any]:
    """A list tool's answers: the rows that fit the choices it was given, in pages of what was asked for."""

    def run(given: dict[str, Any]) -> Any:
        fitting = [r for r in rows if all(r.get(k) == v for k, v in given.items() if k not in ("limit", "offset"))]
        size, at = given.get("limit", 20), given.get("offset", 0)
        following = at + size if at + size < len(fitting) else None
        return {"total": len(fitting), "next_offset": following, key: fitting[at : at + size]}

    return run


def test_a_price_is_found_in_a_column_with_a_currency_in_its_name() -> None:
    assert query("What is the average price per item?").metric == Metric("avg", "price_nok")
    assert query("Which city has the highest total price?").metric == Metric("sum", "price_nok")
    assert query("Which city has the highest total price?").group == ("city",)


def test_a_figure_that_no_column_holds_is_never_a_number_of_rows() -> None:
    found = query("What is the average weight per item?")
    assert found.metric is None
    assert found.lacking == ("weight",)


def test_a_missing_value_is_a_condition() -> None:
    assert Filter("returned_on", "null", None) in query("How many rentals have no returned date?").filters


def test_year_and_month_columns_come_before_a_column_of_time() -> None:
    columns = [
        TableColumn("year", "number"),
        TableColumn("month", "number"),
        TableColumn("day", "number"),
        TableColumn("seen_at", "date"),
    ]
    assert {(f.column, f.value) for f in query("How many trips in May 2013?", columns, "trip").filters} == {
        ("year", 2013),
        ("month", 5),
    }


def test_a_week_is_not_the_month_that_holds_it() -> None:
    columns = [TableColumn("year", "number"), TableColumn("month", "number"), TableColumn("day", "number")]
    found = {(f.column, f.op, f.value) for f in query("How many trips last week?", columns, "trip").filters}
    assert ("day", ">=", 9) in found
    assert ("day", "<=", 15) in found


@pytest.mark.parametrize("text", ["in the third quarter of 2026", "in Q3 2026", "in the 3rd quarter of 2026"])
def test_a_quarter_is_a_period_however_it_is_written(text: str) -> None:
    (found,) = periods(f"What was the revenue {text}?", TODAY)
    assert (found.start, found.end) == (date(2026, 7, 1), date(2026, 9, 30))


def test_which_ten_means_ten() -> None:
    need = understand("Which ten cities were most popular?", TODAY).needs[0]
    assert need.top == 10
    assert need.which == ("cities",)


def test_what_is_ranked_is_the_kind_of_thing_that_is_asked_for(play: Play, tool: MakeTool) -> None:
    span = {"since": {"type": "string", "format": "date"}, "before": {"type": "string", "format": "date"}}
    grouped = {"group_by": {"type": "string", "enum": ["region", "boat_category"]}}
    tools = [
        tool("figures.revenue", {**span, **grouped}, description="Revenue by period and by region or boat category"),
        tool(
            "boats.top_boats",
            {**span, "limit": {"type": "integer", "maximum": 50}},
            description="The boats that sell best, by revenue, in a period",
            returns={"boats": {"type": "array", "items": {"properties": {"boat_id": {}, "name": {}, "revenue": {}}}}},
        ),
    ]
    rows = [{"boat_id": f"B-{n}", "name": f"Boat {n}", "revenue": 100.0 - n} for n in range(5)]
    asked = play(
        "Which five boats brought in the most revenue this year?",
        tools,
        {
            "boats.top_boats": {"boats": rows},
            "figures.revenue": {"groups": [{"region": "north", "revenue": 9}]},
        },
    )
    assert asked.tools == ["boats.top_boats"]
    assert asked.calls[0][1]["limit"] == 5
    assert "Boat 4" in asked.answer


def test_most_common_counts_a_field_over_all_pages(play: Play, tool: MakeTool) -> None:
    rows = [{"loan_id": f"L-{n}", "refusal_reason": "income" if n % 3 else "age"} for n in range(150)]
    tools = [tool("bank.list_loans", PAGED, description="Loans that were refused, with the refusal reason")]
    asked = play("Which loan refusal reason was most common?", tools, {"bank.list_loans": listing(rows, "loans")})
    assert "income (100 of 150 loans)" in asked.answer


def test_the_employee_of_a_record_is_its_assignee(play: Play, tool: MakeTool) -> None:
    rows = [{"ticket_id": f"T-{n}", "status": "open", "assignee": "Ann Lee" if n % 3 else "Bo Ray"} for n in range(9)]
    choice = {"status": {"type": "string", "enum": ["open", "closed"]}}
    tools = [tool("desk.list_tickets", {**PAGED, **choice}, description="Tickets by status, with the agent")]
    asked = play("Which employee has the most open tickets?", tools, {"desk.list_tickets": listing(rows, "tickets")})
    assert "Ann Lee (6 of 9 tickets)" in asked.answer


def test_unpaid_is_every_state_that_is_not_paid(play: Play, tool: MakeTool) -> None:
    rows = [
        {"bill_id": f"B-{n}", "client_id": f"C-{n % 2}", "amount": 10.0 * (n + 1), "status": state}
        for n, state in enumerate(["open", "overdue", "paid", "open", "paid", "paid"])
    ]
    choice = {"status": {"type": "string", "enum": ["paid", "open", "overdue"]}}
    tools = [tool("books.list_bills", {**PAGED, **choice}, description="Bills of clients by status")]
    asked = play(
        "Which client has the highest total of unpaid bills, and how much do they owe?",
        tools,
        {"books.list_bills": listing(rows, "bills")},
    )
    assert {c[1].get("status") for c in asked.calls} == {"open", "overdue"}
    assert "C-1 (60" in asked.answer


def test_a_share_is_of_all_in_the_same_period(play: Play, tool: MakeTool) -> None:
    rows = [{"order_id": f"O-{n}", "status": "cancelled" if n < 3 else "done"} for n in range(60)]
    choice = {"status": {"type": "string", "enum": ["cancelled", "done"]}}
    tools = [tool("shop.list_orders", {**PAGED, **choice}, description="Orders by status")]
    asked = play("What share of orders was cancelled?", tools, {"shop.list_orders": listing(rows, "orders")})
    assert "5.0 % (3 of 60)" in asked.answer


def test_a_day_of_another_event_is_no_filter_for_the_one_asked_for(play: Play, tool: MakeTool) -> None:
    rows = [
        {"plan_id": f"S-{n}", "status": "cancelled", "renews_on": None, "ended_on": f"{2025 + n % 2}-03-0{n}"}
        for n in range(1, 8)
    ]
    given = {
        "status": {"type": "string", "enum": ["active", "cancelled"]},
        "renews_since": {"type": "string", "format": "date"},
        "renews_before": {"type": "string", "format": "date"},
    }
    tools = [tool("plans.list_plans", {**PAGED, **given}, description="Plans by status and renewal")]
    asked = play("How many plans were cancelled this year?", tools, {"plans.list_plans": listing(rows, "plans")})
    assert all("renews_since" not in arguments for _, arguments in asked.calls)
    assert "4 plans" in asked.answer


def test_a_count_is_not_the_length_of_a_list_of_the_best(play: Play, tool: MakeTool) -> None:
    top = tool("figures.top_clients", {"limit": {"type": "integer", "maximum": 50}}, description="The best clients")
    asked = play(
        "How many clients do we have?",
        [top],
        {"figures.top_clients": {"clients": [{"client_id": f"C-{n}", "revenue": 1.0} for n in range(10)]}},
    )
    assert "10 client" not in asked.answer
    assert "not found" in asked.answer


def test_figures_beside_a_count_are_left_out_when_they_are_of_one_page(play: Play, tool: MakeTool) -> None:
    rows = [{"order_id": f"O-{n}", "status": "done" if n % 2 else "new"} for n in range(150)]
    tools = [tool("shop.list_orders", PAGED, description="Orders")]
    asked = play("How many orders are there?", tools, {"shop.list_orders": listing(rows, "orders")})
    assert "150 orders" in asked.answer
    assert "50 done" not in asked.answer


def test_what_was_not_read_is_not_said_to_be_missing(play: Play, tool: MakeTool) -> None:
    rows = [{"bill_id": f"B-{n}", "status": "paid", "paid_on": "2026-11-19"} for n in range(5000)]
    tools = [tool("books.list_bills", PAGED, description="Bills, the latest first")]
    asked = play("How many bills were paid in March 2026?", tools, {"books.list_bills": listing(rows, "bills")})
    assert "not known: of 5000 bills only the first 100 were read" in asked.answer


def test_a_question_that_no_record_answers_is_looked_up_in_documents_and_quoted(play: Play, tool: MakeTool) -> None:
    tools = [
        tool("staff.list_people", PAGED, description="Employees with department"),
        tool(
            "wiki.search_documents",
            {"query": {"type": "string", "description": "Words or a question."}},
            ("query",),
            description="Find documents by what they say",
        ),
        tool("wiki.read_document", {"document_id": {"type": "string"}}, ("document_id",), description="One document"),
    ]
    text = "# Leave\n\nAsk your team.\n\n## Parents\n\nEmployees get 14 weeks of paid parental leave.\n"
    asked = play(
        "How many weeks of parental leave do employees get?",
        tools,
        {
            "wiki.search_documents": {"hits": [{"document_id": "leave.md", "title": "Leave", "snippet": "Holidays"}]},
            "wiki.read_document": {"document_id": "leave.md", "text": text},
            "staff.list_people": {"people": []},
        },
    )
    assert "> Employees get 14 weeks of paid parental leave." in asked.answer
    assert "Leave (leave.md)" in asked.answer


def test_documents_that_do_not_speak_of_it_are_not_quoted() -> None:
    need = understand("How many days of dental cover do employees get?", TODAY).needs[0]
    answer = quoted(need, [("Leave", "leave.md", "Employees get 14 weeks of parental leave.")])
    assert answer.startswith("not found")
    assert "14 weeks" not in answer


async def test_another_field_of_the_one_row_that_was_found(tables: Any) -> None:
    asked = await tables.ask("Which shipment had the longest wait, and when was it?")
    assert "100" in asked.answer
    assert "2026-02-12" in asked.answer


async def test_a_figure_that_the_tables_lack_is_said_with_the_columns_there_are(tables: Any) -> None:
    asked = await tables.ask("What is the average price of the shipments?")
    assert "no column of shipments is price" in asked.answer
    assert "weight_kg" in asked.answer


async def test_several_of_one_name_are_said(company: Any) -> None:
    asked = await company.ask("Who is the account manager of John Smith and in which department do they work?")
    assert "6 are called John Smith" in asked.answer
    assert "Customer success" in asked.answer


async def test_who_organizes_is_the_organizer(company: Any) -> None:
    asked = await company.ask("How many meetings does Lisa Martinez organize next week?")
    assert "2 meetings" in asked.answer


def test_two_conditions_are_met_in_two_lists(play: Play, tool: MakeTool) -> None:
    state = {"status": {"type": "string", "enum": ["open", "late", "closed"]}}
    returns = {"total": {}, "rows": {"type": "array", "items": {"properties": {"client_id": {"type": "string"}}}}}
    tools = [
        tool(
            "crm.list_clients",
            {**PAGED, "country": {"type": "string"}},
            description="Clients by country",
            returns=returns,
        ),
        tool("desk.list_tickets", {**PAGED, **state}, description="Tickets by status", returns=returns),
        tool("books.list_bills", {**PAGED, **state}, description="Bills by status", returns=returns),
    ]
    clients = [{"client_id": f"C-{n}", "name": f"Client {n}", "country": "France"} for n in range(6)]
    asked = play(
        "Which clients in France have both an open ticket and a late bill?",
        tools,
        {
            "crm.list_clients": listing(clients, "clients"),
            "desk.list_tickets": listing(
                [{"ticket_id": f"T-{n}", "client_id": f"C-{n}", "status": "open"} for n in (1, 2, 3)], "tickets"
            ),
            "books.list_bills": listing(
                [{"bill_id": f"B-{n}", "client_id": f"C-{n}", "status": "late"} for n in (3, 5)], "bills"
            ),
        },
    )
    assert "1, by comparing" in asked.answer
    assert "C-3" in asked.answer
    assert "C-5" not in asked.answer


def test_a_question_about_one_list_is_no_join() -> None:
    question = understand("How many clients have an open ticket?", TODAY)
    assert joined(QuestionPlan(question, [], []), question) is None
