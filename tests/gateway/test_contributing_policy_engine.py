"""The guide `Add a policy engine`: its engine decides calls of a real gateway, and whatever fails in it denies."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.gateway.conftest import House
from workbench.events import Call, Caller, Decision, MisuseError, Tool
from workbench.policy.decision_engine import DecisionEngine, EngineError
from workbench.policy.engines import engine_table
from workbench.policy.engines.engine_table import ENGINES, EngineRow

GUIDE = (Path(__file__).parents[2] / "docs" / "contributing" / "policy-engine.md").read_text(encoding="utf-8")
ENGINE, ROW = re.findall(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> type[DecisionEngine]:
    """The engine of the guide, with its row in the table."""
    module = ModuleType("allowed_tools_engine")
    exec(compile(ENGINE, "policy-engine.md", "exec"), module.__dict__)
    found: type[DecisionEngine] = module.AllowedToolsEngine
    row: EngineRow = eval(ROW, {"EngineRow": EngineRow, "AllowedToolsEngine": found})
    monkeypatch.setattr(engine_table, "ENGINES", [*ENGINES, row])
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data for the engine: employees may add, and destroy after an approval."""
    found = tmp_path / "my-policy"
    found.mkdir()
    (found / "ours.json").write_text(json.dumps({"workbench": {"allowed_tools": {"employee": ["calc.add"]}}}))
    return found


def asked(house: House, role: str, tool: str = "calc.add") -> Call:
    return Call(caller=house.caller(role, scopes=("*",)), tool=tool, arguments={"a": 1, "b": 2})


def test_the_example_is_short_and_satisfies_the_protocol(example: type[DecisionEngine]) -> None:
    assert len(ENGINE.splitlines()) <= 40
    assert DecisionEngine in example.__mro__
    assert not getattr(example, "__abstractmethods__", None)


async def test_the_example_allows_what_the_table_lists_and_denies_the_rest(
    furnish: Callable[..., Awaitable[House]], example: type[DecisionEngine], folder: Path
) -> None:
    house = await furnish(policy_engine="allowed-tools", policy=folder)
    allowed = await house.gateway.call(asked(house, "employee"))
    assert (allowed.kind, allowed.result and allowed.result["structuredContent"]) == ("ok", {"total": 3})
    assert allowed.decision is not None
    assert allowed.decision.redact == house.policy.withheld
    denied = await house.gateway.call(asked(house, "viewer"))
    assert (denied.kind, denied.details["rule"]) == ("denied", "allowed_tools.not_listed")
    assert len(house.calc.calls) == 1
    assert [record["policy_engine"] for record in house.recorded()] == ["allowed-tools"] * 2
    assert {record["policy_revision"] for record in house.recorded()} == {house.policy.revision}


async def test_lists_show_what_the_example_allows(
    furnish: Callable[..., Awaitable[House]], example: type[DecisionEngine], folder: Path
) -> None:
    house = await furnish(policy_engine="allowed-tools", policy=folder)
    employee, viewer = house.caller("employee", scopes=("*",)), house.caller("viewer", scopes=("*",))
    await house.gateway.judge(employee)
    assert [tool.qualified for tool in house.gateway.tools(employee)] == ["calc.add"]
    assert house.gateway.tools(viewer) == []
    (folder / "ours.json").write_text(json.dumps({"workbench": {"allowed_tools": {"viewer": ["calc.*"]}}}))
    house.policy.reload()
    assert house.gateway.tools(employee) == []
    assert "calc.add" in {tool.qualified for tool in house.gateway.tools(viewer)}


async def test_without_its_table_the_example_denies(
    furnish: Callable[..., Awaitable[House]], example: type[DecisionEngine]
) -> None:
    house = await furnish(policy_engine="allowed-tools")
    outcome = await house.gateway.call(asked(house, "owner"))
    assert (outcome.kind, outcome.details["rule"]) == ("denied", "default_deny")
    assert house.gateway.tools(house.caller("owner")) == []


async def test_a_destructive_tool_needs_an_approval_whoever_decides(
    furnish: Callable[..., Awaitable[House]], example: type[DecisionEngine], folder: Path
) -> None:
    house = await furnish(policy_engine="allowed-tools", policy=folder)
    (tool,) = [tool for tool in house.registry.tools() if tool.qualified == "calc.add"]
    made = asked(house, "employee")
    destructive = Tool(server=tool.server, name=tool.name, annotations={"destructiveHint": True})
    found = [await house.policy.decide_async(made, destructive, approved=yes) for yes in (False, True)]
    assert [(each.allow, each.approval, each.rule) for each in found] == [
        (False, True, "allowed_tools.approval"),
        (True, True, "allowed_tools.listed"),
    ]


