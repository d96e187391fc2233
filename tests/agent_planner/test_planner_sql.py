"""A server that takes SQL and answers in text: the same questions, other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pytest

from workbench.agent.planner.tables.table_query import Filter, Metric, Query
from workbench.agent.planner.tables.table_tools import select
from workbench.events import Tool

MakeTool = Callable[..., Tool]


@pytest.fixture
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as db:
        db.execute("create table sightings (id int, bird text, place text, seen_on date, wing_cm double)")
        db.execute(
            "insert into sightings values (1,'owl','Marsh','2026-01-02',40),(2,'owl','Hill','2026-02-03',44),"
            "(3,'wren','Marsh','2026-02-09',6)"
        )
        yield db


def tools(tool: MakeTool) -> list[Tool]:
    sql = {"type": "string", "description": "SELECT SQL query to execute"}
    return [
        tool("db.read_query", {"query": sql}, ("query",), read_only=None, description="Execute a SELECT query"),
        tool("db.list_tables", read_only=None, description="List all tables"),
        tool(
            "db.describe_table",
            {"table_name": {"type": "string"}},
            ("table_name",),
            read_only=None,
            description="Schema of a table",
        ),
        tool(
            "db.write_query",
            {"query": sql},
            ("query",),
            read_only=False,
            description="Execute INSERT, UPDATE or DELETE",
        ),
    ]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How many sightings were there in February 2026?", "2"),
        ("What is the average wing of the sightings?", "30"),
        ("Which bird had the most sightings?", "owl"),
        ("How many owl sightings are there?", "2"),
    ],
)
def test_questions_become_sql_and_the_text_that_comes_back_is_read(
    tool: MakeTool, play: Callable[..., Any], database: duckdb.DuckDBPyConnection, question: str, expected: str
) -> None:
    def query(given: dict[str, Any]) -> str:
        found = database.execute(given["query"])
        names = [d[0] for d in found.description]
        return str([dict(zip(names, row, strict=True)) for row in found.fetchall()])

    described = [{"cid": n, "name": c, "type": t} for n, (c, t) in enumerate(
        {"id": "INTEGER", "bird": "TEXT", "place": "TEXT", "seen_on": "DATE", "wing_cm": "REAL"}.items())]  # fmt: skip
    asked = play(question, tools(tool), {
        "db.list_tables": "[{'name': 'sightings'}]", "db.describe_table": str(described), "db.read_query": query,
    })  # fmt: skip
    assert asked.tools[-1] == "db.read_query"
    assert expected in asked.answer


def test_names_and_values_are_quoted() -> None:
    query = Query(
        filters=(Filter('a"b', "=", "O'Hara"), Filter("n", ">", 3), Filter("t", "contains", "X'")),
        metric=Metric("avg", "n"),
        group=("g",),
    )
    assert select("my table", query, {}) == (
        'SELECT "g", AVG("n") AS "avg_n" FROM "my table" WHERE "a""b" = \'O\'\'Hara\' AND "n" > 3 '
        'AND LOWER("t") LIKE \'%x\'\'%\' GROUP BY "g" ORDER BY "avg_n" DESC LIMIT 50'
    )
