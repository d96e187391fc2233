"""Questions to try first, as the command line and the app offer them."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.registry import ServerState

SAMPLE_COMPANY = (
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, "
    "do they have any open support tickets, and what does their payment history look like?",
    "Which five products brought in the most revenue this year?",
    "How many support tickets are open, by priority?",
)
OWN_TABLES = ("Which tables are there, and how many rows has each?",)

_NEEDED = {"crm", "tickets", "payments", "analytics", "products"}


def examples(servers: Sequence[ServerState]) -> tuple[str, ...]:
    """What can be asked of these servers; empty when nothing is known of what they hold."""
    ids = {s.id for s in servers}
    return (OWN_TABLES if any(s.kind == "tables" for s in servers) else ()) + (SAMPLE_COMPANY if ids >= _NEEDED else ())
