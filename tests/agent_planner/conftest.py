"""Tools and conversations for tests of the planner and of the embedded model."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from workbench.agent.planner.tools.tool_profile import ToolProfile, shape
from workbench.agent.planner.tools.tool_records import FinishedCall, step
from workbench.agent.planner.turn import next_turn
from workbench.events import JSON, Outcome, Tool

TODAY = date(2026, 11, 20)
ROOT = Path(__file__).resolve().parents[2]

Answer = Callable[..., Awaitable["Asked"]]
MakeTool = Callable[..., Tool]
Results = Mapping[str, Any]


class Asked:
    """What a question led to."""

    def __init__(self, calls: list[tuple[str, JSON]], answer: str) -> None:
        self.calls = calls
        self.answer = answer

    @property
    def tools(self) -> list[str]:
        return [name for name, _ in self.calls]


def make_tool(
    name: str,
    properties: JSON | None = None,
    required: tuple[str, ...] = (),
    *,
    read_only: bool | None = True,
    destructive: bool | None = None,
    returns: JSON | None = None,
    description: str = "",
) -> Tool:
    """A tool by its qualified name and the properties of its arguments."""
    server, _, own = name.partition(".")
    annotations = {"readOnlyHint": read_only, "destructiveHint": destructive}
    output = {"type": "object", "properties": returns} if returns else None
    return Tool(
        server=server,
        name=own,
        description=description,
        output_schema=output,
        input_schema={"type": "object", "properties": properties or {}, "required": list(required)},
        annotations={k: v for k, v in annotations.items() if v is not None},
    )


@pytest.fixture
def tool() -> MakeTool:
    return make_tool


@pytest.fixture
def play() -> Callable[..., Asked]:
    """Ask the planner over tools whose results are given: by qualified name, a value or a function of the arguments."""

    def run(question: str, tools: list[Tool], results: Results, turns: int = 20) -> Asked:
        shapes = [shape(t) for t in tools]
        steps: list[FinishedCall] = []
        for _ in range(turns):
            calls, text = next_turn(question, shapes, steps, TODAY)
            if not calls:
                return Asked([(s.tool, s.arguments) for s in steps], text)
            for call in calls:
                name = call.shape.tool.qualified
                found = results[name]
                data = found(call.arguments) if callable(found) else found
                failed = isinstance(data, Exception)
                steps.append(
                    step(call.shape, name, call.arguments, not failed, None if failed else data, str(data), len(steps))
                )
        raise AssertionError(f"no answer after {turns} turns: {[(s.tool, s.arguments) for s in steps]}")

    return run


def _module(name: str) -> ModuleType:
    path = ROOT / "servers" / name / "server.py"
    spec = importlib.util.spec_from_file_location(f"planner_test_{name}", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Company:
    """The real servers of the sample company in this process, asked without a gateway."""

    def __init__(self) -> None:
        self.clients: dict[str, Any] = {}
        self.shapes: list[ToolProfile] = []

    async def add(self, stack: AsyncExitStack, name: str, server: Any) -> None:
        from mcp import Client

        self.clients[name] = await stack.enter_async_context(Client(server))
        for listed in (await self.clients[name].list_tools()).tools:
            raw = listed.model_dump(by_alias=True, mode="json", exclude_none=True)
            self.shapes.append(
                shape(
                    Tool(
                        server=name,
                        name=raw["name"],
                        title=raw.get("title", ""),
                        description=raw.get("description", ""),
                        input_schema=raw["inputSchema"],
                        output_schema=raw.get("outputSchema"),
                        annotations=raw.get("annotations", {}),
                    )
                )
            )

    async def ask(self, question: str, today: date = TODAY) -> Asked:
        steps: list[FinishedCall] = []
        for _ in range(20):
            calls, text = next_turn(question, self.shapes, steps, today)
            if not calls:
                return Asked([(s.tool, s.arguments) for s in steps], text)
            for call in calls:
                tool = call.shape.tool
                result = await self.clients[tool.server].call_tool(tool.name, call.arguments)
                raw = result.model_dump(by_alias=True, mode="json", exclude_none=True)
                outcome = Outcome(kind="tool_error" if result.is_error else "ok", call="c", result=raw)
                data = outcome.data
                steps.append(step(call.shape, tool.qualified, call.arguments, outcome.ok, data, str(data), len(steps)))
        raise AssertionError("no answer after 20 turns")


@pytest.fixture
async def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Company]:
    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "home"))
    found = Company()
    async with AsyncExitStack() as stack:
        for name in ("products", "crm", "tickets", "payments", "calendar", "analytics"):
            await found.add(stack, name, _module(name).server)
        yield found


@pytest.fixture
async def tables(tmp_path: Path) -> AsyncIterator[Company]:
    """A folder with two small tables that share a key, behind the real `tables` server."""
    from servers.tables.folder import Folder
    from servers.tables.server import build

    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "shipments.csv").write_text(
        "shipment_id,depot,sched_date,wait_minutes,weight_kg,mode\n"
        "1,NTH,2026-01-05,10,5.5,air\n2,NTH,2026-01-20,30,1.0,sea\n3,STH,2026-02-11,80,9.0,air\n"
        "4,STH,2026-02-12,100,12.5,road\n5,EST,2026-03-01,5,2.0,air\n"
    )
    (folder / "depots.csv").write_text("depot,name,staff\nNTH,North Yard,12\nSTH,South Quay,30\nEST,East Gate,7\n")
    found = Company()
    files = Folder(folder)
    async with AsyncExitStack() as stack:
        await found.add(stack, "tables", build(files))
        yield found
    files.close()
