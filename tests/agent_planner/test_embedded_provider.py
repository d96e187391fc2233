"""What the small model is offered, and what becomes of its decisions: a scripted model in place of the weights."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from workbench.agent.embedded import build, status
from workbench.agent.embedded.choices import offers
from workbench.agent.embedded.embedded_provider import EmbeddedProvider
from workbench.agent.embedded.model_process import ModelProcess
from workbench.agent.planner.language.question_parser import understand
from workbench.agent.planner.tools.tool_profile import shape
from workbench.agent.planner.tools.tool_records import step
from workbench.agent.provider import (
    AssistantMessage,
    Message,
    ProviderError,
    TextPart,
    ToolRequest,
    ToolResult,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.config import Settings
from workbench.events import JSON, Outcome, Tool

TODAY = date(2026, 11, 20)
ID = {"type": "string", "pattern": r"^MBR-\d{4}$"}
MakeTool = Callable[..., Tool]


class Script(ModelProcess):
    """Replies in order; keeps what it was asked."""

    def __init__(self, *replies: str) -> None:
        super().__init__(Path("none"))
        self.replies = list(replies)
        self.requests: list[JSON] = []

    async def chat(self, request: JSON) -> AsyncGenerator[JSON, None]:
        self.requests.append(request)
        yield {"choices": [{"delta": {"content": self.replies.pop(0)}}]}
        yield {
            "choices": [{"delta": {}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5},
        }


def library(tool: MakeTool) -> list[Tool]:
    return [
        tool(
            "people.lookup_member",
            {"email": {"type": "string"}},
            ("email",),
            description="Look up a member by email.",
            returns={"member_id": {}, "email": {}, "standing": {}},
        ),
        tool(
            "desk.list_loans",
            {"member_id": ID, "state": {"enum": ["out", "overdue"]}},
            ("member_id",),
            description="Loans of a member.",
        ),
        tool(
            "desk.delete_loans",
            {"member_id": ID},
            ("member_id",),
            read_only=False,
            destructive=True,
            description="Delete loans.",
        ),
        *[
            tool(f"misc.get_thing{n}", {"thing_id": {"type": "string"}}, ("thing_id",), description="Something else.")
            for n in range(9)
        ],
    ]


def offered(question: str, tools: list[Tool], done: list[tuple[str, JSON, Any]] = []) -> dict[str, JSON]:  # noqa: B006
    shapes = [shape(t) for t in tools]
    by_name = {s.tool.qualified: s for s in shapes}
    steps = [step(by_name[n], n, a, True, d, "", i) for i, (n, a, d) in enumerate(done)]
    read = understand(question, TODAY)
    return {o.shape.tool.qualified: o.schema for o in offers(read, read.needs[0], shapes, steps)}


def test_a_tool_whose_id_is_unknown_is_not_on_offer_but_the_one_that_finds_it_is(tool: MakeTool) -> None:
    found = offered("Which overdue loans has ann@lee.example?", library(tool))
    assert list(found) == ["people.lookup_member"]
    assert found["people.lookup_member"]["properties"] == {"email": {"enum": ["ann@lee.example"]}}


def test_a_known_id_is_the_only_one_that_can_be_chosen(tool: MakeTool) -> None:
    done = [
        ("people.lookup_member", {"email": "ann@lee.example"}, {"member_id": "MBR-0042", "email": "ann@lee.example"})
    ]
    found = offered("Which overdue loans has ann@lee.example?", library(tool), done)
    assert found["desk.list_loans"] == {
        "type": "object",
        "additionalProperties": False,
        "required": ["member_id"],
        "properties": {"member_id": {"enum": ["MBR-0042"]}, "state": {"enum": ["overdue"]}},
    }
    assert "people.lookup_member" not in found


def test_what_destroys_is_never_on_offer(tool: MakeTool) -> None:
    assert "desk.delete_loans" not in offered("Delete the loans of MBR-0042", library(tool))


async def test_table_tools_come_one_stage_at_a_time(tables: Any) -> None:
    read = understand("Which depot had the highest average wait?", TODAY)

    def now(steps: list[Any]) -> list[str]:
        return [o.shape.tool.name for o in offers(read, read.needs[0], tables.shapes, steps)]

    async def call(name: str, arguments: JSON, number: int) -> Any:
        found = next(s for s in tables.shapes if s.tool.name == name)
        result = await tables.clients["tables"].call_tool(name, arguments)
        return step(found, found.tool.qualified, arguments, True, result.structured_content, "", number)

    assert now([]) == ["list_tables"]
    listed = await call("list_tables", {}, 0)
    assert now([listed]) == ["describe_table"]
    described = await call("describe_table", {"table": "shipments"}, 1)
    assert now([listed, described]) == ["aggregate", "count_rows", "find_rows"]


def specs(tools: list[Tool]) -> list[ToolSpec]:
    return [ToolSpec(name=t.qualified.replace(".", "__"), tool=t, schema=t.input_schema) for t in tools]


async def turn(provider: EmbeddedProvider, conversation: list[Message], tools: list[Tool]) -> list[Any]:
    return [p async for p in provider.turn(conversation, specs(tools), max_output_tokens=500, timeout=20)]


def after(parts: list[Any], tools: list[Tool], data: Any) -> list[Message]:
    """The conversation's next two messages: what was asked, and its result."""
    request = next(p for p in parts if isinstance(p, ToolRequest))
    outcome = Outcome(kind="ok", call="c", result={"structuredContent": data})
    qualified = request.name.replace("__", ".")
    result = ToolResult(
        id=request.id, name=request.name, text="", outcome=outcome, tool=qualified, arguments=request.arguments
    )
    return [AssistantMessage(requests=(request,), items=parts[-1].items), ToolResults(results=(result,))]


