"""Words of size, money and direction, and the columns that they look for."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.agent.planner.language.lexicon import family, listed

_MEANT = {
    "distance duration length time": "longest shortest",
    "distance": "farthest furthest nearest",
    "temp temperature": "hottest warmest coldest",
    "price cost amount": "cheapest priciest expensive",
    "speed duration time": "fastest slowest",
    "year age date": "oldest",
    "year date": "newest",
    "weight mass": "heaviest",
    "height alt altitude": "tallest",
    "alt altitude elevation height": "highest lowest",
    "price cost": "costs cost",
    "wind speed": "windiest",
    "size seats amount total": "biggest largest",
    "delay": "late delayed",
    "amount total spend": "spent",
    "amount total": "spend revenue",
    "amount paid": "paid",
    "revenue amount": "earn",
    "amount value": "worth",
    "amount balance due": "owe owed",
    "email": "mail",
}
"""Columns that a word of size or money looks for: `cheapest` looks for a price."""
_ADJECTIVES = {word: columns for columns, words in _MEANT.items() for word in words.split()}
FROM = (
    "from",
    "left",
    "leave",
    "leaving",
    "leaves",
    "departed",
    "departing",
    "depart",
    "departs",
    "out of",
    "originating",
)
TO = (
    "to",
    "into",
    "arrived",
    "arriving",
    "arrive",
    "arrives",
    "toward",
    "towards",
    "reach",
    "reached",
    "destined",
    "landed",
)

PERSONS = frozenset(map(family, listed("employee person colleague agent member user handler assignee rep someone")))
"""Words for people who do something to a record, in families."""
ROLES = frozenset(
    map(
        family,
        listed("assignee assigned owner organizer organiser author manager agent seller creator reviewer"),
    )
)
"""Fields that name such a person, in families."""
UNSETTLED = {
    "unpaid": "open overdue past_due due unpaid outstanding pending",
    "owed": "open overdue past_due due unpaid outstanding",
    "owing": "open overdue past_due due unpaid outstanding",
    "outstanding": "open overdue past_due due unpaid outstanding",
    "unresolved": "open pending in_progress waiting new",
    "unsolved": "open pending in_progress waiting new",
    "unfinished": "open pending in_progress processing new",
}
"""Words that stand for several states at once."""


def widened(words: Sequence[str]) -> tuple[str, ...]:
    """What adjectives of size stand for: `cheapest` looks for a price."""
    return tuple(x for w in words for x in _ADJECTIVES.get(w, "").split())
