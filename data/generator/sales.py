"""What was bought and paid: orders, subscriptions, invoices, payments with failures and retries."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from data.generator.timeline import AS_OF, DAYS, START, Picker, add_months, at_work, day_weights, drawn, weighted

Row = dict[str, Any]

ORDERS = 9000

PLANS = {"Starter": 29.0, "Team": 99.0, "Business": 299.0, "Enterprise": 990.0}
"""Price of a month of Larkfield Cloud in US dollars; a year costs ten months."""

PLAN_OF = {
    "sole trader": {"Starter": 9, "Team": 1},
    "small business": {"Starter": 6, "Team": 4},
    "mid-market": {"Team": 4, "Business": 6},
    "enterprise": {"Business": 4, "Enterprise": 6},
}
MONTHLY_CHURN = {"Starter": 0.026, "Team": 0.016, "Business": 0.010, "Enterprise": 0.005}
RETRY_AFTER_DAYS = (0, 3, 10, 17)
SUCCESS = (0.955, 0.52, 0.40, 0.30)
"""Chance that the first attempt succeeds, then each retry."""


@dataclass
class Sold:
    """Everything that was sold."""

    orders: list[Row] = field(default_factory=list)
    order_items: list[Row] = field(default_factory=list)
    subscriptions: list[Row] = field(default_factory=list)
    invoices: list[Row] = field(default_factory=list)
    payments: list[Row] = field(default_factory=list)


def build(customers: list[Row], products: list[Row]) -> Sold:
    """Orders and subscriptions of all customers, with their invoices and payments."""
    sold = Sold()
    _orders(sold, customers, products)
    _subscriptions(sold, customers)
    _number(sold)
    return sold


def _orders(sold: Sold, customers: list[Row], products: list[Row]) -> None:
    rng = drawn("orders")
    size = {"sole trader": 0.5, "small business": 1.0, "mid-market": 2.4, "enterprise": 6.0}
    buyers = Picker(customers, [size[c["segment"]] * rng.lognormvariate(0, 1.0) for c in customers])
    ranks = list(range(1, len(products) + 1))
    rng.shuffle(ranks)
    popular = Picker(products, [1 / rank**0.95 for rank in ranks])  # Zipf-like: few products sell most
    days = Picker(list(range(DAYS)), day_weights(1.7))
    drafts = sorted(((START + timedelta(days=days.pick(rng))), n) for n in range(ORDERS))
    for day, _ in drafts:
        customer = buyers.pick(rng)
        if customer["signed_up_on"] > day:
            continue  # not a customer yet
        order_id = f"O-{len(sold.orders) + 1:06d}"
        chosen: dict[str, Row] = {}
        for _ in range(1 + min(int(rng.expovariate(0.7)), 7)):
            product = popular.pick(rng)
            if product["launched_on"] <= day:
                chosen[product["product_id"]] = product
        if not chosen:
            continue
        lines = [_line(rng, order_id, n, p, customer) for n, p in enumerate(chosen.values(), 1)]
        total = round(sum(line["amount"] for line in lines), 2)
        sold.orders.append(
            {
                "order_id": order_id,
                "customer_id": customer["customer_id"],
                "ordered_at": at_work(rng, day),
                "status": _order_status(rng, day),
                "total": total,
                "currency": "USD",
                "ship_to_country": customer["country"],
            }
        )
        sold.order_items.extend(lines)
        _bill_order(rng, sold, sold.orders[-1], customer)


def _line(rng: random.Random, order_id: str, number: int, product: Row, customer: Row) -> Row:
    many = {"enterprise": 9.0, "mid-market": 4.0}.get(customer["segment"], 2.0)
    quantity = 1 + int(rng.expovariate(1 / many))
    discount = 0.1 if quantity >= 20 else 0.05 if quantity >= 10 else 0.0
    price = round(product["price"] * (1 - discount), 2)
    return {
        "order_id": order_id,
        "line": number,
        "product_id": product["product_id"],
        "quantity": quantity,
        "unit_price": price,
        "amount": round(price * quantity, 2),
    }


def _order_status(rng: random.Random, day: date) -> str:
    age = (AS_OF - day).days
    if rng.random() < 0.03:
        return "cancelled"
    if age > 12:
        return "returned" if rng.random() < 0.025 else "delivered"
    return "processing" if age < 3 else "shipped"


def _bill_order(rng: random.Random, sold: Sold, order: Row, customer: Row) -> None:
    if order["status"] == "cancelled":
        return
    issued = order["ordered_at"].date()
    by_card = customer["segment"] in ("sole trader", "small business") or rng.random() < 0.3
    due = issued if by_card else issued + timedelta(days=30)
    invoice = _invoice(customer, "order", issued, due, order["total"], f"Order {order['order_id']}")
    invoice["order_id"] = order["order_id"]
    sold.invoices.append(invoice)
    if by_card:
        _charge(rng, sold, invoice, order["ordered_at"], "card")
        return
    paid = issued + timedelta(days=int(rng.triangular(4, 62, 27)))
    if paid <= AS_OF and rng.random() < 0.985:
        _payment(sold, invoice, at_work(rng, paid), "bank transfer", "succeeded", None, 1)
        invoice.update(status="paid", paid_on=paid)
    elif due < AS_OF:
        invoice["status"] = "overdue"


def _subscriptions(sold: Sold, customers: list[Row]) -> None:
    rng = drawn("subscriptions")
    for customer in customers:
        if customer["email"] == "john.smith@acme.com":
            _failed_renewal_story(sold, customer)
        elif rng.random() < 0.7:
            _subscription(rng, sold, customer)


def _subscription(rng: random.Random, sold: Sold, customer: Row) -> None:
    start = customer["signed_up_on"] + timedelta(days=int(rng.expovariate(1 / 9)))
    if start > AS_OF:
        return
    plan = weighted(rng, **PLAN_OF[customer["segment"]])
    months = 12 if rng.random() < (0.5 if plan in ("Business", "Enterprise") else 0.2) else 1
    row = _subscribe(sold, customer, plan, months, start)
    method = weighted(rng, card=7, **{"direct debit": 2, "paypal": 1})
    anchor = start.replace(day=min(start.day, 28))
    for period in range(10_000):
        day = start if period == 0 else add_months(anchor, months * period)
        if day > AS_OF:
            row["renews_on"] = day
            return
        hazard = MONTHLY_CHURN[plan] * (1.5 if day.month == 1 else 1.0) * (7 if months == 12 else 1)
        if period and rng.random() < hazard:
            why = weighted(rng, price=3, **{"no longer needed": 3, "missing feature": 2, "moved to competitor": 2})
            row.update(status="cancelled", ended_on=day, end_reason=why)
            return
        if day < START:
            continue  # paid before the records begin
        invoice = _renewal(sold, customer, row, day, first=period == 0)
        if not _charge(rng, sold, invoice, at_work(rng, day), method):
            if invoice["status"] == "overdue":
                row.update(status="past_due", renews_on=day)
            else:
                row.update(status="cancelled", ended_on=day + timedelta(days=17), end_reason="payment failed")
            return


def _subscribe(sold: Sold, customer: Row, plan: str, months: int, start: date) -> Row:
    row = {
        "subscription_id": "",
        "customer_id": customer["customer_id"],
        "plan": plan,
        "interval": "year" if months == 12 else "month",
        "price": PLANS[plan] * (10 if months == 12 else 1),
        "currency": "USD",
        "status": "active",
        "started_on": start,
        "renews_on": None,
        "ended_on": None,
        "end_reason": None,
    }
    sold.subscriptions.append(row)
    return row


def _renewal(sold: Sold, customer: Row, subscription: Row, day: date, *, first: bool) -> Row:
    what = "Subscription" if first else "Subscription renewal"
    text = f"{what}: Larkfield Cloud {subscription['plan']}, one {subscription['interval']}"
    invoice = _invoice(customer, "subscription" if first else "renewal", day, day, subscription["price"], text)
    invoice["subscription"] = subscription
    sold.invoices.append(invoice)
    return invoice


def _failed_renewal_story(sold: Sold, customer: Row) -> None:
    """Monthly renewals that went well for a year and nine months, until the card expired."""
    start = date(2025, 2, 13)
    row = _subscribe(sold, customer, "Business", 1, start)
    for period in range(22):
        day = add_months(start, period)
        invoice = _renewal(sold, customer, row, day, first=period == 0)
        moment = datetime(day.year, day.month, day.day, 6, 12, 40)
        if day == date(2026, 11, 13):
            _payment(sold, invoice, moment, "card", "failed", "card_expired", 1)
            _payment(sold, invoice, moment + timedelta(days=3), "card", "failed", "card_expired", 2)
            invoice["status"] = "overdue"
            row.update(status="past_due", renews_on=day)
        elif day == date(2026, 4, 13):
            _payment(sold, invoice, moment, "card", "failed", "insufficient_funds", 1)
            _payment(sold, invoice, moment + timedelta(days=3), "card", "succeeded", None, 2)
            invoice.update(status="paid", paid_on=day + timedelta(days=3))
        else:
            _payment(sold, invoice, moment, "card", "succeeded", None, 1)
            invoice.update(status="paid", paid_on=day)


def _invoice(customer: Row, kind: str, issued: date, due: date, amount: float, description: str) -> Row:
    return {
        "invoice_id": "",
        "customer_id": customer["customer_id"],
        "kind": kind,
        "order_id": None,
        "subscription_id": None,
        "description": description,
        "amount": amount,
        "currency": "USD",
        "status": "open",
        "issued_on": issued,
        "due_on": due,
        "paid_on": None,
    }


def _charge(rng: random.Random, sold: Sold, invoice: Row, moment: datetime, method: str) -> bool:
    """Try, and try again after some days. Leaves the invoice paid, overdue (tries remain) or void (given up)."""
    for attempt, (after, chance) in enumerate(zip(RETRY_AFTER_DAYS, SUCCESS, strict=True), 1):
        when = moment + timedelta(days=after)
        if when.date() > AS_OF:
            invoice["status"] = "overdue"
            return False
        if rng.random() < chance:
            _payment(sold, invoice, when, method, "succeeded", None, attempt)
            invoice.update(status="paid", paid_on=when.date())
            return True
        reason = weighted(rng, insufficient_funds=40, card_expired=25, card_declined=25, processing_error=10)
        _payment(sold, invoice, when, method, "failed", reason, attempt)
    invoice["status"] = "void"
    return False


def _payment(
    sold: Sold, invoice: Row, when: datetime, method: str, status: str, reason: str | None, attempt: int
) -> None:
    sold.payments.append(
        {
            "payment_id": "",
            "invoice": invoice,
            "customer_id": invoice["customer_id"],
            "amount": invoice["amount"],
            "currency": "USD",
            "method": method,
            "status": status,
            "failure_reason": reason,
            "attempt": attempt,
            "attempted_at": when,
        }
    )


def _number(sold: Sold) -> None:
    """Give ids in the order in which things happened, and replace references by ids."""
    sold.subscriptions.sort(key=lambda r: (r["started_on"], r["customer_id"]))
    for n, row in enumerate(sold.subscriptions, 1):
        row["subscription_id"] = f"S-{n:05d}"
    sold.invoices.sort(key=lambda r: (r["issued_on"], r["customer_id"], r["kind"], r["description"]))
    for n, row in enumerate(sold.invoices, 1):
        row["invoice_id"] = f"I-{n:06d}"
        subscription = row.pop("subscription", None)
        if subscription:
            row["subscription_id"] = subscription["subscription_id"]
    sold.payments.sort(key=lambda r: (r["attempted_at"], r["customer_id"], r["invoice"]["invoice_id"]))
    for n, row in enumerate(sold.payments, 1):
        row["payment_id"] = f"Y-{n:06d}"
        invoice = row.pop("invoice")
        row["invoice_id"] = invoice["invoice_id"]
        row["subscription_id"] = invoice["subscription_id"]
