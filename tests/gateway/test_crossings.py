"""What a server asks in the middle of a call reaches the person, whatever revisions client and server speak."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult

from workbench.gateway import suspended_calls
from workbench.upstream import session_pool

FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
HELLO = {"name": "greet", "arguments": {}}
CAN_ASK = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}}}
ACCEPTED = {"action": "accept", "content": {"name": "Ada"}}


def modern_server() -> MCPServer:
    """Asks as servers of 2026-07-28 do, twice: for a name and then once more."""
    mcp = MCPServer("modern")

    @mcp.tool()
    def greet(ctx: Context) -> str | InputRequiredResult:
        answers = ctx.input_responses or {}
        known = json.loads(ctx.request_state) if ctx.request_state else {}
        for key in ("name", "again"):
            answer = answers.get(key)
            if isinstance(answer, ElicitResult) and answer.action == "accept":
                known[key] = (answer.content or {})["name"]
            if key not in known:
                ask = ElicitRequest(params=ElicitRequestFormParams(message=f"{key}?", requested_schema=FORM))
                return InputRequiredResult(input_requests={key: ask}, request_state=json.dumps(known))
        return f"Hello {known['again']}"

    @mcp.prompt()
    def about(ctx: Context) -> str | InputRequiredResult:
        answer = (ctx.input_responses or {}).get("topic")
        if isinstance(answer, ElicitResult):
            return f"About {(answer.content or {})['name']}"
        ask = ElicitRequest(params=ElicitRequestFormParams(message="topic?", requested_schema=FORM))
        return InputRequiredResult(input_requests={"topic": ask})

    return mcp


class Older:
    """Hides from the SDK's application that there is a newer revision."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.deleted = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and (b"mcp-protocol-version", b"2026-07-28") in scope["headers"]:
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        self.deleted += scope.get("method") == "DELETE"
        await self.app(scope, receive, send)


def older_server(*, related: bool = True) -> MCPServer:
    """Asks as older servers do: on the stream of the call, or on that of the session."""
    mcp = MCPServer("older")

    @mcp.tool()
    async def greet(ctx: Context) -> str:
        more = {"related_request_id": ctx.request_id} if related else {}
        answer = await ctx.session.elicit_form("name?", FORM, **more)
        return f"Hello {(answer.content or {}).get('name', answer.action)}"

    return mcp


