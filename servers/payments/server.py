"""payments: invoices, subscriptions and payment attempts of the sample company."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.company import Company, Row, where
from servers.identifiers import CustomerId, InvoiceId, Limit, Offset, PaymentId, SubscriptionId, following
from servers.labels import DESTROY, READ, labels
from servers.payments.records import (
    INVOICE,
    PAYMENT,
    PAYMENTS,
    EndReason,
    Invoice,
    InvoiceDetail,
    InvoiceKind,
    InvoiceLine,
    InvoicePage,
    InvoiceStatus,
    Payment,
    PaymentHistory,
    PaymentPage,
    PaymentStatus,
    Subscription,
    SubscriptionPage,
    SubscriptionStatus,
)
from servers.serving import serve
from servers.tool_server import ToolServer

sample = Company("invoices", "payments", "subscriptions", "orders", "order_items", "products", "customers")

server: ToolServer[None] = ToolServer(
    "payments",
    title="Payments",
    description="Invoices, subscriptions and payment attempts.",
    instructions="Everything is listed by customer_id, which crm.search_customers finds. payment_history sums it up.",
    version="0.1.0",
    log_level="WARNING",
)

Customer = Annotated[CustomerId | None, Field(description="Only those of this customer.")]
Since = Annotated[date | None, Field(description="Only from this day on.", examples=["2026-11-01"])]
Before = Annotated[date | None, Field(description="Only before this day.", examples=["2026-12-01"])]


@server.tool(title="List invoices", annotations=READ, meta=labels("payments:read"))
def list_invoices(
    customer_id: Customer = None,
    status: Annotated[InvoiceStatus | None, Field(description="Only invoices with this status.")] = None,
    kind: Annotated[InvoiceKind | None, Field(description="Only for orders, first subscriptions or renewals.")] = None,
    issued_since: Since = None,
    issued_before: Before = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> InvoicePage:
    """Invoices, the latest first."""
    clause, parameters = where(
        ("customer_id = ?", customer_id),
        ("status = ?", status),
        ("kind = ?", kind),
        ("issued_on >= ?", issued_since),
        ("issued_on < ?", issued_before),
    )
    select = f"select {INVOICE} from invoices{clause}"
    rows, total = sample.page(select, "issued_on desc, invoice_id desc", limit, offset, parameters)
    amount = sample.one(f"select coalesce(round(sum(amount), 2), 0) as a from invoices{clause}", *parameters) or {}
    return InvoicePage(
        total=total,
        next_offset=following(total, offset, len(rows)),
        total_amount=amount["a"],
        invoices=[Invoice(**row) for row in rows],
    )


@server.tool(title="Get an invoice", annotations=READ, meta=labels("payments:read"))
def get_invoice(invoice_id: InvoiceId) -> InvoiceDetail:
    """One invoice with its lines and every attempt to pay it."""
    row = _invoice(invoice_id)
    lines = sample.rows(
        """select i.product_id, p.name as description, i.quantity, i.unit_price, i.amount
        from order_items i join products p using (product_id) where i.order_id = ? order by i.line""",
        row["order_id"],
    ) or [
        {
            "product_id": None,
            "description": row["description"],
            "quantity": 1,
            "unit_price": row["amount"],
            "amount": row["amount"],
        }
    ]
    payments = sample.rows(
        f"select {PAYMENT} from {PAYMENTS} where invoice_id = ? order by attempted_at, payment_id", invoice_id
    )
    return InvoiceDetail(**row, lines=[InvoiceLine(**x) for x in lines], payments=[Payment(**p) for p in payments])


@server.tool(title="List payments", annotations=READ, meta=labels("payments:read"))
def list_payments(
    customer_id: Customer = None,
    invoice_id: Annotated[InvoiceId | None, Field(description="Only attempts to pay this invoice.")] = None,
    subscription_id: Annotated[SubscriptionId | None, Field(description="Only for this subscription.")] = None,
    status: Annotated[PaymentStatus | None, Field(description="Only attempts that ended so.")] = None,
    since: Since = None,
    before: Before = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> PaymentPage:
    """Payment attempts, the latest first; failed ones say why."""
    clause, parameters = where(
        ("customer_id = ?", customer_id),
        ("invoice_id = ?", invoice_id),
        ("subscription_id = ?", subscription_id),
        ("status = ?", status),
        ("attempted_at >= ?", since),
        ("attempted_at < ?", before),
    )
    return _payments(clause, parameters, limit, offset)


@server.tool(title="Failed payments", annotations=READ, meta=labels("payments:read"))
def failed_payments(
    customer_id: Customer = None,
    subscriptions_only: Annotated[bool, Field(description="Only subscriptions and their renewals.")] = False,
    unpaid_only: Annotated[bool, Field(description="Only when the invoice is still unpaid.")] = False,
    since: Since = None,
    before: Before = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> PaymentPage:
    """Payment attempts that failed, the latest first, with the reason: for instance renewals that failed last week."""
    clause, parameters = where(
        ("status = ?", "failed"),
        ("customer_id = ?", customer_id),
        ("subscription_id is not null", [] if subscriptions_only else None),
        (
            "invoice_id in (select i.invoice_id from invoices i where i.status in ('open', 'overdue'))",
            [] if unpaid_only else None,
        ),
        ("attempted_at >= ?", since),
        ("attempted_at < ?", before),
    )
    return _payments(clause, parameters, limit, offset)


@server.tool(title="Payment history", annotations=READ, meta=labels("payments:read"))
def payment_history(
    customer_id: CustomerId,
    recent: Annotated[int, Field(description="How many of the latest attempts to list.", ge=0, le=50)] = 10,
) -> PaymentHistory:
    """A customer's payment history summed up: paid, owed and refunded, failures and their reasons, latest attempts."""
    if sample.one("select 1 as found from customers where customer_id = ?", customer_id) is None:
        raise ToolError(f"No customer {customer_id}. Search with crm.search_customers.")
    sums = (
        sample.one(
            """select count(*) as payments,
            count(*) filter (status = 'succeeded') as succeeded, count(*) filter (status = 'failed') as failed,
            coalesce(round(sum(amount) filter (status = 'succeeded'), 2), 0) as paid,
            coalesce(round(sum(amount) filter (status = 'refunded'), 2), 0) as refunded,
            min(attempted_at) as first_payment_at, max(attempted_at) as last_payment_at
        from payments where customer_id = ?""",
            customer_id,
        )
        or {}
    )
    owed = (
        sample.one(
            """select coalesce(round(sum(amount), 2), 0) as owed, count(*) as unpaid_invoices
        from invoices where customer_id = ? and status in ('open', 'overdue')""",
            customer_id,
        )
        or {}
    )
    reasons = sample.rows(
        """select failure_reason, count(*) as n from payments
        where customer_id = ? and status = 'failed' group by 1 order by 2 desc, 1""",
        customer_id,
    )
    latest = _payments(" where customer_id = ?", [customer_id], recent, 0).payments if recent else []
    return PaymentHistory(
        customer_id=customer_id,
        **sums,
        **owed,
        failure_reasons={r["failure_reason"]: r["n"] for r in reasons},
        last_failure=next((p for p in latest if p.status == "failed"), None),
        recent=latest,
    )


