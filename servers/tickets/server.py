"""tickets: support tickets of the sample company, their messages, and figures about them."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ResourceNotFoundError, ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.company import Company, Row, containing, where
from servers.identifiers import (
    CustomerId,
    EmployeeId,
    Limit,
    MessageId,
    Offset,
    Page,
    ProductId,
    TicketId,
    Words,
    following,
)
from servers.labels import ADD, DESTROY, READ, labels
from servers.serving import serve
from servers.tool_server import ToolServer

sample = Company("tickets", "ticket_messages", "customers", "employees")

server: ToolServer[None] = ToolServer(
    "tickets",
    title="Support tickets",
    description="Support tickets, their messages and figures about them.",
    instructions="List a customer's tickets by customer_id, or search all by words; get_ticket gives the messages.",
    version="0.1.0",
    log_level="WARNING",
)

Status = Literal["open", "pending", "resolved", "closed"]
Priority = Literal["low", "normal", "high", "urgent"]
Category = Literal["billing", "device", "connectivity", "account", "api", "shipping", "feature"]

StatusFilter = Annotated[
    Status | Literal["unsolved"] | None,
    Field(description="Only this status: open (ours to answer), pending (the customer's), resolved, closed; "
          "or unsolved, which is open and pending together."),
]  # fmt: skip
PriorityFilter = Annotated[Priority | None, Field(description="Only this priority.")]
CategoryFilter = Annotated[Category | None, Field(description="Only this category.")]


class Ticket(BaseModel):
    """A support ticket."""

    ticket_id: TicketId
    customer_id: CustomerId
    product_id: ProductId | None
    subject: str
    category: Category
    priority: Priority
    status: Status
    channel: Literal["email", "web", "phone"]
    assignee_id: EmployeeId
    assignee: str
    opened_at: datetime
    first_reply_at: datetime | None
    resolved_at: datetime | None
    satisfaction: int | None = Field(description="1 to 5, if the customer said.")


class TicketPage(Page):
    tickets: list[Ticket]


class Message(BaseModel):
    message_id: MessageId
    author_kind: Literal["customer", "agent", "comment"] = Field(description="comment: internal, not sent.")
    author_id: str
    sent_at: datetime
    body: str


class TicketThread(Ticket):
    """A ticket with its messages, the oldest first."""

    customer: str
    company: str
    messages: list[Message]


class TicketGroup(BaseModel):
    group: str
    tickets: int
    unsolved: int
    median_first_reply_hours: float | None
    median_resolution_hours: float | None
    mean_satisfaction: float | None


class TicketStats(TicketGroup):
    """Figures over all tickets that fit, and for each group."""

    groups: list[TicketGroup]


FIELDS = """ticket_id, customer_id, product_id, subject, category, priority, status, channel, assignee_id,
    assignee, opened_at, first_reply_at, resolved_at, satisfaction"""
TICKETS = (
    """tickets left join (select employee_id as assignee_id, name as assignee from employees) using (assignee_id)"""
)


@server.tool(title="Search tickets", annotations=READ, meta=labels("tickets:read"))
def search_tickets(
    query: Annotated[Words, Field(description="Words of the subject or of any message; all have to occur.")],
    status: StatusFilter = None,
    priority: PriorityFilter = None,
    category: CategoryFilter = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> TicketPage:
    """Find tickets of all customers by words in subject and messages, the latest first."""
    body = "(select string_agg(body, ' ') from ticket_messages m where m.ticket_id = tickets.ticket_id)"
    return _page(
        [containing(query, "subject", "category", "ticket_id", body)], status, priority, category, limit, offset
    )


@server.tool(title="List tickets", annotations=READ, meta=labels("tickets:read"))
def list_tickets(
    customer_id: Annotated[CustomerId | None, Field(description="Only tickets of this customer.")] = None,
    status: StatusFilter = None,
    priority: PriorityFilter = None,
    category: CategoryFilter = None,
    assignee_id: Annotated[EmployeeId | None, Field(description="Only tickets of this agent.")] = None,
    product_id: Annotated[ProductId | None, Field(description="Only tickets about this product.")] = None,
    opened_since: Annotated[date | None, Field(description="Only tickets opened on or after this day.")] = None,
    opened_before: Annotated[date | None, Field(description="Only tickets opened before this day.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> TicketPage:
    """Tickets by customer, status, priority, category, agent, product and day of opening, the latest first."""
    conditions: list[Condition] = [
        ("customer_id = ?", customer_id),
        ("assignee_id = ?", assignee_id),
        ("product_id = ?", product_id),
        ("opened_at >= ?", opened_since),
        ("opened_at < ?", opened_before),
    ]
    return _page(conditions, status, priority, category, limit, offset)


@server.tool(title="Get a ticket", annotations=READ, meta=labels("tickets:read"))
def get_ticket(ticket_id: TicketId) -> TicketThread:
    """One ticket with all its messages and the name and company of the customer."""
    row = _ticket(ticket_id)
    who = sample.one("select name, company from customers where customer_id = ?", row["customer_id"]) or {}
    messages = sample.rows(
        "select * exclude ticket_id from ticket_messages where ticket_id = ? order by sent_at, message_id", ticket_id
    )
    return TicketThread(**row, customer=who["name"], company=who["company"], messages=[Message(**m) for m in messages])


@server.tool(title="Ticket figures", annotations=READ, meta=labels("tickets:read"))
def ticket_stats(
    group_by: Annotated[
        Literal["status", "priority", "category", "channel", "assignee", "product", "day", "week", "month"] | None,
        Field(description="Figures for each value of this field, by day, week or month of opening."),
    ] = None,
    customer_id: Annotated[CustomerId | None, Field(description="Only tickets of this customer.")] = None,
    status: StatusFilter = None,
    priority: PriorityFilter = None,
    category: CategoryFilter = None,
    opened_since: Annotated[date | None, Field(description="Only tickets opened on or after this day.")] = None,
    opened_before: Annotated[date | None, Field(description="Only tickets opened before this day.")] = None,
    limit: Annotated[int, Field(description="Most groups to return.", ge=1, le=400)] = 50,
) -> TicketStats:
    """How many tickets there are, how many are unsolved, and how fast and how well they were answered."""
    clause, parameters = where(
        *_filters(status, priority, category),
        ("customer_id = ?", customer_id),
        ("opened_at >= ?", opened_since),
        ("opened_at < ?", opened_before),
    )
    groups = {
        "assignee": "(select e.name from employees e where e.employee_id = assignee_id)",
        "product": "coalesce(product_id, 'none')",
        "day": "strftime(opened_at, '%Y-%m-%d')",
        "week": "strftime(date_trunc('week', opened_at), '%Y-%m-%d')",
        "month": "strftime(opened_at, '%Y-%m')",
    }
    figures = """count(*) as tickets, count(*) filter (status in ('open', 'pending')) as unsolved,
        round(median(epoch(first_reply_at - opened_at)) / 3600, 2) as median_first_reply_hours,
        round(median(epoch(resolved_at - opened_at)) / 3600, 2) as median_resolution_hours,
        round(avg(satisfaction), 2) as mean_satisfaction"""
    overall = sample.one(f"select 'all' as \"group\", {figures} from tickets{clause}", *parameters) or {}
    rows = []
    if group_by:
        order = "1" if group_by in ("day", "week", "month") else "2 desc, 1"
        rows = sample.rows(
            f'select {groups.get(group_by, group_by)} as "group", {figures} from tickets{clause} '
            f"group by 1 order by {order} limit {int(limit)}",
            *parameters,
        )
    return TicketStats(**overall, groups=[TicketGroup(**row) for row in rows])


@server.tool(title="Add a comment", annotations=ADD, meta=labels("tickets:write"))
def add_comment(
    ticket_id: TicketId,
    body: Annotated[str, Field(description="The comment; internal, the customer does not see it.", max_length=4000)],
    author: Annotated[str, Field(description="Who comments.", max_length=80)] = "workbench",
) -> Message:
    """Add an internal comment to a ticket. It is kept in the state folder and seen by every later read."""
    if not body.strip():
        raise ToolError("The comment is empty. Give some text in `body`.")
    with sample.writing("tickets.add_comment") as write:
        _ticket(ticket_id)
        row = _message(ticket_id, "comment", author, body)
        write({"table": "ticket_messages", "row": row})
    return Message(**{k: v for k, v in row.items() if k != "ticket_id"})


@server.tool(title="Close a ticket", annotations=DESTROY, meta=labels("tickets:write"))
def close_ticket(
    ticket_id: TicketId,
    reason: Annotated[str, Field(description="Why it is closed; sent to the customer.", min_length=1, max_length=1000)],
) -> TicketThread:
    """Close a ticket for good and tell the customer why. A closed ticket cannot be opened again."""
    with sample.writing("tickets.close_ticket") as write:
        if _ticket(ticket_id)["status"] == "closed":
            raise ToolError(f"Ticket {ticket_id} is closed already. Nothing was changed.")
        now = datetime.now(UTC)
        write(
            {
                "table": "tickets",
                "key": {"ticket_id": ticket_id},
                "set": {"status": "closed", "resolved_at": now},
            },
            {"table": "ticket_messages", "row": _message(ticket_id, "agent", "workbench", f"Closed: {reason}")},
        )
    return get_ticket(ticket_id)


@server.resource("tickets://{ticket_id}", title="A ticket with its messages", mime_type="application/json")
def ticket_resource(ticket_id: str) -> str:
    """The same as get_ticket, as a resource."""
    try:
        return get_ticket(ticket_id).model_dump_json(indent=2)
    except ToolError as e:
        raise ResourceNotFoundError(str(e)) from e


@server.prompt(title="Draft an answer to a ticket")
def draft_answer(ticket_id: Annotated[str, Field(description="Id of the ticket, e.g. T-00042.")]) -> str:
    """Asks for a draft answer that rests on the help centre."""
    return (
        f"Read ticket {ticket_id} and what the help centre says about its subject. Draft an answer of at most 120 "
        f"words: what happened, what we do, what the customer should do. Name the articles you used."
    )


Condition = tuple[str, object]


def _filters(status: str | None, priority: str | None, category: str | None) -> list[Condition]:
    unsolved = status == "unsolved"
    return [
        ("status in (?, ?)", ["open", "pending"]) if unsolved else ("status = ?", status),
        ("priority = ?", priority),
        ("category = ?", category),
    ]


def _page(
    conditions: list[Condition],
    status: str | None,
    priority: str | None,
    category: str | None,
    limit: int,
    offset: int,
) -> TicketPage:
    clause, parameters = where(*conditions, *_filters(status, priority, category))
    rows, total = sample.page(
        f"select {FIELDS} from {TICKETS}{clause}", "opened_at desc, ticket_id", limit, offset, parameters
    )
    return TicketPage(total=total, next_offset=following(total, offset, len(rows)), tickets=[Ticket(**r) for r in rows])


def _ticket(ticket_id: str) -> Row:
    row = sample.one(f"select {FIELDS} from {TICKETS} where ticket_id = ?", ticket_id)
    if row is None:
        raise ToolError(f"No ticket {ticket_id}. Find one with tickets.list_tickets or tickets.search_tickets.")
    return row


def _message(ticket_id: str, kind: str, author: str, body: str) -> Row:
    last = sample.one("select max(message_id) as last from ticket_messages") or {}
    return {
        "message_id": f"G-{int(last['last'][2:]) + 1:06d}",
        "ticket_id": ticket_id,
        "author_kind": kind,
        "author_id": author,
        "sent_at": datetime.now(UTC),
        "body": body,
    }


if __name__ == "__main__":
    serve(server, health=sample.health)
