"""Ids and paging, named and described alike in every server, so that what one tool returns another can take."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field


def _id(letter: str, digits: int, what: str) -> object:
    example = f"{letter}-{42:0{digits}d}"
    return Field(
        description=f"Id of {what}, e.g. {example}.", pattern=rf"^{letter}-\d{{{digits}}}$", examples=[example]
    )


CustomerId = Annotated[str, _id("C", 5, "a customer")]
ContactId = Annotated[str, _id("K", 5, "a contact at a customer's company")]
EmployeeId = Annotated[str, _id("E", 3, "an employee")]
InteractionId = Annotated[str, _id("N", 6, "a recorded interaction")]
ProductId = Annotated[str, _id("P", 4, "a product")]
OrderId = Annotated[str, _id("O", 6, "an order")]
SubscriptionId = Annotated[str, _id("S", 5, "a subscription")]
InvoiceId = Annotated[str, _id("I", 6, "an invoice")]
PaymentId = Annotated[str, _id("Y", 6, "a payment attempt")]
TicketId = Annotated[str, _id("T", 5, "a support ticket")]
MessageId = Annotated[str, _id("G", 6, "a message of a ticket")]
MeetingId = Annotated[str, _id("M", 5, "a meeting")]

Limit = Annotated[int, Field(description="Most rows to return.", ge=1, le=100)]
Offset = Annotated[int, Field(description="Rows to skip; take `next_offset` of the page before.", ge=0, le=1_000_000)]
Words = Annotated[str, Field(description="Words to look for; all of them have to occur.", max_length=200)]


class Page(BaseModel):
    """One page of a longer list."""

    total: int = Field(description="How many there are in all.")
    next_offset: int | None = Field(None, description="`offset` of the next page; null on the last one.")


def following(total: int, offset: int, got: int) -> int | None:
    """`next_offset` of a page."""
    return offset + got if got and offset + got < total else None
