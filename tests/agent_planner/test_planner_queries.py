"""Queries read from words, put to tools of different forms, and computed over rows that are here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent.planner.language.figures import label, salient, shown
from workbench.agent.planner.language.lexicon import alike, overlap, terms
from workbench.agent.planner.language.question_parser import understand
from workbench.agent.planner.tables.local_query import groups, keep, measure, ordered
from workbench.agent.planner.tables.query_parser import read
from workbench.agent.planner.tables.table_columns import TableColumn, columns_of, declared_type, holding, match
from workbench.agent.planner.tables.table_query import Filter, Metric, Query
from workbench.agent.planner.tables.table_tools import filters_for, kits, put
from workbench.agent.planner.tools.tool_profile import shape
from workbench.events import JSON, Tool

MakeTool = Callable[..., Tool]
FLIGHTS = [
    TableColumn("year", "number"),
    TableColumn("month", "number"),
    TableColumn("dep_delay", "number"),
    TableColumn("arr_delay", "number"),
    TableColumn("carrier", "text", ("UA", "DL")),
    TableColumn("origin", "text", ("JFK", "LGA")),
    TableColumn("dest", "text", ("JFK", "BOS")),
    TableColumn("tailnum", "text", ("N14228",)),
    TableColumn("distance", "number"),
    TableColumn("cancelled", "bool"),
    TableColumn("booked_on", "date", (), "2013-01-01", "2013-12-31"),
]


def query(text: str, columns: list[TableColumn] | None = None, noun: tuple[str, ...] = ("flight",)) -> Query:
    return read(understand(text, date(2026, 11, 20)).needs[0], columns or FLIGHTS, noun)


@pytest.mark.parametrize(
    ("text", "metric", "group", "filters"),
    [
        ("average arrival delay per carrier", Metric("avg", "arr_delay"), ("carrier",), []),
        ("How many flights left JFK in March?", Metric("count"), (), [("origin", "=", "JFK"), ("month", "=", 3)]),
        ("How many flights went to JFK?", Metric("count"), (), [("dest", "=", "JFK")]),
        ("Which carrier has the most flights?", Metric("count"), ("carrier",), []),
        ("Which carrier flew the longest total distance?", Metric("sum", "distance"), ("carrier",), []),
        ("How many different destinations from LGA?", Metric("count_distinct", "dest"), (), [("origin", "=", "LGA")]),
        ("How many cancelled flights?", Metric("count"), (), [("cancelled", "=", True)]),
        ("How many flights were not cancelled?", Metric("count"), (), [("cancelled", "=", False)]),
        ("How many flights of N25201?", Metric("count"), (), [("tailnum", "=", "N25201")]),
        ("flights with a distance of at least 500", None, (), [("distance", ">=", 500)]),
        ("flights with a distance of at most 500", None, (), [("distance", "<=", 500)]),
        (
            "How many flights in 2013?", Metric("count"), (),
            [("year", "=", 2013)],
        ),
        (
            "How many flights in the second quarter, Q2 2013?", Metric("count"), (),
            [("month", ">=", 4), ("month", "<=", 6), ("year", "=", 2013)],
        ),
    ],
)  # fmt: skip
def test_words_become_metrics_groups_and_filters(
    text: str, metric: Metric | None, group: tuple[str, ...], filters: list[Any]
) -> None:
    found = query(text)
    assert found.metric == metric
    assert found.group == group
    assert [(f.column, f.op, f.value) for f in found.filters] == filters


def test_an_adjective_of_size_names_its_column() -> None:
    found = query("Which was the longest flight?")
    assert (found.order, found.descending, found.limit) == ("distance", True, 1)
    assert query("the three shortest flights").limit == 3


def test_a_number_of_one_thing_is_its_field() -> None:
    columns = [TableColumn("tailnum", "text", ("N14228",)), TableColumn("seats", "number")]
    found = query("How many seats has N14228?", columns, ("plane",))
    assert found.metric is None
    assert found.fields == () or "seats" in found.fields
    assert query("How many seats are there?", columns, ("plane",)).metric == Metric("sum", "seats")


def test_a_date_without_a_year_falls_where_the_data_is() -> None:
    columns = [TableColumn("sold_on", "date", (), "2019-03-01", "2021-05-30"), TableColumn("amount", "number")]
    found = query("total amount in April", columns, ("sale",))
    assert [f.value for f in found.filters] == ["2021-04-01", "2021-05-01"]


def test_what_no_column_holds_is_left_and_lowers_the_fit() -> None:
    known, unknown = query("flights of UA"), query("flights of Zanzibar Air")
    assert [e.value for e in unknown.unplaced] == ["Zanzibar Air"]
    assert unknown.fit < known.fit


def test_the_column_of_all_words_beats_the_one_of_some() -> None:
    assert match(["departure", "delay"], FLIGHTS)[0][0].name == "dep_delay"
    assert match(["arrival", "delay"], FLIGHTS)[0][0].name == "arr_delay"
    assert holding("jfk", FLIGHTS)[0][1] == "JFK"


ROWS: list[JSON] = [
    {"id": 1, "depot": "N", "wait": 10, "on": "2026-01-05", "late": False},
    {"id": 2, "depot": "N", "wait": 30, "on": "2026-02-01", "late": True},
    {"id": 3, "depot": "S", "wait": None, "on": "2026-03-01", "late": True},
]


@pytest.mark.parametrize(
    ("op", "column", "value", "ids"),
    [
        ("=", "depot", "n", [1, 2]), ("!=", "depot", "N", [3]), (">", "wait", 10, [2]), (">=", "wait", 10, [1, 2]),
        ("<", "on", "2026-02-01", [1]), ("<=", "on", "2026-02-01", [1, 2]), ("contains", "on", "2026-03", [3]),
        ("=", "late", True, [2, 3]), (">", "depot", 5, []), ("=", "nothing", 1, []),
    ],
)  # fmt: skip
def test_rows_are_filtered_here(op: str, column: str, value: Any, ids: list[int]) -> None:
    assert [r["id"] for r in keep(ROWS, [Filter(column, op, value)])] == ids


@pytest.mark.parametrize(
    ("function", "expected"),
    [("count", 3), ("sum", 40), ("avg", 20), ("min", 10), ("max", 30), ("median", 20), ("count_distinct", 2)],
)
def test_rows_are_measured_here(function: Any, expected: float) -> None:
    assert measure(ROWS, Metric(function, "" if function == "count" else "wait")) == expected


def test_rows_are_grouped_and_sorted_here() -> None:
    found = groups(ROWS, Query(group=("depot",), metric=Metric("sum", "wait")))
    assert found == [{"depot": "N", "sum_wait": 40}]
    assert [r["id"] for r in ordered(ROWS, "wait", True)] == [2, 1, 3]
    assert measure([{"a": "x"}], Metric("sum", "a")) is None


def tool_with(make: MakeTool, properties: JSON) -> list[Any]:
    return [shape(t) for t in (
        make("w.list_datasets", description="List datasets"),
        make("w.summarise", {"dataset": {"type": "string"}, **properties}, ("dataset",), description="Sum up"),
    )]  # fmt: skip


def test_a_tool_with_plain_words_for_function_and_column_is_served(tool: MakeTool) -> None:
    kit = kits(tool_with(tool, {
        "aggregate": {"enum": ["mean", "total"]}, "column": {"type": "string"}, "group_by": {"type": "string"},
        "where": {"type": "object"},
    }))[0]  # fmt: skip
    asked = Query(filters=(Filter("mode", "=", "air"),), metric=Metric("avg", "wait"), group=("depot",))
    assert put(kit, "trips", asked, {}) == (kit.aggregator, {
        "dataset": "trips", "aggregate": "mean", "column": "wait", "group_by": "depot", "where": {"mode": "air"},
    })  # fmt: skip
    assert put(kit, "trips", Query(metric=Metric("median", "wait")), {}) is None
    bound = Query(filters=(Filter("wait", ">", 3),), metric=Metric("avg", "wait"))
    assert put(kit, "trips", bound, {}) is None


def test_a_tool_with_written_metrics_is_served(tool: MakeTool) -> None:
    kit = kits(tool_with(tool, {"metrics": {"type": "array", "items": {"type": "string"}}}))[0]
    assert put(kit, "trips", Query(metric=Metric("avg", "wait")), {}) == (
        kit.aggregator, {"dataset": "trips", "metrics": ["avg(wait)"]},
    )  # fmt: skip


def test_conditions_take_the_words_of_the_schema(tool: MakeTool) -> None:
    properties = {"filters": {"type": "array", "items": {"properties": {
        "field": {}, "operator": {"enum": ["eq", "gte", "ilike"]}, "value": {}}}}}  # fmt: skip
    filters = shape(tool("w.find", properties)).takes("filters")
    assert filters_for(filters, [Filter("a", ">=", 1), Filter("b", "contains", "x")]) == {
        "filters": [{"field": "a", "operator": "gte", "value": 1}, {"field": "b", "operator": "ilike", "value": "x"}]
    }
    assert filters_for(filters, [Filter("a", "<", 1)]) is None
    assert filters_for([], [Filter("a", "=", 1)]) is None


def test_types_come_from_rows_and_from_the_names_of_databases() -> None:
    found = {c.name: c.type for c in columns_of(ROWS)}
    assert found == {"id": "number", "depot": "text", "wait": "number", "on": "date", "late": "bool"}
    assert [declared_type(t) for t in ("VARCHAR", "DECIMAL(9,2)", "TIMESTAMP", "BOOLEAN")] == [
        "text",
        "number",
        "date",
        "bool",
    ]


@pytest.mark.parametrize(
    ("value", "key", "currency", "text"),
    [
        (1234.5, "amount", "USD", "1,234.50 USD"), (0.12345, "rate", "", "0.1235"), (None, "", "", "none"),
        (True, "", "", "yes"),
        ("2026-01-02T00:00:00Z", "", "", "2026-01-02"), ("2026-01-02T09:30:11Z", "", "", "2026-01-02 09:30"),
        (["a", "b"], "", "", "a, b"), (list(range(9)), "", "", "0, 1, 2, 3, 4, 5 and 3 more"),
        ({"a": 1}, "", "", "a 1"),
        ("x" * 300, "", "", "x" * 157 + "…"),
    ],
)  # fmt: skip
def test_values_are_shown_as_a_person_reads_them(value: Any, key: str, currency: str, text: str) -> None:
    assert shown(value, key, currency) == text


def test_the_columns_worth_showing_come_first() -> None:
    rows = [
        {
            "row_id": "R-1",
            "blob": "x",
            "title": "T",
            "status": "open",
            "amount": 3.0,
            "made_at": "2026-01-01",
            "other_id": "O",
        }
    ]
    assert salient(rows, ["status"])[:2] == ["row_id", "status"]
    assert "other_id" not in salient(rows, [])
    assert label("failureReason") == "failure reason"


def test_words_meet_by_family_and_by_abbreviation() -> None:
    assert alike("purchases", "order") == 1.0
    assert alike("departure", "dep") > 0
    assert alike("cat", "dog") == 0
    assert overlap([], ["a"]) == 0
    assert overlap(["purchase", "dog"], ["orders"]) == 0.5


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_two_words_can_be_compared(a: str, b: str) -> None:
    assert 0 <= alike(a or "x", b or "y") <= 1
    terms(a)