async def never(*_: Any) -> Decision:
    return await asyncio.Future()


async def breaks(*_: Any) -> Decision:
    raise KeyError("value of the call")


def raises(*_: Any) -> Decision:
    raise EngineError("the table is locked", "locked")


@pytest.mark.parametrize(
    ("decide", "rule", "reason"),
    [
        (never, "allowed-tools.timeout", "there was no answer in time"),
        (breaks, "default_deny", "KeyError"),
        (raises, "allowed-tools.locked", "the table is locked"),
        (lambda *_: 1 // 0, "default_deny", "ZeroDivisionError"),
        (lambda *_: True, "default_deny", "TypeError"),
        (lambda *_: None, "default_deny", "TypeError"),
    ],
    ids=["late", "breaks later", "says why", "breaks", "not a decision", "nothing"],
)
async def test_an_engine_that_fails_or_is_late_denies(
    furnish: Callable[..., Awaitable[House]],
    example: type[DecisionEngine],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    decide: Any,
    rule: str,
    reason: str,
) -> None:
    monkeypatch.setattr(example, "decide", lambda self, call, tool: decide(call, tool))
    monkeypatch.setattr(example, "timeout", 0.01)
    house = await furnish(policy_engine="allowed-tools", policy=folder)
    outcome = await house.gateway.call(asked(house, "employee"))
    assert (outcome.kind, outcome.details["rule"]) == ("denied", rule)
    assert outcome.decision is not None
    assert outcome.decision.engine == "allowed-tools"
    assert outcome.decision.reason == f"The policy could not decide: {reason}."
    assert house.calc.calls == []
    assert house.outcomes() == ["denied"]


async def test_an_engine_that_allows_without_being_exact_denies(
    furnish: Callable[..., Awaitable[House]],
    example: type[DecisionEngine],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    almost: Any = "yes"
    monkeypatch.setattr(example, "decide", lambda self, call, tool: Decision(allow=almost, rule="x.y", approval=True))
    house = await furnish(policy_engine="allowed-tools", policy=folder)
    outcome = await house.gateway.call(asked(house, "employee"))
    assert (outcome.kind, house.calc.calls) == ("denied", [])


async def test_an_engine_that_cannot_tell_what_is_visible_or_whose_approval_is_needed_shows_nothing(
    furnish: Callable[..., Awaitable[House]],
    example: type[DecisionEngine],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fails(*_: Any) -> Any:
        raise OSError("no route")

    def fails_at_once(*_: Any) -> bool:
        raise OSError("no route")

    for name, value in {
        "prefetch": fails,
        "approvers": fails,
        "visible": fails_at_once,
        "needs_prefetch": True,
    }.items():
        monkeypatch.setattr(example, name, value)
    house = await furnish(policy_engine="allowed-tools", policy=folder)
    caller: Caller = house.caller("employee", scopes=("*",))
    await house.gateway.judge(caller)
    assert house.gateway.tools(caller) == []
    made = asked(house, "employee")
    with pytest.raises(MisuseError, match=r"Whose approval calc\.add needs cannot be found out: OSError"):
        await house.policy.needed(made, Tool(server="calc", name="add"))


async def test_an_unknown_engine_is_refused_with_the_names_of_those_there_are(
    furnish: Callable[..., Awaitable[House]], example: type[DecisionEngine]
) -> None:
    with pytest.raises(MisuseError, match="Setting policy_engine is 'cedar'") as refused:
        await furnish(policy_engine="cedar")
    assert refused.value.hint == "Expected one of: embedded-rego, opa, allowed-tools."


async def test_the_setting_outranks_an_address_and_an_address_the_default(
    furnish: Callable[..., Awaitable[House]], free_tcp_port: int
) -> None:
    address = f"http://127.0.0.1:{free_tcp_port}"
    assert (await furnish()).policy.engine.name == "embedded-rego"
    assert (await furnish(opa_url=address)).policy.engine.name == "opa"
    assert (await furnish(opa_url=address, policy_engine="embedded-rego")).policy.engine.name == "embedded-rego"
