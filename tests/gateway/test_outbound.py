"""Nothing leaves the gateway around redaction: what a server says in any field, to every client, through every door.

The server of these tests says a person's address, a card number and a key in every field. What each row looks for shows
that the message arrived; that none of the three did is looked for in everything that arrived, and on the record.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.gateway.conftest import Browser, House
from tests.gateway.leaking_server import (
    ADDRESS,
    CANARIES,
    CARD,
    EMAIL,
    KEY,
    Leaking,
    LeakingObject,
    LeakingStream,
    told,
)
from tests.gateway.test_channels import Visitor, visits
from tests.gateway.test_websocket import Dial, dial, hear, modern
from workbench.endpoint import feature_catalog
from workbench.gateway import method_tools
from workbench.gateway.results.outbound_redaction import in_error
from workbench.gateway.task_ids import TASKS
from workbench.upstream.client_responder import NEEDED
from workbench.upstream.stdio import StdioConnection

__all__ = ["dial"]

ASKABLE = {"elicitation": {"form": {}}, "sampling": {}, "extensions": {TASKS: {}}}
SCOPES = ("leak:*",)


SERVER = Path(__file__).with_name("leaking_server.py")

Read = Callable[[], list[str]]
"""Addresses and names that the server was asked for."""


@pytest.fixture(params=["HTTP, 2026", "HTTP, 2025"])
async def upstream(request: Any, serve: Any, tmp_path: Path) -> AsyncIterator[tuple[Any, Read]]:
    kind: str = request.param
    modern = kind.endswith("2026")
    if kind.startswith("stdio"):
        read = tmp_path / "read.json"
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), "modern" if modern else "older", str(read),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        connection = StdioConnection(child.stdin, child.stdout, name="leak")
        yield connection, lambda: json.loads(read.read_text())
        await connection.close()
        await child.stdout.read()
        await child.wait()
    elif kind == "HTTP+SSE":
        stream = LeakingStream()
        yield f"{await serve(stream)}/sse", lambda: stream.read
    elif kind == "in-process":
        served = LeakingObject(modern=True)
        yield served, lambda: served.read
    else:
        server = Leaking(modern=modern)
        yield f"{await serve(server)}/mcp", lambda: server.read


@pytest.fixture
async def house(furnish: Any, upstream: tuple[Any, Read], presidio: None) -> AsyncIterator[House]:
    house: House = await furnish(servers={"leak": upstream[0]})
    yield house
    await house.registry.stop()


class Reader:
    """A client without `pii:read`, and all that it was sent."""

    def __init__(self, house: House, path: str) -> None:
        self.browser = Browser(house, path, house.key(scopes=SCOPES))
        self.alone = path.startswith("/servers/")
        self.seen: list[str] = []

    def name(self, own: str) -> str:
        return own if self.alone else f"leak.{own}"

    async def ask(self, method: str, params: Any = None, **meta: Any) -> Any:
        raise NotImplementedError


class Modern(Reader):
    async def ask(self, method: str, params: Any = None, **meta: Any) -> Any:
        named = (params or {}).get("name") or (params or {}).get("uri") or (params or {}).get("taskId")
        meta = {
            "io.modelcontextprotocol/clientCapabilities": ASKABLE, "io.modelcontextprotocol/logLevel": "debug",
            "progressToken": "p-1", **meta,
        }  # fmt: skip
        found = await self.browser.modern(method, params, meta=meta, headers={"mcp-name": named} if named else {})
        self.seen.append(found.body.decode())
        return (found.events or [json.loads(found.body)])[-1]


class Legacy(Reader):
    session: str | None = None

    async def ask(self, method: str, params: Any = None, **_: Any) -> Any:
        headers: dict[str, str | None] = {}
        if self.session is None:
            hello = {
                "protocolVersion": "2025-11-25",
                "capabilities": ASKABLE,
                "clientInfo": {"name": "t", "version": "1"},
            }
            opened = await self.browser.legacy("initialize", hello)
            self.seen.append(opened.body.decode())
            self.session = opened.headers["mcp-session-id"]
        headers["mcp-session-id"] = self.session
        answers: list[asyncio.Task[Any]] = []

        def heard(message: Any) -> None:
            if "id" in message and "method" in message:
                reply = {"jsonrpc": "2.0", "id": message["id"], "result": {"action": "accept", "content": {}}}
                answers.append(asyncio.create_task(self.browser.send(reply, headers=headers)))

        sent = {**(params or {}), "_meta": {"progressToken": "p-1"}}
        found = await self.browser.legacy(method, sent, headers=headers, on_event=heard)
        self.seen.append(found.body.decode())
        await asyncio.gather(*answers)
        return (found.events or [json.loads(found.body)])[-1]


class Streaming(Reader):
    """The transport of 2024-11-05 at the front."""

    visitor: Visitor
    asked = 0

    async def ask(self, method: str, params: Any = None, **_: Any) -> Any:
        if not self.asked:
            await self.say("initialize", {
                "protocolVersion": "2024-11-05", "capabilities": ASKABLE, "clientInfo": {"name": "t", "version": "1"},
            })  # fmt: skip
            await self.visitor.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return await self.say(method, {**(params or {}), "_meta": {"progressToken": "p-1"}})

    async def say(self, method: str, params: Any) -> Any:
        self.asked += 1
        assert await self.visitor.ask(method, params, id=self.asked) == 202
        while True:
            message = await self.visitor.hear()
            self.seen.append(json.dumps(message))
            if "method" in message and "id" in message:
                reply = {"jsonrpc": "2.0", "id": message["id"], "result": {"action": "accept", "content": {}}}
                await self.visitor.say(reply)
            elif message.get("id") == self.asked:
                return message


CLIENTS: dict[str, type[Reader]] = {"2026-07-28": Modern, "2025-11-25": Legacy, "HTTP+SSE": Streaming}

DOORS = [(revision, path) for revision in ("2026-07-28", "2025-11-25") for path in ("/mcp", "/servers/leak/mcp")]

WAYS = [
    *((server, door) for server in ("HTTP, 2026", "HTTP, 2025") for door in DOORS),
    ("HTTP, 2026", ("HTTP+SSE", "/servers/leak/sse")),
    ("HTTP+SSE", ("2025-11-25", "/mcp")),
    ("stdio, 2026", ("2026-07-28", "/mcp")),
    ("stdio, 2025", ("HTTP+SSE", "/sse")),
    ("in-process", ("2026-07-28", "/mcp")),
]
"""How the server is reached, and how the client comes: every door and every transport at least once."""

ways = pytest.mark.parametrize(
    ("upstream", "reader"), WAYS, indirect=True, ids=[f"{server} to {' '.join(door)}" for server, door in WAYS]
)


@pytest.fixture
async def reader(request: Any, house: House, serve: Any) -> AsyncIterator[Reader]:
    kind, path = request.param
    reader = CLIENTS[kind](house, path)
    if isinstance(reader, Streaming):
        visit = await visits(house, serve)
        async with visit(path, token=reader.browser.token) as reader.visitor:
            yield reader
    else:
        yield reader


# --- one row for each kind of message: what it does, and what has to arrive --------------------------

Row = Callable[[Reader], Awaitable[Any]]


async def listing(reader: Reader) -> None:
    listed = await reader.ask("tools/list")
    names = [tool["name"] for tool in listed["result"]["tools"]]
    assert len(names) == len(set(names)) == 10
    aliased = next(name for name in names if "card" in name)
    assert "result" in await reader.ask("tools/call", {"name": aliased, "arguments": {}})


async def introduction(reader: Reader) -> None:
    await reader.ask("server/discover" if isinstance(reader, Modern) else "tools/list")


async def prompts(reader: Reader) -> None:
    listed = await reader.ask("prompts/list")
    for prompt in listed["result"]["prompts"]:
        assert "messages" in (await reader.ask("prompts/get", {"name": prompt["name"]}))["result"]


async def resources(reader: Reader) -> None:
    listed = await reader.ask("resources/list")
    for resource in listed["result"]["resources"]:
        assert (await reader.ask("resources/read", {"uri": resource["uri"]}))["result"]["contents"]


async def templates(reader: Reader) -> None:
    (template,) = (await reader.ask("resources/templates/list"))["result"]["resourceTemplates"]
    uri = template["uriTemplate"].replace("{part}", "name")
    assert (await reader.ask("resources/read", {"uri": uri}))["result"]["contents"]
    ref = {"type": "ref/resource", "uri": template["uriTemplate"]}
    found = await reader.ask("completion/complete", {"ref": ref, "argument": {"name": "part", "value": "n"}})
    assert found["result"]["completion"]["values"]


async def links(reader: Reader) -> None:
    called = await reader.ask("tools/call", {"name": reader.name("result"), "arguments": {}})
    link = called["result"]["content"][1]
    assert (await reader.ask("resources/read", {"uri": link["uri"]}))["result"]["contents"]


def calling(tool: str) -> Row:
    async def call(reader: Reader) -> None:
        await reader.ask("tools/call", {"name": reader.name(tool), "arguments": {}})

    return call


async def tasks(reader: Reader) -> None:
    begun = await reader.ask("tools/call", {"name": reader.name("task"), "arguments": {}})
    if begun["result"].get("resultType") == "task":
        assert await reader.ask("tasks/get", {"taskId": begun["result"]["taskId"]})


async def methods_of_extensions(reader: Reader) -> None:
    await reader.ask("x.example/things", {})


async def quoting(reader: Reader) -> None:
    """Errors of the gateway itself quote what was sent."""
    for name in (f"told-quoted {EMAIL}", f"no {CARD} {KEY}"):
        await reader.ask("tools/call", {"name": name, "arguments": {"a": EMAIL}})
        await reader.ask("prompts/get", {"name": name})
        await reader.ask("resources/read", {"uri": f"none://{name}"})
        await reader.ask(f"x-{name}", {})
        await reader.ask("tools/call", {"name": reader.name("result"), "arguments": {"email": [name]}})


ROWS: dict[str, tuple[Row, tuple[str, ...], tuple[str, ...]]] = {
    "lists of tools": (listing, ("tools/list",), ("tool-title", "tool-description", "tool-input", "tool-meta")),
    "introduction": (introduction, ("server/discover", "initialize"), ()),
    "prompts": (
        prompts, ("prompts/list", "prompts/get"),
        ("prompt-title", "prompt-description", "prompt-argument", "prompt-result", "prompt-message"),
    ),
    "resources": (
        resources, ("resources/list", "resources/read"),
        ("resource-name", "resource-description", "resource-text", "resource-meta"),
    ),
    "templates and completions": (
        templates, ("resources/templates/list", "completion/complete"),
        ("template-name", "template-description", "completion"),
    ),
    "results and their links": (
        links, ("tools/call",), ("text", "link", "embedded", "structured", "result-meta"),
    ),
    "failures of tools": (calling("failed"), ("tools/call",), ("text",)),
    "errors of servers": (calling("error"), ("error",), ("error-message", "error-data")),
    "progress": (calling("progress"), ("notifications/progress",), ("progress",)),
    "logs": (calling("log"), ("notifications/message",), ("log", "logger")),
    "notifications of extensions": (calling("custom"), ("notifications",), ("custom",)),
    "elicitation": (calling("elicit"), ("elicitation/create",), ("elicit-message", "elicit")),
    "sampling": (calling("sample"), ("sampling/createMessage",), ("sample-text", "sample-system")),
    "tasks": (tasks, ("tasks/get", "tasks/update", "tasks/cancel"), ()),
    "methods of extensions": (methods_of_extensions, ("extension",), ("method-message", "method-data")),
    "errors that quote what was sent": (quoting, ("error",), ("quoted",)),
}  # fmt: skip
"""Kind → what a client does, the methods that it stands for, and beginnings of sentences that have to arrive."""

ELSEWHERE = {
    "resources/subscribe": "its answer is empty, and what is announced is the address that the client gave",
    "roots/list": "it has no params",
}


@pytest.mark.parametrize("kind", ROWS)
@ways
async def test_no_kind_of_message_carries_what_is_withheld(
    house: House, upstream: tuple[Any, Read], reader: Reader, kind: str
) -> None:
    act, _, arriving = ROWS[kind]
    await act(reader)
    arrived = "\n".join(reader.seen)
    for canary in CANARIES:
        assert canary not in arrived, arrived[max(0, arrived.find(canary) - 200) :][:400]
    for beginning in arriving:
        assert told(beginning).split(" ")[0].rstrip(":") in arrived, (beginning, arrived[:3000])
    await house.audit.close()
    kept = "".join(file.read_text() for file in house.settings.home.rglob("*.jsonl"))
    for canary in CANARIES:
        for line in kept.splitlines():
            assert canary not in line, line[:3000]


def test_every_method_has_a_row() -> None:
    covered = {method for _, named, _ in ROWS.values() for method in named} | ELSEWHERE.keys()
    passed_on = {*method_tools.SCHEMAS, *(kind.method for kind in feature_catalog.KINDS.values()), *NEEDED}
    assert passed_on <= covered, "a method that carries what servers say needs a row"


@ways
async def test_sealed_addresses_and_safe_names_reach_the_server_as_its_own(
    house: House, upstream: tuple[Any, Read], reader: Reader
) -> None:
    await resources(reader)
    await templates(reader)
    await prompts(reader)
    read = upstream[1]()
    assert ADDRESS in read
    assert f"leak://of/{EMAIL}/name" in read
    assert f"to {EMAIL} {CARD}" in read


@pytest.mark.parametrize("revision", ["2026-07-28", "2025-11-25"])
async def test_who_may_see_personal_data_sees_what_the_server_says(house: House, revision: str) -> None:
    reader = CLIENTS[revision](house, "/mcp")
    reader.browser.token = house.key(scopes=(*SCOPES, "pii:read"), subject="eve")
    for tool in ("result", "error", "progress", "log"):
        await calling(tool)(reader)
    arrived = "\n".join(reader.seen)
    for kind in ("text", "error-message", "progress", "log"):
        assert told(kind) in arrived


async def test_pinned_definitions_are_the_servers_own(house: House) -> None:
    tool = house.registry.resolve("leak.result")[0]
    assert tool.definition["description"] == told("tool-description")
    shown = next(t for t in house.gateway.tools(house.caller(scopes=SCOPES)) if t.name == "result")
    assert shown.definition_hash == tool.definition_hash
    assert EMAIL not in str(shown.to_dict())


def test_an_error_to_somebody_unknown_shows_nothing_either(presidio: None) -> None:
    message, data = in_error([told("x"), {"uri": ADDRESS, "n": 5}])
    for canary in CANARIES:
        assert canary not in message + str(data)
    assert message.startswith("told-x: write to <EMAIL>, pay with <CARD>, use <SECRET>")
    assert data["n"] == 5


async def test_a_socket_carries_no_more_than_http(house: House, dial: Dial) -> None:
    arrived = ""
    async with dial(token=house.key(scopes=SCOPES)) as client:
        asked: list[tuple[str, Any]] = [
            ("tools/list", {}), ("prompts/list", {}), ("resources/list", {}), ("server/discover", {}),
            *(("tools/call", {"name": f"leak.{tool}", "arguments": {}}) for tool in ("error", "progress", "log")),
            ("tools/call", {"name": f"leak.{EMAIL}", "arguments": {}}), (f"none {EMAIL}", {}),
        ]  # fmt: skip
        for id, (method, params) in enumerate(asked):
            more = {"progressToken": "p", "io.modelcontextprotocol/logLevel": "debug"}
            await modern(client, method, params, id=id, **more)
            while (message := await hear(client)).get("id") != id:
                arrived += json.dumps(message)
            arrived += json.dumps(message)
        await client.send(json.dumps({"jsonrpc": "2.0", "id": "x", "method": 5, "params": {EMAIL: 1}}))
        await client.send("{" + EMAIL)
        arrived += json.dumps([await hear(client), await hear(client)])
    for canary in CANARIES:
        assert canary not in arrived, arrived[max(0, arrived.find(canary) - 200) :][:400]
    for beginning in ("tool-title", "error-data", "progress", "log"):
        assert f"told-{beginning}" in arrived


async def test_what_servers_say_of_themselves_is_shown_without_personal_data(house: House) -> None:
    (state,) = [state for state in house.registry.servers() if state.id == "leak"]
    told_state = msgspec.structs.replace(state, last_error=told("last-error"), notices=(told("notice"),))
    shown = str(house.gateway.outbound.server(told_state, house.caller(scopes=SCOPES)).to_dict())
    for canary in CANARIES:
        assert canary not in shown
    assert "told-last-error" in shown
    assert house.gateway.outbound.server(told_state, house.owner) is told_state


async def test_data_of_an_error_is_not_larger_than_a_result_may_be(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.gateway.outbound, "_max_bytes", 50)
    failed = await Modern(house, "/mcp").ask("tools/call", {"name": "leak.error", "arguments": {}})
    assert failed["error"]["data"]["omitted"] is True
    assert failed["error"]["message"].startswith("told-error-message")
