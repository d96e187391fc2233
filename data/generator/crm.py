"""Who there is: employees, customers, their contacts, and what was said with them."""

from __future__ import annotations

import random
import re
from datetime import date, timedelta
from typing import Any

from data.generator import names
from data.generator.timeline import AS_OF, START, Picker, at_work, day_weights, drawn, weighted

Row = dict[str, Any]

CUSTOMERS = 3200
DEPARTMENTS = {"Support": 16, "Sales": 12, "Customer success": 10, "Engineering": 14, "Finance": 6, "Operations": 6}

NAMED = (
    # email, first name, last name, company, segment, country, city
    ("john.smith@acme.com", "John", "Smith", "Acme Corporation", "mid-market", "US", "Chicago"),
    ("jane.smith@acme.com", "Jane", "Smith", "Acme Corporation", "mid-market", "US", "Chicago"),
    ("j.smith@acme-tools.example", "Jonathan", "Smith", "Acme Tools Ltd", "small business", "GB", "Leeds"),
    ("john.smith@northmill.example", "John", "Smith", "North Mill Foods Inc.", "enterprise", "US", "Denver"),
    ("john.smithers@acmebakery.example", "John", "Smithers", "Acme Bakery Inc.", "small business", "US", "Boston"),
)
"""People a reader may ask for by name; enough Smiths that a search has to be exact."""


def build_employees() -> list[Row]:
    """The people of the company itself."""
    rng = drawn("employees")
    rows: list[Row] = []
    seen: set[str] = set()
    for department, size in DEPARTMENTS.items():
        while sum(r["department"] == department for r in rows) < size:
            first, last = rng.choice(names.FIRST), rng.choice(names.LAST)
            email = f"{_ascii(first)}.{_ascii(last)}@larkfield.example"
            if email in seen:
                continue
            seen.add(email)
            rows.append(
                {
                    "employee_id": f"E-{len(rows) + 1:03d}",
                    "name": f"{first} {last}",
                    "email": email,
                    "department": department,
                    "title": "Lead" if not rows or rows[-1]["department"] != department else "Associate",
                    "hired_on": START - timedelta(days=rng.randrange(-500, 2600)),
                }
            )
    return rows


def build_customers(employees: list[Row]) -> list[Row]:
    """The customers in order of signing up. `status` is settled later, from what they bought and owe."""
    rng = drawn("customers")
    managers = [e["employee_id"] for e in employees if e["department"] in ("Sales", "Customer success")]
    countries = Picker(list(names.COUNTRY), [float(w) for w in names.COUNTRY.values()])
    days = Picker(list(range(len(day_weights()))), day_weights(2.2))
    used = {n[0] for n in NAMED}
    rows: list[Row] = []
    while len(rows) < CUSTOMERS - len(NAMED):
        country = countries.pick(rng)
        company = f"{rng.choice(names.COMPANY_HEAD)} {rng.choice(names.COMPANY_TAIL)}"
        domain = _ascii(company).replace(" ", "") + ".example"
        for _ in range(1 if rng.random() < 0.8 else 2):
            first, last = _person(rng)
            email = f"{_ascii(first)}.{_ascii(last)}@{domain}"
            if email in used:
                continue
            used.add(email)
            if rng.random() < 0.38:
                signup = START - timedelta(days=int(rng.expovariate(1 / 420)) + 1)
            else:
                signup = START + timedelta(days=days.pick(rng))
            segment = weighted(rng, **{"small business": 58, "mid-market": 27, "enterprise": 9, "sole trader": 6})
            full = (
                f"{company} {names.LEGAL[country]}"
                if segment != "sole trader"
                else f"{first} {last} {company.split()[1]}"
            )
            rows.append(_customer(rng, email, first, last, full, segment, country, None, signup, managers))
    for n, (email, first, last, company, segment, country, city) in enumerate(NAMED):
        signup = date(2025, 2, 11) + timedelta(days=37 * n)
        rows.append(_customer(rng, email, first, last, company, segment, country, city, signup, managers))
    rows.sort(key=lambda r: (r["signed_up_on"], r["email"]))
    for n, row in enumerate(rows, 1):
        row["customer_id"] = f"C-{n:05d}"
    return rows


def _person(rng: random.Random) -> tuple[str, str]:
    """Common names are common: earlier names of the lists are likelier."""
    return (
        names.FIRST[int(len(names.FIRST) * rng.random() ** 1.5)],
        names.LAST[int(len(names.LAST) * rng.random() ** 1.7)],
    )


