"""What a tool's definition says of it: whether it may change something, and what its parameters take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.agent.planner.tools.tool_profile import shape
from workbench.events import JSON, Tool

CATALOGUE = Path(__file__).resolve().parents[3] / "shared" / "data" / "livemcp_tools.json"


@pytest.mark.parametrize(
    ("name", "annotations", "effect"),
    [
        ("get_order", {"readOnlyHint": True}, "read"),
        ("delete_order", {"readOnlyHint": True}, "read"),  # the server's word counts
        ("get_order", {"destructiveHint": True}, "destroy"),
        ("create_order", {"readOnlyHint": False, "destructiveHint": False}, "write"),
        ("drop_table", {"readOnlyHint": False}, "destroy"),
        ("list_orders", {}, "read"),
        ("git_status", {}, "read"),
        ("git_reset", {}, "destroy"),
        ("git_commit", {}, "write"),
        ("delete_order", {}, "destroy"),
        ("send_mail", {}, "write"),
        ("frobnicate", {}, "unknown"),
    ],
)
def test_the_servers_word_counts_first_then_the_verb(name: str, annotations: JSON, effect: str) -> None:
    assert shape(Tool(server="s", name=name, annotations=annotations)).effect == effect


def test_a_description_decides_where_the_name_says_nothing() -> None:
    assert shape(Tool(server="s", name="weather", description="Returns the weather of a city.")).effect == "read"
    assert shape(Tool(server="s", name="door", description="Create a door.")).effect == "write"


@pytest.mark.parametrize(
    ("name", "schema", "role"),
    [
        ("customer_id", {"type": "string"}, "id"),
        ("customerId", {"type": "string"}, "id"),
        ("contact", {"type": "string", "format": "email"}, "email"),
        ("issued_since", {"type": "string", "format": "date"}, "start"),
        ("end_date", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "end"),
        ("status", {"enum": ["open", "closed"]}, "choice"),
        ("include_closed", {"type": "boolean"}, "flag"),
        ("max_results", {"type": "integer"}, "limit"),
        ("max_price", {"type": "number"}, "max"),
        ("timezone", {"type": "string"}, "timezone"),
        ("query", {"type": "string", "description": "A SELECT SQL query to run"}, "sql"),
        ("query", {"type": "string"}, "query"),
        ("repo_path", {"type": "string"}, "path"),
        ("filters", {"type": "array", "items": {"type": "object"}}, "filters"),
        ("group_by", {"type": "array", "items": {"type": "string"}}, "group"),
        ("country", {"type": "string"}, "country"),
        ("table", {"type": "string"}, "collection"),
        ("width", {"type": "integer"}, "number"),
    ],
)
def test_a_parameter_says_what_it_takes(name: str, schema: JSON, role: str) -> None:
    tool = Tool(server="s", name="get_thing", input_schema={"type": "object", "properties": {name: schema}})
    assert shape(tool).parameters[0].role == role


def test_references_are_followed_and_keys_of_the_output_are_found() -> None:
    definitions = {"Id": {"type": "string", "pattern": "^X-\\d+$"}, "Row": {"properties": {"row_id": {}, "name": {}}}}
    tool = Tool(
        server="s", name="get_row",
        input_schema={"$defs": definitions, "properties": {"row_id": {"$ref": "#/$defs/Id"}}, "required": ["row_id"]},
        output_schema={"$defs": definitions, "properties": {"rows": {"items": {"$ref": "#/$defs/Row"}}}},
    )  # fmt: skip
    found = shape(tool)
    assert found.required[0].schema["pattern"] == "^X-\\d+$"
    assert found.returns == ("rows", "row_id", "name")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["type", "properties", "items", "$ref", "enum", "anyOf", "required", "format", "pattern", "x"]
            )
            | st.text(max_size=6),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.text(max_size=8), json_values, max_size=4), json_values, st.text(max_size=30))
def test_any_schema_is_read_without_an_error(schema: JSON, output: Any, name: str) -> None:
    found = shape(
        Tool(
            server="s", name=name, input_schema={"type": "object", **schema},
            output_schema=output if isinstance(output, dict) else None,
        )
    )  # fmt: skip
    for p in found.parameters:
        assert isinstance(p.choices, tuple)
        assert isinstance(p.type, str)


def test_a_schema_that_refers_to_itself_is_read() -> None:
    node = {"$ref": "#/$defs/Node"}
    definitions = {"Node": {"type": "object", "properties": {"next": node}}}
    tool = Tool(server="s", name="get", input_schema={"$defs": definitions, "properties": {"a": node}}, output_schema={
        "$defs": definitions, **node})  # fmt: skip
    assert shape(tool).parameters[0].type == "object"


@pytest.mark.skipif(not CATALOGUE.exists(), reason="the catalogue of real tools is not on this machine")
def test_the_tools_of_seventy_real_servers_are_read() -> None:
    servers = json.loads(CATALOGUE.read_text(encoding="utf-8"))
    tools = [t for s in servers for group in s["tools"].values() for t in group.get("tools", [])]
    shapes = [
        shape(Tool(server="s", name=t["name"], description=t.get("description") or "", input_schema=t["inputSchema"]))
        for t in tools
    ]
    assert len(shapes) > 500
    assert not [
        s for s in shapes if s.effect == "read" and any(w in s.tool.name for w in ("delete", "create_", "send"))
    ]
