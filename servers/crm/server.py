"""crm: customers of the sample company, their contacts, and what was said with them."""

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.company import Company, containing, where
from servers.identifiers import ContactId, CustomerId, EmployeeId, InteractionId, Limit, Offset, Page, Words, following
from servers.labels import CONTACT, READ, labels
from servers.serving import serve
from servers.tool_server import ToolServer

sample = Company("customers", "contacts", "interactions", "employees", "subscriptions", "tickets", "orders", "invoices")

server: ToolServer[None] = ToolServer(
    "crm",
    title="Customers",
    description="Customers, their contacts and interactions.",
    instructions="Find a customer by name, email or company with search_customers; its customer_id opens the rest.",
    version="0.1.0",
    log_level="WARNING",
)

Status = Literal["active", "past_due", "trial", "churned"]
Segment = Literal["sole trader", "small business", "mid-market", "enterprise"]


class Customer(BaseModel):
    """A customer as found by a search."""

    customer_id: CustomerId
    name: str
    email: str
    phone: str
    company: str
    segment: Segment
    country: str = Field(description="ISO 3166 code of two letters.")
    city: str
    status: Status = Field(description="Account status; past_due means that a subscription renewal is unpaid.")
    signed_up_on: date


class CustomerPage(Page):
    """Customers that fit, the best match first."""

    customers: list[Customer]


class CustomerProfile(Customer):
    """A customer with what is known around it."""

    ssn: str | None = Field(description="Identity number of a sole trader in the United States.")
    account_manager: str
    account_manager_id: EmployeeId
    contacts: int
    subscriptions: int = Field(description="Subscriptions that are active or past due.")
    open_tickets: int = Field(description="Support tickets that are open or pending.")
    orders: int
    spent: float = Field(description="Paid invoices of the recorded two years, in US dollars.")
    owed: float = Field(description="Open and overdue invoices, in US dollars.")


class Contact(BaseModel):
    contact_id: ContactId
    customer_id: CustomerId
    name: str
    email: str
    phone: str
    role: str


class ContactPage(Page):
    contacts: list[Contact]


class Interaction(BaseModel):
    interaction_id: InteractionId
    customer_id: CustomerId
    contact_id: ContactId | None
    employee_id: EmployeeId
    kind: Literal["call", "email", "note", "visit"]
    summary: str
    happened_at: datetime


class InteractionPage(Page):
    interactions: list[Interaction]


class Group(BaseModel):
    group: str
    customers: int


class CustomerCount(BaseModel):
    total: int
    groups: list[Group] = Field(description="One for each value of group_by, largest first; empty without group_by.")


Manager = Annotated[
    str | None,
    Field(
        description="Only customers of this account manager: name or employee_id.",
        examples=["Lisa Martinez", "E-042"],
        pattern=r"^(E-\d{3}|[^\d]{2,100})$",
    ),
]
FIELDS = "customer_id, name, email, phone, company, segment, country, city, status, signed_up_on"


