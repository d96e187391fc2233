"""Calls and sessions that one gateway process holds, when the client's next request reaches another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from redis.asyncio import Redis

from tests import waiting
from tests.gateway.conftest import House, until
from tests.gateway.test_channels import visits
from tests.gateway.test_crossings import ACCEPTED, CAN_ASK, HELLO, Older, begin, modern_server, older_server
from tests.redis_server import RedisServer
from workbench.cluster import message_relay as relay_module
from workbench.cluster.message_relay import MessageRelay, ProcessGoneError, Tell
from workbench.cluster.sealed_tokens import SealedTokens
from workbench.events import JSON, UnreachableError

PATH = "/servers/older/mcp"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.kill()


Pair = Callable[..., Awaitable[tuple[House, House]]]


@pytest.fixture
async def pair(furnish: Any, serve: Any, redis: RedisServer) -> AsyncIterator[Pair]:
    """`a, b = await pair()` are two gateways of one deployment, before one older server."""
    houses: list[House] = []
    older = Older(older_server().streamable_http_app())

    async def opened(**more: Any) -> tuple[House, House]:
        servers = {"older": f"{await serve(older)}/mcp", "modern": modern_server(), **more.pop("servers", {})}
        common = {"redis_url": redis.url, "servers": servers, **more}
        houses.extend([await furnish(**common) for _ in range(2)])
        for house in houses:
            if house.gateway.relay is not None:
                await asyncio.wait_for(house.gateway.relay.ready.wait(), 10)
        return houses[0], houses[1]

    yield opened
    for house in houses:
        await house.policy.disconnect()


async def parked(browser: Any) -> JSON:
    """Begin a call that asks for a name; what to send with the answer."""
    first = (await browser.modern("tools/call", HELLO, meta=CAN_ASK)).json["result"]
    ((key, _),) = first["inputRequests"].items()
    return {**HELLO, "requestState": first["requestState"], "inputResponses": {key: ACCEPTED}}


# --- calls that wait


async def test_a_call_that_waits_at_one_is_continued_at_the_other(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    again = await parked(browse(a, PATH))
    answer = await browse(b, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert answer.json["result"]["content"][0]["text"] == "Hello Ada"
    spent = await browse(b, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert spent.error["code"] == -32602
    assert "was answered already" in spent.error["message"]
    assert a.outcomes() == ["ok", "ok", "invalid"]  # both write into one record


async def test_what_is_asked_again_is_asked_through_the_other(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    again = await parked(browse(a, PATH))
    nothing = {**again, "inputResponses": {}}
    second = (await browse(b, PATH).modern("tools/call", nothing, meta=CAN_ASK)).json["result"]
    assert second["resultType"] == "input_required"
    last = {**again, "requestState": second["requestState"]}
    answer = (await browse(a, PATH).modern("tools/call", last, meta=CAN_ASK)).json["result"]
    assert answer["content"][0]["text"] == "Hello Ada"


async def test_a_call_that_waits_is_nobody_elses_at_any_process(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    again = await parked(browse(a, PATH))
    thief = browse(b, PATH, token=b.key("owner", subject="mallory"))
    assert (await thief.modern("tools/call", again, meta=CAN_ASK)).error["code"] == -32602
    other = {**again, "arguments": {"x": 1}}
    assert (await browse(b, PATH).modern("tools/call", other, meta=CAN_ASK)).error["code"] == -32602
    assert len(a.gateway.dispatch.dialogues._parked) == 1
    answer = await browse(b, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert answer.json["result"]["content"][0]["text"] == "Hello Ada"


async def test_a_call_whose_process_has_ended_is_answered_with_that(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    again = await parked(browse(a, PATH))
    await a.gateway.close()
    over = await browse(b, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert over.error["code"] == -32602
    assert over.error["message"] == "The gateway process that held this call has ended. Make the call again."
    assert b.outcomes()[-1] == "invalid"


async def test_without_a_redis_the_error_says_what_is_missing(pair: Pair, browse: Any) -> None:
    a, b = await pair(redis_url="")
    again = await parked(browse(a, PATH))
    over = await browse(b, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert "has ended, or shares no Redis with this one. Make the call again." in over.error["message"]
    answer = await browse(a, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert answer.json["result"]["content"][0]["text"] == "Hello Ada"


async def test_while_redis_is_away_the_call_waits(pair: Pair, browse: Any, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    a, b = await pair(redis_url=redis.url, redis_down="memory")
    again = await parked(browse(a, PATH))
    redis.kill()
    assert b.gateway.relay is not None
    assert a.gateway.relay is not None
    away = await browse(b, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert (away.status, away.json["result"]["isError"]) == (200, True)
    assert "Redis does not answer" in away.json["result"]["content"][0]["text"]
    redis.start()
    await until(lambda: a.gateway.relay.ready.is_set() and b.gateway.relay.ready.is_set())  # type: ignore[union-attr]
    answer = await browse(b, PATH).modern("tools/call", again, meta=CAN_ASK)
    assert answer.json["result"]["content"][0]["text"] == "Hello Ada"
    redis.kill()


async def test_rounds_of_a_modern_server_go_on_at_any_process(pair: Pair, browse: Any) -> None:
    a, b = await pair(redis_url="")  # nothing is held by a process here
    hello = {**HELLO, "name": "modern.greet"}
    first = (await browse(a).modern("tools/call", hello, meta=CAN_ASK)).json["result"]
    again = {**hello, "requestState": first["requestState"], "inputResponses": {"name": ACCEPTED}}
    second = (await browse(b).modern("tools/call", again, meta=CAN_ASK)).json["result"]
    last = {**hello, "requestState": second["requestState"], "inputResponses": {"again": ACCEPTED}}
    answer = (await browse(a).modern("tools/call", last, meta=CAN_ASK)).json["result"]
    assert answer["content"][0]["text"] == "Hello Ada"


async def test_a_client_that_leaves_the_other_process_cancels_the_call(pair: Pair, browse: Any, serve: Any) -> None:
    ended = asyncio.Event()
    mcp = MCPServer("patient")

    @mcp.tool()
    async def greet(ctx: Context) -> str:
        await ctx.session.elicit_form("name?", {"type": "object", "properties": {}}, related_request_id=ctx.request_id)
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    url = f"{await serve(Older(mcp.streamable_http_app()))}/mcp"
    a, b = await pair(servers={"older": url})
    again = await parked(browse(a, PATH))
    leave = asyncio.Event()
    going = asyncio.create_task(browse(b, PATH).modern("tools/call", again, meta=CAN_ASK, leave=leave))
    await until(lambda: not a.gateway.dispatch.dialogues._parked)
    leave.set()
    await asyncio.wait_for(ended.wait(), 10)
    going.cancel()
    await asyncio.gather(going, return_exceptions=True)
    await until(lambda: b.outcomes()[-1] == "cancelled")


# --- sessions of older clients


async def test_an_answer_reaches_the_process_that_asked(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    asker, answerer = browse(a, PATH), browse(b, PATH)
    session = await begin(asker, {"elicitation": {}})
    asked: asyncio.Queue[Any] = asyncio.Queue()
    calling = asyncio.create_task(asker.legacy("tools/call", HELLO, headers=session, on_event=asked.put_nowait))
    question = await asyncio.wait_for(asked.get(), 10)
    told = {"jsonrpc": "2.0", "id": question["id"], "result": ACCEPTED}
    thief = browse(b, PATH, token=b.key("owner", subject="mallory"))
    assert (await thief.send(told, headers=session)).status == 404
    assert (await thief.send(told, headers=await begin(thief, {"elicitation": {}}))).status == 400
    assert (await answerer.send(told, headers=session)).status == 202
    response = await calling
    assert response.events[-1]["result"]["content"][0]["text"] == "Hello Ada"
    late = await answerer.send(told, headers=session)
    assert (late.status, late.error["message"].split(":")[0]) == (400, "Nobody waits for this answer")


async def test_an_answer_to_a_process_that_has_ended_is_not_lost_silently(pair: Pair, browse: Any) -> None:
    _, b = await pair()
    session = await begin(browse(b, PATH), {"elicitation": {}})
    told = {"jsonrpc": "2.0", "id": "ask-000000000000-0123456789abcdef", "result": ACCEPTED}
    late = await browse(b, PATH).send(told, headers=session)
    assert (late.status, late.error["code"]) == (400, -32600)


async def test_a_request_is_cancelled_through_another_process(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    session = await begin(browse(a), {})
    hang = {"name": "calc.hang", "arguments": {}}
    calling = asyncio.create_task(browse(a).legacy("tools/call", hang, headers=session, id=7))
    await asyncio.wait_for(a.calc.started.wait(), 10)
    told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    other = await begin(browse(b), {})
    assert (await browse(b).send(told, headers=other)).status == 202  # of another session: without effect
    assert (await browse(b).send(told, headers=session)).status == 202
    response = await calling
    assert response.error["message"] == "The request was cancelled."


async def test_a_session_that_was_ended_at_one_is_over_at_the_other(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    session = await begin(browse(a), {})
    assert (await browse(b).legacy("ping", headers=session)).status == 200
    assert (await browse(a).send(method="DELETE", headers=session)).status == 204

    async def over() -> bool:
        response = await browse(b).legacy("ping", headers=session)
        return bool(response.status == 404)

    await waiting.until(over)


async def test_what_a_session_wants_counts_at_every_process(pair: Pair, browse: Any) -> None:
    a, b = await pair()
    session = await begin(browse(a), {})
    set_level = await browse(a).legacy("logging/setLevel", {"level": "error"}, headers=session)
    assert set_level.json["result"] == {}
    wishes = b.endpoint._legacy._wishes
    await browse(b).legacy("ping", headers=session)
    (found,) = b.endpoint._legacy._sessions._known.values()
    assert (await wishes.known(found)).level == "error"
    await browse(a).legacy("logging/setLevel", {"level": "debug"}, headers=session)
    await until(lambda: wishes.of(found).level == "debug")


async def test_a_resource_watched_at_one_is_announced_on_a_stream_of_the_other(pair: Pair, browse: Any) -> None:
    paper = MCPServer("paper")

    @paper.resource("note://x")
    def note() -> str:
        """A note."""
        return "one"

    a, b = await pair(servers={"paper": paper})
    session = await begin(browse(a), {})
    heard: list[Any] = []
    leave = asyncio.Event()
    listening = asyncio.create_task(browse(b).send(method="GET", headers=session, leave=leave, on_event=heard.append))
    await until(lambda: b.endpoint._legacy._announcements._streams)
    watched = await browse(a).legacy("resources/subscribe", {"uri": "note://x"}, headers=session)
    assert watched.json["result"] == {}
    await until(lambda: ("paper", "note://x") in b.endpoint._legacy._announcements._watches._watchers)
    for heed in b.registry.on_message:
        heed("paper", {"method": "notifications/resources/updated", "params": {"uri": "note://x"}})
    await until(lambda: heard)
    assert heard[0]["params"] == {"uri": "note://x"}
    await browse(a).legacy("resources/unsubscribe", {"uri": "note://x"}, headers=session)
    await until(lambda: not b.endpoint._legacy._announcements._watches._watchers)
    leave.set()
    await listening


# --- the relay itself


@pytest.fixture
async def relays(redis: RedisServer, tmp_path: Path) -> AsyncIterator[list[MessageRelay]]:
    found = [
        MessageRelay(redis.url, SealedTokens(tmp_path / "session.key", b"x"), prefix=str(tmp_path)) for _ in range(3)
    ]
    for one in found:
        one.open()
        await asyncio.wait_for(one.ready.wait(), 10)
    yield found
    for one in found:
        await one.close()


async def test_what_is_told_on_the_way_comes_in_order_before_the_answer(relays: list[MessageRelay]) -> None:
    async def count(body: JSON, tell: Tell) -> JSON:
        for n in range(body["n"]):
            await tell({"n": n})
        return {"done": True}

    relays[1].handlers["count"] = count
    told: list[Any] = []

    async def notify(body: JSON) -> None:
        await asyncio.sleep(0)
        told.append(body["n"])

    assert await relays[0].ask(relays[1].id, "count", {"n": 50}, notify=notify) == {"done": True}
    assert told == list(range(50))


async def test_who_asks_a_process_that_fails_is_not_left_waiting(relays: list[MessageRelay], caplog: Any) -> None:
    async def broken(body: JSON, _: Tell) -> JSON:
        raise KeyError("x")

    relays[1].handlers["broken"] = broken
    with pytest.raises(UnreachableError, match="has failed"):
        await relays[0].ask(relays[1].id, "broken", {})
    assert "KeyError" in caplog.text


async def test_everybody_else_is_told(relays: list[MessageRelay]) -> None:
    heard: list[str] = []
    for number, one in enumerate(relays):

        async def hear(body: JSON, _: Tell, number: int = number) -> JSON:
            heard.append(f"{number} {body['x']}")
            return {}

        one.handlers["news"] = hear
    relays[0].tell("news", {"x": 1})
    await until(lambda: len(heard) == 2)
    assert sorted(heard) == ["1 1", "2 1"]


async def test_who_asks_a_process_that_ends_meanwhile_is_told(relays: list[MessageRelay], monkeypatch: Any) -> None:
    monkeypatch.setattr(relay_module, "CHECK_INTERVAL_S", 0.05)
    begun = asyncio.Event()

    async def never(body: JSON, _: Tell) -> JSON:
        begun.set()
        await asyncio.Event().wait()
        return {}

    relays[1].handlers["never"] = never
    asking = asyncio.create_task(relays[0].ask(relays[1].id, "never", {}))
    await asyncio.wait_for(begun.wait(), 10)
    await relays[1].close()
    with pytest.raises(ProcessGoneError):
        await asking
    with pytest.raises(ProcessGoneError):
        await relays[0].ask("000000000000", "never", {})


async def test_messages_of_strangers_and_old_ones_are_not_believed(
    relays: list[MessageRelay], redis: RedisServer, tmp_path: Path
) -> None:
    heard: list[JSON] = []

    async def hear(body: JSON, _: Tell) -> JSON:
        heard.append(body)
        return {}

    relays[1].handlers["news"] = hear
    stranger = MessageRelay(redis.url, SealedTokens(tmp_path / "other.key", b"x"), prefix=str(tmp_path))
    mine, to_two = relays[0], relays[0]._channel(relays[1].id)
    caught: list[bytes] = []
    async with Redis.from_url(redis.url) as raw, raw.pubsub() as listening:
        await listening.subscribe(to_two)
        await stranger._publish(to_two, stranger._message("news", {"from": "a stranger"}))
        await mine._publish(to_two, mine._message("news", {"n": 1}))
        async with asyncio.timeout(10):
            async for item in listening.listen():
                if item["type"] == "message":
                    caught.append(item["data"])
                    if len(caught) == 2:
                        break
        await raw.publish(to_two, caught[1])  # said twice
        await raw.publish(to_two, b"nonsense")
        await raw.publish(mine._channel(""), caught[1])  # said to others than were meant
        aged = mine._message("news", {"n": 0})
        await mine._publish(to_two, type(aged)(**{**aged.to_dict(), "at": aged.at - 120}))
        await mine._publish(to_two, mine._message("news", {"n": 2}))
    await until(lambda: {"n": 2} in heard)
    assert heard == [{"n": 1}, {"n": 2}]
    await stranger.close()


async def test_a_message_that_cannot_be_read_does_not_end_the_listening(
    relays: list[MessageRelay], redis: RedisServer, tmp_path: Path
) -> None:
    heard = asyncio.Event()

    async def hear(body: JSON, _: Tell) -> JSON:
        heard.set()
        return {}

    relays[1].handlers["news"] = hear
    newer = SealedTokens(tmp_path / "session.key", b"x").close(b'{"what": "another version says"}')
    async with Redis.from_url(redis.url) as raw:
        await raw.publish(relays[0]._channel(""), newer)
        await raw.set(f"{tmp_path}:name", newer)
    assert await relays[1].kept("name") is None
    relays[0].tell("news", {})
    await asyncio.wait_for(heard.wait(), 10)


async def test_who_gives_up_for_whatever_reason_is_not_worked_for_any_more(relays: list[MessageRelay]) -> None:
    over = asyncio.Event()

    async def work(body: JSON, tell: Tell) -> JSON:
        try:
            await tell({"n": 1})
            await asyncio.Event().wait()
        finally:
            over.set()
        return {}

    async def gone(body: JSON) -> None:
        raise ConnectionResetError

    relays[1].handlers["work"] = work
    with pytest.raises(ConnectionResetError):
        await relays[0].ask(relays[1].id, "work", {}, notify=gone)
    await asyncio.wait_for(over.wait(), 10)


async def test_a_redis_that_was_away_is_found_again(tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    one = MessageRelay(redis.url, SealedTokens(tmp_path / "key", b"x"))
    one.open()
    await asyncio.wait_for(one.ready.wait(), 10)
    redis.kill()
    await until(lambda: not one.ready.is_set())
    with pytest.raises(UnreachableError, match="Redis does not answer"):
        await one.ask("000000000000", "x", {})
    assert await one.kept("nothing") is None
    await one.keep("nothing", {}, 10)
    redis.start()
    await asyncio.wait_for(one.ready.wait(), 20)
    await one.keep("name", {"x": 1}, 60)
    assert await one.kept("name") == {"x": 1}
    await one.keep("name", None, 60)
    assert await one.kept("name") is None
    await one.close()
    redis.kill()


# --- HTTP+SSE: the stream is at one process, the messages reach another


async def test_a_message_that_reaches_another_process_than_its_stream_is_answered_on_the_stream(
    pair: Pair, serve: Any
) -> None:
    a, b = await pair()
    visit = await visits(a, serve)
    async with visit() as visitor:
        visitor.base = await serve(b.endpoint)
        hello = await visitor.shake_hands(elicitation={})
        assert hello["protocolVersion"] == "2024-11-05"
        assert await visitor.ask("tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}}, id=1) == 202
        assert (await visitor.hear())["result"]["structuredContent"] == {"total": 3}
        assert await visitor.ask("tools/call", {"name": "older.greet", "arguments": {}}, id=2) == 202
        question = await visitor.hear()
        assert await visitor.say({"jsonrpc": "2.0", "id": question["id"], "result": ACCEPTED}) == 202
        assert (await visitor.hear())["result"]["content"][0]["text"] == "Hello Ada"
        address = visitor.address
        thief = {"Authorization": f"Bearer {b.key('owner', subject='mallory')}"}
        assert await visitor.say({"jsonrpc": "2.0", "id": 3, "method": "ping"}, **thief) == 404
    async with visit() as visitor:
        visitor.base = await serve(b.endpoint)
        await until(lambda: len(a.endpoint._channels._open) == 1)
        visitor.address = address
        assert await visitor.ask("ping") == 404  # that stream is over
        visitor.address = address.replace(address.split("session=")[1].split("-")[0], "000000000000")
        assert await visitor.ask("ping") == 404  # nobody has it
    assert [record["protocol"] for record in a.recorded()] == ["2024-11-05"] * 2
