"""The planner answers whatever it is asked, over whatever tools, whatever they return."""

from __future__ import annotations

from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.agent.planner import Planner
from workbench.agent.planner.question_plan import MAX_CALLS
from workbench.agent.planner.tools.tool_profile import shape
from workbench.agent.planner.tools.tool_records import FinishedCall, step
from workbench.agent.planner.turn import next_turn
from workbench.agent.provider import SystemMessage, TextPart, ToolSpec, TurnEnd, UserMessage
from workbench.events import JSON, Tool

NAMES = [
    "list_tables",
    "describe_table",
    "aggregate",
    "get_item",
    "search_items",
    "count_items",
    "list_orders",
    "query",
    "log",
    "create_item",
]
PARAMETERS = [
    "table",
    "filters",
    "group_by",
    "metrics",
    "order_by",
    "limit",
    "item_id",
    "customer_id",
    "email",
    "query",
    "since",
    "before",
    "status",
    "sql",
    "name",
    "timezone",
]
WORDS = [
    "how",
    "many",
    "which",
    "what",
    "orders",
    "items",
    "status",
    "of",
    "the",
    "highest",
    "average",
    "total",
    "top",
    "5",
    "customers",
    "failed",
    "last",
    "week",
    "in",
    "March",
    "2026",
    "JFK",
    "Ann",
    "Lee",
    "a@b.example",
    "X-12",
    '"quoted',
    'text"',
    "over",
    "50",
    "by",
    "country",
    "and",
    "list",
    "show?",
    "compare,",
    "who",
]

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=15)
)
keys = st.sampled_from(
    [
        "id",
        "name",
        "table",
        "columns",
        "type",
        "total",
        "items",
        "rows",
        "status",
        "amount",
        "created_at",
        "next_offset",
        "email",
        "count",
    ]
) | st.text(max_size=5)
values = st.recursive(leaves, lambda v: st.lists(v, max_size=4) | st.dictionaries(keys, v, max_size=5), max_leaves=15)
schemas = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "boolean", "array", "object", ["string", "null"]]),
        "enum": st.lists(st.text(max_size=6) | st.integers(), max_size=3),
        "pattern": st.sampled_from(["^[A-Z]-\\d+$", "(", "^a+$"]),
        "items": st.just({"type": "object", "properties": {"column": {}, "op": {"enum": ["=", ">"]}, "value": {}}})
        | values,
        "description": st.text(max_size=20),
        "maximum": st.integers(1, 100),
    },
)
tools = st.builds(
    lambda name, properties, required, read_only, output: Tool(
        server="s",
        name=name,
        description=name.replace("_", " "),
        input_schema={"type": "object", "properties": properties, "required": required},
        annotations={"readOnlyHint": True} if read_only else {},
        output_schema={"properties": output},
    ),
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(PARAMETERS), schemas, max_size=5),
    st.lists(st.sampled_from(PARAMETERS), max_size=2),
    st.booleans(),
    st.dictionaries(keys, schemas, max_size=3),
)
questions = st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join) | st.text(max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    questions,
    st.lists(tools, max_size=5, unique_by=lambda t: t.name),
    st.lists(values, min_size=1, max_size=4),
    st.booleans(),
)
def test_it_never_raises_and_always_ends(question: str, offered: list[Tool], results: list[Any], fail: bool) -> None:
    shapes = [shape(t) for t in offered]
    steps: list[FinishedCall] = []
    for turn in range(MAX_CALLS + 2):
        calls, text = next_turn(question, shapes, steps, date(2026, 11, 20))
        if not calls:
            assert text
            return
        for call in calls:
            ok = not (fail and turn % 2)
            data = results[len(steps) % len(results)]
            steps.append(
                step(
                    call.shape,
                    call.shape.tool.qualified,
                    call.arguments,
                    ok,
                    data if ok else None,
                    "failed",
                    len(steps),
                )
            )
    raise AssertionError("it never ended")


@settings(max_examples=60, deadline=None)
@given(questions, st.lists(tools, max_size=4, unique_by=lambda t: t.name))
def test_the_same_conversation_gets_the_same_turn(question: str, offered: list[Tool]) -> None:
    planner = Planner(lambda: date(2026, 11, 20))
    specs = [ToolSpec(name=t.name, tool=t, schema=t.input_schema) for t in offered]
    conversation = [SystemMessage(text="s"), UserMessage(text=question)]
    assert planner.decide(conversation, specs) == planner.decide(conversation, specs)


def test_a_conversation_without_a_question_is_answered() -> None:
    parts = Planner().decide([SystemMessage(text="s")], [])
    assert isinstance(parts[0], TextPart)
    assert isinstance(parts[-1], TurnEnd)


async def test_a_turn_ends_exactly_once() -> None:
    schema: JSON = {"type": "object", "properties": {}}
    spec = ToolSpec(name="s__list_tables", tool=Tool(server="s", name="list_orders"), schema=schema)
    turn = Planner().turn([UserMessage(text="list the orders")], [spec], max_output_tokens=100, timeout=5)
    kinds = [type(p).__name__ async for p in turn]
    assert kinds == ["ToolRequest", "TurnEnd"]
