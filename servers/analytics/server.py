"""analytics: figures of the sample company: revenue, churn, best customers, renewals, tickets."""

from __future__ import annotations

import sys
from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.company import Company, where
from servers.identifiers import CustomerId
from servers.labels import READ, labels
from servers.serving import serve
from servers.tool_server import ToolServer

sample = Company(
    "customers", "invoices", "payments", "subscriptions", "tickets", "orders", "order_items", "products", "employees"
)

server: ToolServer[None] = ToolServer(
    "analytics",
    title="Analytics",
    description="Revenue, orders, churn, best customers, renewals and tickets in figures.",
    instructions="All amounts are US dollars. The records cover two years and end at as_of, which key_figures tells.",
    version="0.1.0",
    log_level="WARNING",
)

Period = Literal["day", "week", "month", "quarter", "year"]
Since = Annotated[date | None, Field(description="Only from this day on.", examples=["2026-01-01"])]
Before = Annotated[date | None, Field(description="Only before this day.", examples=["2026-11-01"])]
MostRows = Annotated[int, Field(description="Most rows to return.", ge=1, le=1000)]


SHARE = "round(count(*) / sum(count(*)) over (partition by period), 4) as share"
"""Of a group in its period."""


class KeyFigures(BaseModel):
    """How the company stands today."""

    as_of: date = Field(description="The day the records end.")
    customers: int
    active_customers: int
    past_due_customers: int
    active_subscriptions: int
    monthly_recurring_revenue: float
    revenue_last_30_days: float
    revenue_30_days_before: float
    owed: float
    open_tickets: int
    orders_last_30_days: int


class RevenueRow(BaseModel):
    period: str | None
    group: str | None
    revenue: float = Field(description="Invoiced and not void or refunded.")
    invoices: int
    customers: int


class Revenue(BaseModel):
    total: float
    rows: list[RevenueRow]


class ChurnRow(BaseModel):
    period: str
    group: str | None
    active_at_start: int
    started: int
    ended: int
    ended_by_failed_payment: int
    churn_rate: float | None = Field(description="Ended divided by active at the start.")


class Churn(BaseModel):
    rows: list[ChurnRow]
    end_reasons: dict[str, int]


class TopCustomer(BaseModel):
    rank: int
    customer_id: CustomerId
    name: str
    company: str
    segment: str
    country: str
    status: str
    revenue: float
    orders: int
    tickets: int


class TopCustomers(BaseModel):
    customers: list[TopCustomer]


class VolumeRow(BaseModel):
    period: str | None
    group: str | None
    tickets: int
    share: float = Field(description="Of all tickets of the period, from 0 to 1.")
    median_resolution_hours: float | None


class TicketVolume(BaseModel):
    total: int
    rows: list[VolumeRow]


class OrderRow(BaseModel):
    period: str | None
    group: str | None
    orders: int
    share: float = Field(description="Of all orders of the period, from 0 to 1.")
    amount: float = Field(description="Sum of the orders, in US dollars.")


class OrderVolume(BaseModel):
    total: int
    rows: list[OrderRow]


class RenewalRow(BaseModel):
    period: str
    renewals: int
    paid_at_once: int
    paid_after_retry: int
    unpaid: int
    success_rate: float = Field(description="Share of renewals that were paid in the end.")


class Renewals(BaseModel):
    rows: list[RenewalRow]
    failure_reasons: dict[str, int]


