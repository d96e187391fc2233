"""Times in words become days."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent.planner.language.dates import periods

TODAY = date(2026, 11, 20)  # a Friday


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("what failed yesterday?", "2026-11-19", "2026-11-19"),
        ("it failed last week", "2026-11-09", "2026-11-15"),
        ("meetings next week", "2026-11-23", "2026-11-29"),
        ("this month", "2026-11-01", "2026-11-30"),
        ("in the last 3 months", "2026-08-20", "2026-11-20"),
        ("two weeks ago", "2026-11-02", "2026-11-08"),
        ("last quarter", "2026-07-01", "2026-09-30"),
        ("in March 2026", "2026-03-01", "2026-03-31"),
        ("in December", "2025-12-01", "2025-12-31"),
        ("in 2025", "2025-01-01", "2025-12-31"),
        ("Q2 2026", "2026-04-01", "2026-06-30"),
        ("on 2026-02-28", "2026-02-28", "2026-02-28"),
        ("on 3 May 2026", "2026-05-03", "2026-05-03"),
        ("March 12, 2026", "2026-03-12", "2026-03-12"),
        ("2026-03", "2026-03-01", "2026-03-31"),
        ("since 1 June 2026", "2026-06-01", None),
        ("after 1 June 2026", "2026-06-02", None),
        ("before March 2026", None, "2026-02-28"),
        ("until 2026-06-30", None, "2026-06-30"),
        ("between 1 March 2026 and 5 April 2026", "2026-03-01", "2026-04-05"),
        ("from January 2026 to March 2026", "2026-01-01", "2026-03-31"),
        ("next 2 weeks", "2026-11-20", "2026-12-04"),
    ],
)
def test_a_time_in_words_becomes_the_days_it_means(text: str, start: str | None, end: str | None) -> None:
    found = periods(text, TODAY)
    assert [(p.start and p.start.isoformat(), p.end and p.end.isoformat()) for p in found] == [(start, end)]


@pytest.mark.parametrize("text", ["may I ask", "march on", "version 2.0", "the 2 best", "call 2026"])
def test_what_only_looks_like_a_time_is_left_alone(text: str) -> None:
    assert periods(text, TODAY) == []


def test_several_times_are_found_in_order() -> None:
    assert [p.unit for p in periods("compare Q1 2026 with last week", TODAY)] == ["quarter", "week"]


@given(st.text(max_size=80), st.dates())
def test_any_text_on_any_day_is_read_without_an_error(text: str, today: date) -> None:
    for p in periods(text, today):
        assert p.start is None or p.end is None or p.start <= p.end or not p.year_given
        assert p.shown()


@given(st.sampled_from(["day", "week", "month", "quarter", "year"]), st.integers(0, 9999), st.dates())
def test_counting_back_never_leaves_the_calendar(unit: str, n: int, today: date) -> None:
    assert periods(f"in the last {n} {unit}s", today)
