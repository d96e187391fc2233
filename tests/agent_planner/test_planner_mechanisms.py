"""What the planner works out from tools and tables where a list of words could not know them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest

from workbench.agent.planner.language.question_parser import Need, understand
from workbench.agent.planner.tables.table_columns import TableColumn
from workbench.agent.planner.tables.table_questions import Table, in_words_of
from workbench.agent.planner.tables.table_tools import kits
from workbench.agent.planner.tools.candidates import of_rules
from workbench.agent.planner.tools.fill_arguments import fill
from workbench.agent.planner.tools.tool_profile import shape
from workbench.events import Tool

MakeTool = Callable[..., Tool]
TODAY = date(2026, 11, 30)


def need(text: str) -> Need:
    return understand(text, TODAY).needs[0]


@pytest.fixture
def table(tool: MakeTool) -> Callable[[str, str], Table]:
    listing = tool("db.list_tables", read_only=True)
    rows = tool("db.find_rows", {"table": {"type": "string"}}, ("table",), read_only=True)
    kit = kits([shape(listing), shape(rows)])[0]
    return lambda name, columns: Table(kit, name, tuple(TableColumn(c, "text") for c in columns.split()), 9, True)


def test_a_thing_that_another_table_lists_is_named_by_the_key_that_both_share(
    table: Callable[[str, str], Table],
) -> None:
    sightings, birds = table("sightings", "id ring place seen_on"), table("birds", "ring species")
    meant = in_words_of(sightings, need("Which bird had the most sightings?"), [birds])
    assert meant.which == ("ring",)
    assert meant.words == ("ring", "sightings")


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ("birds: species ring", "the key does not come first"),
        ("birds: ring place seen_on", "it holds the same facts"),
        ("birds: code species", "no key is shared"),
        ("boats: ring species", "it lists something else"),
    ],
)
def test_a_table_that_is_no_list_of_the_thing_renames_nothing(
    table: Callable[[str, str], Table], others: str, why: str
) -> None:
    asked = need("Which bird had the most sightings?")
    name, _, columns = others.partition(": ")
    assert in_words_of(table("sightings", "id ring place seen_on"), asked, [table(name, columns)]) == asked, why


def test_a_word_that_the_table_has_itself_keeps_its_meaning(table: Callable[[str, str], Table]) -> None:
    asked = need("Which bird had the most sightings?")
    assert in_words_of(table("sightings", "id ring bird"), asked, [table("birds", "ring species")]) == asked


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("How do gardeners claim their costs?", True),
        ("Can visitors bring a dog?", True),
        ("How many days of leave does a gardener get?", True),
        ("How can this machine break?", False),
        ("How many gardeners are there?", False),
    ],
)
def test_a_question_of_what_holds_for_a_kind_of_people_is_one_of_rules(text: str, rule: bool) -> None:
    assert of_rules(need(text)) is rule


@pytest.mark.parametrize(
    ("text", "person"), [("the visits of Jane Doe", True), ("the visits of client Jane Doe", False)]
)
def test_a_name_that_another_parameter_takes_is_not_the_person_of_this_one(
    tool: MakeTool, text: str, person: bool
) -> None:
    visits = shape(
        tool("garden.list_visits", {"attendees": {"type": "string"}, "client_id": {"type": "string"}}, read_only=True)
    )
    question = understand(f"Show {text}", TODAY)
    assert ("attendees" in fill(visits, question.needs[0], question, []).arguments) is person