def _customer(
    rng: random.Random,
    email: str,
    first: str,
    last: str,
    company: str,
    segment: str,
    country: str,
    city: str | None,
    signup: date,
    managers: list[str],
) -> Row:
    return {
        "customer_id": "",
        "name": f"{first} {last}",
        "email": email,
        "phone": _phone(rng, country),
        # 900-999 is never issued as the first group of a number
        "ssn": f"9{rng.randrange(100):02d}-{rng.randrange(10, 70)}-{rng.randrange(10000):04d}"
        if segment == "sole trader" and country == "US"
        else None,
        "company": company,
        "segment": segment,
        "country": country,
        "city": city or rng.choice(names.CITY[country]),
        "status": "active",
        "signed_up_on": signup,
        "account_manager_id": rng.choice(managers),
    }


def build_contacts(customers: list[Row]) -> list[Row]:
    """Further people at a customer's company."""
    rng = drawn("contacts")
    rows: list[Row] = []
    for customer in customers:
        mean = {"sole trader": 0.0, "small business": 0.5, "mid-market": 1.6, "enterprise": 3.2}[customer["segment"]]
        domain = customer["email"].split("@")[1]
        for _ in range(int(rng.expovariate(1 / mean) + 0.4) if mean else 0):
            first, last = _person(rng)
            rows.append(
                {
                    "contact_id": f"K-{len(rows) + 1:05d}",
                    "customer_id": customer["customer_id"],
                    "name": f"{first} {last}",
                    "email": f"{_ascii(first)}.{_ascii(last)}@{domain}",
                    "phone": _phone(rng, customer["country"]),
                    "role": weighted(rng, operations=4, engineering=4, purchasing=3, finance=3, management=1),
                }
            )
    return rows


def settle_status(customers: list[Row], sold: Any, tickets: list[Row]) -> None:
    """Set each customer's account status from subscriptions and orders.

    `past_due`: a renewal is unpaid. `churned`: every subscription has ended, or nothing was bought for a year.
    `trial`: signed up within 30 days and has bought nothing. `active`: everything else.
    """
    subscriptions: dict[str, set[str]] = {}
    for row in sold.subscriptions:
        subscriptions.setdefault(row["customer_id"], set()).add(row["status"])
    last_order: dict[str, date] = {}
    for row in sold.orders:
        last_order[row["customer_id"]] = row["ordered_at"].date()
    for customer in customers:
        has = subscriptions.get(customer["customer_id"], set())
        last = last_order.get(customer["customer_id"])
        recent = last is not None and last > AS_OF - timedelta(days=365)
        if "past_due" in has:
            customer["status"] = "past_due"
        elif "active" in has or recent:
            customer["status"] = "active"
        elif not has and last is None and customer["signed_up_on"] > AS_OF - timedelta(days=30):
            customer["status"] = "trial"
        else:
            customer["status"] = "churned"


SUBJECTS = {
    "call": (
        "Introduction call",
        "Asked about volume prices",
        "Talked through the renewal",
        "Checked in after delivery",
    ),
    "email": ("Sent the quotation", "Sent the calibration certificates", "Shared the release notes", "Followed up"),
    "note": (
        "Budget decided in spring",
        "New site planned next year",
        "Uses a competitor's loggers too",
        "Champion left",
    ),
    "visit": ("Site survey", "Installed the pilot", "Training on site"),
}


def build_interactions(customers: list[Row], contacts: list[Row], employees: list[Row]) -> list[Row]:
    """Calls, emails, notes and visits recorded by sales and customer success."""
    rng = drawn("interactions")
    people: dict[str, list[str]] = {}
    for contact in contacts:
        people.setdefault(contact["customer_id"], []).append(contact["contact_id"])
    rows: list[Row] = []
    for customer in customers:
        mean = {"sole trader": 0.7, "small business": 1.8, "mid-market": 5.0, "enterprise": 12.0}[customer["segment"]]
        begin = max(customer["signed_up_on"], START)
        for _ in range(int(rng.expovariate(1 / mean) + 0.5)):
            day = begin + timedelta(days=rng.randrange((AS_OF - begin).days + 1))
            kind = weighted(rng, email=5, call=4, note=2, visit=0.6)
            with_whom = people.get(customer["customer_id"])
            rows.append(
                {
                    "interaction_id": "",
                    "customer_id": customer["customer_id"],
                    "contact_id": rng.choice(with_whom) if with_whom and rng.random() < 0.4 else None,
                    "employee_id": customer["account_manager_id"],
                    "kind": kind,
                    "summary": rng.choice(SUBJECTS[kind]),
                    "happened_at": at_work(rng, day),
                }
            )
    rows.sort(key=lambda r: (r["happened_at"], r["customer_id"]))
    for n, row in enumerate(rows, 1):
        row["interaction_id"] = f"N-{n:06d}"
    return rows


def _phone(rng: random.Random, country: str) -> str:
    form = names.PHONE.get(country, names.PHONE["GB"])
    return form.format(rng.randrange(1000 if ":03d" in form else 100))


def _ascii(text: str) -> str:
    plain = text.lower().replace("ö", "o").replace("ü", "u").replace("é", "e")
    return re.sub(r"[^a-z ]", "", plain)
