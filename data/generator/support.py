"""What went wrong and what was answered: support tickets and their messages."""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from typing import Any

from data.generator.timeline import AS_OF, DAYS, START, Picker, at_work, day_weights, drawn, weighted

Row = dict[str, Any]

TICKETS = 6200
OUTAGE = date(2026, 3, 17)
"""The day Larkfield Cloud lost readings; tickets about connectivity pile up for four days."""

SUBJECTS: dict[str, tuple[str, ...]] = {
    "billing": (
        "Invoice shows the wrong address",
        "Subscription renewal payment failed",
        "Charged twice this month",
        "Need a VAT invoice for last quarter",
        "Change of payment method",
    ),
    "device": (
        "{product} reads too high",
        "{product} stopped reporting after a week",
        "Battery of {product} is empty too soon",
        "{product} does not pair",
        "Display of {product} stays blank",
    ),
    "connectivity": (
        "Gateway offline since this morning",
        "Readings arrive with a delay",
        "Gaps in the data of several sensors",
        "Gateway loses the mobile network",
    ),
    "account": ("Cannot sign in", "Add a colleague to our account", "Reset two-factor code", "Change the owner"),
    "api": (
        "API returns 429 although we are under the limit",
        "Webhook signatures do not verify",
        "Export stops at 10,000 rows",
        "Question about pagination",
    ),
    "shipping": ("Order has not arrived", "Parcel was damaged", "Wrong item delivered", "Customs papers missing"),
    "feature": ("Alarm by text message", "Dark theme for the dashboard", "Custom units in reports", "Longer retention"),
}
WEIGHT = {"billing": 17, "device": 31, "connectivity": 16, "account": 12, "api": 9, "shipping": 10, "feature": 5}
HOURS = {"urgent": 5.0, "high": 16.0, "normal": 40.0, "low": 95.0}
"""Median hours until a ticket is resolved."""

REPLIES = (
    "Thank you for writing. I am looking into this and will come back to you today.",
    "Could you send us the serial number and a photo of the label?",
    "I have passed this on to engineering and marked it for your account manager.",
    "Please restart the device by holding the button for ten seconds, then pair it again.",
    "We found the cause and corrected it. Could you check again on your side?",
)
ANSWERS = ("Thank you, here it is.", "That did not help yet.", "It works again, thank you.", "Any news on this?")


def build(
    customers: list[Row], contacts: list[Row], products: list[Row], employees: list[Row], sold: Any
) -> tuple[list[Row], list[Row]]:
    """Tickets and messages, in the order of opening."""
    rng = drawn("support")
    agents = Picker(
        [e["employee_id"] for e in employees if e["department"] == "Support"],
        [1 + rng.random() * 2 for e in employees if e["department"] == "Support"],
    )
    active = [c for c in customers if c["email"] != "john.smith@acme.com"]
    writers = Picker(active, [rng.lognormvariate(0, 0.9) for _ in active])
    tickets: list[Row] = []
    for day in _days(rng):
        customer = writers.pick(rng)
        if customer["signed_up_on"] <= day:
            outage = 0 <= (day - OUTAGE).days < 4
            category = weighted(rng, **{**WEIGHT, **({"connectivity": 160} if outage else {})})
            tickets.append(_ticket(rng, customer["customer_id"], category, at_work(rng, day), products, agents))
    tickets += _after_failed_payments(rng, customers, sold, agents, products)
    tickets += _story(customers, agents, rng)
    tickets.sort(key=lambda t: (t["opened_at"], t["customer_id"]))
    messages: list[Row] = []
    for n, ticket in enumerate(tickets, 1):
        ticket["ticket_id"] = f"T-{n:05d}"
        messages += _messages(rng, ticket, ticket.pop("text", None), len(messages))
    return tickets, messages


def _days(rng: random.Random) -> list[date]:
    weights = day_weights(1.9, seasonal=False)
    for n in range(4):
        weights[(OUTAGE - START).days + n] *= (9, 6, 3, 1.6)[n]
    days = Picker(list(range(DAYS)), weights)
    return sorted(START + timedelta(days=days.pick(rng)) for _ in range(TICKETS))


def _ticket(
    rng: random.Random, customer_id: str, category: str, opened: datetime, products: list[Row], agents: Picker
) -> Row:
    priority = weighted(rng, low=20, normal=52, high=21, urgent=7)
    product = rng.choice(products) if category == "device" else None
    subject = rng.choice(SUBJECTS[category])
    ticket: Row = {
        "ticket_id": "",
        "customer_id": customer_id,
        "product_id": product["product_id"] if product else None,
        "subject": subject.format(product=product["name"]) if product else subject,
        "category": category,
        "priority": priority,
        "status": "closed",
        "channel": weighted(rng, email=5, web=4, phone=2),
        "assignee_id": agents.pick(rng),
        "opened_at": opened,
        "first_reply_at": opened + timedelta(minutes=int(rng.lognormvariate(4.4, 0.9)) + 2),
        "resolved_at": None,
        "satisfaction": None,
    }
    hours = rng.lognormvariate(0, 1.0) * HOURS[priority]
    resolved = opened + timedelta(minutes=int(hours * 60) + 10)
    now = datetime(AS_OF.year, AS_OF.month, AS_OF.day, 18)
    if ticket["first_reply_at"] > now:
        ticket["first_reply_at"] = None
    if resolved > now:
        ticket["status"] = "open" if ticket["first_reply_at"] is None or rng.random() < 0.6 else "pending"
    elif resolved > now - timedelta(days=4):
        ticket.update(status="resolved", resolved_at=max(resolved, ticket["first_reply_at"] or resolved))
    else:
        ticket.update(resolved_at=max(resolved, ticket["first_reply_at"] or resolved))
    if ticket["resolved_at"] and rng.random() < 0.37:
        unhappy = min(hours / 150, 2.5)
        ticket["satisfaction"] = max(1, min(5, round(rng.gauss(4.5 - unhappy, 0.8))))
    return ticket


