"""Clients of a gateway that send what public reports say that clients send, and get what they need."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

ADD = {"name": "calc__add", "arguments": {"a": 1, "b": 2}}


def message(method: str, id: Any = 1, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, **more}


async def session_of(browser: Any, revision: str = "2025-06-18") -> dict[str, str]:
    params = {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    begun = await browser.legacy("initialize", params)
    agreed = begun.json["result"]["protocolVersion"]
    return {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": agreed}


@pytest.mark.parametrize("id", ["1", "0", "", "req-abc", 0, -1, 2**53 - 1, "ünïcode"])
async def test_an_answer_carries_the_id_of_its_request_as_it_was_written(browser: Any, id: Any) -> None:
    session = await session_of(browser)
    called = await browser.legacy("tools/call", ADD, id=id, headers=session)
    assert called.json["id"] == id
    assert type(called.json["id"]) is type(id)
    wrong = await browser.legacy("tools/call", {"name": "calc__nothing"}, id=id, headers=session)
    assert wrong.json["id"] == id


async def test_a_request_with_the_id_null_is_refused_and_not_taken_for_a_notification(browser: Any) -> None:
    response = await browser.send(message("tools/call", None, params=ADD), headers=await session_of(browser))
    assert response.status == 400
    assert response.error["code"] == -32600
    assert browser.house.calc.calls == []


async def test_two_requests_under_one_id_at_once_get_an_answer_each(browser: Any) -> None:
    session = await session_of(browser)

    async def add(number: int) -> int:
        arguments = {"a": number, "b": 0}
        response = await browser.legacy("tools/call", {"name": "calc__add", "arguments": arguments}, headers=session)
        return int(response.json["result"]["structuredContent"]["total"])

    async with asyncio.timeout(10):
        assert await asyncio.gather(*(add(number) for number in range(8))) == list(range(8))


@pytest.mark.parametrize(
    "accept",
    ["application/json", "text/event-stream", "text/event-stream, application/json", "*/*", "application/*", None, ""],
)
async def test_a_call_is_answered_in_a_form_that_the_client_takes(browser: Any, accept: str | None) -> None:
    headers = {**await session_of(browser), "accept": accept}
    for params in (ADD, {"name": "calc__steps", "arguments": {}, "_meta": {"progressToken": 1}}):
        response = await browser.legacy("tools/call", params, headers=headers)
        assert response.status == 200, response.body
        kind = response.headers["content-type"].partition(";")[0]
        if accept in ("application/json", "text/event-stream"):
            assert kind == accept
        answer = response.events[-1] if kind == "text/event-stream" else response.json
        assert not answer["result"].get("isError")


@pytest.mark.parametrize("revision", ["2099-01-01", "2025-11-25", "1.0", "", "DRAFT-2026-v1"])
async def test_a_revision_that_is_not_known_is_answered_with_one_that_is(browser: Any, revision: str) -> None:
    session = await session_of(browser, revision)
    assert session["mcp-protocol-version"] >= "2024-11-05"
    assert (await browser.legacy("tools/call", ADD, headers=session)).json["result"]["structuredContent"] == {
        "total": 3
    }


@pytest.mark.parametrize("revision", ["1900-01-01", "not-a-version"])
async def test_a_header_with_an_unknown_revision_is_refused_with_those_that_are_known(
    browser: Any, revision: str
) -> None:
    session = await session_of(browser)
    response = await browser.legacy("tools/call", ADD, headers={**session, "mcp-protocol-version": revision})
    assert response.status == 400
    assert "2025-06-18" in json.dumps(response.json)
    assert browser.house.calc.calls == []


@pytest.mark.parametrize("header", ["2025-11-25", "2025-03-26", "2024-11-05", None])
async def test_a_client_that_states_another_known_revision_than_agreed_is_served(browser: Any, header: Any) -> None:
    session = await session_of(browser, "2025-06-18")
    response = await browser.legacy("tools/call", ADD, headers={**session, "mcp-protocol-version": header})
    assert response.status == 200, response.body
    assert response.json["result"]["structuredContent"] == {"total": 3}


@pytest.mark.parametrize("method", ["prompts/list", "resources/list", "resources/templates/list", "tools/list"])
async def test_what_is_probed_at_the_start_is_a_list_and_no_error(browser: Any, method: str) -> None:
    answer = await browser.legacy(method, headers=await session_of(browser))
    assert isinstance(next(iter(answer.json["result"].values())), list)


async def test_arguments_written_as_a_text_are_refused_with_what_was_expected(browser: Any) -> None:
    session = await session_of(browser)
    params = {"name": "calc__add", "arguments": '{"a": 1, "b": 2}'}
    response = await browser.legacy("tools/call", params, headers=session)
    assert "object" in response.body.decode()
    assert browser.house.calc.calls == []


async def test_an_argument_that_the_tool_no_longer_has_reaches_a_tool_that_allows_it(browser: Any) -> None:
    session = await session_of(browser)
    params = {"name": "calc__add", "arguments": {"a": 1, "b": 2, "toolCallId": "call_7"}}
    response = await browser.legacy("tools/call", params, headers=session)
    assert response.json["result"]["structuredContent"] == {"total": 3}


async def test_a_log_level_may_be_set_and_roots_may_change_before_anything_else(browser: Any) -> None:
    session = await session_of(browser)
    assert (await browser.legacy("logging/setLevel", {"level": "debug"}, headers=session)).json["result"] == {}
    changed = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
    assert (await browser.send(changed, headers=session)).status == 202
    unknown = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 99, "reason": "x"}}
    assert (await browser.send(unknown, headers=session)).status == 202


@pytest.mark.parametrize("name", ["calc.add", "calc__add"])
async def test_a_tool_is_called_before_the_client_says_that_it_is_ready(browser: Any, name: str) -> None:
    response = await browser.legacy("tools/call", {**ADD, "name": name}, headers=await session_of(browser))
    assert response.json["result"]["structuredContent"] == {"total": 3}


@pytest.mark.parametrize("text", ["naïve café", "日本語", "👩🏽‍💻", "a\u2028b", "\u0000", "\x1b[31m", "ÆØÅ×→★"])
async def test_any_text_arrives_as_it_was_sent(browser: Any, text: str) -> None:
    params = {"name": "calc__region", "arguments": {"region": text}}
    response = await browser.legacy("tools/call", params, headers=await session_of(browser))
    assert response.json["result"]["content"][0]["text"] == text


async def test_a_client_that_asks_for_the_endpoint_with_a_slash_is_not_sent_elsewhere(browser: Any) -> None:
    for path in ("/mcp", "/mcp/"):
        response = await browser.legacy("tools/list", path=path)
        assert response.status == 200, path
        browser.token, token = "", browser.token
        assert (await browser.legacy("tools/list", path=path)).status == 401, path
        browser.token = token
