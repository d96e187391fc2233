"""Web pages of other origins: who may read our answers, and how every door says so to a browser."""

from __future__ import annotations

import logging
from typing import Any

import pytest

PAGE = "https://app.example"
ADD = {"name": "calc.add", "arguments": {"a": 1, "b": 2}}
ASKED = "authorization, content-type, mcp-session-id, mcp-protocol-version, x-custom"


@pytest.fixture
async def paged(furnish: Any, browse: Any) -> Any:
    """A client of a house that accepts one origin."""
    return browse(await furnish(allowed_origins=(PAGE,)))


def listed(value: str) -> set[str]:
    return {one.strip().lower() for one in value.split(",")}


@pytest.mark.parametrize(
    "path", ["/mcp", "/mcp/", "/servers/calc/mcp", "/sse", "/.well-known/oauth-protected-resource/mcp"]
)
async def test_a_preflight_of_an_accepted_page_needs_no_credential(paged: Any, path: str) -> None:
    paged.token = ""
    for method in ("POST", "GET", "DELETE"):
        headers = {
            "origin": PAGE,
            "access-control-request-method": method,
            "access-control-request-headers": ASKED,
            "access-control-request-private-network": "true",
            "access-control-request-local-network": "true",
        }
        response = await paged.send(method="OPTIONS", path=path, headers=headers)
        assert (response.status, response.body) == (204, b"")
        assert response.headers["access-control-allow-origin"] == PAGE
        assert method.lower() in listed(response.headers["access-control-allow-methods"])
        assert listed(response.headers["access-control-allow-headers"]) == listed(ASKED)
        assert response.headers["access-control-allow-private-network"] == "true"
        assert response.headers["access-control-allow-local-network"] == "true"
        assert int(response.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize("origin", ["https://evil.example", "https://app.example.evil.example", "null", ""])
async def test_a_preflight_of_any_other_page_is_refused(paged: Any, origin: str) -> None:
    headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": ASKED}
    response = await paged.send(method="OPTIONS", headers=headers)
    assert response.status == 403
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_what_a_page_could_not_have_sent_is_not_repeated_to_it(paged: Any) -> None:
    headers = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x\r\nset-cookie: a=b",
    }
    response = await paged.send(method="OPTIONS", headers=headers)
    assert response.status == 204
    assert "access-control-allow-headers" not in response.headers


async def test_an_accepted_page_can_read_answers_refusals_and_metadata(paged: Any) -> None:
    async def read(**more: Any) -> Any:
        headers = {"origin": PAGE, **more.pop("headers", {})}
        response = await paged.send(more.pop("body", None), headers=headers, **more)
        assert response.headers["access-control-allow-origin"] == PAGE
        exposed = listed(response.headers["access-control-expose-headers"])
        assert {"mcp-session-id", "mcp-protocol-version", "www-authenticate", "retry-after"} <= exposed
        assert "origin" in listed(response.headers["vary"])
        assert "access-control-allow-credentials" not in response.headers
        return response

    initialize = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
    }
    begun = await read(body=initialize)
    session = begun.headers["mcp-session-id"]
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": ADD}
    called = await read(body=call, headers={"mcp-session-id": session})
    assert called.json["result"]["structuredContent"] == {"total": 3}
    assert (await read(body=b"{")).status == 400
    assert (await read(body=call, headers={"mcp-session-id": "gone"})).status == 404
    assert (await read(path="/elsewhere")).status == 404
    assert (await read(method="GET", path="/.well-known/oauth-protected-resource/mcp")).status == 200
    assert (await read(method="DELETE", headers={"mcp-session-id": session})).status == 204
    paged.token = ""
    refused = await read(body=call)
    assert refused.status == 401
    assert "resource_metadata" in refused.headers["www-authenticate"]


async def test_events_of_a_stream_can_be_read_as_well(paged: Any) -> None:
    response = await paged.modern(
        "tools/call", {"name": "calc.steps"}, meta={"progressToken": 1}, headers={"origin": PAGE}
    )
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["access-control-allow-origin"] == PAGE


async def test_no_other_page_can_read_anything(paged: Any) -> None:
    for origin in ("https://evil.example", "http://localhost:6274", "http://app.example"):
        response = await paged.modern("tools/list", headers={"origin": origin})
        assert response.status == 403
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_a_program_that_is_no_browser_is_told_nothing_of_this(paged: Any) -> None:
    response = await paged.modern("tools/list")
    assert response.status == 200
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_pages_of_the_app_and_of_our_own_address_are_accepted(furnish: Any, browse: Any) -> None:
    browser = browse(await furnish(app_port="8777"))
    for origin in ("http://localhost:8777", "http://127.0.0.1:8777", "http://127.0.0.1:8800"):
        assert (await browser.modern("tools/list", headers={"origin": origin})).status == 200, origin
    for origin in ("http://localhost:8778", "https://localhost:8777", "http://localhost", "http://[::1]:8800"):
        assert (await browser.modern("tools/list", headers={"origin": origin})).status == 403, origin


async def test_an_accepted_origin_may_be_written_as_people_write_it(furnish: Any, browse: Any) -> None:
    browser = browse(await furnish(allowed_origins=("https://App.example:443", "http://localhost:6274")))
    for origin in (PAGE, "http://localhost:6274"):
        assert (await browser.modern("tools/list", headers={"origin": origin})).status == 200


async def test_a_refused_origin_is_named_once_with_the_setting_to_change(
    browser: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for origin in ("http://localhost:6274", "http://localhost:6274", "http://e\x1b[31m.example", "null"):
            assert (await browser.modern("tools/list", headers={"origin": origin})).status == 403
    (told,) = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert "http://localhost:6274" in told
    assert "WORKBENCH_ALLOWED_ORIGINS=http://localhost:6274" in told


async def test_who_asks_under_a_thousand_names_does_not_fill_the_log(
    browser: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for number in range(30):
            await browser.modern("tools/list", headers={"origin": f"https://{number}.example"})
    assert len(caplog.records) == 20
