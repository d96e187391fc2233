"""What a schema lists and a client is shown tokens of can be sent back as these tokens, to that schema alone."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Literal

import pytest
from mcp.server.mcpserver import Context, MCPServer
from pydantic import BaseModel

from tests.gateway.conftest import Browser
from tests.gateway.test_crossings import Older, begin
from workbench.gateway.results.listed_values import ListedValues
from workbench.policy.redaction.redactor import Redactor

ADA, BOB = "ada@listed.example", "bob@listed.example"
TOKEN = re.compile(r"<EMAIL:[0-9a-f]{8}>")


class Message(BaseModel):
    to: list[Literal["ada@listed.example", "bob@listed.example"]]
    sender: str = ADA


@pytest.fixture
async def got(furnish: Any, presidio: None) -> tuple[Any, list[Any], Browser]:
    mcp = MCPServer("post")
    reached: list[Any] = []

    @mcp.tool()
    async def send(message: Message) -> str:
        """Sends."""
        reached.append((message.to, message.sender))
        return "sent"

    @mcp.tool()
    async def note(text: str) -> str:
        """Notes any text."""
        reached.append(text)
        return "noted"

    house = await furnish(servers={"post": mcp})
    return house, reached, Browser(house, token=house.key(scopes=("post:*",)))


async def test_a_token_of_a_schema_reaches_the_tool_that_lists_it_as_the_value(got: Any) -> None:
    house, reached, browser = got
    listed = (await browser.modern("tools/list")).json["result"]["tools"]
    (send,) = [tool for tool in listed if tool["name"].endswith("send")]
    assert ADA not in str(send)
    found = send["inputSchema"]["$defs"]["Message"]["properties"]
    ada, bob = found["to"]["items"]["enum"]
    assert TOKEN.fullmatch(ada)
    assert TOKEN.fullmatch(bob)
    assert found["sender"]["default"] == ada
    arguments = {"message": {"to": [bob, ada], "sender": ada}}
    answer = await browser.modern("tools/call", {"name": send["name"], "arguments": arguments})
    assert answer.json["result"]["content"][0]["text"] == "sent"
    assert reached == [([BOB, ADA], ADA)]
    await house.audit.close()
    assert ADA not in "".join(file.read_text() for file in house.settings.home.rglob("*.jsonl"))


async def test_a_tool_that_does_not_list_the_value_gets_the_token(got: Any) -> None:
    _, reached, browser = got
    listed = str((await browser.modern("tools/list")).json)
    token = TOKEN.search(listed)
    assert token is not None
    name = next(name for name in ("post.note", "post__note") if name in listed)
    await browser.modern("tools/call", {"name": name, "arguments": {"text": token[0]}})
    assert reached == [token[0]]


def test_a_token_that_can_be_two_values_is_none(settings: Any, presidio: None) -> None:
    listed = ListedValues(Redactor(settings.home))
    schema = {"enum": [ADA, ADA.upper(), BOB, "plain"]}
    doubtful = listed.doubtful(schema)
    assert doubtful.count("plain") == 0
    redactor = Redactor(settings.home)
    shown = {value: redactor.prose(value, "local", "result")[0] for value in (ADA, BOB)}
    given = {"a": shown[ADA], "b": [shown[BOB], "plain"]}
    assert listed.restored(given, doubtful, "local") == {"a": shown[ADA], "b": [BOB, "plain"]}
    assert listed.restored(given, doubtful, "another") is given


async def test_an_answer_to_a_form_reaches_the_server_as_the_value(furnish: Any, presidio: None, serve: Any) -> None:
    mcp = MCPServer("asks")
    form = {"type": "object", "properties": {"to": {"type": "string", "enum": [ADA, BOB]}}, "required": ["to"]}

    @mcp.tool()
    async def ask(ctx: Context) -> str:
        """Asks to whom."""
        answer = await ctx.session.elicit_form("to?", form, related_request_id=ctx.request_id)
        return "it was Bob" if (answer.content or {}).get("to") == BOB else "it was nobody"

    house = await furnish(servers={"asks": f"{await serve(Older(mcp.streamable_http_app()))}/mcp"})
    browser = Browser(house, token=house.key(scopes=("asks:*",)))
    session = await begin(browser, {"elicitation": {}})
    asked: asyncio.Queue[Any] = asyncio.Queue()
    call = {"name": "asks.ask", "arguments": {}}
    answering = asyncio.create_task(browser.legacy("tools/call", call, headers=session, on_event=asked.put_nowait))
    question = await asked.get()
    _, bob = question["params"]["requestedSchema"]["properties"]["to"]["enum"]
    assert TOKEN.fullmatch(bob)
    answer = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"to": bob}}}
    await browser.send(answer, headers=session)
    assert (await answering).events[-1]["result"]["content"][0]["text"] == "it was Bob"
