"""An approval covers all that reaches the tool: `_meta`, siblings of `arguments`, parameters of tasks, answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from workbench.events import JSON, Call
from workbench.policy.approvals.bound_params import MAX_BOUND_BYTES, MAX_KEPT_BYTES
from workbench.upstream.in_memory import MemoryConnection

pytestmark = pytest.mark.stores("sqlite", "postgres")

TOOL = "vault.empty"


class Recording(MemoryConnection):
    """A server that remembers what reached its tools: `params` and `_meta`."""

    def __init__(self) -> None:
        vault = MCPServer("vault")

        @vault.tool(annotations=ToolAnnotations(destructive_hint=True))
        def empty(what: str) -> str:
            """Empties something."""
            return f"{what} is empty"

        super().__init__(vault, name="vault")
        self.reached: list[tuple[JSON, JSON]] = []

    async def request(self, method: str, params: Any = None, **more: Any) -> JSON:
        if method == "tools/call":
            self.reached.append((dict(params), dict(more.get("meta") or {})))
            params = {key: value for key, value in params.items() if key in ("name", "arguments")}
        return await super().request(method, params, **more)


@pytest.fixture
async def vault(furnish: Any) -> tuple[Any, Recording]:
    server = Recording()
    return await furnish(servers={"vault": server}), server


def call(house: Any, **meta: Any) -> Call:
    return Call(caller=house.owner, tool=TOOL, arguments={"what": "all"}, source="mcp", meta=meta)


def approve(house: Any, outcome: Any, **more: Any) -> str:
    id = str(outcome.details["approval"])
    house.policy.approvals.decide(id, True, more.pop("by", "bob"), via="app", **more)
    return id


SMUGGLED: list[JSON] = [
    {"_meta": {"example/force": True}},
    {"_meta": {"example/tenant": "globex"}},
    {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": "t-1"}}},
    {"_meta": {"io.modelcontextprotocol/ClientInfo": {"name": "other", "version": "1"}}},
    {"_meta": {"io.modelcontextprotocol/clientCapabilities/act": {"as": "root"}}},
    {"_meta": {"ProgressToken": "x"}},
    {"_meta": {"Baggage": "tenant=globex"}},
    {"task": {"ttl": 86_400_000}},
    {"dryRun": False},
    {"Arguments": {"what": "everything"}},
    {"inputResponses": {"sure": {"action": "accept", "content": {"yes": True}}}},
    {"requestState": "sealed"},
    {"cursor": "x", "_meta": {}},
]


@pytest.mark.parametrize("smuggled", SMUGGLED, ids=str)
async def test_what_a_call_carries_is_part_of_what_is_approved(vault: tuple[Any, Recording], smuggled: JSON) -> None:
    house, server = vault
    approve(house, await house.gateway.call(call(house)))
    refused = await house.gateway.call(call(house, **smuggled))
    assert refused.kind == "approval_required"
    assert server.reached == []
    approve(house, refused)
    bare = await house.gateway.call(call(house))
    assert bare.ok, "the first approval is still there, for the call without"
    assert not (server.reached[-1][0].keys() - {"name", "arguments"})


@pytest.mark.parametrize("carried", [*SMUGGLED[:3], *SMUGGLED[7:10]], ids=str)
async def test_what_was_approved_with_a_call_reaches_the_tool_and_is_on_the_record(
    vault: tuple[Any, Recording], carried: JSON
) -> None:
    house, server = vault
    first = await house.gateway.call(call(house, **carried))
    id = approve(house, first)
    assert (await house.gateway.call(call(house))).kind == "approval_required"
    assert (await house.gateway.call(call(house, **carried))).ok
    ((params, meta),) = server.reached
    assert carried.get("_meta", {}).items() <= meta.items()
    assert {key: value for key, value in carried.items() if key != "_meta"}.items() <= params.items()
    requested = next(r for r in house.recorded("approval") if r["approval_id"] == id)
    assert requested["data"]["params"] == carried
    assert house.recorded()[-1]["data"]["params"] == carried


def client(name: str, **capabilities: Any) -> JSON:
    """What a client of 2026-07-28 says of itself in each request."""
    return {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": name, "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": capabilities,
    }


CLIENTS: list[JSON] = [
    {},
    {"_meta": client("desktop")},
    {"_meta": client("editor", elicitation={"form": {}}, extensions={"example/act": {"as": "root"}})},
]


@pytest.mark.parametrize("asks", CLIENTS, ids=["older", "desktop", "editor"])
@pytest.mark.parametrize("makes", CLIENTS, ids=["older", "desktop", "editor"])
async def test_an_approval_holds_for_the_same_call_from_another_client_of_its_caller(
    vault: tuple[Any, Recording], asks: JSON, makes: JSON
) -> None:
    house, _ = vault
    id = approve(house, await house.gateway.call(call(house, **asks)))
    (waiting,) = [found for found in house.recorded("approval") if found["approval_id"] == id][:1]
    assert waiting["data"]["params"] == {}, "whoever decides sees nothing of it"
    outcome = await house.gateway.call(call(house, **makes))
    assert outcome.ok
    assert outcome.details["approval_id"] == id
    assert (await house.gateway.call(call(house, **makes))).kind == "approval_required", "it is used up"


async def test_what_a_client_says_of_itself_reaches_an_approved_tool_only_in_the_words_of_mcp(
    vault: tuple[Any, Recording],
) -> None:
    house, server = vault
    declared = {"elicitation": {"form": {"as": "root"}, "act": {}}, "roots": {"as": "root"}, "sampling": "root"}
    saying = client("root", **declared, experimental={"act": {}}, extensions={"example/act": {"as": "root"}})
    approve(house, await house.gateway.call(call(house)))
    assert (await house.gateway.call(call(house, _meta=saying))).ok
    ((_, meta),) = server.reached
    assert meta["io.modelcontextprotocol/clientCapabilities"] == {"elicitation": {"form": {}}, "roots": {}}
    assert "act" not in json.dumps(meta)
    assert '"root"' not in json.dumps(meta)


UNBOUND: JSON = {
    "progressToken": "token-of-the-client",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "vendor=delete-everything",
    "baggage": "tenant=globex",
    "io.modelcontextprotocol/logLevel": "no level: delete everything",
    "workbench/approval": "",
}


async def test_what_no_approval_covers_does_not_reach_the_tool(vault: tuple[Any, Recording]) -> None:
    house, server = vault
    approve(house, await house.gateway.call(call(house)))
    assert (await house.gateway.call(call(house, _meta=UNBOUND))).ok
    ((_, meta),) = server.reached
    assert meta.keys() <= {"progressToken", "traceparent"}
    assert "b7ad6b7169203331" not in meta["traceparent"], "the span is the gateway's own"
    assert "delete everything" not in json.dumps(server.reached)


async def test_a_level_of_logs_passes_and_the_same_call_may_be_traced_anew(vault: tuple[Any, Recording]) -> None:
    house, server = vault
    level = {"io.modelcontextprotocol/logLevel": "debug"}
    approve(house, await house.gateway.call(call(house, _meta={"progressToken": 1, **level})))
    assert (await house.gateway.call(call(house, _meta={"progressToken": 2, **level}))).ok
    assert level.items() <= server.reached[0][1].items()


async def test_an_edited_call_still_carries_what_was_approved_and_nothing_else(vault: tuple[Any, Recording]) -> None:
    house, server = vault
    carried = {"task": {"ttl": 1000}, "_meta": {"example/mode": "soft"}}
    first = await house.gateway.call(call(house, **carried))
    decider = house.caller("owner", subject="bob")
    id = approve(house, first, by=decider, arguments={"what": "one"})
    for other in ({}, {"task": {"ttl": 1000}}, {**carried, "task": {"ttl": 2000}}):
        named = {**other, "_meta": {**other.get("_meta", {}), "workbench/approval": id}}
        refused = await house.gateway.call(call(house, **named))
        assert refused.kind == "approval_required"
    assert (await house.gateway.call(call(house, **carried))).ok
    ((params, meta),) = server.reached
    assert (params["arguments"], params["task"]) == ({"what": "one"}, {"ttl": 1000})
    assert meta["example/mode"] == "soft"


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_both_eras_are_held_to_it(vault: tuple[Any, Recording], browse: Any, era: str) -> None:
    house, server = vault
    client = browse(house)

    async def ask(meta: JSON, **siblings: Any) -> str:
        params = {"name": TOOL, "arguments": {"what": "all"}, **siblings}
        if era == "legacy":
            params["_meta"] = meta
            return (await client.legacy("tools/call", params)).body.decode()
        return (await client.modern("tools/call", params, meta=meta)).body.decode()

    await ask({"example/mode": "soft"}, task={"ttl": 5})
    (waiting,) = house.policy.approvals.pending(house.owner.tenant)
    house.policy.approvals.decide(waiting.id, True, "bob", via="app")
    for meta, siblings in (({}, {}), ({"example/mode": "hard"}, {"task": {"ttl": 5}}), ({"example/mode": "soft"}, {})):
        assert "is empty" not in await ask(meta, **siblings)
    assert server.reached == []
    await ask({"example/mode": "soft", "progressToken": 9}, task={"ttl": 5})
    assert len(server.reached) == 1


async def test_the_answer_to_our_own_page_is_not_part_of_the_call(vault: tuple[Any, Recording]) -> None:
    house, server = vault
    approve(house, await house.gateway.call(call(house)))
    opened = {"inputResponses": {"workbench/approval": {"action": "accept"}}}
    assert (await house.gateway.call(call(house, **opened))).ok
    assert "inputResponses" not in server.reached[0][0]


async def test_answers_to_the_questions_of_a_server_are_approved_with_the_call(vault: tuple[Any, Recording]) -> None:
    house, server = vault
    answers = {"inputResponses": {"sure": {"action": "accept"}, "workbench/approval": {"action": "accept"}}}
    first = await house.gateway.call(call(house, inputResponses={"sure": {"action": "accept"}}))
    approve(house, first)
    other = await house.gateway.call(call(house, inputResponses={"sure": {"action": "decline"}}))
    assert other.kind == "approval_required"
    assert (await house.gateway.call(call(house, **answers))).ok
    assert server.reached[0][0]["inputResponses"] == {"sure": {"action": "accept"}}


async def test_what_goes_along_is_recorded_bounded_and_without_secrets(vault: tuple[Any, Recording]) -> None:
    house, _ = vault
    carried = {"note": "mail ann@example.com", "password": "hunter2", "requestState": "opaque-state"}
    await house.gateway.call(call(house, **carried))
    await house.gateway.call(call(house, big="x" * (MAX_KEPT_BYTES + 1)))
    text = json.dumps([house.recorded(), house.recorded("approval")])
    assert not [secret for secret in ("ann@example.com", "hunter2", "opaque-state") if secret in text]
    assert "x" * 1000 not in text
    small, big = house.policy.approvals.pending(house.owner.tenant)
    assert small.params["requestState"].startswith("sha256:")
    assert (big.params["omitted"], len(big.params["sha256"])) == (True, 64)


@pytest.mark.parametrize(
    "carried", [{"big": "x" * MAX_BOUND_BYTES}, {"odd": "\ud83d"}, {"deep": [[[[1e400]]]]}], ids=["big", "half", "inf"]
)
async def test_what_cannot_be_bound_cannot_be_approved(vault: tuple[Any, Recording], carried: JSON) -> None:
    house, server = vault
    outcome = await house.gateway.call(call(house, **carried))
    assert outcome.kind in ("denied", "invalid")
    assert "beside" in outcome.message or outcome.kind == "invalid"
    assert house.policy.approvals.pending(house.owner.tenant) == []
    assert server.reached == []


async def test_a_null_character_is_approved_and_passed_on_like_any_other(vault: tuple[Any, Recording]) -> None:
    house, server = vault
    first = await house.gateway.call(call(house, odd="a\0b"))
    approve(house, first)
    assert (await house.gateway.call(call(house, odd="ab"))).kind == "approval_required"
    assert (await house.gateway.call(call(house, odd="a\0b"))).ok
    assert server.reached[0][0]["odd"] == "a\0b"


async def test_calls_that_need_no_approval_carry_what_they_always_did(furnish: Any) -> None:
    server = Recording()
    house = await furnish(servers={"vault": server})
    held = house.registry.tools()
    assert next(t for t in held if t.qualified == TOOL).destructive
    outcome = await house.gateway.call(
        Call(
            caller=house.owner,
            tool="calc.add",
            arguments={"a": 1, "b": 2},
            meta={"_meta": {"baggage": "a=b", "x/y": 1}},
        )
    )
    assert outcome.ok
    assert house.recorded()[-1]["data"]["params"] == {"_meta": {"x/y": 1}}