@server.tool(title="Key figures", annotations=READ, meta=labels("analytics:read"))
def key_figures() -> KeyFigures:
    """How the company stands: customers, recurring revenue, revenue of 30 days, what is owed, open tickets."""
    row = sample.one(
        """
        with t as (select as_of as today from company)
        select today as as_of,
            (select count(*) from customers) as customers,
            (select count(*) from customers where status = 'active') as active_customers,
            (select count(*) from customers where status = 'past_due') as past_due_customers,
            (select count(*) from subscriptions where status = 'active') as active_subscriptions,
            (select round(sum(case interval when 'year' then price / 12 else price end), 2)
             from subscriptions where status in ('active', 'past_due')) as monthly_recurring_revenue,
            (select round(sum(amount), 2) from invoices
             where status not in ('void', 'refunded') and issued_on > today - 30) as revenue_last_30_days,
            (select round(sum(amount), 2) from invoices where status not in ('void', 'refunded')
             and issued_on > today - 60 and issued_on <= today - 30) as revenue_30_days_before,
            (select round(sum(amount), 2) from invoices where status in ('open', 'overdue')) as owed,
            (select count(*) from tickets where status in ('open', 'pending')) as open_tickets,
            (select count(*) from orders where ordered_at > today - 30) as orders_last_30_days
        from t
        """
    )
    assert row
    return KeyFigures(**row)


@server.tool(title="Revenue", annotations=READ, meta=labels("analytics:read"))
def revenue(
    period: Annotated[Period | None, Field(description="A row for each of these periods; null for one sum.")] = "month",
    group_by: Annotated[
        Literal["segment", "country", "kind", "plan", "product_category", "product_family"] | None,
        Field(description="Split by this; kind is orders, first subscriptions and renewals."),
    ] = None,
    since: Since = None,
    before: Before = None,
    limit: MostRows = 200,
) -> Revenue:
    """Invoiced revenue by period and by segment, country, kind, plan or product; void and refunded do not count."""
    source, amount, issued = "invoices i join customers c using (customer_id)", "i.amount", "i.issued_on"
    groups = {"segment": "c.segment", "country": "c.country", "kind": "i.kind", "plan": "s.plan"}
    if group_by == "plan":
        source += " join subscriptions s on s.subscription_id = i.subscription_id"
    elif group_by and group_by.startswith("product"):
        source += " join order_items o on o.order_id = i.order_id join products p using (product_id)"
        amount = "o.amount"
        groups |= {"product_category": "p.category", "product_family": "p.family"}
    clause, parameters = where(
        ("i.status not in ('void', 'refunded')", []),
        (f"{issued} >= ?", since),
        (f"{issued} < ?", before),
    )
    columns = f'{_period(period, issued)} as period, {groups[group_by] if group_by else "null"} as "group"'
    figures = f"round(sum({amount}), 2) as revenue, count(distinct i.invoice_id) as invoices"
    order = "period, revenue desc" if period else "revenue desc"
    rows = sample.rows(
        f"select {columns}, {figures}, count(distinct customer_id) as customers from {source}{clause} "
        f"group by 1, 2 order by {order} limit {int(limit)}",
        *parameters,
    )
    total = sample.one(f"select coalesce(round(sum({amount}), 2), 0) as t from {source}{clause}", *parameters)
    return Revenue(total=total["t"] if total else 0, rows=[RevenueRow(**r) for r in rows])


@server.tool(title="Churn", annotations=READ, meta=labels("analytics:read"))
def churn(
    period: Annotated[Literal["month", "quarter", "year"], Field(description="Length of a period.")] = "month",
    group_by: Annotated[
        Literal["plan", "segment", "country", "interval"] | None, Field(description="Split by this.")
    ] = None,
    since: Since = None,
    before: Before = None,
) -> Churn:
    """Subscriptions that started and ended in each period, and the share that ended of those active at its start."""
    today = sample.as_of
    first = since or date(today.year - 1, today.month, 1)
    last = before or today
    if first >= last:
        raise ToolError(f"since is {first}, before is {last}. Expected since to be earlier.")
    group = {"plan": "s.plan", "segment": "c.segment", "country": "c.country", "interval": "s.interval"}
    rows = sample.rows(
        f"""
        with periods as (
            select unnest(range(date_trunc('{period}', ?::date)::timestamp, ?::date::timestamp,
                interval 1 {period}))::date as begins),
        bounded as (select begins, (begins + interval 1 {period})::date as ends from periods)
        select {_period(period, "begins")} as period, {group[group_by] if group_by else "null"} as "group",
            count(*) filter (started_on < begins and (ended_on is null or ended_on >= begins)) as active_at_start,
            count(*) filter (started_on >= begins and started_on < ends) as started,
            count(*) filter (ended_on >= begins and ended_on < ends) as ended,
            count(*) filter (ended_on >= begins and ended_on < ends and end_reason = 'payment failed')
                as ended_by_failed_payment
        from bounded, subscriptions s join customers c using (customer_id)
        group by all order by 1, 2
        """,
        first,
        last,
    )
    for row in rows:
        row["churn_rate"] = round(row["ended"] / row["active_at_start"], 4) if row["active_at_start"] else None
    reasons = sample.rows(
        """select end_reason, count(*) as n from subscriptions
        where ended_on >= ? and ended_on < ? and end_reason is not null group by 1 order by 2 desc, 1""",
        first,
        last,
    )
    return Churn(rows=[ChurnRow(**r) for r in rows], end_reasons={r["end_reason"]: r["n"] for r in reasons})