def call(tool: str, **arguments: Any) -> str:
    return json.dumps({"tool": tool, "arguments": arguments})


async def test_the_model_decides_and_then_answers_from_the_results(tool: MakeTool) -> None:
    tools = library(tool)
    script = Script(
        call("people.lookup_member", email="ann@lee.example"),
        call("desk.list_loans", member_id="MBR-0042"),
        "Two loans.",
    )
    provider = EmbeddedProvider(Path("none"), engine=script, today=TODAY)
    conversation: list[Message] = [UserMessage(text="Which loans has ann@lee.example?")]
    first = await turn(provider, conversation, tools)
    assert (first[0].name, first[0].arguments) == ("people__lookup_member", {"email": "ann@lee.example"})
    assert "first token after" in first[-1].stop
    conversation += after(first, tools, {"member_id": "MBR-0042", "email": "ann@lee.example"})
    second = await turn(provider, conversation, tools)
    assert second[0].arguments == {"member_id": "MBR-0042"}
    conversation += after(
        second, tools, {"loans": [{"loan_id": "L-1", "title": "Flatland"}, {"loan_id": "L-2", "title": "Sphereland"}]}
    )
    third = await turn(provider, conversation, tools)
    said = [p.text for p in third if isinstance(p, TextPart)]
    assert said[0] == "Two loans."
    assert "> loan id L-1; title Flatland" in said[1]
    assert isinstance(third[-1], TurnEnd)
    assert third[-1].usage.input_tokens == 10
    assert "Flatland" in script.requests[-1]["messages"][-1]["content"]
    schema = script.requests[0]["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["tool"] == {"const": "people.lookup_member"}


async def test_a_reply_that_is_no_json_is_asked_for_again_once(tool: MakeTool) -> None:
    script = Script('{"tool": "people.loo', call("people.lookup_member", email="ann@lee.example"))
    provider = EmbeddedProvider(Path("none"), engine=script, today=TODAY)
    parts = await turn(provider, [UserMessage(text="Which loans has ann@lee.example?")], library(tool))
    assert isinstance(parts[0], ToolRequest)
    assert "valid JSON" in script.requests[1]["messages"][-1]["content"]


async def test_without_a_fitting_tool_it_answers_at_once(tool: MakeTool) -> None:
    provider = EmbeddedProvider(Path("none"), engine=Script("I cannot say."), today=TODAY)
    parts = await turn(provider, [UserMessage(text="Why is the sky blue?")], library(tool))
    assert [type(p).__name__ for p in parts] == ["TextPart", "TurnEnd"]


async def test_a_turn_that_takes_too_long_is_an_error(tool: MakeTool) -> None:
    class Slow(Script):
        async def chat(self, request: JSON) -> AsyncGenerator[JSON, None]:
            import asyncio

            await asyncio.Event().wait()
            yield {}

    provider = EmbeddedProvider(Path("none"), engine=Slow(), today=TODAY)
    with pytest.raises(ProviderError, match="did not finish") as caught:
        [
            p
            async for p in provider.turn(
                [UserMessage(text="loans of MBR-0042?")], specs(library(tool)), max_output_tokens=9, timeout=0.2
            )
        ]
    assert caught.value.kind == "timeout"
    await provider.close()


def test_without_weights_the_status_says_what_to_do(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("WORKBENCH_MODELS", raising=False)
    assert "workbench model pull" in status(settings).why
    assert not status(settings).ready
    with pytest.raises(ProviderError, match="model pull"):
        build(settings)
