"""MCP Apps: the page of a tool is found where its definition says, behind one server and behind all."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID, Apps, ResourceCsp
from mcp.server.mcpserver import Context, MCPServer

from tests.gateway.conftest import House
from workbench.endpoint.resource_uris import qualified, split, with_page

PAGE = "<!doctype html><title>{}</title>"
PAGES = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION_ID: {"mimeTypes": [APP_MIME_TYPE]}}}}


def clock(name: str) -> MCPServer:
    """A server of the SDK with a tool that has a page; both have theirs at the same address."""
    apps = Apps()

    @apps.tool(resource_uri="ui://clock/app.html", visibility=["model", "app"])
    def get_time(ctx: Context) -> str:
        """Current time."""
        return f"It is late at {name}."

    csp = ResourceCsp(connect_domains=["https://time.example"])
    apps.add_html_resource("ui://clock/app.html", PAGE.format(name), csp=csp)
    mcp = MCPServer(name, extensions=[apps])
    mcp.resource("doc://about", name="about")(lambda: name)
    return mcp


@pytest.fixture
async def house(furnish: Any) -> House:
    found: House = await furnish(servers={"east": clock("east"), "west": clock("west")})
    return found


async def page_of(browser: Any, tool: str) -> str:
    tools = (await browser.modern("tools/list", meta=PAGES)).json["result"]["tools"]
    (found,) = [one for one in tools if one["name"] == tool]
    assert found["_meta"]["ui"]["visibility"] == ["model", "app"]
    uri = found["_meta"]["ui"]["resourceUri"]
    assert isinstance(uri, str)
    return uri


async def read(browser: Any, uri: str) -> Any:
    response = await browser.modern("resources/read", {"uri": uri}, headers={"mcp-name": uri}, meta=PAGES)
    (contents,) = response.json["result"]["contents"]
    return contents


@pytest.mark.parametrize("server", ["east", "west"])
async def test_behind_all_servers_each_tool_has_its_own_page(house: House, browse: Any, server: str) -> None:
    browser = browse(house)
    found = (await browser.modern("server/discover")).json["result"]["capabilities"]["extensions"]
    assert EXTENSION_ID in found
    uri = await page_of(browser, f"{server}__get_time")
    assert uri == f"ui://gateway/{server}/clock/app.html"
    contents = await read(browser, uri)
    assert (contents["text"], contents["mimeType"]) == (PAGE.format(server), APP_MIME_TYPE)
    assert contents["_meta"]["ui"]["csp"]["connectDomains"] == ["https://time.example"]
    listed = (await browser.modern("resources/list")).json["result"]["resources"]
    assert [entry["uri"] for entry in listed if entry["uri"].startswith("ui://")] == [
        f"ui://gateway/{each}/clock/app.html" for each in ("east", "west")
    ]
    (called,) = (await browser.modern("tools/call", {"name": f"{server}.get_time", "arguments": {}})).json["result"][
        "content"
    ]
    assert called["text"] == f"It is late at {server}."
    older = (await browser.legacy("tools/list")).json["result"]["tools"]
    assert uri in [tool.get("_meta", {}).get("ui", {}).get("resourceUri") for tool in older]


async def test_behind_one_server_nothing_is_renamed(house: House, browse: Any) -> None:
    alone = browse(house, "/servers/west/mcp")
    uri = await page_of(alone, "get_time")
    assert uri == "ui://clock/app.html"
    assert (await read(alone, uri))["text"] == PAGE.format("west")
    listed = (await alone.modern("resources/list")).json["result"]["resources"]
    assert "ui://clock/app.html" in [entry["uri"] for entry in listed]


async def test_a_page_needs_the_right_to_read_and_is_on_the_record(house: House, browse: Any) -> None:
    stranger = browse(house, token=house.key("owner", scopes=("west:read",)))
    uri = "ui://gateway/east/clock/app.html"
    response = await stranger.modern("resources/read", {"uri": uri}, headers={"mcp-name": uri})
    assert response.error["data"]["missing_scopes"] == ["east:read"]
    await read(browse(house), uri)
    assert [(record["tool"], record["outcome"]) for record in house.recorded()] == [
        ("east.resources/read", "denied"),
        ("east.resources/read", "ok"),
    ]


async def test_an_address_that_several_have_is_refused_and_the_longer_ones_named(house: House, browse: Any) -> None:
    uri = "ui://clock/app.html"
    response = await browse(house).modern("resources/read", {"uri": uri}, headers={"mcp-name": uri})
    assert "ui://gateway/east/clock/app.html or ui://gateway/west/clock/app.html" in response.error["message"]


@given(st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), st.sampled_from(["ui://", "doc://", ""]), st.text())
def test_a_qualified_address_leads_back(server: str, scheme: str, rest: str) -> None:
    uri = scheme + rest
    assert split(qualified(server, uri)) == (server, uri)


def test_definitions_without_a_page_stay_as_they_are() -> None:
    for meta in ({}, {"_meta": 7}, {"_meta": {"ui": "x"}}, {"_meta": {"ui": {"resourceUri": "https://x"}}}):
        definition = {"name": "t", **meta}
        assert with_page(definition, "s") is definition
    flat = {"_meta": {"ui/resourceUri": "ui://a", "com.example/x": 1}}
    assert with_page(flat, "s") == {"_meta": {"ui/resourceUri": "ui://gateway/s/a", "com.example/x": 1}}