@server.tool(title="Top customers", annotations=READ, meta=labels("analytics:read"))
def top_customers(
    by: Annotated[Literal["revenue", "orders", "tickets"], Field(description="What to rank by.")] = "revenue",
    segment: Annotated[
        Literal["sole trader", "small business", "mid-market", "enterprise"] | None,
        Field(description="Only customers of this segment."),
    ] = None,
    country: Annotated[str | None, Field(description="ISO code of two letters.", pattern="^[A-Z]{2}$")] = None,
    since: Since = None,
    before: Before = None,
    limit: Annotated[int, Field(description="Most customers to return.", ge=1, le=100)] = 10,
) -> TopCustomers:
    """The customers with most revenue, orders or tickets in a period."""
    span = [since or date(1900, 1, 1), before or date(9999, 1, 1)]
    clause, parameters = where(("segment = ?", segment), ("country = ?", country))
    rows = sample.rows(
        f"""select customer_id, name, company, segment, country, status,
            (select coalesce(round(sum(i.amount), 2), 0) from invoices i where i.customer_id = c.customer_id
             and i.status not in ('void', 'refunded') and i.issued_on >= ? and i.issued_on < ?) as revenue,
            (select count(*) from orders o where o.customer_id = c.customer_id
             and o.ordered_at >= ? and o.ordered_at < ?) as orders,
            (select count(*) from tickets t where t.customer_id = c.customer_id
             and t.opened_at >= ? and t.opened_at < ?) as tickets
        from customers c{clause} order by {by} desc, customer_id limit {int(limit)}""",
        *span,
        *span,
        *span,
        *parameters,
    )
    return TopCustomers(customers=[TopCustomer(rank=n, **row) for n, row in enumerate(rows, 1)])


@server.tool(title="Ticket volume", annotations=READ, meta=labels("analytics:read"))
def ticket_volume(
    period: Annotated[
        Period | None, Field(description="A row for each of these periods of opening; null for one count.")
    ] = "month",
    group_by: Annotated[
        Literal["category", "priority", "channel", "status", "assignee", "segment", "country"] | None,
        Field(description="Split by this; assignee is the agent's name."),
    ] = None,
    since: Since = None,
    before: Before = None,
    limit: MostRows = 200,
) -> TicketVolume:
    """How many tickets were opened in each period or by each group, their share, and how long they took."""
    named = {
        "segment": "c.segment",
        "country": "c.country",
        "assignee": "(select e.name from employees e where e.employee_id = t.assignee_id)",
    }
    group = named.get(group_by, f"t.{group_by}") if group_by else "null"
    clause, parameters = where(("opened_at >= ?", since), ("opened_at < ?", before))
    rows = sample.rows(
        f"""select {_period(period, "opened_at")} as period, {group} as "group", count(*) as tickets, {SHARE},
            round(median(epoch(resolved_at - opened_at)) / 3600, 2) as median_resolution_hours
        from tickets t join customers c using (customer_id){clause}
        group by 1, 2 order by 1, 3 desc, 2 limit {int(limit)}""",
        *parameters,
    )
    total = sample.one(f"select count(*) as n from tickets{clause}", *parameters)
    return TicketVolume(total=total["n"] if total else 0, rows=[VolumeRow(**r) for r in rows])