@server.tool(title="Search customers", annotations=READ, meta=labels("crm:read", pii=CONTACT))
def search_customers(
    query: Annotated[Words | None, Field(description="Words of a name, an email address or a company.")] = None,
    email: Annotated[str | None, Field(description="Exact email address.", examples=["john.smith@acme.com"])] = None,
    company: Annotated[str | None, Field(description="Words of the company's name.", examples=["Acme"])] = None,
    status: Annotated[Status | None, Field(description="Only customers with this account status.")] = None,
    segment: Annotated[Segment | None, Field(description="Only customers of this segment.")] = None,
    country: Annotated[str | None, Field(description="ISO code of two letters.", pattern="^[A-Z]{2}$")] = None,
    account_manager: Manager = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> CustomerPage:
    """Find customers by name, email address or company, and narrow by status, segment and country."""
    text, words = containing(query, "name", "email", "company", "customer_id")
    named, name_words = containing(company, "company")
    clause, parameters = where(
        (text, words),
        ("lower(email) = ?", email.strip().lower() if email else None),
        (named, name_words),
        ("status = ?", status),
        ("segment = ?", segment),
        ("country = ?", country),
        _managed(account_manager),
    )
    order = "customer_id"
    if query:
        # an exact address first, then an exact name, then the rest
        exact = query.strip().lower()
        select = f"select {FIELDS}, (lower(email) = ?) * 2 + (lower(name) = ?)::int as fit from customers{clause}"
        select = select.replace("(lower(email) = ?) * 2", "(lower(email) = ?)::int * 2")
        rows, total = sample.page(select, "fit desc, " + order, limit, offset, [exact, exact, *parameters])
    else:
        rows, total = sample.page(f"select {FIELDS} from customers{clause}", order, limit, offset, parameters)
    return CustomerPage(
        total=total, next_offset=following(total, offset, len(rows)), customers=[Customer(**row) for row in rows]
    )


@server.tool(title="Get a customer", annotations=READ, meta=labels("crm:read", pii={**CONTACT, "ssn": "ssn"}))
def get_customer(customer_id: CustomerId) -> CustomerProfile:
    """A customer's profile: account status, manager, and how many subscriptions, open tickets and orders there are."""
    row = sample.one(
        f"""
        select {FIELDS}, ssn, account_manager_id,
            (select e.name from employees e where e.employee_id = c.account_manager_id) as account_manager,
            (select count(*) from contacts x where x.customer_id = $1) as contacts,
            (select count(*) from subscriptions x
             where x.customer_id = $1 and x.status in ('active', 'past_due')) as subscriptions,
            (select count(*) from tickets x
             where x.customer_id = $1 and x.status in ('open', 'pending')) as open_tickets,
            (select count(*) from orders x where x.customer_id = $1) as orders,
            (select coalesce(round(sum(amount), 2), 0) from invoices x
             where x.customer_id = $1 and x.status = 'paid') as spent,
            (select coalesce(round(sum(amount), 2), 0) from invoices x
             where x.customer_id = $1 and x.status in ('open', 'overdue')) as owed
        from customers c where customer_id = $1
        """,
        customer_id,
    )
    if row is None:
        raise ToolError(f"No customer {customer_id}. Search with crm.search_customers.")
    return CustomerProfile(**row)


@server.tool(title="List contacts", annotations=READ, meta=labels("crm:read", pii=CONTACT))
def list_contacts(customer_id: CustomerId, limit: Limit = 50, offset: Offset = 0) -> ContactPage:
    """Further people at a customer's company, with their roles."""
    _known(customer_id)
    rows, total = sample.page(
        "select * from contacts where customer_id = ?", "contact_id", limit, offset, [customer_id]
    )
    return ContactPage(
        total=total, next_offset=following(total, offset, len(rows)), contacts=[Contact(**row) for row in rows]
    )


@server.tool(title="List interactions", annotations=READ, meta=labels("crm:read"))
def list_interactions(
    customer_id: CustomerId,
    kind: Annotated[Literal["call", "email", "note", "visit"] | None, Field(description="Only this kind.")] = None,
    since: Annotated[date | None, Field(description="Only from this day on.", examples=["2026-10-01"])] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> InteractionPage:
    """Calls, emails, notes and visits recorded with a customer, the latest first."""
    _known(customer_id)
    clause, parameters = where(("customer_id = ?", customer_id), ("kind = ?", kind), ("happened_at >= ?", since))
    rows, total = sample.page(
        f"select * from interactions{clause}", "happened_at desc, interaction_id", limit, offset, parameters
    )
    return InteractionPage(
        total=total, next_offset=following(total, offset, len(rows)), interactions=[Interaction(**row) for row in rows]
    )


@server.tool(title="Count customers", annotations=READ, meta=labels("crm:read"))
def count_customers(
    group_by: Annotated[
        Literal["status", "segment", "country", "city", "account_manager", "signed_up_month", "signed_up_year"] | None,
        Field(description="Count for each value of this field."),
    ] = None,
    status: Annotated[Status | None, Field(description="Only customers with this account status.")] = None,
    segment: Annotated[Segment | None, Field(description="Only customers of this segment.")] = None,
    country: Annotated[str | None, Field(description="ISO code of two letters.", pattern="^[A-Z]{2}$")] = None,
    signed_up_since: Annotated[date | None, Field(description="Only customers who signed up on or after.")] = None,
    signed_up_before: Annotated[date | None, Field(description="Only customers who signed up before.")] = None,
    account_manager: Manager = None,
) -> CustomerCount:
    """How many customers there are, in all or by status, segment, country, city, manager or time of sign-up."""
    clause, parameters = where(
        ("status = ?", status),
        ("segment = ?", segment),
        ("country = ?", country),
        ("signed_up_on >= ?", signed_up_since),
        ("signed_up_on < ?", signed_up_before),
        _managed(account_manager),
    )
    named = {
        "account_manager": "(select e.name from employees e where e.employee_id = account_manager_id)",
        "signed_up_month": "strftime(signed_up_on, '%Y-%m')",
        "signed_up_year": "strftime(signed_up_on, '%Y')",
    }
    groups = []
    if group_by:
        groups = sample.rows(
            f'select {named.get(group_by, group_by)} as "group", count(*) as customers from customers{clause} '
            "group by 1 order by 2 desc, 1",
            *parameters,
        )
    found = sample.one(f"select count(*) as n from customers{clause}", *parameters)
    return CustomerCount(total=found["n"] if found else 0, groups=[Group(**g) for g in groups])


@server.resource("crm://customers/{customer_id}", title="A customer's profile", mime_type="application/json")
def customer_resource(customer_id: str) -> str:
    """The same as get_customer, as a resource."""
    try:
        return get_customer(customer_id).model_dump_json(indent=2)
    except ToolError as e:
        raise ResourceNotFoundError(str(e)) from e


@server.prompt(title="Prepare a call with a customer")
def prepare_call(customer: Annotated[str, Field(description="Name, email address or company.")]) -> str:
    """Asks for a one-page briefing before a call."""
    return (
        f"I am about to call {customer}. Find the customer, then tell me on one page: account status, "
        f"subscriptions and unpaid invoices, open tickets, what was last said with them, and three things to bring "
        f"up."
    )


def _managed(manager: str | None) -> tuple[str, list[str] | None]:
    """A condition that one of the employees so named looks after the customer."""
    text, words = containing(manager, "e.name", "e.employee_id")
    return f"account_manager_id in (select e.employee_id from employees e where {text or 'true'})", words


def _known(customer_id: str) -> None:
    if sample.one("select 1 as found from customers where customer_id = ?", customer_id) is None:
        raise ToolError(f"No customer {customer_id}. Search with crm.search_customers.")


if __name__ == "__main__":
    serve(server, health=sample.health)
