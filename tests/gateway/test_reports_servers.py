"""Servers behind a whole gateway that do what public reports say that servers do: the person still gets the answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.gateway.odd_http_server import TOOLS, Handle, Reply, Sent, odd_server, plain

JSON_TYPE = {"Content-Type": "application/json"}
EVENTS = {"Content-Type": "text/event-stream"}
ECHO = TOOLS[0]
HI = {"content": [{"type": "text", "text": "hi"}]}


def replied(sent: Sent, result: Any) -> Reply:
    """A plain JSON answer with this result."""
    body = {"jsonrpc": "2.0", "id": sent.message["id"], "result": result}
    return Reply(200, json.dumps(body).encode(), JSON_TYPE)


def refused(sent: Sent, code: int, message: str) -> Reply:
    body = {"jsonrpc": "2.0", "id": sent.message["id"], "error": {"code": code, "message": message}}
    return Reply(200, json.dumps(body).encode(), JSON_TYPE)


def listing(*tools: Any, **more: Any) -> Handle:
    """A server that lists these tools, and answers each call with "hi"."""
    return lambda sent: replied(sent, {"tools": list(tools), **more}) if sent.rpc == "tools/list" else plain(sent)


def calling(result: Any, tool: dict[str, Any] | None = None) -> Handle:
    """A server whose one tool answers with this result."""

    def handle(sent: Sent) -> Reply:
        if sent.rpc == "tools/list":
            return replied(sent, {"tools": [{**ECHO, **(tool or {})}]})
        return replied(sent, result) if sent.rpc == "tools/call" else plain(sent)

    return handle


async def session_of(browser: Any) -> dict[str, str]:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    begun = await browser.legacy("initialize", params)
    return {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}


async def asked(browser: Any, method: str, params: Any = None) -> Any:
    """The answer of `/mcp` to a client of an older revision."""
    response = await browser.legacy(method, params, headers=await session_of(browser))
    return response.events[-1] if response.headers["content-type"] == "text/event-stream" else response.json


async def called(browser: Any, tool: str = "odd__echo", **arguments: Any) -> Any:
    return await asked(browser, "tools/call", {"name": tool, "arguments": arguments})


async def listed(browser: Any) -> dict[str, Any]:
    """The tools of the odd server by their names on the wire."""
    answer = await asked(browser, "tools/list")
    return {tool["name"]: tool for tool in answer["result"]["tools"] if tool["name"].startswith("odd__")}


NULLS = dict.fromkeys(("title", "description", "annotations", "outputSchema", "_meta", "icons", "execution"))
DANGLING = {"type": "object", "properties": {"screen": {"$ref": "#/$defs/ScreenInstance"}}}
ROOT_REF = {"$ref": "#/components/schemas/Chat", "components": {"schemas": {"Chat": {"type": "object"}}}}

LISTS: dict[str, Handle] = {
    "null among the tools": listing(None, ECHO),
    "text among the tools": listing("echo", ECHO),
    "null for what is optional": listing({**ECHO, **NULLS}),
    "hints that are no booleans": listing({**ECHO, "annotations": {"readOnlyHint": "yes", "destructiveHint": 0}}),
    "a cursor that stands still": listing(ECHO, nextCursor="8"),
    "a cursor of nothing": listing(ECHO, nextCursor=""),
    "a cursor of null": listing(ECHO, nextCursor=None),
    "an output schema that refers to nothing": listing({**ECHO, "outputSchema": DANGLING}),
    "an output schema that is true": listing({**ECHO, "outputSchema": True}),
    "a schema without a type at its root": listing({**ECHO, "inputSchema": ROOT_REF}),
    "no schema": listing({"name": "echo"}),
    "a schema of null": listing({**ECHO, "inputSchema": None}),
    "a neighbour that takes a text": listing(ECHO, {"name": "lookup", "inputSchema": {"type": "string"}}),
    "one tool twice": listing(ECHO, ECHO),
    "fields of the handshake in every answer": listing(
        ECHO, protocolVersion="2024-11-05", capabilities={}, serverInfo={"name": "odd", "version": "1"}
    ),
}


@pytest.mark.parametrize("kind", LISTS)
async def test_a_list_with_a_slip_still_offers_the_tool(furnish: Any, browse: Any, kind: str) -> None:
    async with odd_server(LISTS[kind]) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        assert "odd__echo" in await listed(browser)
        assert (await called(browser))["result"]["content"] == HI["content"]


SHAPED = {"outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
FAILED = {"content": [{"type": "text", "text": "quota used up"}], "isError": True}
LINK = {"type": "resource_link", "uri": "file:///a.txt", "name": "a"}

RESULTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "null": (None, {"content": []}),
    "nothing": ({}, {"content": []}),
    "content that is one block": ({"content": HI["content"][0]}, HI),
    "content that is a text": ({"content": "hi"}, HI),
    "content with null": ({"content": [None, *HI["content"]]}, HI),
    "structured content of null": ({**HI, "structuredContent": None}, HI),
    "isError of null": ({**HI, "isError": None}, HI),
    "metadata": ({**HI, "_meta": {"example.com/cost": 3}}, {**HI}),
    "structured content and metadata": (
        {**HI, "structuredContent": {"n": 1}, "_meta": {"example.com/cost": 3}},
        {**HI, "structuredContent": {"n": 1}},
    ),
    "structured content beside an error": (
        {**FAILED, "structuredContent": {"code": "RATE_LIMITED", "retry_after": 30}},
        {**FAILED, "structuredContent": {"code": "RATE_LIMITED", "retry_after": 30}},
    ),
    "a block of a later revision": ({"content": [LINK]}, {"content": [LINK]}),
    "a block nobody knows": ({"content": [{"type": "chart", "points": [1]}]}, {}),
    "a number": (7, {}),
    "a list": ([{"type": "text", "text": "hi"}], {}),
}


@pytest.mark.parametrize("kind", RESULTS)
async def test_a_result_with_a_slip_reaches_the_client(furnish: Any, browse: Any, kind: str) -> None:
    given, expected = RESULTS[kind]
    async with odd_server(calling(given)) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        answer = await called(browser)
        result = answer["result"]
        assert {key: result[key] for key in expected} == expected
        if isinstance(given, dict) and "_meta" in given:
            assert result["_meta"]["example.com/cost"] == 3


async def test_the_error_of_a_tool_is_not_hidden_by_the_schema_of_its_results(furnish: Any, browse: Any) -> None:
    async with odd_server(calling(FAILED, SHAPED)) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        answer = await called(browser)
        assert {key: answer["result"][key] for key in FAILED} == FAILED


def stream(text: str) -> Handle:
    """A server that answers calls with these events, in which DATA stands for the answer and ID for its id."""

    def handle(sent: Sent) -> Reply:
        if sent.rpc != "tools/call":
            return plain(sent)
        id = sent.message["id"]
        data = json.dumps({"jsonrpc": "2.0", "id": id, "result": HI})
        return Reply(200, text.replace("DATA", data).replace("ID", json.dumps(id)).encode(), EVENTS)

    return handle


STREAMS: dict[str, str] = {
    "an event that only has an id": "id: 1_0\nretry: 500\ndata:\n\ndata: DATA\n\n",
    "an event with an id and nothing else": "id: 1_0\n\ndata: DATA\n\n",
    "keepalive events": "event: keepalive\ndata: {}\n\ndata: DATA\n\n",
    "heartbeats as data": 'data: {"type":"heartbeat","timestamp":"2025-10-31T11:30:41.100Z"}\n\ndata: DATA\n\n',
    "comments": ": keep-alive\n\n: keep-alive\n\nevent: message\ndata: DATA\n\n",
    "CRLF": "event: message\r\ndata: DATA\r\n\r\n",
    "a log message first": (
        'data: {"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n\n'
        "data: DATA\n\n"
    ),
    "a notification nobody knows": 'data: {"jsonrpc":"2.0","method":"notifications/x-codex"}\n\ndata: DATA\n\n',
    "an answer to another request first": 'data: {"jsonrpc":"2.0","id":987654,"result":{}}\n\ndata: DATA\n\n',
}


@pytest.mark.parametrize("kind", STREAMS)
async def test_what_else_stands_in_a_stream_does_not_lose_the_answer(furnish: Any, browse: Any, kind: str) -> None:
    async with odd_server(stream(STREAMS[kind])) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        assert (await called(browser))["result"]["content"] == HI["content"]


async def test_an_error_in_an_event_named_error_is_told_at_once(furnish: Any, browse: Any) -> None:
    text = 'event: error\ndata: {"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"index is locked"}}\n\n'
    async with odd_server(stream(text)) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        async with asyncio.timeout(5):
            assert "index is locked" in json.dumps(await called(browser))


async def test_a_long_line_of_a_stream_is_no_reason_to_lose_the_answer(furnish: Any, browse: Any) -> None:
    large = {"content": [{"type": "text", "text": "manifest " * 250_000}]}

    def handle(sent: Sent) -> Reply:
        if sent.rpc != "tools/call":
            return plain(sent)
        data = json.dumps({"jsonrpc": "2.0", "id": sent.message["id"], "result": large}).encode()
        return Reply(200, b"data: " + data + b"\n\n", EVENTS)

    async with odd_server(handle) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        assert (await called(browser))["result"]["content"] == large["content"]


@pytest.mark.parametrize("status", [202, 204])
async def test_a_call_that_is_taken_and_never_answered_fails_at_once(furnish: Any, browse: Any, status: int) -> None:
    def handle(sent: Sent) -> Reply:
        return Reply(status) if sent.rpc == "tools/call" else plain(sent)

    async with odd_server(handle) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        async with asyncio.timeout(5):
            answer = json.dumps(await called(browser))
        assert str(status) in answer


async def test_answers_under_a_wrong_id_are_given_to_nobody_and_said_to_be(furnish: Any, browse: Any) -> None:
    def handle(sent: Sent) -> Reply:
        reply = plain(sent)
        if sent.method == "POST" and "id" in sent.message:
            reply.body = json.dumps({**json.loads(bytes(reply.body)), "id": 0}).encode()
        return reply

    async with odd_server(handle) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        async with asyncio.timeout(5):
            answer = await called(browser)
        assert answer["result"]["isError"]
        assert "no response to the request" in answer["result"]["content"][0]["text"]


def capable(capabilities: Any, *without: str) -> Handle:
    """A server that declares these capabilities and does not know the methods named."""

    def handle(sent: Sent) -> Reply:
        if sent.rpc == "initialize":
            info = {"name": "odd", "version": "1"}
            return replied(sent, {"protocolVersion": "2025-06-18", "capabilities": capabilities, "serverInfo": info})
        if sent.rpc in without:
            return refused(sent, -32601, "Method not found")
        if sent.rpc == "resources/list":
            return replied(sent, {"resources": [{"uri": "docs://llms", "name": "llms"}]})
        return plain(sent)

    return handle


async def test_a_server_of_resources_alone_is_ready(furnish: Any, browse: Any) -> None:
    async with odd_server(capable({"resources": {}}, "tools/list")) as server:
        house = await furnish(servers={"odd": f"{server.url}/mcp"})
        assert {state.id: state.status for state in house.registry.servers()}["odd"] == "ready"
        answer = await asked(browse(house), "resources/list")
        assert "docs://llms" in json.dumps(answer)


@pytest.mark.parametrize("capabilities", [{"resources": {}, "prompts": {}, "tools": {}}, {}, None])
async def test_a_capability_that_is_declared_and_missing_costs_no_tool(
    furnish: Any, browse: Any, capabilities: Any
) -> None:
    missing = ("resources/list", "resources/templates/list", "prompts/list")
    async with odd_server(capable(capabilities, *missing)) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        for method in ("prompts/list", "resources/list", "resources/templates/list"):
            assert "result" in await asked(browser, method), method
        assert (await called(browser))["result"]["content"] == HI["content"]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_server_that_refuses_us_does_not_look_like_a_refusal_of_the_client(
    furnish: Any, browse: Any, status: int
) -> None:
    def handle(sent: Sent) -> Reply:
        if sent.rpc == "tools/call":
            return Reply(status, b'{"error":"token of project demo has expired"}', JSON_TYPE)
        return plain(sent)

    async with odd_server(handle) as server:
        browser = browse(await furnish(servers={"odd": f"{server.url}/mcp"}))
        response = await browser.legacy("tools/call", {"name": "odd__echo", "arguments": {}})
        assert response.status == 200
        assert "www-authenticate" not in response.headers
        assert "token of project demo has expired" in response.body.decode()
