"""Older revisions at the front: handshake, sealed sessions, batches, streams, and cancellation by notification."""

from __future__ import annotations

import asyncio
import stat
from typing import Any

import pytest

from tests.gateway.conftest import until
from workbench.endpoint.sessions import LIFETIME_S, Sessions
from workbench.events import Caller, MisuseError

ADD = {"name": "calc.add", "arguments": {"a": 1, "b": 2}}


async def begin(browser: Any, revision: str = "2025-11-25") -> dict[str, str]:
    """Shake hands; the headers of the session."""
    response = await browser.legacy("initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": {}})
    session = {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": revision}
    told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await browser.send(told, headers=session)).status == 202
    return session


@pytest.mark.parametrize(
    ("asked", "agreed"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ],
)
async def test_the_handshake_agrees_on_a_revision(browser: Any, asked: str, agreed: str) -> None:
    response = await browser.legacy("initialize", {"protocolVersion": asked, "capabilities": {}, "clientInfo": {}})
    found = response.json["result"]
    assert found["protocolVersion"] == agreed
    assert found["serverInfo"]["name"] == "mcp-workbench"
    changes = {"listChanged": True}
    assert found["capabilities"] == {
        "tools": changes,
        "prompts": changes,
        "resources": {**changes, "subscribe": True},
    }
    assert "calc: Adds numbers." in found["instructions"]


async def test_a_session_lists_and_calls_and_is_on_the_record(browser: Any, house: Any) -> None:
    session = await begin(browser)
    listed = (await browser.legacy("tools/list", headers=session)).json["result"]
    assert "calc__add" in [tool["name"] for tool in listed["tools"]]
    assert "resultType" not in listed
    answer = (await browser.legacy("tools/call", ADD, headers=session)).json["result"]
    assert answer["structuredContent"] == {"total": 3}
    assert (await browser.legacy("ping", headers=session)).json["result"] == {}
    (record,) = house.recorded()
    assert record["protocol"] == "2025-11-25"
    assert record["session_id"]
    assert record["session_id"] not in session["mcp-session-id"]


async def test_a_session_of_another_principal_is_refused(browse: Any, house: Any) -> None:
    session = await begin(browse(house))
    thief = browse(house, token=house.key("owner", subject="mallory"))
    for response in (
        await thief.legacy("tools/call", ADD, headers=session),
        await thief.send(method="GET", headers=session),
        await thief.send(method="DELETE", headers=session),
    ):
        assert response.status == 404
    assert house.outcomes() == []
    assert (await browse(house).legacy("tools/call", ADD, headers=session)).status == 200


async def test_a_session_belongs_to_one_endpoint(browse: Any, house: Any) -> None:
    session = await begin(browse(house))
    alone = browse(house, "/servers/calc/mcp")
    assert (await alone.legacy("tools/list", headers=session)).status == 404
    response = await alone.legacy("initialize", {"protocolVersion": "2025-11-25"})
    assert response.json["result"]["serverInfo"] == {"name": "calc", "title": "calc", "version": "1.2"}
    assert response.json["result"]["instructions"] == "Adds numbers."


async def test_an_ended_session_is_gone(browser: Any) -> None:
    session = await begin(browser)
    assert (await browser.send(method="DELETE", headers=session)).status == 204
    assert (await browser.legacy("tools/list", headers=session)).status == 404
    assert (await browser.send(method="DELETE", headers=session)).status == 404


async def test_any_replica_and_a_restarted_gateway_serve_the_session(browser: Any, house: Any) -> None:
    from workbench.endpoint import McpEndpoint

    session = await begin(browser)
    house.endpoint = McpEndpoint(house.gateway)
    assert (await browser.legacy("tools/call", ADD, headers=session)).status == 200


async def test_requests_without_a_session_are_served_all_the_same(browser: Any) -> None:
    response = await browser.legacy("tools/call", ADD, headers={"mcp-protocol-version": "2025-11-25"})
    assert response.json["result"]["structuredContent"] == {"total": 3}
    assert (await browser.send(method="GET")).status == 400
    assert (await browser.legacy("initialize", {})).error["code"] == -32602


async def test_a_batch_is_answered_in_order_at_the_one_revision_that_has_them(browser: Any, house: Any) -> None:
    session = await begin(browser, "2025-03-26")
    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": ADD},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": "two", "method": "tools/call", "params": {"name": "calc.nope"}},
        {"jsonrpc": "2.0", "id": 3, "method": "initialize", "params": {}},
        {"jsonrpc": "2.0", "id": 4, "method": "ping"},
        "nonsense",
    ]
    found = (await browser.send(batch, headers=session)).json
    assert [message["id"] for message in found] == [1, "two", 3, 4, None]
    assert found[0]["result"]["structuredContent"] == {"total": 3}
    assert [message["error"]["code"] for message in (found[1], found[2], found[4])] == [-32602, -32600, -32600]
    assert sorted(house.outcomes()) == ["not_found", "ok"]
    only_told = [{"jsonrpc": "2.0", "method": "notifications/initialized"}]
    assert (await browser.send(only_told, headers=session)).status == 202
    for refused in ([], [batch[4]] * 101):
        assert (await browser.send(refused, headers=session)).error["code"] == -32600
    newer = await begin(browser, "2025-06-18")
    assert (await browser.send(batch, headers=newer)).error["code"] == -32600


async def test_progress_of_a_call_comes_before_its_answer(browser: Any) -> None:
    session = await begin(browser)
    asked = {"name": "calc.steps", "arguments": {}, "_meta": {"progressToken": 5}}
    *progress, last = (await browser.legacy("tools/call", asked, headers=session, id=8)).events
    assert [message["params"]["progressToken"] for message in progress] == [5, 5]
    assert last["id"] == 8
    plain = await browser.legacy("tools/call", asked, headers={**session, "accept": "application/json"})
    assert plain.headers["content-type"] == "application/json"


