"""Over one pair of pipes for all calls: questions, logs and progress reach the client whose call it is, nobody else."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import Browser, House, until
from tests.gateway.test_crossings import ACCEPTED, CAN_ASK
from workbench.events import JSON, Caller
from workbench.registry.connection import RpcError
from workbench.upstream.client_responder import ClientResponder, whose
from workbench.upstream.duplex import DuplexConnection
from workbench.upstream.request_attribution import CallsInFlight
from workbench.upstream.stdio import StdioConnection

CHILD = Path(__file__).parent / "stdio_child.py"
ABLE = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}


@pytest.fixture
async def piped() -> AsyncIterator[Any]:
    """`await piped("older")` is a connection to a child of that kind, to be opened."""
    children: list[tuple[asyncio.subprocess.Process, StdioConnection]] = []

    async def start(kind: str) -> StdioConnection:
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(CHILD), kind, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        assert child.stdin is not None
        assert child.stdout is not None
        connection = StdioConnection(child.stdin, child.stdout, name=kind)
        children.append((child, connection))
        return connection

    yield start
    for child, connection in children:
        await connection.close()
        if child.returncode is None:
            child.kill()
        assert child.stdout is not None
        await child.stdout.read()
        await child.wait()


@pytest.fixture
async def house(furnish: Any, piped: Any) -> House:
    found: House = await furnish(servers={"older": await piped("older")})
    assert found.registry.state("older").era == "2025-11-25"  # type: ignore[union-attr]
    return found


@pytest.fixture
async def both(furnish: Any, piped: Any) -> House:
    found: House = await furnish(servers={"older": await piped("older"), "modern": await piped("sdk")})
    assert found.registry.state("modern").era == "2026-07-28"  # type: ignore[union-attr]
    return found


class Person:
    """An older client with a session of its own, who answers what it is asked."""

    def __init__(self, house: House, subject: str) -> None:
        self.browser = Browser(house, token=house.key("owner", subject=subject))
        self.name = subject
        self.heard: list[JSON] = []
        self.session: dict[str, str] = {}
        self.question: asyncio.Queue[JSON] = asyncio.Queue()

    async def begin(self, capabilities: JSON) -> Person:
        hello = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": {}}
        response = await self.browser.legacy("initialize", hello)
        self.session = {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
        return self

    async def call(self, tool: str, *, id: Any = 1, token: Any = None, **arguments: Any) -> Any:
        """The result, or the error."""

        def hear(message: JSON) -> None:
            self.heard.append(message)
            if "id" in message and "method" in message:
                self.question.put_nowait(message)

        params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": token} if token else {}}
        response = await self.browser.legacy("tools/call", params, id=id, headers=self.session, on_event=hear)
        answer = response.events[-1] if b"data: " in response.body else response.json
        return answer.get("result") or answer["error"]

    async def answer(self, result: JSON) -> JSON:
        """Answer the next question; what was asked."""
        async with asyncio.timeout(10):
            question = await self.question.get()
        body = {"jsonrpc": "2.0", "id": question["id"], "result": result}
        assert (await self.browser.send(body, headers=self.session)).status == 202
        return question


def text(result: Any) -> str:
    """What a result or an error says."""
    found = result["content"][0]["text"] if "content" in result else result["message"]
    assert isinstance(found, str)
    return found


async def begun(house: House, *subjects: str, capabilities: JSON = ABLE) -> list[Person]:
    return [await Person(house, subject).begin(capabilities) for subject in subjects]


# --- the four crossings ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "method", "answer", "said"),
    [
        ("older.greet", "elicitation/create", ACCEPTED, "Hello Ada"),
        ("older.visit", "elicitation/create", {"action": "accept"}, "accept"),
        (
            "older.think",
            "sampling/createMessage",
            {"role": "assistant", "model": "m", "content": {"type": "text", "text": "Paris"}},
            "Paris",
        ),
        ("older.folders", "roots/list", {"roots": [{"uri": "file:///tmp"}]}, "file:///tmp"),
        ("modern.greet", "elicitation/create", ACCEPTED, "Hello Ada"),
    ],
)
async def test_an_older_client_is_asked_by_a_server_on_pipes(
    both: House, tool: str, method: str, answer: JSON, said: str
) -> None:
    (ann,) = await begun(both, "ann")
    calling = asyncio.create_task(ann.call(tool))
    assert (await ann.answer(answer))["method"] == method
    assert text(await calling) == said
    assert both.outcomes() == ["ok"]


@pytest.mark.parametrize("server", ["older", "modern"])
async def test_a_modern_client_is_asked_by_a_server_on_pipes(both: House, browse: Any, server: str) -> None:
    browser = browse(both)
    hello = {"name": f"{server}.greet", "arguments": {}}
    first = (await browser.modern("tools/call", hello, meta=CAN_ASK)).json["result"]
    assert first["resultType"] == "input_required"
    ((key, question),) = first["inputRequests"].items()
    assert question["params"]["message"] == "name?"
    again = {**hello, "inputResponses": {key: ACCEPTED}}
    again |= {"requestState": first["requestState"]} if "requestState" in first else {}
    assert text((await browser.modern("tools/call", again, meta=CAN_ASK)).json["result"]) == "Hello Ada"


async def test_logs_and_progress_come_before_the_answer_in_both_eras(both: House, browse: Any) -> None:
    (ann,) = await begun(both, "ann")
    assert text(await ann.call("older.log", text="warned")) == "logged"
    assert [m["params"]["data"] for m in ann.heard if m.get("method") == "notifications/message"] == ["warned"]
    await ann.call("modern.steps", token="p")
    assert [m["params"]["progressToken"] for m in ann.heard if m.get("method") == "notifications/progress"] == ["p"]
    for tool in ("older.log", "modern.greet"):
        asked = {"io.modelcontextprotocol/logLevel": "debug", **CAN_ASK}
        response = await browse(both).modern("tools/call", {"name": tool, "arguments": {}}, meta=asked)
        *logs, last = [message.get("method", "answer") for message in response.events]
        assert set(logs) == {"notifications/message"}
        assert last == "answer"


async def test_who_cannot_be_asked_is_not(house: House) -> None:
    (ann,) = await begun(house, "ann", capabilities={})
    result = await ann.call("older.greet")
    assert "code" in result
    assert "declared no such capability" in text(result)


# --- several at once ---------------------------------------------------------------------------------


async def test_people_who_are_asked_at_the_same_time_get_their_own_questions(house: House) -> None:
    ann, bob = await begun(house, "ann", "bob")
    calling = asyncio.create_task(ann.call("older.greet"))
    await ann.answer(ACCEPTED)
    await calling  # from now on the server is known to ask
    calls = {person: asyncio.create_task(person.call("older.greet", about=person.name)) for person in (ann, bob)}
    for person in (ann, bob):
        asked = await person.answer({"action": "accept", "content": {"name": person.name}})
        assert asked["params"]["message"] == f"name{person.name}?"
        assert text(await calls[person]) == f"Hello {person.name}{person.name}"
    assert house.outcomes() == ["ok"] * 3


async def test_one_person_may_be_asked_several_things_at_once(house: House) -> None:
    (ann,) = await begun(house, "ann")
    calls = [asyncio.create_task(ann.call("older.greet", id=n, about=str(n))) for n in range(3)]
    async with asyncio.timeout(10):
        questions = [await ann.question.get() for _ in calls]
    for question in reversed(questions):
        about = question["params"]["message"].removeprefix("name").removesuffix("?")
        content = {"action": "accept", "content": {"name": f"no. {about}"}}
        body = {"jsonrpc": "2.0", "id": question["id"], "result": content}
        await ann.browser.send(body, headers=ann.session)
    assert [text(await call) for call in calls] == [f"Hello no. {n}{n}" for n in range(3)]


async def test_a_question_waits_until_it_is_clear_whose_it_is(house: House) -> None:
    ann, bob = await begun(house, "ann", "bob")
    other = asyncio.create_task(bob.call("older.log", hang=True, id=9))
    await until(lambda: bob.heard)
    calling = asyncio.create_task(ann.call("older.greet"))
    callers = duplex(house)._callers
    await until(lambda: callers._open)
    assert not ann.heard
    assert len(bob.heard) == 1
    told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    await bob.browser.send(told, headers=bob.session)
    await other  # it went away unanswered, so it may have been the one that asked: nobody is told
    assert "cannot be told" in text(await calling)
    assert not ann.heard[:-1]


async def test_a_log_line_that_may_be_anybodys_is_nobodys(house: House) -> None:
    ann, bob = await begun(house, "ann", "bob")
    other = asyncio.create_task(bob.call("older.log", text="of bob", hang=True, id=9))
    await until(lambda: bob.heard)
    await ann.call("older.log", text="of ann")
    assert [m["params"]["data"] for m in bob.heard] == ["of bob"]
    assert not [m for m in ann.heard if m.get("method") == "notifications/message"]
    told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 9}}
    await bob.browser.send(told, headers=bob.session)
    await other
    await ann.call("older.log", text="again")
    assert [m["params"]["data"] for m in ann.heard if m.get("method") == "notifications/message"] == ["again"]


def duplex(house: House) -> DuplexConnection:
    found = house.registry._entries["older"].first.connection
    assert isinstance(found, DuplexConnection)
    return found


# --- whose question it is ------------------------------------------------------------------------------


def person(name: str, *, able: bool = True) -> ClientResponder:
    async def ask(request: JSON) -> JSON:
        return {"said": name, "asked": request["params"]["n"]}

    return ClientResponder({"elicitation": {}} if able else {}, name, ask)


def asking(callers: CallsInFlight, n: int) -> asyncio.Task[JSON]:
    message = {"id": n, "method": "elicitation/create", "params": {"n": n}}
    return asyncio.create_task(callers.answer(message))


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_of_two_questions_that_may_be_of_two_people_the_later_is_refused() -> None:
    callers = CallsInFlight()
    ann, bob = await callers.enter(person("ann")), await callers.enter(person("bob"))
    first, second = asking(callers, 1), asking(callers, 2)
    await settled()
    assert not first.done()
    assert "several people" in (await second)["error"]["message"]
    callers.leave(bob, answered=True)  # so it was bob's that was refused
    assert (await first)["result"] == {"said": "ann", "asked": 1}
    callers.leave(ann, answered=True)
    callers.leave(ann, answered=True)
    assert (await asking(callers, 3))["error"]["code"] == -32601


async def test_a_call_that_began_later_is_not_meant() -> None:
    callers = CallsInFlight()
    quiet, bob = await callers.enter(person("cy", able=False)), await callers.enter(person("bob"))
    question = asking(callers, 1)
    await settled()
    assert callers.asks
    later = await callers.enter(person("bob"))
    callers.leave(bob, answered=True)
    callers.leave(later, answered=True)
    answer = await question
    assert answer["error"]["code"] == -32601  # it is cy's, who cannot be asked
    callers.leave(quiet, answered=True)


async def test_on_a_server_that_asks_people_take_turns() -> None:
    callers = CallsInFlight()
    ann = await callers.enter(person("ann"))
    assert "result" in await asking(callers, 1)
    waiting = asyncio.create_task(callers.enter(person("bob")))
    more = await callers.enter(person("ann"))
    unable = await callers.enter(person("cy", able=False))
    await settled()
    assert not waiting.done()
    for call in (ann, more, unable):
        callers.leave(call, answered=True)
    async with asyncio.timeout(5):
        assert (await waiting).respondent.whose == "bob"


async def test_an_answer_is_not_waited_for_when_its_call_is_over() -> None:
    callers, asked = CallsInFlight(), asyncio.Event()

    async def never(request: JSON) -> JSON:
        asked.set()
        await asyncio.Event().wait()
        raise RpcError(0, "")

    call = await callers.enter(ClientResponder({"elicitation": {}}, "ann", never))
    question = asking(callers, 1)
    await asked.wait()
    callers.leave(call, answered=False)
    assert "over" in (await question)["error"]["message"]


def test_nobody_is_taken_for_another_whose_names_read_alike() -> None:
    assert whose(Caller(tenant="acme", subject="x y")) != whose(Caller(tenant="acme x", subject="y"))
    assert whose(Caller(tenant="acme", subject="x")) == whose(Caller(tenant="acme", subject="x", roles=("owner",)))