@server.tool(title="Order volume", annotations=READ, meta=labels("analytics:read"))
def order_volume(
    group_by: Annotated[
        Literal["status", "segment", "country"] | None,
        Field(description="Split by this; status is processing, shipped, delivered, cancelled or returned."),
    ] = None,
    period: Annotated[Period | None, Field(description="A row for each of these periods; null for one count.")] = None,
    since: Since = None,
    before: Before = None,
    limit: MostRows = 200,
) -> OrderVolume:
    """How many orders there are by status, segment, country or period, with the share of each and the amount."""
    group = {"status": "o.status", "segment": "c.segment", "country": "o.ship_to_country", None: "null"}[group_by]
    clause, parameters = where(("ordered_at >= ?", since), ("ordered_at < ?", before))
    rows = sample.rows(
        f"""select {_period(period, "ordered_at")} as period, {group} as "group", count(*) as orders, {SHARE},
            round(sum(o.total), 2) as amount
        from orders o join customers c using (customer_id){clause}
        group by 1, 2 order by 1, 3 desc, 2 limit {int(limit)}""",
        *parameters,
    )
    total = sample.one(f"select count(*) as n from orders{clause}", *parameters)
    return OrderVolume(total=total["n"] if total else 0, rows=[OrderRow(**r) for r in rows])


@server.tool(title="Renewals", annotations=READ, meta=labels("analytics:read"))
def renewals(
    period: Annotated[Period, Field(description="A row for each of these periods.")] = "month",
    since: Since = None,
    before: Before = None,
) -> Renewals:
    """Subscription renewals in each period: paid at once, paid after a retry, unpaid; and why payments failed."""
    clause, parameters = where(("i.kind = 'renewal'", []), ("i.issued_on >= ?", since), ("i.issued_on < ?", before))
    rows = sample.rows(
        f"""with tries as (select invoice_id, max(attempt) as attempts from payments group by 1)
        select {_period(period, "i.issued_on")} as period, count(*) as renewals,
            count(*) filter (i.status = 'paid' and attempts = 1) as paid_at_once,
            count(*) filter (i.status = 'paid' and attempts > 1) as paid_after_retry,
            count(*) filter (i.status in ('open', 'overdue', 'void')) as unpaid,
            round(count(*) filter (i.status = 'paid') / count(*), 4) as success_rate
        from invoices i join tries using (invoice_id){clause} group by 1 order by 1""",
        *parameters,
    )
    reasons = sample.rows(
        f"""select p.failure_reason, count(*) as n from payments p join invoices i using (invoice_id){clause}
        and p.status = 'failed' group by 1 order by 2 desc, 1""",
        *parameters,
    )
    return Renewals(
        rows=[RenewalRow(**r) for r in rows], failure_reasons={r["failure_reason"]: r["n"] for r in reasons}
    )


@server.prompt(title="Monthly report")
def monthly_report(month: Annotated[str, Field(description="The month, e.g. 2026-10.")]) -> str:
    """Asks for a report of one month."""
    return (
        f"Write a report of {month} on one page: revenue against the month before and the same month last year, churn, "
        "renewals that failed and why, ticket volume, the best products and customers. Say where each figure is from."
    )


def _period(period: str | None, column: str) -> str:
    """SQL that names the period of a day so that names sort by time."""
    forms = {
        None: "null",
        "day": f"strftime({column}, '%Y-%m-%d')",
        "week": f"strftime(date_trunc('week', {column}), '%Y-%m-%d')",
        "month": f"strftime({column}, '%Y-%m')",
        "quarter": f"year({column}) || '-Q' || quarter({column})",
        "year": f"strftime({column}, '%Y')",
    }
    return forms[period]


if __name__ == "__main__":
    serve(server, health=sample.health)
