"""A question is taken apart: things named, parts, what each part wants."""

from __future__ import annotations

from datetime import date

import pytest

from workbench.agent.planner.language.dates import periods
from workbench.agent.planner.language.entities import entities
from workbench.agent.planner.language.question_parser import Need, understand

TODAY = date(2026, 11, 20)


def parts(text: str) -> tuple[Need, ...]:
    return understand(text, TODAY).needs


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("find a.b+c@d-e.example.org now", "email", "a.b+c@d-e.example.org"),
        ("status of INV-2026-0042?", "id", "INV-2026-0042"),
        ("the plane N14228", "id", "N14228"),
        ("run 123e4567-e89b-12d3-a456-426614174000", "uuid", "123e4567-e89b-12d3-a456-426614174000"),
        ("commit 9fceb02d0ae598e95dc970b74767f19372d61af8", "id", "9fceb02d0ae598e95dc970b74767f19372d61af8"),
        ("read docs/security.md", "path", "docs/security.md"),
        ("log of /srv/some-repo/x", "path", "/srv/some-repo/x"),
        ("open https://example.org/a?b=c.", "url", "https://example.org/a?b=c"),
        ('search for "late delivery"', "quoted", "late delivery"),
        ("at 9 am", "time", "9 am"),
        ("over $1,250.50", "money", "$1250.50"),
        ("flights from JFK", "code", "JFK"),
        ("is John Smith here", "name", "John Smith"),
        ("the Otter Flow meter Pro sells", "name", "Otter Flow meter Pro"),
    ],
)
def test_things_named_are_found_by_their_look(text: str, kind: str, value: str) -> None:
    assert (kind, value) in [(e.kind, e.value) for e in entities(text)]


def test_a_number_knows_whether_it_is_a_bound() -> None:
    found = entities("more than 10 items under $50 and ticket 7", [])
    assert [(e.number, e.comparison, e.before) for e in found] == [(10, "min", ""), (50, "max", ""), (7, "", "ticket")]


def test_the_first_word_of_a_sentence_is_no_name() -> None:
    assert [e.value for e in entities("Which airline is it? Show Delta.") if e.kind == "name"] == ["Delta"]


def test_a_year_in_a_date_is_no_number() -> None:
    text = "in March 2026"
    assert entities(text, [p.span for p in periods(text, TODAY)]) == []


def test_what_is_told_is_told_apart_from_what_is_asked() -> None:
    found = parts("Ann Lee says her renewal failed last week. What is her status, and does she have open tickets?")
    assert [n.kind for n in found] == ["tell", "ask", "ask"]
    assert all("Ann Lee" in [e.value for e in n.about] for n in found)


def test_a_list_of_nouns_is_a_part_for_each_noun() -> None:
    found = parts("Show the account status, open tickets and payment history of a@b.example")
    assert [n.words for n in found] == [("account", "status"), ("open", "tickets"), ("payment", "history")]
    assert {n.kind for n in found} == {"ask"}
    assert all(e.value == "a@b.example" for n in found for e in n.about)


def test_a_condition_stays_with_its_question() -> None:
    assert len(parts("If it is 14:30 in Warsaw, what time is it in Tokyo?")) == 1


def test_each_of_several_times_is_a_part() -> None:
    assert [n.periods[0].unit for n in parts("Compare revenue in Q1 2026 and Q2 2026")] == ["quarter", "quarter"]


@pytest.mark.parametrize(
    ("text", "measure", "order", "top"),
    [
        ("How many orders are late?", "count", "", None),
        ("How many different cities?", "distinct", "", None),
        ("What is the average delay?", "avg", "", None),
        ("What is the total amount of refunds?", "sum", "", None),
        ("Which carrier had the highest average delay?", "avg", "desc", None),
        ("List the three cheapest items", "", "asc", 3),
        ("top 5 products by revenue", "", "desc", 5),
        ("the last 3 meetings", "", "newest", 3),
        ("orders in the last 3 months", "", "", None),
    ],
)
def test_measure_order_and_number_are_read(text: str, measure: str, order: str, top: int | None) -> None:
    need = parts(text)[0]
    assert (need.measure, need.order, need.top) == (measure, order, top)


@pytest.mark.parametrize(("text", "kind"), [
    ("Create a ticket about the door", "do"), ("Please cancel order 7.", "do"), ("Open tickets of Ann Lee?", "ask"),
    ("Close the account.", "do"), ("list closed tickets", "ask"),
])  # fmt: skip
def test_an_order_is_told_apart_from_a_question(text: str, kind: str) -> None:
    assert parts(text)[0].kind == kind


def test_a_bare_pronoun_is_answered_by_the_question_before() -> None:
    found = understand("What about their invoices?", TODAY, ("Who is ann@lee.example?",))
    assert [e.value for e in found.needs[0].about] == ["ann@lee.example"]
