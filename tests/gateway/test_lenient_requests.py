"""Requests as clients of the field send them: with a slash behind, null for nothing, and methods beside POST."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}


def message(method: str, id: Any = 1, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "method": method, **more}


async def session_of(browser: Any, **more: Any) -> dict[str, str]:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    begun = await browser.legacy("initialize", params, **more)
    return {"mcp-session-id": begun.headers["mcp-session-id"], "mcp-protocol-version": "2025-06-18"}


@pytest.mark.parametrize("path", ["/servers/calc/mcp", "/servers/calc/mcp/"])
async def test_a_slash_behind_leads_to_the_same_endpoint(browser: Any, path: str) -> None:
    session = await session_of(browser, path=path)
    for at in ("/servers/calc/mcp", "/servers/calc/mcp/"):
        called = await browser.legacy("tools/call", ADD, path=at, headers=session)
        assert called.json["result"]["structuredContent"] == {"total": 3}
    modern = await browser.modern("tools/call", ADD, path=path)
    assert modern.json["result"]["structuredContent"] == {"total": 3}


async def test_a_slash_behind_changes_nothing_of_the_resource(browser: Any) -> None:
    browser.token = ""
    asked = [await browser.modern("tools/list", path=path) for path in ("/mcp", "/mcp/")]
    assert asked[0].headers["www-authenticate"] == asked[1].headers["www-authenticate"]
    told = [
        await browser.send(method="GET", path=f"/.well-known/oauth-protected-resource{path}")
        for path in ("/mcp", "/mcp/")
    ]
    assert told[0].json == told[1].json


async def test_two_slashes_and_other_paths_are_no_endpoints(browser: Any) -> None:
    for path in ("/mcp//", "//mcp", "/mcp/x", "/servers//mcp", "/servers/calc/mcp/x/"):
        assert (await browser.modern("tools/list", path=path)).status == 404, path


@pytest.mark.parametrize("params", [{"params": None}, {"params": []}, {"params": {}}, {}])
@pytest.mark.parametrize("method", ["tools/list", "ping", "prompts/list", "resources/list", "resources/templates/list"])
async def test_no_params_are_written_in_many_ways(browser: Any, method: str, params: dict[str, Any]) -> None:
    session = await session_of(browser)
    response = await browser.send(message(method, **params), headers=session)
    assert response.status == 200
    assert "result" in response.json, response.json


@pytest.mark.parametrize("params", [{"params": None}, {"params": []}, {}])
async def test_a_notification_without_params_is_taken(browser: Any, params: dict[str, Any]) -> None:
    session = await session_of(browser)
    sent = {"jsonrpc": "2.0", "method": "notifications/initialized", **params}
    assert (await browser.send(sent, headers=session)).status == 202


@pytest.mark.parametrize("params", ["x", 1, True, [1], [{}]])
async def test_params_of_other_kinds_are_refused(browser: Any, params: Any) -> None:
    response = await browser.send(message("tools/list", params=params))
    assert response.error["code"] == -32602


@pytest.mark.parametrize("arguments", [{}, {"arguments": None}, {"arguments": {}}])
async def test_no_arguments_are_written_in_many_ways(browser: Any, arguments: dict[str, Any]) -> None:
    session = await session_of(browser)
    response = await browser.send(message("tools/call", params={"name": "calc.steps", **arguments}), headers=session)
    answer = response.events[-1] if response.headers["content-type"] == "text/event-stream" else response.json
    assert answer["result"]["content"][0]["text"] == "done"


@pytest.mark.parametrize("accept", [None, "*/*", "text/event-stream", "Text/Event-Stream", "text/*", ""])
async def test_a_get_of_a_session_is_a_stream_whatever_says_that_events_are_taken(browser: Any, accept: Any) -> None:
    session, leave = await session_of(browser), asyncio.Event()
    asyncio.get_running_loop().call_later(0.05, leave.set)
    response = await browser.send(method="GET", headers={**session, "accept": accept}, leave=leave)
    assert (response.status, response.headers["content-type"]) == (200, "text/event-stream")


STATUSES: list[tuple[str, dict[str, str | None], int]] = [
    ("GET", {"mcp-protocol-version": "2026-07-28"}, 405),
    ("DELETE", {"mcp-protocol-version": "2026-07-28"}, 405),
    ("GET", {"mcp-session-id": "unknown"}, 404),
    ("DELETE", {"mcp-session-id": "unknown"}, 404),
    ("POST", {"mcp-session-id": "unknown"}, 404),
    ("PUT", {}, 405),
    ("PATCH", {}, 405),
    ("HEAD", {}, 405),
    ("OPTIONS", {}, 204),
    ("GET", {"authorization": None}, 401),
    ("HEAD", {"authorization": None}, 401),
    ("DELETE", {"authorization": None}, 401),
]


@pytest.mark.parametrize(("method", "headers", "status"), STATUSES)
async def test_each_method_has_its_status(browser: Any, method: str, headers: Any, status: int) -> None:
    body = message("tools/list") if method == "POST" else None
    response = await browser.send(body, method=method, headers=headers)
    assert response.status == status
    if status in (204, 405):
        assert "POST" in response.headers["allow"]


async def test_a_session_ends_once_and_is_unknown_afterwards(browser: Any) -> None:
    session = await session_of(browser)
    assert (await browser.send(method="GET", headers={**session, "accept": "application/json"})).status == 406
    assert (await browser.send(method="DELETE", headers=session)).status == 204
    assert (await browser.send(method="DELETE", headers=session)).status == 404
    assert (await browser.legacy("ping", headers=session)).status == 404
