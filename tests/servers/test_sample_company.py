"""The committed sample: reproducible, coherent, small, and with the customer that the first question asks for."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pytest

KEYS = {
    "stock": {"product_id": "products"},
    "customers": {"account_manager_id:employee_id": "employees"},
    "contacts": {"customer_id": "customers"},
    "interactions": {
        "customer_id": "customers",
        "contact_id": "contacts",
        "employee_id": "employees",
    },
    "orders": {"customer_id": "customers"},
    "order_items": {"order_id": "orders", "product_id": "products"},
    "subscriptions": {"customer_id": "customers"},
    "invoices": {"customer_id": "customers", "order_id": "orders", "subscription_id": "subscriptions"},
    "payments": {"customer_id": "customers", "invoice_id": "invoices", "subscription_id": "subscriptions"},
    "tickets": {"customer_id": "customers", "product_id": "products", "assignee_id:employee_id": "employees"},
    "ticket_messages": {"ticket_id": "tickets"},
    "meetings": {"customer_id": "customers", "organizer_id:employee_id": "employees"},
    "attendees": {"meeting_id": "meetings"},
}


@pytest.fixture(scope="module")
def sample() -> duckdb.DuckDBPyConnection:
    folder = Path(__file__).resolve().parents[2] / "data" / "company"
    database = duckdb.connect(":memory:")
    for file in sorted(folder.glob("*.parquet")):
        database.execute(f"create table {file.stem} as from read_parquet('{file}')")
    return database


def value(database: duckdb.DuckDBPyConnection, sql: str) -> object:
    row = database.execute(sql).fetchone()
    assert row
    return row[0]


@pytest.mark.slow
def test_the_generator_makes_the_committed_tables_again(tmp_path: Path, root: Path) -> None:
    from data.generator import write

    counts = write(tmp_path)
    committed = root / "data" / "company"
    assert {p.name for p in tmp_path.glob("*")} == {p.name for p in committed.glob("*.parquet")}
    for table, rows in counts.items():
        made, kept = (f"read_parquet('{folder}/{table}.parquet')" for folder in (tmp_path, committed))
        database = duckdb.connect(":memory:")
        assert value(database, f"select count(*) from {kept}") == rows
        assert (
            database.execute(f"describe from {made}").fetchall() == database.execute(f"describe from {kept}").fetchall()
        )
        different = f"(from {made} except all from {kept}) union all (from {kept} except all from {made})"
        assert value(database, f"select count(*) from ({different})") == 0, table


def test_the_sample_is_small(root: Path) -> None:
    assert sum(p.stat().st_size for p in (root / "data" / "company").iterdir()) < 6_000_000


@pytest.mark.parametrize("table", sorted(KEYS))
def test_every_reference_leads_to_a_row(sample: duckdb.DuckDBPyConnection, table: str) -> None:
    for reference, target in KEYS[table].items():
        column, _, key = reference.partition(":")
        lost = f"""select count(*) from {table} where {column} is not null
            and {column} not in (select {key or column} from {target})"""
        assert value(sample, lost) == 0, f"{table}.{column}"


def test_every_id_is_given_once(sample: duckdb.DuckDBPyConnection) -> None:
    for table, key in [
        ("customers", "customer_id"),
        ("customers", "email"),
        ("products", "product_id"),
        ("orders", "order_id"),
        ("subscriptions", "subscription_id"),
        ("invoices", "invoice_id"),
        ("payments", "payment_id"),
        ("tickets", "ticket_id"),
        ("ticket_messages", "message_id"),
        ("meetings", "meeting_id"),
        ("articles", "article_id"),
    ]:
        assert value(sample, f"select count(*) - count(distinct {key}) from {table}") == 0, f"{table}.{key}"


def test_amounts_add_up(sample: duckdb.DuckDBPyConnection) -> None:
    orders = """select count(*) from orders o
        where abs(total - (select sum(amount) from order_items i where i.order_id = o.order_id)) > 0.005"""
    assert value(sample, orders) == 0
    invoices = (
        """select count(*) from invoices i join orders o using (order_id) where abs(i.amount - o.total) > 0.005"""
    )
    assert value(sample, invoices) == 0
    unpaid = """select count(*) from invoices i where status = 'paid' and not exists (
        select 1 from payments p where p.invoice_id = i.invoice_id and p.status = 'succeeded')"""
    assert value(sample, unpaid) == 0


def test_nothing_happens_before_its_cause(sample: duckdb.DuckDBPyConnection) -> None:
    for late in [
        "select count(*) from orders join customers using (customer_id) where ordered_at::date < signed_up_on",
        "select count(*) from tickets join customers using (customer_id) where opened_at::date < signed_up_on",
        "select count(*) from tickets where resolved_at < opened_at or first_reply_at < opened_at",
        "select count(*) from payments join invoices using (invoice_id) where attempted_at::date < issued_on",
        "select count(*) from ticket_messages join tickets using (ticket_id) where sent_at < opened_at",
        "select count(*) from subscriptions where ended_on < started_on",
        "select count(*) from orders, company where ordered_at::date > as_of",
    ]:
        assert value(sample, late) == 0, late


def test_the_distributions_look_like_a_company(sample: duckdb.DuckDBPyConnection) -> None:
    months = dict(
        sample.execute("select strftime(ordered_at, '%Y-%m'), count(*) from orders group by 1 order by 1").fetchall()
    )
    assert months["2025-11"] > 1.4 * months["2025-08"], "busy before the year closes, quiet in August"
    top = value(
        sample,
        """select sum(n) filter (rank <= 25) / sum(n) from (select count(*) as n, row_number() over (order by n desc) as
        rank from order_items group by product_id)""",
    )
    assert 0.4 < float(str(top)) < 0.85, "a tenth of the products makes about half of the sales"
    retried = value(sample, "select count(*) from payments where attempt > 1 and status = 'succeeded'")
    assert int(str(retried)) > 100
    peak = sample.execute("select opened_at::date from tickets group by 1 order by count(*) desc limit 1").fetchone()
    assert peak == (date(2026, 3, 17),), "the outage shows"
    medians = dict(
        sample.execute("select priority, median(epoch(resolved_at - opened_at)) from tickets group by 1").fetchall()
    )
    assert medians["urgent"] < medians["high"] < medians["normal"] < medians["low"]


def test_the_customer_of_the_first_question_is_there(sample: duckdb.DuckDBPyConnection) -> None:
    status = value(sample, "select status from customers where email = 'john.smith@acme.com'")
    assert status == "past_due"
    assert int(str(value(sample, "select count(*) from customers where lower(name) like '%smith%'"))) > 4
    failed = sample.execute(
        """select p.failure_reason, p.attempted_at::date from payments p join customers c using (customer_id)
        where c.email = 'john.smith@acme.com' and p.status = 'failed' and attempted_at > date '2026-11-12'
        order by attempted_at"""
    ).fetchall()
    assert failed == [("card_expired", date(2026, 11, 13)), ("card_expired", date(2026, 11, 16))]
    unsolved = value(
        sample,
        """select count(*) from tickets join customers using (customer_id)
        where email = 'john.smith@acme.com' and tickets.status in ('open', 'pending')""",
    )
    assert unsolved == 2