async def begin(browser: Any, capabilities: Any) -> dict[str, str]:
    asked = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {}}
    response = await browser.legacy("initialize", asked)
    return {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


async def converse(browser: Any, session: dict[str, str], params: Any, answers: list[Any], by: Any = None) -> Any:
    """Call as an older client that answers what it is asked, one after the other; the events of the call."""
    asked: asyncio.Queue[Any] = asyncio.Queue()
    response = asyncio.create_task(browser.legacy("tools/call", params, headers=session, on_event=asked.put_nowait))
    for answer in answers:
        async with asyncio.timeout(10):
            question = await asked.get()
        body = {"jsonrpc": "2.0", "id": question["id"], **answer}
        assert (await (by or browser).send(body, headers=session)).status in (202, 404)
    return await response


@pytest.fixture(params=[True, False], ids=["on the call's stream", "on the session's stream"])
async def older(request: Any, serve: Any) -> tuple[Older, str]:
    app = Older(older_server(related=request.param).streamable_http_app())
    return app, f"{await serve(app)}/mcp"


async def test_a_modern_client_answers_an_older_server_by_calling_again(
    furnish: Any, browse: Any, older: tuple[Older, str]
) -> None:
    house = await furnish(servers={"older": older[1]})
    browser = browse(house, "/servers/older/mcp")
    first = (await browser.modern("tools/call", HELLO, meta=CAN_ASK)).json["result"]
    assert first["resultType"] == "input_required"
    ((key, question),) = first["inputRequests"].items()
    assert question["method"] == "elicitation/create"
    assert question["params"]["message"] == "name?"
    again = {**HELLO, "requestState": first["requestState"], "inputResponses": {}}
    asked_again = (await browser.modern("tools/call", again, meta=CAN_ASK)).json["result"]
    assert asked_again["inputRequests"] == {key: question}
    spent = {**HELLO, "requestState": first["requestState"], "inputResponses": {key: ACCEPTED}}
    assert (await browser.modern("tools/call", spent, meta=CAN_ASK)).error["code"] == -32602
    last = {**HELLO, "requestState": asked_again["requestState"], "inputResponses": {key: ACCEPTED, "odd": 1}}
    answer = (await browser.modern("tools/call", last, meta=CAN_ASK)).json["result"]
    assert answer["content"][0]["text"] == "Hello Ada"
    assert house.outcomes() == ["ok", "ok", "invalid", "ok"]
    assert house.gateway.dispatch.dialogues._parked == {}


async def test_a_parked_call_is_nobody_elses_and_no_other_calls(
    furnish: Any, browse: Any, older: tuple[Older, str]
) -> None:
    house = await furnish(servers={"older": older[1]})
    browser = browse(house, "/servers/older/mcp")
    first = (await browser.modern("tools/call", HELLO, meta=CAN_ASK)).json["result"]
    ((key, _),) = first["inputRequests"].items()
    again = {**HELLO, "requestState": first["requestState"], "inputResponses": {key: ACCEPTED}}
    thief = browse(house, "/servers/older/mcp", token=house.key("owner", subject="mallory"))
    other = {**again, "arguments": {"x": 1}}
    changed = {**again, "requestState": first["requestState"][:-4] + "AAAA"}
    for sender, params in (
        (thief, again),
        (browser, other),
        (browser, changed),
        (browser, {**again, "requestState": 7}),
    ):
        assert (await sender.modern("tools/call", params, meta=CAN_ASK)).error["code"] == -32602
    answer = (await browser.modern("tools/call", again, meta=CAN_ASK)).json["result"]
    assert answer["content"][0]["text"] == "Hello Ada"


async def test_a_parked_call_that_nobody_continues_ends(
    furnish: Any, browse: Any, older: tuple[Older, str], monkeypatch: Any
) -> None:
    monkeypatch.setattr(suspended_calls, "REQUEST_TIMEOUT_S", 0.05)
    house = await furnish(servers={"older": older[1]})
    browser = browse(house, "/servers/older/mcp")
    first = (await browser.modern("tools/call", HELLO, meta=CAN_ASK)).json["result"]
    dialogues = house.gateway.dispatch.dialogues
    async with asyncio.timeout(10):
        while dialogues._parked or not older[0].deleted:  # noqa: ASYNC110 - seen only from outside
            await asyncio.sleep(0.005)
    again = {**HELLO, "requestState": first["requestState"], "inputResponses": {}}
    assert (await browser.modern("tools/call", again, meta=CAN_ASK)).error["code"] == -32602


async def test_an_older_client_answers_an_older_server_while_it_works(
    furnish: Any, browse: Any, older: tuple[Older, str]
) -> None:
    house = await furnish(servers={"older": older[1]}, call_timeout=2.0)
    browser = browse(house, "/servers/older/mcp")
    session = await begin(browser, {"elicitation": {}})
    response = await converse(browser, session, HELLO, [{"result": ACCEPTED}])
    question, answer = response.events
    assert question["params"]["requestedSchema"] == FORM
    assert answer["result"]["content"][0]["text"] == "Hello Ada"
    (record,) = house.recorded()
    assert record["outcome"] == "ok"


async def test_an_older_client_answers_a_modern_server_in_one_call(furnish: Any, browse: Any) -> None:
    house = await furnish(servers={"modern": modern_server()})
    browser = browse(house)
    session = await begin(browser, {"elicitation": {}})
    grace = {"action": "accept", "content": {"name": "Grace"}}
    hello = {**HELLO, "name": "modern.greet"}
    response = await converse(browser, session, hello, [{"result": ACCEPTED}, {"result": grace}])
    *questions, answer = response.events
    assert [question["params"]["message"] for question in questions] == ["name?", "again?"]
    assert answer["result"]["content"][0]["text"] == "Hello Grace"
    assert house.outcomes() == ["ok"]
    refused = await converse(browser, session, hello, [{"error": {"code": -1, "message": "no person"}}])
    assert refused.events[-1]["error"]["message"] == "no person"


async def test_only_the_client_that_was_asked_can_answer(furnish: Any, browse: Any) -> None:
    house = await furnish(servers={"modern": modern_server()})
    browser, thief = browse(house), browse(house, token=house.key("owner", subject="mallory"))
    session = await begin(browser, {"elicitation": {}})
    questions = house.endpoint._legacy._questions
    asked: asyncio.Queue[Any] = asyncio.Queue()
    hello = {**HELLO, "name": "modern.greet"}
    calling = asyncio.create_task(browser.legacy("tools/call", hello, headers=session, on_event=asked.put_nowait))
    async with asyncio.timeout(10):
        question = await asked.get()
        told = {"jsonrpc": "2.0", "id": question["id"], "result": ACCEPTED}
        assert (await thief.send(told, headers=session)).status == 404
        await thief.send(told, headers=await begin(thief, {}))
        await browser.send(told, headers=await begin(browser, {}))
        await browser.send({**told, "id": 5}, headers=session)
        assert len(questions._open) == 1
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
    assert questions._open == {}


async def test_who_declares_nothing_is_asked_nothing(furnish: Any, browse: Any, serve: Any) -> None:
    house = await furnish(servers={"older": f"{await serve(Older(older_server().streamable_http_app()))}/mcp"})
    browser = browse(house, "/servers/older/mcp")
    session = await begin(browser, {})
    for response in (
        await browser.legacy("tools/call", HELLO, headers=session),
        await browser.modern("tools/call", HELLO),
    ):
        assert "Hello" not in response.body.decode()
        assert b"declared no such capability" in response.body or b"not supported" in response.body, response.body


async def test_a_modern_servers_state_comes_back_to_it_and_is_nobody_elses(furnish: Any, browse: Any) -> None:
    house = await furnish(servers={"modern": modern_server()})
    browser = browse(house)
    hello = {**HELLO, "name": "modern.greet"}
    first = (await browser.modern("tools/call", hello, meta=CAN_ASK)).json["result"]
    again = {**hello, "requestState": first["requestState"], "inputResponses": {"name": ACCEPTED}}
    thief = browse(house, token=house.key("owner", subject="mallory"))
    assert (await thief.modern("tools/call", again, meta=CAN_ASK)).error["code"] == -32602
    second = (await browser.modern("tools/call", again, meta=CAN_ASK)).json["result"]
    last = {**hello, "requestState": second["requestState"], "inputResponses": {"again": ACCEPTED}}
    answer = (await browser.modern("tools/call", last, meta=CAN_ASK)).json["result"]
    assert answer["content"][0]["text"] == "Hello Ada"


async def test_a_prompt_can_ask_as_well(furnish: Any, browse: Any) -> None:
    house = await furnish(servers={"modern": modern_server()})
    browser = browse(house)
    asked = {"name": "modern.about"}
    first = (await browser.modern("prompts/get", asked, meta=CAN_ASK)).json["result"]
    assert first["inputRequests"]["topic"]["params"]["message"] == "topic?"
    last = {**asked, "inputResponses": {"topic": ACCEPTED}}
    answer = (await browser.modern("prompts/get", last, meta=CAN_ASK)).json["result"]
    assert answer["messages"][0]["content"]["text"] == "About Ada"


async def test_sessions_that_asked_are_used_again_for_the_same_person_only(
    furnish: Any, browse: Any, older: tuple[Older, str], monkeypatch: Any
) -> None:
    house = await furnish(servers={"older": older[1]})
    made: list[str] = []
    take = session_pool.SessionPool._take

    def watched(self: Any, key: Any) -> Any:
        found = take(self, key)
        made.append("again" if found else "new")
        return found

    monkeypatch.setattr(session_pool.SessionPool, "_take", watched)
    for subject in ("ann", "ann", "bob"):
        browser = browse(house, "/servers/older/mcp", token=house.key("owner", subject=subject))
        session = await begin(browser, {"elicitation": {}})
        await converse(browser, session, HELLO, [{"result": ACCEPTED}])
    assert made == ["new", "again", "new"]
