"""Questions over the real servers of the sample company and over real table tools; facts come from the data by SQL."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import pytest

DATA = Path(__file__).resolve().parents[2] / "data" / "company"
RENEWAL = (
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, "
    "do they have any open support tickets, and what does their payment history look like?"
)


def fact(sql: str) -> list[Any]:
    """The values of the first column."""
    with duckdb.connect() as db:
        for path in DATA.glob("*.parquet"):
            db.execute(f"create view {path.stem} as from read_parquet('{path}')")
        return [row[0] for row in db.execute(sql).fetchall()]


async def test_the_question_of_the_readme_is_answered_from_the_data(company: Any) -> None:
    asked = await company.ask(RENEWAL)
    of_customer = "join customers using (customer_id) where email = 'john.smith@acme.com'"
    status = fact("select status from customers where email = 'john.smith@acme.com'")
    tickets = fact(f"select ticket_id from tickets {of_customer} and tickets.status = 'open'")
    payments = fact(
        f"select payment_id from payments {of_customer} and payments.status = 'failed' and attempted_at > '2026-11-10'"
    )
    assert status
    assert tickets
    assert payments
    for value in (*status, *tickets, *payments, "299.00 USD", "2026-11-13"):
        assert value in asked.answer
    assert asked.tools[0] == "crm.search_customers"
    assert len(asked.calls) <= 6


async def test_asked_years_later_it_says_that_last_week_holds_nothing(company: Any) -> None:
    asked = await company.ask(RENEWAL, date(2029, 5, 2))
    assert "nothing within 2029-04-23 to 2029-04-29" in asked.answer
    assert "past_due" in asked.answer


@pytest.mark.parametrize(
    ("question", "sql"),
    [
        ("How many customers are past due?", "select count(*)::varchar from customers where status = 'past_due'"),
        ("What is the status of invoice I-024142?", "select status from invoices where invoice_id = 'I-024142'"),
        ("Why did payment Y-025658 fail?", "select failure_reason from payments where payment_id = 'Y-025658'"),
        (
            "What is the total amount of failed payments in October 2026?",
            "select format('{:,.2f}', sum(amount)) from payments "
            "where status = 'failed' and strftime(attempted_at, '%Y-%m') = '2026-10'",
        ),
        (
            "List the three most expensive sensors.",
            "select name from products where category = 'sensors' and status = 'active' order by price desc limit 3",
        ),
    ],
)
async def test_single_facts_are_found(company: Any, question: str, sql: str) -> None:
    asked = await company.ask(question)
    for value in fact(sql):
        assert value in asked.answer


async def test_a_table_is_found_described_and_grouped(tables: Any) -> None:
    asked = await tables.ask("Which depot had the highest average wait?")
    assert asked.tools == ["tables.list_tables", *["tables.describe_table"] * 2, "tables.aggregate", "tables.find_rows"]
    assert "STH (South Quay) (avg wait minutes 90)" in asked.answer


async def test_a_month_without_a_year_is_the_month_in_the_data(tables: Any) -> None:
    asked = await tables.ask("How many shipments were there in January?")
    assert asked.calls[-1][1]["filters"] == [
        {"column": "sched_date", "op": ">=", "value": "2026-01-01"},
        {"column": "sched_date", "op": "<", "value": "2026-02-01"},
    ]
    assert "2." in asked.answer


async def test_a_name_is_looked_up_in_the_table_that_shares_the_key(tables: Any) -> None:
    asked = await tables.ask("What is the total weight of the shipments of South Quay?")
    assert {"column": "depot", "op": "=", "value": "STH"} in asked.calls[-1][1]["filters"]
    assert "21.5" in asked.answer


async def test_a_bound_and_a_value_become_filters(tables: Any) -> None:
    asked = await tables.ask("How many air shipments have a wait of more than 5 minutes?")
    filters = asked.calls[-1][1]["filters"]
    assert {"column": "mode", "op": "=", "value": "air"} in filters
    assert {"column": "wait_minutes", "op": ">", "value": 5} in filters
    assert "2." in asked.answer


async def test_the_extreme_row_is_found_by_sorting(tables: Any) -> None:
    asked = await tables.ask("What was the longest wait of the shipments?")
    assert asked.calls[-1][1] == {"table": "shipments", "order_by": "wait_minutes", "descending": True, "limit": 1}
    assert "100" in asked.answer
