"""Meetings with customers and among employees; nobody sits in two at once."""

from __future__ import annotations

import random
from datetime import date, datetime, time, timedelta
from typing import Any

from data.generator.timeline import AS_OF, START, drawn, weighted

Row = dict[str, Any]

MEETINGS = 3000
AHEAD = 60
"""Days after the sample's today for which meetings are already planned."""

TITLES = {
    "demo": "Product demonstration for {company}",
    "onboarding": "Onboarding {company}",
    "review": "Quarterly review with {company}",
    "renewal": "Renewal talk with {company}",
    "support": "Support session with {company}",
    "team": "{department} weekly",
    "one-to-one": "One-to-one",
    "interview": "Interview",
}
ROOMS = ("Room Curlew", "Room Dunlin", "Room Plover", "Video call", "Video call", "Video call")


def build(customers: list[Row], employees: list[Row]) -> tuple[list[Row], list[Row]]:
    """Meetings in order of time, and who attends."""
    rng = drawn("meetings")
    by_id = {e["employee_id"]: e for e in employees}
    weight = {"sole trader": 1, "small business": 2, "mid-market": 6, "enterprise": 14}
    known = [c for c in customers for _ in range(weight[c["segment"]])]
    busy: set[tuple[str, datetime]] = set()
    meetings: list[Row] = []
    people: list[list[tuple[str, str, str]]] = []
    span = (AS_OF - START).days + AHEAD
    while len(meetings) < MEETINGS:
        day = START + timedelta(days=rng.randrange(span))
        begin = datetime.combine(day, time(8 + rng.randrange(9), rng.choice((0, 30))))
        kind = weighted(
            rng, demo=4, onboarding=3, review=4, renewal=3, support=3, team=4, interview=1, **{"one-to-one": 4}
        )
        customer = rng.choice(known) if kind in ("demo", "onboarding", "review", "renewal", "support") else None
        if day.weekday() > 4 or (customer and customer["signed_up_on"] > day):
            continue
        host = by_id[customer["account_manager_id"]] if customer else rng.choice(employees)
        staff = [host, *_others(rng, host, employees, kind)]
        slots = [begin + timedelta(minutes=30 * n) for n in range(rng.choice((1, 1, 2, 2, 3)))]
        staff = [e for e in staff if not any((e["employee_id"], s) in busy for s in slots)]
        if host not in staff or (not customer and len(staff) < 2):
            continue
        busy.update((e["employee_id"], s) for e in staff for s in slots)
        meetings.append(_meeting(rng, kind, customer, host, begin, slots[-1] + timedelta(minutes=30), day))
        people.append(_attendees(staff, customer))
    order = sorted(range(len(meetings)), key=lambda n: (meetings[n]["starts_at"], meetings[n]["organizer_id"]))
    attendees: list[Row] = []
    for number, n in enumerate(order, 1):
        meetings[n]["meeting_id"] = f"M-{number:05d}"
        attendees += [
            {
                "meeting_id": meetings[n]["meeting_id"],
                "kind": who,
                "attendee_id": ident,
                "email": email,
                "response": _answer(rng, organizes=ident == meetings[n]["organizer_id"]),
            }
            for who, ident, email in people[n]
        ]
    return [meetings[n] for n in order], attendees


def _answer(rng: random.Random, *, organizes: bool) -> str:
    answer = weighted(rng, accepted=8, tentative=1, declined=0.6, **{"no reply": 1})
    return "accepted" if organizes else answer


def _others(rng: random.Random, host: Row, employees: list[Row], kind: str) -> list[Row]:
    team = [e for e in employees if e["department"] == host["department"] and e is not host]
    if kind == "team":
        return team
    if kind == "one-to-one":
        return [rng.choice(team)]
    return rng.sample([e for e in employees if e is not host], rng.choice((0, 0, 1, 1, 2)))


def _meeting(
    rng: random.Random, kind: str, customer: Row | None, host: Row, begin: datetime, end: datetime, day: date
) -> Row:
    company = customer["company"] if customer else ""
    cancelled = rng.random() < 0.05
    return {
        "meeting_id": "",
        "title": TITLES[kind].format(company=company, department=host["department"]),
        "kind": kind,
        "customer_id": customer["customer_id"] if customer else None,
        "organizer_id": host["employee_id"],
        "starts_at": begin,
        "ends_at": end,
        "location": rng.choice(ROOMS),
        "status": "cancelled" if cancelled else "held" if day < AS_OF else "scheduled",
    }


def _attendees(staff: list[Row], customer: Row | None) -> list[tuple[str, str, str]]:
    rows = [("employee", e["employee_id"], e["email"]) for e in staff]
    if customer:
        rows.append(("customer", customer["customer_id"], customer["email"]))
    return rows
