"""crm, tickets, payments, products, calendar and analytics: what they answer, and what they say when asked wrongly."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

Ask = Callable[..., Awaitable[Any]]
Fresh = Callable[[str], Any]


async def test_the_first_question_is_answered_by_chaining_ids(ask: Ask, fresh: Fresh) -> None:
    crm, tickets, payments = (fresh(n).server for n in ("crm", "tickets", "payments"))
    found = await ask(crm, "search_customers", query="john.smith@acme.com")
    assert found["total"] == 1
    customer_id = found["customers"][0]["customer_id"]
    profile = await ask(crm, "get_customer", customer_id=customer_id)
    assert (profile["status"], profile["open_tickets"], profile["owed"]) == ("past_due", 2, 299.0)
    open_tickets = await ask(tickets, "list_tickets", customer_id=customer_id, status="unsolved")
    assert [t["subject"] for t in open_tickets["tickets"]] == [
        "Subscription renewal failed last week",
        "Export stops at 10,000 rows",
    ]
    history = await ask(payments, "payment_history", customer_id=customer_id)
    assert history["last_failure"]["failure_reason"] == "card_expired"
    assert history["failed"] == 3
    subscription = (await ask(payments, "list_subscriptions", customer_id=customer_id))["subscriptions"][0]
    assert (subscription["plan"], subscription["status"]) == ("Business", "past_due")


async def test_a_search_for_a_common_name_is_not_trivial(ask: Ask, fresh: Fresh) -> None:
    crm = fresh("crm").server
    smiths = await ask(crm, "search_customers", query="smith", limit=5)
    assert smiths["total"] > 10
    assert smiths["next_offset"] == 5
    second = await ask(crm, "search_customers", query="smith", limit=5, offset=5)
    first_ids = {c["customer_id"] for c in smiths["customers"]}
    assert not first_ids & {c["customer_id"] for c in second["customers"]}
    at_acme = await ask(crm, "search_customers", query="smith", company="acme corporation")
    assert {c["name"] for c in at_acme["customers"]} == {"John Smith", "Jane Smith"}
    exact = await ask(crm, "search_customers", query="John Smith", limit=2)
    assert exact["customers"][0]["name"] == "John Smith"


@pytest.mark.parametrize(
    ("server", "tool", "arguments", "says"),
    [
        ("crm", "get_customer", {"customer_id": "C-99999"}, "No customer C-99999. Search with crm.search_customers."),
        ("crm", "list_contacts", {"customer_id": "C-99999"}, "crm.search_customers"),
        ("crm", "get_customer", {"customer_id": "john"}, "pattern"),
        ("crm", "search_customers", {"query": "a", "limit": 1000}, "less than or equal to 100"),
        ("tickets", "get_ticket", {"ticket_id": "T-99999"}, "tickets.list_tickets"),
        ("tickets", "list_tickets", {"status": "weird"}, "unsolved"),
        ("payments", "get_invoice", {"invoice_id": "I-999999"}, "payments.list_invoices"),
        ("payments", "get_subscription", {"subscription_id": "S-99999"}, "payments.list_subscriptions"),
        ("payments", "payment_history", {"customer_id": "C-99999"}, "crm.search_customers"),
        ("products", "get_product", {"product_id": "P-9999"}, "products.search_products"),
        ("products", "get_order", {"order_id": "O-999999"}, "products.list_orders"),
        ("calendar", "get_meeting", {"meeting_id": "M-99999"}, "calendar.list_meetings"),
        ("calendar", "list_meetings", {"person": "nobody at all"}, "calendar.list_people"),
        (
            "calendar",
            "find_free_slots",
            {"people": ["E-001"], "first_day": "2026-12-01", "last_day": "2026-11-01"},
            "60",
        ),
        ("analytics", "churn", {"since": "2026-01-01", "before": "2025-01-01"}, "Expected since to be earlier"),
    ],
)
async def test_a_wrong_request_is_told_what_to_do(
    ask: Ask, fresh: Fresh, server: str, tool: str, arguments: dict[str, Any], says: str
) -> None:
    answer = await ask(fresh(server).server, tool, **arguments)
    assert isinstance(answer, str)
    assert says in answer


async def test_a_comment_is_kept_and_changes_nothing_else(ask: Ask, fresh: Fresh) -> None:
    tickets = fresh("tickets").server
    before = await ask(tickets, "get_ticket", ticket_id="T-04461")
    added = await ask(tickets, "add_comment", ticket_id="T-04461", body="Called the customer.", author="E-003")
    after = await ask(tickets, "get_ticket", ticket_id="T-04461")
    assert after["messages"][:-1] == before["messages"]
    assert after["messages"][-1]["message_id"] == added["message_id"]
    assert after["status"] == before["status"] == "open"
    assert "empty" in await ask(tickets, "add_comment", ticket_id="T-04461", body="  ")


async def test_a_closed_ticket_is_closed_for_every_server(ask: Ask, fresh: Fresh) -> None:
    tickets, crm, analytics = fresh("tickets").server, fresh("crm").server, fresh("analytics").server
    open_before = (await ask(analytics, "key_figures"))["open_tickets"]
    closed = await ask(tickets, "close_ticket", ticket_id="T-04461", reason="Paid with a new card.")
    assert closed["status"] == "closed"
    assert closed["resolved_at"]
    assert (await ask(crm, "get_customer", customer_id=closed["customer_id"]))["open_tickets"] == 1
    assert (await ask(analytics, "key_figures"))["open_tickets"] == open_before - 1
    again = await ask(tickets, "close_ticket", ticket_id="T-04461", reason="Again")
    assert "closed already" in again


async def test_only_a_succeeded_payment_is_refunded_and_only_once(ask: Ask, fresh: Fresh) -> None:
    payments = fresh("payments").server
    paid = (await ask(payments, "list_payments", status="succeeded", limit=1))["payments"][0]
    failed = (await ask(payments, "list_payments", status="failed", limit=1))["payments"][0]
    refunded = await ask(payments, "refund_payment", payment_id=paid["payment_id"], reason="Goodwill")
    assert refunded["status"] == "refunded"
    invoice = await ask(payments, "get_invoice", invoice_id=paid["invoice_id"])
    assert invoice["status"] == "refunded"
    for payment in (paid, failed):
        answer = await ask(payments, "refund_payment", payment_id=payment["payment_id"], reason="Again")
        assert "only a succeeded payment" in answer


async def test_a_cancelled_meeting_frees_its_time(ask: Ask, fresh: Fresh) -> None:
    calendar = fresh("calendar").server
    meeting = (await ask(calendar, "list_meetings", since="2026-11-23", status="scheduled", limit=1))["meetings"][0]
    day = meeting["starts_at"][:10]
    wanted = {"people": [meeting["organizer_id"]], "first_day": day, "limit": 100, "minutes": 30}
    busy = await ask(calendar, "find_free_slots", **wanted)
    assert meeting["starts_at"] not in [s["starts_at"] for s in busy["slots"]]
    cancelled = await ask(calendar, "cancel_meeting", meeting_id=meeting["meeting_id"], reason="Ill")
    assert cancelled["status"] == "cancelled"
    free = await ask(calendar, "find_free_slots", **wanted)
    assert meeting["starts_at"] in [s["starts_at"] for s in free["slots"]]
    assert "only a scheduled meeting" in await ask(
        calendar, "cancel_meeting", meeting_id=meeting["meeting_id"], reason="x"
    )


async def test_free_slots_never_overlap_a_meeting_of_anyone(ask: Ask, fresh: Fresh) -> None:
    calendar = fresh("calendar").server
    slots = (
        await ask(
            calendar, "find_free_slots", people=["E-001", "E-020", "E-033"], first_day="2026-11-23",
            last_day="2026-11-27", minutes=60, limit=100,
        )
    )["slots"]  # fmt: skip
    assert slots
    for person in ("E-001", "E-020", "E-033"):
        page = await ask(calendar, "list_meetings", person=person, since="2026-11-23", before="2026-11-28", limit=100)
        for m in page["meetings"]:
            if m["status"] != "cancelled" and m["organizer_id"] == person:
                assert all(s["ends_at"] <= m["starts_at"] or s["starts_at"] >= m["ends_at"] for s in slots)


async def test_failed_payments_narrow_down_to_unpaid_renewals_of_last_week(ask: Ask, fresh: Fresh) -> None:
    payments = fresh("payments").server
    every = await ask(payments, "failed_payments", since="2026-11-09", before="2026-11-16", limit=100)
    narrow = await ask(
        payments, "failed_payments", since="2026-11-09", before="2026-11-16", subscriptions_only=True, unpaid_only=True,
        limit=100,
    )  # fmt: skip
    assert 0 < narrow["total"] < every["total"]
    assert all(p["subscription_id"] and p["status"] == "failed" for p in narrow["payments"])
    assert "C-01409" in {p["customer_id"] for p in narrow["payments"]}


async def test_invoices_have_lines_and_attempts(ask: Ask, fresh: Fresh) -> None:
    payments = fresh("payments").server
    order = (await ask(payments, "list_invoices", kind="order", limit=1))["invoices"][0]
    detail = await ask(payments, "get_invoice", invoice_id=order["invoice_id"])
    assert sum(line["amount"] for line in detail["lines"]) == pytest.approx(detail["amount"], abs=0.01)
    overdue = await ask(payments, "list_invoices", customer_id="C-01409", status="overdue")
    detail = await ask(payments, "get_invoice", invoice_id=overdue["invoices"][0]["invoice_id"])
    assert [p["attempt"] for p in detail["payments"]] == [1, 2]
    assert detail["lines"][0]["description"].startswith("Subscription renewal")


async def test_products_are_found_by_words_price_and_stock(ask: Ask, fresh: Fresh) -> None:
    products = fresh("products").server
    found = await ask(products, "search_products", query="gateway", in_stock=True, max_price=600, sort="-price")
    prices = [p["price"] for p in found["products"]]
    assert prices
    assert prices == sorted(prices, reverse=True)
    assert prices[0] <= 600
    stock = await ask(products, "check_stock", product_id=found["products"][0]["product_id"])
    assert stock["available"] == found["products"][0]["available"] == sum(s["available"] for s in stock["stock"])
    low = await ask(products, "low_stock", warehouse="Singapore")
    assert all(p["on_hand"] < p["reorder_point"] and p["warehouse"] == "Singapore" for p in low["products"])


async def test_figures_of_different_servers_agree(ask: Ask, fresh: Fresh) -> None:
    analytics, products, tickets, crm, payments = (
        fresh(n).server for n in ("analytics", "products", "tickets", "crm", "payments")
    )
    best = (await ask(analytics, "top_customers", limit=1))["customers"][0]
    orders = await ask(products, "list_orders", customer_id=best["customer_id"], limit=1)
    assert orders["total"] == best["orders"]
    volume = await ask(analytics, "ticket_volume", since="2026-10-01", before="2026-11-01")
    stats = await ask(tickets, "ticket_stats", opened_since="2026-10-01", opened_before="2026-11-01")
    assert volume["total"] == stats["tickets"] == sum(r["tickets"] for r in volume["rows"])
    key = await ask(analytics, "key_figures")
    assert key["customers"] == (await ask(crm, "count_customers"))["total"]
    by_kind = await ask(analytics, "revenue", period=None, group_by="kind")
    assert sum(r["revenue"] for r in by_kind["rows"]) == pytest.approx(by_kind["total"], abs=0.05)
    october = await ask(analytics, "renewals", since="2026-10-01", before="2026-11-01")
    listed = await ask(payments, "list_invoices", kind="renewal", issued_since="2026-10-01", issued_before="2026-11-01")
    assert october["rows"][0]["renewals"] == listed["total"]


async def test_churn_counts_what_started_and_ended(ask: Ask, fresh: Fresh) -> None:
    analytics = fresh("analytics").server
    months = (await ask(analytics, "churn", since="2026-04-01", before="2026-07-01"))["rows"]
    quarter = (await ask(analytics, "churn", period="quarter", since="2026-04-01", before="2026-07-01"))["rows"]
    assert [m["period"] for m in months] == ["2026-04", "2026-05", "2026-06"]
    assert quarter[0]["ended"] == sum(m["ended"] for m in months)
    assert quarter[0]["started"] == sum(m["started"] for m in months)
    assert months[1]["active_at_start"] == months[0]["active_at_start"] + months[0]["started"] - months[0]["ended"]


async def test_words_of_a_caller_are_never_sql(ask: Ask, fresh: Fresh) -> None:
    crm = fresh("crm").server
    for query in ("'; drop table customers; --", "%", "_", "' or 1=1 --", '"', "\\"):
        answer = await ask(crm, "search_customers", query=query)
        assert isinstance(answer, dict)
        assert answer["total"] == 0, query
    assert (await ask(crm, "count_customers"))["total"] == 3200


async def test_resources_and_prompts_are_served(fresh: Fresh) -> None:
    from mcp import Client, MCPError

    async with Client(fresh("crm").server) as client:
        read = await client.read_resource("crm://customers/C-01409")
        assert "john.smith@acme.com" in read.contents[0].text
        prompt = await client.get_prompt("prepare_call", {"customer": "John Smith"})
        assert "John Smith" in prompt.messages[0].content.text
        with pytest.raises(MCPError, match="C-99999"):
            await client.read_resource("crm://customers/C-99999")


async def test_meetings_are_found_by_who_organizes_and_by_who_attends(ask: Ask, fresh: Fresh) -> None:
    calendar = fresh("calendar").server
    by_name = await ask(calendar, "list_meetings", organizer="lisa martinez", limit=100)
    assert by_name["total"] > 10
    assert {m["organizer"] for m in by_name["meetings"]} == {"Lisa Martinez"}
    ident = by_name["meetings"][0]["organizer_id"]
    for same in (ident, ident.lower(), "martinez, lisa".replace(",", "")):
        assert (await ask(calendar, "list_meetings", organizer=same))["total"] == by_name["total"]
    attends = await ask(calendar, "list_meetings", person="Lisa Martinez")
    assert attends["total"] > by_name["total"], "who organizes attends too"
    several = await ask(calendar, "list_meetings", organizer="Lisa")
    assert "several colleagues named 'Lisa'" in several
    assert "E-030 Lisa Martinez" in several
    with_customer = next(m for m in by_name["meetings"] if m["customer_id"])
    guest = next(
        a for a in (await ask(calendar, "get_meeting", meeting_id=with_customer["meeting_id"]))["attendees"]
        if a["kind"] == "customer"
    )  # fmt: skip
    for who in (guest["attendee_id"], guest["email"]):
        page = await ask(calendar, "list_meetings", person=who, organizer=ident, limit=100)
        assert with_customer["meeting_id"] in [m["meeting_id"] for m in page["meetings"]]


async def test_cancelled_subscriptions_are_found_by_day_and_counted_by_reason(ask: Ask, fresh: Fresh) -> None:
    payments = fresh("payments").server
    span = {"cancelled_since": "2026-10-01", "cancelled_before": "2026-11-01"}
    page = await ask(payments, "list_subscriptions", **span, limit=100)
    days = [s["ended_on"] for s in page["subscriptions"]]
    assert page["total"] == len(days) > 5
    assert days == sorted(days, reverse=True)
    assert all("2026-10-01" <= day < "2026-11-01" for day in days)
    assert sum(page["end_reasons"].values()) == page["total"]
    assert list(page["end_reasons"].values()) == sorted(page["end_reasons"].values(), reverse=True)
    price = await ask(payments, "list_subscriptions", **span, end_reason="price")
    assert price["total"] == page["end_reasons"]["price"]
    active = await ask(payments, "list_subscriptions", status="active", started_since="2026-10-01")
    assert active["end_reasons"] == {}
    assert all(s["started_on"] >= "2026-10-01" for s in active["subscriptions"])


async def test_failures_are_counted_by_reason_over_all_that_fit(ask: Ask, fresh: Fresh) -> None:
    payments = fresh("payments").server
    failed = await ask(payments, "failed_payments", since="2026-10-01", limit=1)
    assert sum(failed["failure_reasons"].values()) == failed["total"] > 1
    every = await ask(payments, "list_payments", since="2026-10-01", limit=1)
    assert every["failure_reasons"] == failed["failure_reasons"]


async def test_shares_of_orders_and_tickets_add_up_to_one(ask: Ask, fresh: Fresh) -> None:
    analytics, tickets = fresh("analytics").server, fresh("tickets").server
    orders = await ask(analytics, "order_volume", group_by="status")
    assert {r["group"] for r in orders["rows"]} == {"processing", "shipped", "delivered", "cancelled", "returned"}
    assert sum(r["orders"] for r in orders["rows"]) == orders["total"]
    assert sum(r["share"] for r in orders["rows"]) == pytest.approx(1, abs=0.001)
    yearly = await ask(analytics, "order_volume", group_by="segment", period="year")
    for year in {r["period"] for r in yearly["rows"]}:
        assert sum(r["share"] for r in yearly["rows"] if r["period"] == year) == pytest.approx(1, abs=0.001)
    by_agent = await ask(analytics, "ticket_volume", group_by="assignee", period=None)
    figures = await ask(tickets, "ticket_stats", group_by="assignee")
    assert {r["group"]: r["tickets"] for r in by_agent["rows"]} == {g["group"]: g["tickets"] for g in figures["groups"]}
    assert (await ask(analytics, "order_volume"))["rows"][0]["share"] == 1


async def test_customers_of_one_manager_are_found_by_name_and_by_id(ask: Ask, fresh: Fresh) -> None:
    crm = fresh("crm").server
    managers = (await ask(crm, "count_customers", group_by="account_manager"))["groups"]
    name, number = managers[0]["group"], managers[0]["customers"]
    found = await ask(crm, "search_customers", account_manager=name, limit=1)
    assert found["total"] == number
    profile = await ask(crm, "get_customer", customer_id=found["customers"][0]["customer_id"])
    assert profile["account_manager"] == name
    assert (await ask(crm, "count_customers", account_manager=profile["account_manager_id"]))["total"] == number
    years = await ask(crm, "count_customers", group_by="signed_up_year")
    assert sum(g["customers"] for g in years["groups"]) == years["total"]
