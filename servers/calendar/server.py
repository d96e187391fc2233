"""calendar: meetings of the sample company, and when people are free."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

# `servers` is a package beside `data`, in a clone and inside the wheel alike
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.company import Company, Row, containing, where
from servers.identifiers import CustomerId, EmployeeId, Limit, MeetingId, Offset, Page, Words, following
from servers.labels import DESTROY, READ, labels
from servers.serving import serve
from servers.tool_server import ToolServer

sample = Company("meetings", "attendees", "employees", "customers")

server: ToolServer[None] = ToolServer(
    "calendar",
    title="Calendar",
    description="Meetings with customers and colleagues, and free time.",
    instructions="Times are UTC. People are named by employee_id, email or name; list_people finds them.",
    version="0.1.0",
    log_level="WARNING",
)

Kind = Literal["demo", "onboarding", "review", "renewal", "support", "team", "one-to-one", "interview"]
Status = Literal["held", "scheduled", "cancelled"]
Person = Annotated[
    str, Field(description="employee_id, email address or name of a colleague.", examples=["E-042"], max_length=100)
]
WORKDAY = (time(8), time(17))


class Meeting(BaseModel):
    meeting_id: MeetingId
    title: str
    kind: Kind
    customer_id: CustomerId | None
    organizer_id: EmployeeId
    organizer: str
    starts_at: datetime
    ends_at: datetime
    location: str
    status: Status


class MeetingPage(Page):
    meetings: list[Meeting]


class Attendee(BaseModel):
    kind: Literal["employee", "customer"]
    attendee_id: str = Field(description="employee_id or customer_id.")
    name: str
    email: str
    response: Literal["accepted", "tentative", "declined", "no reply"]


class MeetingDetail(Meeting):
    """A meeting with the people who attend."""

    attendees: list[Attendee]


class Slot(BaseModel):
    starts_at: datetime
    ends_at: datetime


class FreeSlots(BaseModel):
    """Times at which all of the people are free."""

    people: list[str]
    minutes: int
    slots: list[Slot]


class Colleague(BaseModel):
    employee_id: EmployeeId
    name: str
    email: str
    department: str
    title: str


class People(Page):
    people: list[Colleague]


FIELDS = """meeting_id, title, kind, customer_id, organizer_id,
    organizer, starts_at, ends_at, location, status"""
MEETINGS = "meetings join (select employee_id as organizer_id, name as organizer from employees) using (organizer_id)"


@server.tool(title="List meetings", annotations=READ, meta=labels("calendar:read"))
def list_meetings(
    customer_id: Annotated[CustomerId | None, Field(description="Only meetings with this customer.")] = None,
    organizer: Annotated[
        Person | None, Field(description="Only meetings that this colleague organizes.", examples=["Lisa Martinez"])
    ] = None,
    person: Annotated[
        str | None,
        Field(
            description="Only meetings with this attendee: id, email address or name of a colleague or customer.",
            examples=["E-042", "John Smith"],
            max_length=100,
        ),
    ] = None,
    day: Annotated[date | None, Field(description="Only meetings of this day.", examples=["2026-11-20"])] = None,
    since: Annotated[date | None, Field(description="Only meetings from this day on.")] = None,
    before: Annotated[date | None, Field(description="Only meetings before this day.")] = None,
    kind: Annotated[Kind | None, Field(description="Only this kind.")] = None,
    status: Annotated[Status | None, Field(description="Only meetings with this status.")] = None,
    query: Annotated[Words | None, Field(description="Words of the title.")] = None,
    latest_first: Annotated[bool, Field(description="The latest first instead of the earliest.")] = False,
    limit: Limit = 20,
    offset: Offset = 0,
) -> MeetingPage:
    """Meetings by customer, organizer, attendee, day, kind and status, in order of time."""
    attends = _attendee(person) if person else None
    clause, parameters = where(
        ("customer_id = ?", customer_id),
        ("organizer_id = ?", _colleague(organizer)["employee_id"] if organizer else None),
        ("meeting_id in (select a.meeting_id from attendees a where a.attendee_id = ?)", attends),
        ("starts_at::date = ?", day),
        ("starts_at >= ?", since),
        ("starts_at < ?", before),
        ("kind = ?", kind),
        ("status = ?", status),
        containing(query, "title"),
    )
    order = "starts_at desc, meeting_id desc" if latest_first else "starts_at, meeting_id"
    rows, total = sample.page(f"select {FIELDS} from {MEETINGS}{clause}", order, limit, offset, parameters)
    return MeetingPage(
        total=total, next_offset=following(total, offset, len(rows)), meetings=[Meeting(**row) for row in rows]
    )


@server.tool(title="Get a meeting", annotations=READ, meta=labels("calendar:read", pii={"email": "email"}))
def get_meeting(meeting_id: MeetingId) -> MeetingDetail:
    """One meeting with the people who attend and what they answered."""
    row = _meeting(meeting_id)
    attendees = sample.rows(
        """select kind, attendee_id, response, email, coalesce(
            (select e.name from employees e where e.employee_id = attendee_id),
            (select c.name from customers c where c.customer_id = attendee_id)) as name
        from attendees where meeting_id = ? order by kind desc, attendee_id""",
        meeting_id,
    )
    return MeetingDetail(**row, attendees=[Attendee(**a) for a in attendees])


@server.tool(title="Find free slots", annotations=READ, meta=labels("calendar:read"))
def find_free_slots(
    people: Annotated[list[Person], Field(description="Colleagues who all have to be free.", min_length=1)],
    first_day: Annotated[date, Field(description="First day to look at.", examples=["2026-11-23"])],
    last_day: Annotated[date | None, Field(description="Last day to look at; default the first.")] = None,
    minutes: Annotated[int, Field(description="How long the meeting takes.", ge=15, le=480)] = 30,
    limit: Limit = 10,
) -> FreeSlots:
    """Times of working days, 08:00 to 17:00 UTC, at which all of the colleagues are free."""
    last_day = last_day or first_day
    if not 0 <= (last_day - first_day).days <= 60:
        raise ToolError(f"last_day is {last_day}, first_day {first_day}. Expected at most 60 days in order.")
    found = [_colleague(p) for p in people]
    marks = ", ".join("?" for _ in found)
    busy = sample.rows(
        f"""select starts_at, ends_at from meetings where status <> 'cancelled' and starts_at::date between ? and ?
        and meeting_id in (select a.meeting_id from attendees a
            where a.attendee_id in ({marks}) and a.response <> 'declined')
        order by starts_at""",
        first_day,
        last_day,
        *[c["employee_id"] for c in found],
    )
    taken = [(row["starts_at"], row["ends_at"]) for row in busy]
    slots: list[Slot] = []
    for n in range((last_day - first_day).days + 1):
        day = first_day + timedelta(days=n)
        if day.weekday() < 5:
            slots += _free(day, taken, timedelta(minutes=minutes))
    return FreeSlots(people=[c["name"] for c in found], minutes=minutes, slots=slots[:limit])


@server.tool(title="List people", annotations=READ, meta=labels("calendar:read", pii={"email": "email"}))
def list_people(
    query: Annotated[Words | None, Field(description="Words of name, email, department or title.")] = None,
    limit: Limit = 20,
    offset: Offset = 0,
) -> People:
    """Colleagues of the company, with department and title."""
    clause, parameters = where(containing(query, "name", "email", "department", "title", "employee_id"))
    fields = "employee_id, name, email, department, title"
    rows, total = sample.page(f"select {fields} from employees{clause}", "employee_id", limit, offset, parameters)
    return People(total=total, next_offset=following(total, offset, len(rows)), people=[Colleague(**r) for r in rows])


@server.tool(title="Cancel a meeting", annotations=DESTROY, meta=labels("calendar:write"))
def cancel_meeting(
    meeting_id: MeetingId,
    reason: Annotated[str, Field(description="Why; sent to everyone invited.", min_length=1, max_length=500)],
) -> Meeting:
    """Cancel a meeting and tell everyone invited. Kept in the state folder and seen by every later read."""
    with sample.writing("calendar.cancel_meeting") as write:
        row = _meeting(meeting_id)
        if row["status"] != "scheduled":
            raise ToolError(f"Meeting {meeting_id} is {row['status']}; only a scheduled meeting can be cancelled.")
        title = f"{row['title']} (cancelled: {reason})"
        write({"table": "meetings", "key": {"meeting_id": meeting_id}, "set": {"status": "cancelled", "title": title}})
    return Meeting(**_meeting(meeting_id))


def _meeting(meeting_id: str) -> Row:
    row = sample.one(f"select {FIELDS} from {MEETINGS} where meeting_id = ?", meeting_id)
    if row is None:
        raise ToolError(f"No meeting {meeting_id}. Find one with calendar.list_meetings.")
    return row


def _colleague(person: str) -> Row:
    found = _named("employees", person)
    if not found:
        raise ToolError(f"No colleague {person!r}. Search with calendar.list_people.")
    return _only(found, person, "colleagues")


def _attendee(person: str) -> str:
    """The id of a colleague or customer."""
    found = _named("employees", person) or _named("customers", person)
    if not found:
        raise ToolError(f"No attendee {person!r}. Search with calendar.list_people or crm.search_customers.")
    row = _only(found, person, "people")
    return str(row.get("employee_id") or row.get("customer_id"))


def _named(table: Literal["employees", "customers"], person: str) -> list[Row]:
    """Who has that id, email address or name; if nobody has, whose name holds all of the words."""
    ident, wanted = {"employees": "employee_id", "customers": "customer_id"}[table], " ".join(person.lower().split())
    select = f"select {ident}, name from {table} where"
    exact = f"{select} lower({ident}) = ? or lower(email) = ? or lower(name) = ? order by 1 limit 100"
    condition, words = containing(wanted, "name")
    return sample.rows(exact, wanted, wanted, wanted) or (
        sample.rows(f"{select} {condition} order by 1 limit 100", *words) if words else []
    )


def _only(found: list[Row], person: str, what: str) -> Row:
    if len(found) == 1:
        return found[0]
    shown = ", ".join(" ".join(map(str, row.values())) for row in found[:5])
    more = ", ..." if len(found) > 5 else ""
    raise ToolError(f"There are several {what} named {person!r}: {shown}{more}. Give the id.")


def _free(day: date, taken: list[tuple[datetime, datetime]], length: timedelta) -> list[Slot]:
    """Free times of one day that are long enough, on the half hour."""
    begin, end = (datetime.combine(day, t, UTC) for t in WORKDAY)
    slots = []
    while begin + length <= end:
        clash = next((until for start, until in taken if start < begin + length and until > begin), None)
        if clash is None:
            slots.append(Slot(starts_at=begin, ends_at=begin + length))
        begin = max(begin + timedelta(minutes=30), clash or begin)
    return slots


if __name__ == "__main__":
    serve(server, health=sample.health)