def _after_failed_payments(
    rng: random.Random, customers: list[Row], sold: Any, agents: Picker, products: list[Row]
) -> list[Row]:
    """Three in ten people whose card was refused write to support within days."""
    known = {c["customer_id"]: c for c in customers}
    tickets = []
    for payment in sold.payments:
        if payment["status"] != "failed" or payment["attempt"] != 1 or payment["subscription_id"] is None:
            continue
        opened = payment["attempted_at"] + timedelta(hours=rng.expovariate(1 / 20))
        opened = opened.replace(microsecond=0)
        named = known[payment["customer_id"]]["email"] == "john.smith@acme.com"
        if rng.random() < 0.3 and opened.date() < AS_OF and not named:
            ticket = _ticket(rng, payment["customer_id"], "billing", opened, products, agents)
            ticket["subject"] = "Subscription renewal payment failed"
            tickets.append(ticket)
    return tickets


def _story(customers: list[Row], agents: Picker, rng: random.Random) -> list[Row]:
    """John Smith of Acme: two tickets are open, three older ones are closed."""
    customer_id = next(c["customer_id"] for c in customers if c["email"] == "john.smith@acme.com")

    def ticket(subject: str, text: str, category: str, priority: str, status: str, opened: datetime) -> Row:
        done = status == "closed"
        return {
            "ticket_id": "",
            "customer_id": customer_id,
            "product_id": None,
            "subject": subject,
            "category": category,
            "priority": priority,
            "status": status,
            "channel": "email",
            "assignee_id": agents.pick(rng),
            "opened_at": opened,
            "first_reply_at": opened + timedelta(minutes=95),
            "resolved_at": opened + timedelta(hours=26) if done else None,
            "satisfaction": 5 if done else None,
            "text": text,
        }

    return [
        ticket(
            "Subscription renewal failed last week",
            "Our renewal of 13 November was refused. We have a new card; how can we pay without losing our data?",
            "billing", "high", "open", datetime(2026, 11, 16, 8, 41, 12),
        ),
        ticket(
            "Export stops at 10,000 rows",
            "The CSV export of our cold-store readings ends after ten thousand rows. We need the whole quarter.",
            "api", "normal", "pending", datetime(2026, 11, 5, 14, 3, 55),
        ),
        ticket(
            "April renewal was charged late",
            "The renewal of April only went through on the second attempt. Is everything in order now?",
            "billing", "normal", "closed", datetime(2026, 4, 17, 9, 20, 3),
        ),
        ticket(
            "Gaps in the data of several sensors",
            "Six sensors in our Chicago cold store show gaps since yesterday.",
            "connectivity", "urgent", "closed", datetime(2026, 3, 18, 7, 2, 31),
        ),
        ticket(
            "Add a colleague to our account",
            "Please give Jane Smith access to our dashboards.",
            "account", "low", "closed", datetime(2025, 3, 4, 15, 44, 20),
        ),
    ]  # fmt: skip


def _messages(rng: random.Random, ticket: Row, text: str | None, already: int) -> list[Row]:
    """The first message of the customer, then agent and customer in turn until the ticket ends."""
    end = ticket["resolved_at"] or datetime(AS_OF.year, AS_OF.month, AS_OF.day, 18)
    first = (
        text or f"{ticket['subject']}. {rng.choice(('Can you help?', 'Please advise.', 'This blocks us.', 'Thanks!'))}"
    )
    rows = [("customer", ticket["customer_id"], ticket["opened_at"], first)]
    moment = ticket["first_reply_at"]
    turn = 0
    while moment is not None and moment <= end and turn < 7:
        if turn % 2 == 0:
            rows.append(("agent", ticket["assignee_id"], moment, rng.choice(REPLIES)))
        else:
            rows.append(("customer", ticket["customer_id"], moment, rng.choice(ANSWERS)))
        turn += 1
        if turn > 1 and rng.random() < 0.35:
            break
        moment += timedelta(minutes=int(rng.lognormvariate(5.6, 1.0)) + 1)
    return [
        {
            "message_id": f"G-{already + n:06d}",
            "ticket_id": ticket["ticket_id"],
            "author_kind": kind,
            "author_id": author,
            "sent_at": sent,
            "body": body,
        }
        for n, (kind, author, sent, body) in enumerate(rows, 1)
    ]
