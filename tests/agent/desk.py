"""A toolbox in this process: a small support desk with real functions over real (if few) rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from workbench.events import Call, Caller, Outcome, Tool

QUESTION = (
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, do "
    "they have any open support tickets, and what does their payment history look like?"
)

CUSTOMERS = [
    {"customer_id": "CUS-0042", "email": "john.smith@acme.com", "name": "John Smith", "status": "past_due"},
    {"customer_id": "CUS-0043", "email": "joan.smythe@acme.com", "name": "Joan Smythe", "status": "active"},
]
TICKETS = [
    {"ticket_id": "TCK-7", "customer_id": "CUS-0042", "status": "open", "subject": "Renewal failed"},
    {"ticket_id": "TCK-3", "customer_id": "CUS-0042", "status": "closed", "subject": "Invoice copy"},
]
PAYMENTS = [
    {"payment_id": "PAY-9", "customer_id": "CUS-0042", "status": "failed", "amount": 49.0, "reason": "card_expired"},
    {"payment_id": "PAY-8", "customer_id": "CUS-0042", "status": "succeeded", "amount": 49.0, "reason": ""},
]


def _tool(server: str, name: str, description: str, *parameters: str, read_only: bool = True, **more: Any) -> Tool:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {name: {"type": "string"} for name in parameters},
        "required": list(parameters),
        "additionalProperties": False,
    }
    annotations = {"readOnlyHint": read_only, **more}
    return Tool(server=server, name=name, description=description, input_schema=schema, annotations=annotations)


FIND = _tool("crm", "find_customer", "Find a customer by e-mail address.", "email")
OPEN = _tool("tickets", "list_tickets", "Tickets of a customer.", "customer_id")
PAID = _tool("payments", "list_payments", "Payments of a customer.", "customer_id")
NOTE = _tool("crm", "add_note", "Write a note on a customer.", "customer_id", "text", read_only=False)
ERASE = _tool("crm", "erase_customer", "Erase a customer.", "customer_id", read_only=False, destructiveHint=True)


class Desk:
    """Answers like the gateway: outcomes, approvals, and whatever a test adds."""

    def __init__(self, *more: Tool) -> None:
        self.listed = [FIND, OPEN, PAID, NOTE, ERASE, *more]
        self.calls: list[Call] = []
        self.notes: list[str] = []
        self.approved = False
        self.running = 0
        self.most_at_once = 0
        self.hold: asyncio.Event | None = None
        """Calls wait for it before they answer."""
        self.entered = asyncio.Event()
        self.cancelled = 0
        self.instead: dict[str, Callable[[Call], Outcome]] = {}

    def tools(self, caller: Caller) -> list[Tool]:
        return list(self.listed)

    def search(self, caller: Caller, query: str, limit: int = 20) -> list[tuple[Tool, float]]:
        words = set(query.lower().split())
        scored = [(t, float(len(words & set(f"{t.name} {t.description}".lower().split())))) for t in self.listed]
        return sorted(scored, key=lambda pair: -pair[1])[:limit]

    async def call(self, call: Call) -> Outcome:
        self.calls.append(call)
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.entered.set()
        try:
            await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
            return self._answer(call)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1

    def _answer(self, call: Call) -> Outcome:
        if call.tool in self.instead:
            return self.instead[call.tool](call)
        given = call.arguments
        if call.tool == FIND.qualified:
            return _rows(call, [c for c in CUSTOMERS if c["email"] == given["email"]])
        if call.tool == OPEN.qualified:
            return _rows(call, [t for t in TICKETS if t["customer_id"] == given["customer_id"]])
        if call.tool == PAID.qualified:
            return _rows(call, [p for p in PAYMENTS if p["customer_id"] == given["customer_id"]])
        if call.tool == NOTE.qualified:
            self.notes.append(given["text"])
            return _rows(call, [])
        if call.tool == ERASE.qualified and not self.approved:
            return Outcome(
                kind="approval_required",
                call=call.id,
                tool=call.tool,
                message="A person has to approve this.",
                details={"approval": "APR-1"},
            )
        return _rows(call, [{"tool": call.tool, **given}])


def _rows(call: Call, rows: list[dict[str, Any]]) -> Outcome:
    result = {"content": [], "structuredContent": {"result": rows}}
    return Outcome(kind="ok", call=call.id, tool=call.tool, server=call.tool.split(".")[0], result=result)