@server.tool(title="List subscriptions", annotations=READ, meta=labels("payments:read"))
def list_subscriptions(
    customer_id: Customer = None,
    status: Annotated[SubscriptionStatus | None, Field(description="Only subscriptions with this status.")] = None,
    plan: Annotated[
        Literal["Starter", "Team", "Business", "Enterprise"] | None, Field(description="Only this plan.")
    ] = None,
    renews_since: Since = None,
    renews_before: Before = None,
    started_since: Since = None,
    started_before: Before = None,
    cancelled_since: Annotated[
        date | None, Field(description="Only those that were cancelled on or after this day.", examples=["2026-10-01"])
    ] = None,
    cancelled_before: Annotated[
        date | None, Field(description="Only those that were cancelled before this day.", examples=["2026-11-01"])
    ] = None,
    end_reason: Annotated[
        EndReason | None, Field(description="Only those that were cancelled for this reason.")
    ] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> SubscriptionPage:
    """Subscriptions to Larkfield Cloud, the latest first, by status, plan, day of start, renewal or cancellation."""
    clause, parameters = where(
        ("customer_id = ?", customer_id),
        ("status = ?", status),
        ("plan = ?", plan),
        ("renews_on >= ?", renews_since),
        ("renews_on < ?", renews_before),
        ("started_on >= ?", started_since),
        ("started_on < ?", started_before),
        ("ended_on >= ?", cancelled_since),
        ("ended_on < ?", cancelled_before),
        ("end_reason = ?", end_reason),
    )
    cancelled = bool(cancelled_since or cancelled_before or end_reason or status == "cancelled")
    order = "ended_on desc, subscription_id" if cancelled else "started_on desc, subscription_id"
    rows, total = sample.page(f"select * from subscriptions{clause}", order, limit, offset, parameters)
    return SubscriptionPage(
        total=total,
        next_offset=following(total, offset, len(rows)),
        end_reasons=_counts("end_reason", f"subscriptions{clause}", parameters),
        subscriptions=[Subscription(**r) for r in rows],
    )


@server.tool(title="Get a subscription", annotations=READ, meta=labels("payments:read"))
def get_subscription(subscription_id: SubscriptionId) -> Subscription:
    """One subscription: plan, price, status, next renewal, and why it ended if it did."""
    row = sample.one("select * from subscriptions where subscription_id = ?", subscription_id)
    if row is None:
        raise ToolError(f"No subscription {subscription_id}. Find one with payments.list_subscriptions.")
    return Subscription(**row)


@server.tool(title="Refund a payment", annotations=DESTROY, meta=labels("payments:write"))
def refund_payment(
    payment_id: PaymentId,
    reason: Annotated[str, Field(description="Why the money goes back.", min_length=1, max_length=500)],
) -> Payment:
    """Pay a succeeded payment back in full. It cannot be undone. Kept in the state folder and seen by later reads."""
    with sample.writing("payments.refund_payment") as write:
        row = sample.one(f"select {PAYMENT} from {PAYMENTS} where payment_id = ?", payment_id)
        if row is None:
            raise ToolError(f"No payment {payment_id}. Find one with payments.list_payments.")
        if row["status"] != "succeeded":
            raise ToolError(f"Payment {payment_id} is {row['status']}; only a succeeded payment can be refunded.")
        now = datetime.now(UTC)
        write(
            {
                "table": "payments",
                "key": {"payment_id": payment_id},
                "set": {"status": "refunded", "failure_reason": f"refunded {now:%Y-%m-%d}: {reason}"},
            },
            {"table": "invoices", "key": {"invoice_id": row["invoice_id"]}, "set": {"status": "refunded"}},
        )
    row = sample.one(f"select {PAYMENT} from {PAYMENTS} where payment_id = ?", payment_id)
    assert row
    return Payment(**row)


def _payments(clause: str, parameters: list[object], limit: int, offset: int) -> PaymentPage:
    select = f"select {PAYMENT} from {PAYMENTS}{clause}"
    rows, total = sample.page(select, "attempted_at desc, payment_id desc", limit, offset, parameters)
    amount = sample.one(f"select coalesce(round(sum(amount), 2), 0) as a from payments{clause}", *parameters) or {}
    return PaymentPage(
        total=total,
        next_offset=following(total, offset, len(rows)),
        total_amount=amount["a"],
        failure_reasons=_counts("failure_reason", f"payments{clause}", parameters, "status = 'failed'"),
        payments=[Payment(**row) for row in rows],
    )


def _counts(column: str, source: str, parameters: list[object], condition: str = "true") -> dict[str, int]:
    """How often each value of a column occurs, the commonest first."""
    rows = sample.rows(
        f"select {column} as value, count(*) filter ({condition}) as n from {source} group by 1 order by 2 desc, 1",
        *parameters,
    )
    return {row["value"]: row["n"] for row in rows if row["value"] and row["n"]}


def _invoice(invoice_id: str) -> Row:
    row = sample.one(f"select {INVOICE} from invoices where invoice_id = ?", invoice_id)
    if row is None:
        raise ToolError(f"No invoice {invoice_id}. Find one with payments.list_invoices.")
    return row


if __name__ == "__main__":
    serve(server, health=sample.health)
