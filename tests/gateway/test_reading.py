"""Prompts, resources, templates and completions: listed under names that stand, read under the rules, on the record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import Completion

from workbench.endpoint import features
from workbench.endpoint import session_preferences as wishes
from workbench.endpoint.feature_catalog import _pattern
from workbench.events import Call
from workbench.gateway.method_tools import method_tool


def library(name: str, *titles: str) -> MCPServer:
    """A server with a resource for each title, a template and a prompt."""
    mcp = MCPServer(name)

    def about(title: str) -> Callable[[], str]:
        return lambda: f"{name} on {title}"

    for title in titles:
        mcp.resource(f"doc://{title}", name=title)(about(title))

    @mcp.resource("doc://{shelf}/{book}")
    def book(shelf: str, book: str) -> str:
        return f"{shelf}/{book} of {name}"

    @mcp.prompt()
    def summary(topic: str = "all") -> str:
        """Summarises."""
        return f"Summarise {topic} of {name}."

    @mcp.completion()
    async def complete(ref: Any, argument: Any, context: Any) -> Completion:
        return Completion(values=[f"{argument.value}{name}"])

    return mcp


@pytest.fixture
async def house(furnish: Any) -> Any:
    return await furnish(servers={"east": library("east", "sun", "shared"), "west": library("west", "moon", "shared")})


@pytest.fixture
def browser(browse: Any, house: Any) -> Any:
    return browse(house)


async def read(browser: Any, uri: str, **more: Any) -> Any:
    return await browser.modern("resources/read", {"uri": uri}, headers={"mcp-name": uri}, **more)


async def test_addresses_stay_and_only_shared_ones_get_the_server_in_front(browser: Any) -> None:
    found = (await browser.modern("resources/list")).json["result"]
    uris = [resource["uri"] for resource in found["resources"]]
    assert uris == ["gateway://east/doc://shared", "doc://sun", "doc://moon", "gateway://west/doc://shared"]
    assert (found["cacheScope"], found["resultType"]) == ("private", "complete")
    templates = (await browser.modern("resources/templates/list")).json["result"]["resourceTemplates"]
    assert [template["uriTemplate"] for template in templates] == [
        "gateway://east/doc://{shelf}/{book}",
        "gateway://west/doc://{shelf}/{book}",
    ]
    older = (await browser.legacy("resources/list")).json["result"]
    assert older["resources"] == found["resources"]
    assert "resultType" not in older


@pytest.mark.parametrize(
    ("uri", "text"),
    [
        ("doc://sun", "east on sun"),
        ("gateway://east/doc://sun", "east on sun"),
        ("gateway://west/doc://shared", "west on shared"),
        ("gateway://west/doc://a/b", "a/b of west"),
    ],
)
async def test_a_resource_is_read_from_its_server_and_recorded(browser: Any, house: Any, uri: str, text: str) -> None:
    (contents,) = (await read(browser, uri)).json["result"]["contents"]
    assert contents["text"] == text
    (record,) = house.recorded()
    assert record["tool"] == f"{record['server']}.resources/read"
    assert record["args_redacted"] == {"uri": contents["uri"]}
    assert (record["outcome"], record["policy_decision"]) == ("ok", "allow")


@pytest.mark.parametrize(
    "uri", ["doc://shared", "doc://x/y", "doc://nowhere", "gateway://nobody/doc://sun", "gateway://"]
)
async def test_what_nobody_or_several_have_is_refused_with_its_address(browser: Any, house: Any, uri: str) -> None:
    response = await read(browser, uri)
    assert (response.status, response.error["code"]) == (400, -32602)
    assert response.error["data"] == {"uri": uri}
    assert house.outcomes() == []


async def test_a_server_that_is_down_keeps_its_addresses(browser: Any, house: Any) -> None:
    await browser.modern("resources/list")
    west = house.registry._entries["west"]
    await west.stop()
    response = await read(browser, "doc://shared")
    assert response.error["code"] == -32602
    assert (await read(browser, "doc://moon")).status == 503
    assert house.outcomes() == ["unavailable"]


async def test_prompts_are_called_with_the_server_in_front(browser: Any, browse: Any, house: Any) -> None:
    listed = (await browser.modern("prompts/list")).json["result"]["prompts"]
    assert [prompt["name"] for prompt in listed] == ["east__summary", "west__summary"]
    asked = {"name": "west.summary", "arguments": {"topic": "seas"}}
    found = (await browser.modern("prompts/get", asked)).json["result"]
    assert found["messages"][0]["content"]["text"] == "Summarise seas of west."
    alone = browse(house, "/servers/west/mcp")
    assert [p["name"] for p in (await alone.modern("prompts/list")).json["result"]["prompts"]] == ["summary"]
    assert "messages" in (await alone.legacy("prompts/get", {"name": "summary"})).json["result"]
    for name in ("summary", "north.summary", 7):
        response = await browser.legacy("prompts/get", {"name": name})
        assert response.error["code"] == -32602
    assert (await alone.legacy("prompts/get", {"name": "summary", "arguments": {"topic": 1}})).error["code"] == -32602
    assert house.outcomes() == ["ok", "ok", "invalid"]


async def test_completions_find_the_prompt_or_template(browser: Any, house: Any) -> None:
    argument = {"name": "topic", "value": "x"}
    for ref, value in (
        ({"type": "ref/prompt", "name": "east.summary"}, "xeast"),
        ({"type": "ref/resource", "uri": "gateway://west/doc://{shelf}/{book}"}, "xwest"),
    ):
        found = (await browser.modern("completion/complete", {"ref": ref, "argument": argument})).json["result"]
        assert found["completion"]["values"] == [value]
    for ref in ({"type": "ref/prompt", "name": "summary"}, {"type": "odd"}, None):
        response = await browser.modern("completion/complete", {"ref": ref, "argument": argument})
        assert response.error["code"] == -32602
    assert house.outcomes() == ["ok", "ok"]


async def test_who_may_not_read_sees_and_gets_nothing(browse: Any, house: Any) -> None:
    stranger = browse(house, token=house.key("owner", scopes=("west:read",)))
    listed = (await stranger.modern("resources/list")).json["result"]["resources"]
    assert [resource["uri"] for resource in listed] == ["doc://moon", "gateway://west/doc://shared"]
    assert [p["name"] for p in (await stranger.modern("prompts/list")).json["result"]["prompts"]] == ["west__summary"]
    response = await read(stranger, "doc://sun")
    assert (response.status, response.error["code"]) == (403, 403)
    assert response.error["data"]["missing_scopes"] == ["east:read"]
    assert 'scope="east:read"' in response.headers["www-authenticate"]
    assert house.outcomes() == ["denied"]


async def test_every_door_can_read(house: Any) -> None:
    call = Call(caller=house.owner, tool="east.resources/read", arguments={"uri": "doc://sun"})
    outcome = await house.gateway.call(call)
    assert outcome.ok
    assert outcome.result["contents"][0]["text"] == "east on sun"
    nowhere = await house.gateway.call(Call(caller=house.owner, tool="north.resources/read", arguments={"uri": "a:b"}))
    assert nowhere.kind == "not_found"


async def test_long_lists_come_in_pages_and_a_cursor_of_another_list_is_refused(browser: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(features, "PAGE", 3)
    first = (await browser.modern("resources/list")).json["result"]
    rest = (await browser.modern("resources/list", {"cursor": first["nextCursor"]})).json["result"]
    assert (len(first["resources"]), len(rest["resources"])) == (3, 1)
    assert "nextCursor" not in rest
    for cursor in ("0-x", "3", "", 3, first["nextCursor"].replace("3-", "9-")):
        assert (await browser.modern("resources/list", {"cursor": cursor})).error["code"] == -32602


async def test_watching_a_resource_reaches_its_server_once_and_is_announced_to_all(
    browse: Any, house: Any, monkeypatch: Any
) -> None:
    browser, leave = browse(house), asyncio.Event()
    uri = "gateway://west/doc://shared"
    wanted = {"notifications": {"resourceSubscriptions": [uri, "doc://nowhere"], "promptsListChanged": True}}
    announcements = house.endpoint._modern._announcements
    listening = [asyncio.create_task(browser.modern("subscriptions/listen", wanted, id=n, leave=leave)) for n in (1, 2)]
    session = await _session(browser)
    asked = await browser.legacy("resources/subscribe", {"uri": uri}, headers=session)
    assert asked.json["result"] == {}
    older = asyncio.create_task(browser.send(method="GET", headers=session, leave=leave))
    async with asyncio.timeout(10):
        while len(announcements._streams) < 3:  # noqa: ASYNC110 - streams have no other sign
            await asyncio.sleep(0.005)
        house.registry._said("west", {"method": "notifications/resources/updated", "params": {"uri": "doc://shared"}})
        house.registry._said("west", {"method": "notifications/resources/updated", "params": {"uri": "doc://other"}})
        house.registry._said("east", {"method": "notifications/prompts/list_changed"})
        await asyncio.sleep(0.05)
        leave.set()
        responses = await asyncio.gather(*listening)
        old = await older
    for response in responses:
        acknowledged, updated, changed = response.events
        assert acknowledged["params"]["notifications"] == {
            "promptsListChanged": True,
            "resourceSubscriptions": [uri],
        }
        assert (updated["method"], updated["params"]["uri"]) == ("notifications/resources/updated", uri)
        assert changed["method"] == "notifications/prompts/list_changed"
    assert [event["method"] for event in old.events] == [
        "notifications/resources/updated",
        "notifications/prompts/list_changed",
    ]
    watches = house.endpoint._modern._watches
    assert watches._watchers == {("west", "doc://shared"): 1}
    gone = await browser.legacy("resources/unsubscribe", {"uri": uri}, headers=session)
    assert gone.json["result"] == {}
    assert not watches._watchers
    assert {record["tool"] for record in house.recorded()} == {"west.resources/subscribe"}


async def test_a_session_says_how_much_it_wants_to_be_logged(browser: Any) -> None:
    session = await _session(browser)
    for level, ok in (("warning", True), ("loud", False), (None, False)):
        response = await browser.legacy("logging/setLevel", {"level": level}, headers=session)
        assert ("result" in response.json) is ok
    wishes = browser.house.endpoint._legacy._wishes
    (wish,) = wishes._wishes.values()
    assert wish.level == "warning"
    await browser.send(method="DELETE", headers=session)
    assert wishes._wishes == {}


@pytest.mark.parametrize(
    ("template", "uri", "fits"),
    [
        ("doc://{a}/{b}", "doc://x/y", True),
        ("doc://{a}/{b}", "doc://x", False),
        ("doc://{a}", "doc://x/y", False),
        ("file://{+path}", "file://a/b/c", True),
        ("doc://{a}.json", "doc://x.y.json", True),
        ("doc://x{?q}", "doc://x?q=1", True),
        ("doc://x", "doc://x", True),
        ("doc://{a}{b}{c}{d}{e}{f}{g}{h}!", "doc://" + "x" * 2000, False),
    ],
)
def test_templates_fit_what_they_can_become(template: str, uri: str, fits: bool) -> None:
    assert bool(_pattern(template).fullmatch(uri)) is fits


def test_a_method_of_one_server_is_never_taken_for_that_of_another() -> None:
    assert method_tool("a", "resources/read").definition_hash != method_tool("b", "resources/read").definition_hash


async def _session(browser: Any) -> dict[str, str]:
    response = await browser.legacy("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}})
    return {"mcp-session-id": response.headers["mcp-session-id"], "mcp-protocol-version": "2025-11-25"}


@pytest.mark.filterwarnings("ignore")  # the SDK warns of logging, which the newest revision deprecates
async def test_log_lines_below_the_level_that_was_asked_for_are_left_out(furnish: Any, browse: Any, serve: Any) -> None:
    mcp = MCPServer("talker")

    @mcp.tool()
    async def talk(ctx: Context) -> str:
        await ctx.info("a detail")
        await ctx.error("a problem")
        return "said"

    house = await furnish(servers={"talker": f"{await serve(mcp.streamable_http_app())}/mcp"})
    browser = browse(house)
    session = await _session(browser)
    asked = {"name": "talker.talk", "arguments": {}}

    async def heard(level: str | None = None) -> list[str]:
        if level:
            await browser.legacy("logging/setLevel", {"level": level}, headers=session)
        response = await browser.legacy("tools/call", asked, headers=session)
        return [event["params"]["data"] for event in response.events if "method" in event]

    assert await heard() == ["a detail", "a problem"]
    assert await heard("error") == ["a problem"]
    assert await heard("emergency") == []
    modern = await browser.modern("tools/call", asked, meta={"io.modelcontextprotocol/logLevel": "error"})
    assert [event["params"]["level"] for event in modern.events[:-1]] == ["error"]
    assert (await browser.modern("tools/call", asked)).json["result"]["content"][0]["text"] == "said"


async def test_a_session_cannot_watch_what_it_may_not_read_or_nobody_has(
    browse: Any, house: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(wishes, "MAX_PER_SESSION", 1)
    stranger = browse(house, token=house.key("owner", scopes=("west:read",)))
    session = await _session(stranger)

    async def watch(uri: Any, method: str = "resources/subscribe") -> Any:
        return (await stranger.legacy(method, {"uri": uri}, headers=session)).json

    assert (await watch("doc://sun"))["error"]["data"]["missing_scopes"] == ["east:read"]
    assert (await watch("doc://nowhere"))["error"]["code"] == -32602
    assert (await watch("doc://moon", "resources/unsubscribe"))["result"] == {}
    assert (await watch("doc://moon"))["result"] == {}
    assert (await watch("doc://moon"))["result"] == {}
    assert "at most 1" in (await watch("gateway://west/doc://shared"))["error"]["message"]
    assert house.outcomes() == ["denied", "ok"]
    await stranger.send(method="DELETE", headers=session)
    assert not house.endpoint._legacy._wishes._watches._watchers
