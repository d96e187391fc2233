"""When things happen: the sample's window of two years, seasons, working days and steady draws."""

from __future__ import annotations

import random
from bisect import bisect
from datetime import date, datetime, time, timedelta
from itertools import accumulate

AS_OF = date(2026, 11, 20)
"""The sample's today, a Friday."""

START = date(2024, 11, 21)
"""First day of the two years."""

DAYS = (AS_OF - START).days + 1

MONTH_WEIGHT = (0.88, 0.84, 1.0, 0.97, 1.02, 1.04, 0.83, 0.72, 1.06, 1.12, 1.38, 1.28)
"""Orders by month, January first: quiet in August, busy before the year closes."""

WEEKDAY_WEIGHT = (1.15, 1.2, 1.15, 1.1, 0.95, 0.28, 0.17)


def drawn(part: str) -> random.Random:
    """The random numbers of one part of the sample, independent of every other part."""
    return random.Random(f"larkfield/{part}")


def day_weights(growth: float = 1.0, *, seasonal: bool = True) -> list[float]:
    """The relative weight of each day of the window.

    Args:
        growth: how much heavier the last day is than the first.
        seasonal: whether the months differ.
    """
    weights = []
    for n in range(DAYS):
        day = START + timedelta(days=n)
        season = MONTH_WEIGHT[day.month - 1] if seasonal else 1.0
        weights.append((1 + (growth - 1) * n / DAYS) * season * WEEKDAY_WEIGHT[day.weekday()])
    return weights


class Picker:
    """Draws items with fixed weights, quickly and the same in every version of Python."""

    def __init__(self, items: list, weights: list[float]) -> None:  # type: ignore[type-arg]
        self.items = items
        self.sums = list(accumulate(weights))

    def pick(self, rng: random.Random):  # type: ignore[no-untyped-def]
        return self.items[min(bisect(self.sums, rng.random() * self.sums[-1]), len(self.items) - 1)]


def weighted(rng: random.Random, **weights: float) -> str:
    """One of the names, by weight."""
    return str(Picker(list(weights), list(weights.values())).pick(rng))


def at_work(rng: random.Random, day: date) -> datetime:
    """A time of that day, mostly in working hours (UTC)."""
    hour = min(max(rng.gauss(13.0, 3.2), 0.0), 23.9)
    return datetime.combine(day, time()) + timedelta(seconds=int(hour * 3600 + rng.random() * 60))


def add_months(day: date, months: int) -> date:
    """The same day of a later month; callers keep the day at 28 or below."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, day.day)
