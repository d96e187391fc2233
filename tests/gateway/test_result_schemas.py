"""Results that break the schema which their server lists for them: they pass, and the schema is listed no more."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.events import JSON, Tool
from workbench.gateway.results.result_validation import MAX_LOOKED_AT, ResultSchemas

SCHEMA: JSON = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.fixture
def withheld() -> list[str]:
    return []


@pytest.fixture
def schemas(withheld: list[str]) -> ResultSchemas:
    return ResultSchemas(lambda tool, why: withheld.append(f"{tool.qualified}: {why}"))


def tool(schema: JSON | None = SCHEMA, hash: str = "h") -> Tool:
    return Tool(server="far", name="t", output_schema=schema, definition_hash=hash)


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({"content": []}, "without structuredContent"),
        ({"structuredContent": None}, "without structuredContent"),
        ({"structuredContent": {}}, "at its root (required)"),
        ({"structuredContent": {"n": "one"}}, "at /n (type)"),
        ({"structuredContent": [1]}, "at its root (type)"),
    ],
)
def test_a_breach_is_told_once_with_its_place(
    schemas: ResultSchemas, withheld: list[str], result: JSON, why: str
) -> None:
    for _ in range(3):
        schemas.look(tool(), result)
    (said,) = withheld
    assert said.startswith("far.t: a result ")
    assert why in said


@pytest.mark.parametrize(
    ("given", "result"),
    [
        (tool(), {"structuredContent": {"n": 1}}),
        (tool(), {"isError": True, "content": []}),
        (tool(None), {"content": []}),
        (tool({"type": 7}), {"structuredContent": {}}),
        (None, {"content": []}),
    ],
)
def test_what_fits_and_what_cannot_be_held_against_a_schema_is_no_breach(
    schemas: ResultSchemas, withheld: list[str], given: Tool | None, result: Any
) -> None:
    schemas.look(given, result)
    assert withheld == []


def test_only_the_first_results_of_a_definition_are_looked_at(schemas: ResultSchemas, withheld: list[str]) -> None:
    for _ in range(MAX_LOOKED_AT):
        schemas.look(tool(), {"structuredContent": {"n": 1}})
    schemas.look(tool(), {"content": []})
    assert withheld == []
    schemas.look(tool(hash="another"), {"content": []})
    assert len(withheld) == 1


def test_counts_are_bounded(schemas: ResultSchemas, withheld: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workbench.gateway.results.result_validation.MAX_DEFINITIONS", 2)
    for n in range(5):
        schemas.look(tool(hash=str(n)), {"structuredContent": {"n": 1}})
    assert len(schemas._left) <= 2