async def test_a_notification_cancels_only_the_callers_own_request(browse: Any, house: Any) -> None:
    browser = browse(house)
    session = await begin(browser)
    hang = {"name": "calc.hang", "arguments": {}}
    asked = asyncio.create_task(browser.legacy("tools/call", hang, headers=session, id=1))

    async def cancel(by: Any, id: Any, headers: dict[str, str]) -> None:
        told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}}
        assert (await by.send(told, headers=headers)).status == 202

    async with asyncio.timeout(5):
        await house.calc.started.wait()
        stranger = browse(house, token=house.key("owner", subject="mallory"))
        await cancel(stranger, 1, await begin(stranger))
        for wrong in ("1", True, None, [1]):
            await cancel(browser, wrong, session)
        assert not asked.done()
        await cancel(browser, 1, session)
        await house.calc.cancelled.wait()
        response = await asked
    assert response.error["message"] == "The request was cancelled."
    await house.audit.close()
    assert house.outcomes() == ["cancelled"]


async def test_leaving_does_not_cancel_an_older_call(furnish: Any, browse: Any) -> None:
    house = await furnish(call_timeout=0.3)
    leave = asyncio.Event()
    leave.set()
    response = await browse(house).legacy("tools/call", {"name": "calc.hang"}, leave=leave)
    assert response.json["result"]["_meta"]["workbench/outcome"]["kind"] == "timeout"
    assert house.outcomes() == ["timeout"]


async def test_the_stream_of_a_session_announces_changes(browser: Any, house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("workbench.endpoint.subscriptions.KEEP_ALIVE_S", 0.02)
    session, leave = await begin(browser), asyncio.Event()
    listening = asyncio.create_task(browser.send(method="GET", headers=session, leave=leave))
    announcements = house.endpoint._legacy._announcements
    async with asyncio.timeout(5):
        while not announcements._streams:  # noqa: ASYNC110 - the stream has no other sign
            await asyncio.sleep(0.005)
        for heard in house.registry.on_change:
            heard()
        await asyncio.sleep(0.1)
        leave.set()
        response = await listening
    assert response.headers["content-type"] == "text/event-stream"
    assert [message["method"] for message in response.events] == ["notifications/tools/list_changed"]
    assert b": still here" in response.body
    assert (await browser.send(method="GET", headers={**session, "accept": "application/json"})).status == 406


async def test_a_stream_ends_with_the_credential(browse: Any, house: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("workbench.endpoint.subscriptions.KEEP_ALIVE_S", 0.02)
    token = house.key("owner", subject="ann")
    browser = browse(house, token=token)
    session = await begin(browser)
    listening = asyncio.create_task(browser.send(method="GET", headers=session))
    await until(lambda: bool(house.endpoint._legacy._announcements._streams))
    everybody = house.access.keys()
    (key,) = [key for key in everybody if key.subject == "ann"]
    house.access.revoke(key.id)
    async with asyncio.timeout(5):
        assert (await listening).status == 200


async def test_a_stream_ends_with_the_credential_however_much_is_announced(
    browse: Any, house: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("workbench.endpoint.subscriptions.KEEP_ALIVE_S", 0.5)
    browser = browse(house, token=house.key("owner", subject="ann"))
    listening = asyncio.create_task(browser.send(method="GET", headers=await begin(browser)))
    await until(lambda: bool(house.endpoint._legacy._announcements._streams))
    everybody = house.access.keys()
    (key,) = [key for key in everybody if key.subject == "ann"]
    house.access.revoke(key.id)
    async with asyncio.timeout(5):
        while not listening.done():
            for heard in house.registry.on_change:
                heard()
            await asyncio.sleep(0.01)
    assert "notifications/tools/list_changed" in (await listening).body.decode()


async def test_there_is_an_end_to_open_streams(browser: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("workbench.endpoint.subscriptions.MAX_STREAMS", 0)
    session = await begin(browser)
    assert (await browser.send(method="GET", headers=session)).status == 503
    listen = await browser.modern("subscriptions/listen", {"notifications": {}})
    assert (listen.status, listen.headers["retry-after"]) == (503, "30")


def test_sealed_sessions_cannot_be_made_changed_or_kept_too_long(tmp_path: Any, monkeypatch: Any) -> None:
    ann = Caller(tenant="t", subject="ann")
    sessions = Sessions(tmp_path)
    token = sessions.begin(ann, "", "2025-11-25", {"roots": {}}, {"name": "c" * 5000})
    found = sessions.find(token, ann, "")
    assert found is not None
    assert (found.revision, found.capabilities) == ("2025-11-25", {})  # too long to carry, so left out
    assert Sessions(tmp_path).find(token, ann, "") == found
    for other in (Caller(tenant="u", subject="ann"), Caller(tenant="t", subject="bob")):
        assert sessions.find(token, other, "") is None
    for changed in ("", "x", token[:-2], token[:10] + ("A" if token[10] != "A" else "B") + token[11:], "é", "A" * 9000):
        assert sessions.find(changed, ann, "") is None
    assert stat.S_IMODE((tmp_path / "session.key").stat().st_mode) == 0o600
    monkeypatch.setattr("workbench.endpoint.sessions.time.time", lambda: found.started + LIFETIME_S + 1)
    assert sessions.find(token, ann, "") is None
    (tmp_path / "session.key").write_bytes(b"short")
    with pytest.raises(MisuseError, match="5 bytes"):
        Sessions(tmp_path)
