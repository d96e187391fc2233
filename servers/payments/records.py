"""What the payments server returns."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field

from servers.identifiers import CustomerId, InvoiceId, OrderId, Page, PaymentId, ProductId, SubscriptionId

InvoiceStatus = Literal["paid", "open", "overdue", "void", "refunded"]
InvoiceKind = Literal["order", "subscription", "renewal"]
PaymentStatus = Literal["succeeded", "failed", "refunded"]
SubscriptionStatus = Literal["active", "past_due", "cancelled"]
EndReason = Literal["missing feature", "moved to competitor", "no longer needed", "payment failed", "price"]

INVOICE = """invoice_id, customer_id, kind, order_id, subscription_id, description, amount, currency, status,
    issued_on, due_on, paid_on"""
PAYMENT = """payment_id, customer_id, invoice_id, subscription_id, amount, currency, method, status, failure_reason,
    attempt, attempted_at, description"""
PAYMENTS = "payments join (select invoice_id, description from invoices) using (invoice_id)"


class Invoice(BaseModel):
    """An invoice for an order, a new subscription or a renewal."""

    invoice_id: InvoiceId
    customer_id: CustomerId
    kind: InvoiceKind
    order_id: OrderId | None
    subscription_id: SubscriptionId | None
    description: str
    amount: float
    currency: str
    status: InvoiceStatus = Field(description="overdue: past its due date and unpaid; void: given up.")
    issued_on: date
    due_on: date
    paid_on: date | None


class InvoicePage(Page):
    total_amount: float = Field(description="Sum of all that fit, in US dollars.")
    invoices: list[Invoice]


class InvoiceLine(BaseModel):
    product_id: ProductId | None
    description: str
    quantity: int
    unit_price: float
    amount: float


class Payment(BaseModel):
    """One attempt to pay an invoice."""

    payment_id: PaymentId
    customer_id: CustomerId
    invoice_id: InvoiceId
    subscription_id: SubscriptionId | None
    description: str = Field(description="What the invoice is for.")
    amount: float
    currency: str
    method: str
    status: PaymentStatus
    failure_reason: str | None = Field(description="Why it failed or was refunded.")
    attempt: int = Field(description="1 is the first try, more are retries.")
    attempted_at: datetime


class PaymentPage(Page):
    total_amount: float = Field(description="Sum of all that fit, in US dollars.")
    failure_reasons: dict[str, int] = Field(description="How many of all that fit failed for each reason.")
    payments: list[Payment]


class InvoiceDetail(Invoice):
    """An invoice with its lines and every attempt to pay it."""

    lines: list[InvoiceLine]
    payments: list[Payment]


class PaymentHistory(BaseModel):
    """A customer's payments summed up."""

    customer_id: CustomerId
    payments: int = Field(description="Attempts in the recorded two years.")
    succeeded: int
    failed: int
    paid: float = Field(description="Sum of succeeded payments, in US dollars.")
    refunded: float
    owed: float = Field(description="Sum of open and overdue invoices, in US dollars.")
    unpaid_invoices: int
    failure_reasons: dict[str, int] = Field(description="How often each reason occurred.")
    first_payment_at: datetime | None
    last_payment_at: datetime | None
    last_failure: Payment | None = Field(description="The latest failure among the recent attempts.")
    recent: list[Payment] = Field(description="The latest attempts, the last one first.")


class Subscription(BaseModel):
    """A subscription to Larkfield Cloud."""

    subscription_id: SubscriptionId
    customer_id: CustomerId
    plan: Literal["Starter", "Team", "Business", "Enterprise"]
    interval: Literal["month", "year"]
    price: float = Field(description="For each interval, in US dollars.")
    currency: str
    status: SubscriptionStatus = Field(description="past_due: the renewal of renews_on is unpaid.")
    started_on: date
    renews_on: date | None
    ended_on: date | None
    end_reason: str | None = Field(description="Why it was cancelled.")


class SubscriptionPage(Page):
    end_reasons: dict[str, int] = Field(description="How many of all that fit ended for each reason, commonest first.")
    subscriptions: list[Subscription]
