"""Two gateways with a Postgres and a Redis in common: what happens at one counts at the other."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any

import httpx2
import pytest

from tests.control.conftest import Wire
from tests.gateway.test_tasks import Worker, about, begin
from tests.redis_server import RedisServer
from tests.waiting import until
from workbench.access.oauth import AuthorizationServer
from workbench.events import Call, Caller, UnauthenticatedError

BACK = "http://127.0.0.1:5000/callback"


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("r"))
    yield server
    server.kill()


Two = Callable[..., Awaitable[tuple[Any, Any]]]


@pytest.fixture
async def two(furnish: Any, postgres: str, redis: RedisServer, tmp_path: Path) -> AsyncIterator[Two]:
    """`a, b = await two()` are gateways with state folders of their own, in front of the same servers."""
    houses: list[Any] = []

    async def opened(**more: Any) -> tuple[Any, Any]:
        common = {
            "database_url": postgres, "database_schema": f"t{monotonic_ns()}", "redis_url": redis.url,
            "port": "8800", **more,
        }  # fmt: skip
        houses.extend([await furnish(**{"home": tmp_path / name, **common}) for name in ("a", "b")])
        return houses[0], houses[1]

    yield opened
    for house in houses:
        await house.policy.disconnect()


async def knows(house: Any, token: str) -> bool:
    try:
        await house.access.authenticate_async(f"Bearer {token}")
    except UnauthenticatedError:
        return False
    return True


def erase(caller: Caller) -> Call:
    return Call(caller=caller, tool="calc.erase", arguments={"what": "all"})


# --- who is calling ------------------------------------------------------------------------------


async def test_a_key_of_one_gateway_works_at_both_and_ends_at_both(two: Two) -> None:
    a, b = await two()
    info, token = a.access.create_key("bob", roles=("viewer",))
    assert await knows(a, token)
    assert await knows(b, token)
    assert b.access.keys() == a.access.keys()
    assert b.access.revoke(info.id)
    assert not await knows(b, token)

    async def ended() -> bool:
        return not await knows(a, token)

    await until(ended)
    assert not a.access.revoke(info.id)


async def test_every_gateway_has_a_token_of_its_own_for_its_local_user(two: Two) -> None:
    a, b = await two()
    mine, theirs = a.access.local_key(), b.access.local_key()
    assert mine != theirs
    assert await knows(a, theirs)
    assert await knows(b, mine)


@dataclass
class Door:
    """The authorization server of one gateway, and a browser before it."""

    house: Any
    recorded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        async def record(event: str, *_: Any) -> None:
            self.recorded.append(event)

        self.server = AuthorizationServer(self.house.access, scopes=lambda: ["calc:read"], record=record)
        transport = httpx2.ASGITransport(app=self.server)
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8800")


async def test_consent_code_refresh_and_end_may_each_happen_at_another_gateway(two: Two) -> None:
    a, b = await two(oauth_server=True)
    here, there = Door(a), Door(b)
    assert here.server.issuer.kid == there.server.issuer.kid
    key = a.key("employee")
    client, _ = here.server.issuer.clients.add(
        "App", tenant="local", now_us=here.server.clock(), confidential=False, redirect_uris=(BACK,)
    )
    verifier = "v" * 43
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    query = {
        "response_type": "code", "client_id": client.id, "redirect_uri": BACK, "state": "s", "scope": "crm:read",
        "code_challenge": challenge, "code_challenge_method": "S256",
    }  # fmt: skip
    page = await here.http.get("/oauth/authorize", params=query)
    request = page.text.split('name="request" value="')[1].split('"')[0]
    there.http.cookies = here.http.cookies
    form = {"request": request, "key": key, "decision": "approve", "scope:crm:read": "1"}
    answers = await asyncio.gather(*(door.http.post("/oauth/authorize", data=form) for door in (here, there) * 2))
    assert sorted(answer.status_code for answer in answers) == [303, 400, 400, 400]  # it was decided once
    (sent,) = [answer.headers["location"] for answer in answers if answer.status_code == 303]
    code = sent.split("code=")[1].split("&")[0]

    form = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": BACK, "client_id": client.id,
        "code_verifier": verifier,
    }  # fmt: skip
    got = await here.http.post("/oauth/token", data=form)
    assert got.status_code == 200, got.text
    tokens = got.json()
    assert await knows(a, tokens["access_token"])
    assert await knows(b, tokens["access_token"])

    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client.id}
    again = await there.http.post("/oauth/token", data=refresh)
    assert again.status_code == 200, again.text
    assert (await here.http.post("/oauth/token", data=refresh)).status_code == 400  # it came twice: all of it ends
    for house in (a, b):
        for token in (tokens["access_token"], again.json()["access_token"]):

            async def ended(house: Any = house, token: str = token) -> bool:
                return not await knows(house, token)

            await until(ended)


# --- may they ------------------------------------------------------------------------------------


async def test_an_approval_asked_at_one_and_given_at_the_other_serves_exactly_one_call(two: Two) -> None:
    a, b = await two()
    caller = a.caller("owner", subject="bob")
    asked = await a.gateway.call(erase(caller))
    assert asked.kind == "approval_required"
    id = asked.details["approval"]
    assert [each.id for each in b.policy.approvals.pending("local")] == [id]
    waiting = asyncio.create_task(a.policy.approvals.wait(id, 30))
    await asyncio.sleep(0)
    b.policy.approvals.decide(id, True, "carol")
    assert (await asyncio.wait_for(waiting, 10)).status == "approved"

    outcomes = await asyncio.gather(*(house.gateway.call(erase(caller)) for house in (a, b) * 8))
    assert sorted(outcome.kind for outcome in outcomes) == ["approval_required"] * 15 + ["ok"]
    assert a.calc.calls == ["erase all"]
    assert len({outcome.details["approval"] for outcome in outcomes if not outcome.ok}) == 1
    for house in (a, b):
        await house.audit.close()
    events = [(r["outcome"], r["approval_id"]) for house in (a, b) for r in house.recorded("approval")]
    assert events.count(("used", id)) == 1
    assert events.count(("requested", id)) == 1
    assert [event for event, each in events if each != id] == ["requested"]


async def test_a_caller_who_leaves_while_an_approval_is_used_up_keeps_nothing_off_the_record(two: Two) -> None:
    a, _ = await two()
    caller = a.caller("owner", subject="bob")
    id = (await a.gateway.call(erase(caller))).details["approval"]
    a.policy.approvals.decide(id, True, "carol")
    began, take = asyncio.Event(), a.policy.approvals.take
    loop = asyncio.get_running_loop()

    def slowly(*given: Any) -> Any:
        loop.call_soon_threadsafe(began.set)
        return take(*given)

    a.policy.approvals.take = slowly
    leaving = asyncio.create_task(a.gateway.call(erase(caller)))
    await began.wait()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    async def used() -> bool:
        return [r["outcome"] for r in a.recorded("approval")][-1:] == ["used"]

    await until(used)
    assert a.calc.calls == []


async def test_calls_are_counted_for_both(two: Two) -> None:
    a, b = await two(rate_per_minute=6)
    caller = a.caller("owner", subject=f"s{monotonic_ns()}")
    call = Call(caller=caller, tool="calc.add", arguments={"a": 1, "b": 2})
    outcomes = await asyncio.gather(*(house.gateway.call(call) for house in (a, b) * 5))
    assert sorted(outcome.kind for outcome in outcomes) == ["ok"] * 6 + ["throttled"] * 4


# --- what clients carry --------------------------------------------------------------------------


async def test_a_task_begun_at_one_is_followed_at_the_other(two: Two, browse: Any) -> None:
    worker = Worker()
    a, b = await two(servers={"worker": worker})
    token = a.key("owner", subject="bob")
    id = await begin(browse(a, token=token))
    found = (await about(browse(b, token=token), "tasks/get", id)).json["result"]
    assert (found["taskId"], found["status"]) == (id, "completed")
    thief = browse(b, token=b.key("owner", subject="mallory"))
    assert (await about(thief, "tasks/get", id)).error["code"] == -32602


async def test_a_session_begun_at_one_goes_on_at_the_other(two: Two, browse: Any) -> None:
    a, b = await two()
    token = a.key("owner", subject="bob")
    asked = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
    begun = await browse(a, token=token).legacy("initialize", asked)
    session = {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}
    answer = await browse(b, token=token).legacy(
        "tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}}, headers=session
    )
    assert answer.json["result"]["structuredContent"] == {"total": 3}


def test_pseudonyms_are_the_same_at_both(postgres: str, tmp_path: Path) -> None:
    from workbench.config import Settings
    from workbench.policy import Policy

    common = {"database_url": postgres, "database_schema": f"t{monotonic_ns()}"}
    told = []
    for name in ("a", "b"):
        policy = Policy(Settings.load(env={}, cwd=tmp_path, home=tmp_path / name, **common))
        told.append(policy.redactor.record({"email": "john.smith@acme.com"}, "acme"))
        policy.close()
    assert told[0] == told[1]
    assert "john.smith" not in str(told)


# --- the database is away ------------------------------------------------------------------------


@pytest.fixture
def wire(postgres: str) -> Iterator[Wire]:
    made = Wire(postgres.split("host=")[1] + "/.s.PGSQL.5432")
    yield made
    made.close()


async def test_without_the_database_known_callers_go_on_and_what_needs_it_is_refused_and_recorded(
    two: Two, wire: Wire, browse: Any
) -> None:
    a, b = await two(database_url=f"postgresql://postgres@127.0.0.1:{wire.port}/postgres")
    add = {"name": "calc.add", "arguments": {"a": 1, "b": 2}}
    destroy = {"name": "calc.erase", "arguments": {"what": "all"}}
    known, unseen = a.key("owner", subject="bob"), b.key("owner", subject="cy")
    assert (await browse(a, token=known).modern("tools/call", add)).status == 200

    wire.cut()

    async def noticed() -> bool:
        return bool(a.access.store.problem)

    await until(noticed)
    assert (await browse(a, token=known).modern("tools/call", add)).status == 200
    refused = await browse(a, token=known).modern("tools/call", destroy)
    assert b'"rule":"approvals","retry_after":1' in refused.body
    assert b"control database" in refused.body
    stranger = await browse(a, token=unseen).modern("tools/call", add)
    assert (stranger.status, stranger.headers["retry-after"]) == (503, "1")
    assert "www-authenticate" not in stranger.headers
    assert a.outcomes() == ["ok", "ok", "unavailable"]
    assert a.calc.calls == ["add", "add"]

    wire.mend()

    async def back() -> bool:
        return not a.access.store.problem

    await until(back)
    assert (await browse(a, token=unseen).modern("tools/call", add)).status == 200
    assert b"approval_required" in (await browse(a, token=known).modern("tools/call", destroy)).body
