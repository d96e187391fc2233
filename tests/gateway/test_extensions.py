"""Methods, notifications and results that are not of MCP itself: routed, governed, recorded, and left as they are."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import MCPServer
from mcp_types import NotificationParams, RequestParams, Result

from tests.gateway.conftest import Browser, House, until
from tests.gateway.test_crossings import Older
from tests.gateway.test_upstream_http import discovered, raw, result
from workbench.events import JSON, UnreachableError
from workbench.gateway.extensions import is_extension, nearness, owners_of, scopes_of
from workbench.registry import RpcError
from workbench.upstream.http.streamable_http import HttpConnection
from workbench.upstream.in_memory import MemoryConnection

FIND = "vendor.example/find"
ANSWER: JSON = {"resultType": "vendor.example/partial", "odd": {"deep": [1, None]}, "_meta": {"vendor.example/x": 1}}


class Custom:
    """A server of methods of its own, as far as the gateway sees it."""

    def __init__(self, *extensions: str, settings: JSON | None = None) -> None:
        self.transport = "memory"
        self.era = "2026-07-28"
        self.server_info: JSON = {"name": "custom"}
        self.capabilities: JSON = {"tools": {}, "extensions": {name: settings or {} for name in extensions}}
        self.instructions = ""
        self.on_notification: Any = None
        self.asked: list[tuple[str, JSON, JSON]] = []
        self.told: list[tuple[str, JSON]] = []

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    @property
    def alive(self) -> bool:
        return True

    async def request(
        self, method: str, params: JSON, *, timeout: float, notify: Any = None, meta: JSON | None = None, **_: Any
    ) -> JSON:
        if method == "tools/list":
            return {"tools": []}
        if method == "ping":
            return {}
        self.asked.append((method, params, meta or {}))
        if method == "vendor.example/none":
            raise RpcError(-32601, "no such method")
        if notify is not None:
            await notify({"jsonrpc": "2.0", "method": "vendor.example/halfway", "params": {"n": 1}})
        return ANSWER

    async def notify(self, method: str, params: JSON, *, timeout: float, meta: JSON | None = None) -> None:
        self.told.append((method, params))


Several = Callable[..., Awaitable[House]]


@pytest.fixture
def one() -> Custom:
    return Custom("vendor.example/search")


@pytest.fixture
async def house(furnish: Any, one: Custom) -> House:
    found: House = await furnish(servers={"one": one, "two": Custom("other.example/search")})
    return found


@pytest.mark.parametrize("path", ["/mcp", "/servers/one/mcp"])
async def test_a_method_of_an_extension_reaches_its_server_as_it_is(house: House, one: Custom, path: str) -> None:
    browser = Browser(house, path)
    params = {"words": ["a"], "more": {"x": None}}
    for response in (await browser.modern(FIND, params), await browser.legacy(FIND, params)):
        assert response.status == 200
        message = response.events[-1] if response.headers["content-type"] == "text/event-stream" else response.json
        assert message["result"] == ANSWER
    assert [(method, given) for method, given, _ in one.asked] == [(FIND, params)] * 2
    recorded = house.recorded()
    assert [record["tool"] for record in recorded] == [f"one.{FIND}"] * 2
    assert [record["policy_decision"] for record in recorded] == ["allow"] * 2
    assert recorded[0]["args_redacted"] == params


async def test_the_form_with_a_server_says_who_is_meant(house: House, one: Custom) -> None:
    response = await Browser(house).modern(f"two.{FIND}")
    assert response.status == 200
    assert house.recorded()[-1]["tool"] == f"two.{FIND}"
    assert one.asked == []


async def test_a_method_of_several_servers_is_refused_with_the_forms_that_say_which(furnish: Any) -> None:
    house = await furnish(servers={"one": Custom("vendor.example/a"), "two": Custom("vendor.example/b")})
    response = await Browser(house).modern(FIND)
    assert response.status == 400
    assert response.error["code"] == -32600
    assert "say one.vendor.example/find or two.vendor.example/find" in response.error["message"]
    # for whom only one of them can be meant, that one is
    token = house.key(scopes=("two:write",))
    assert (await Browser(house, token=token).modern(FIND)).status == 200
    assert house.recorded()[-1]["tool"] == f"two.{FIND}"


@pytest.mark.parametrize(
    "method", ["unknown.example/do", "do", "notifications/unknown", "tools/steal", "x/../tools/call"]
)
async def test_a_method_of_nobody_is_not_found(house: House, one: Custom, method: str) -> None:
    response = await Browser(house).modern(method)
    assert (response.status, response.error["code"]) == (404, -32601)
    assert one.asked == []


async def test_what_the_server_does_not_know_is_not_found_either(house: House) -> None:
    response = await Browser(house).modern("vendor.example/none")
    assert (response.status, response.error["code"], response.error["message"]) == (404, -32601, "no such method")
    assert house.outcomes() == ["failed"]


async def test_who_may_not_write_at_a_server_may_not_call_its_own_methods(house: House, one: Custom) -> None:
    browser = Browser(house, token=house.key(scopes=("one:read",)))
    response = await browser.modern(FIND)
    assert response.status == 403
    assert response.error["data"]["missing_scopes"] == ["one:write"]
    told = await browser.send(
        {"jsonrpc": "2.0", "method": FIND}, headers={"mcp-protocol-version": "2026-07-28", "mcp-method": FIND}
    )
    assert told.status == 403
    assert (one.asked, one.told, house.outcomes()) == ([], [], ["denied", "denied"])


@pytest.mark.parametrize("name", ["tools/call", "Tools/Call", "initialize", "resources/list", "tasks/list", "rpc.x/y"])
async def test_no_core_method_travels_as_one_of_an_extension(house: House, one: Custom, name: str) -> None:
    response = await Browser(house).modern("tools/call", {"name": f"one.{name}", "arguments": {"name": "x"}})
    assert response.error["code"] == -32602
    assert (await Browser(house).modern(f"one.{name}")).error["code"] == -32601
    assert one.asked == []


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
async def test_a_notification_of_an_extension_is_passed_on(house: House, one: Custom, version: str) -> None:
    message = {"jsonrpc": "2.0", "method": "vendor.example/seen", "params": {"page": 3}}
    headers = {"mcp-protocol-version": version, "mcp-method": message["method"]}
    response = await Browser(house).send(message, headers=headers)
    assert (response.status, response.body) == (202, b"")
    assert [(method, {k: v for k, v in params.items() if k != "_meta"}) for method, params in one.told] == [
        ("vendor.example/seen", {"page": 3})
    ]
    assert [record["tool"] for record in house.recorded()] == ["one.vendor.example/seen"]
    nobody = await Browser(house).send({**message, "method": "nobody.example/seen"}, headers=headers)
    assert (nobody.status, nobody.error["code"]) == (404, -32601)


async def test_notifications_of_an_extension_reach_the_client_that_waits(house: House) -> None:
    heard: list[Any] = []
    response = await Browser(house).modern(FIND, on_event=heard.append)
    assert response.headers["content-type"] == "text/event-stream"
    await until(lambda: len(heard) == 2)
    assert heard[0] == {"jsonrpc": "2.0", "method": "vendor.example/halfway", "params": {"n": 1}}
    assert heard[1]["result"] == ANSWER


async def test_discover_and_initialize_name_the_extensions_behind(house: House) -> None:
    both = {"vendor.example/search": {}, "other.example/search": {}}
    for path, expected in (("/mcp", both), ("/servers/two/mcp", {"other.example/search": {}})):
        browser = Browser(house, path)
        found = (await browser.modern("server/discover")).json["result"]["capabilities"]
        begun = (await browser.legacy("initialize", {"protocolVersion": "2025-11-25"})).json["result"]["capabilities"]
        assert found["extensions"] == begun["extensions"] == expected


async def test_methods_of_servers_outside_of_a_profile_are_not_there(furnish: Any, settings: Any, one: Custom) -> None:
    (settings.home / "profiles.toml").write_text('[few]\nservers = ["two"]\n')
    house = await furnish(servers={"one": one, "two": Custom("other.example/search")})
    browser = Browser(house, "/profiles/few/mcp")
    assert (await browser.modern(FIND)).error["code"] == -32601
    assert (await browser.modern(f"one.{FIND}")).error["code"] == -32601
    assert (await browser.modern("other.example/find")).status == 200
    assert one.asked == []


async def test_scopes_that_a_server_declares_count_for_bundled_ones_alone() -> None:
    class Registry:
        def __init__(self, trust: str, settings: Any) -> None:
            self.trust, self.capabilities = trust, {"extensions": {"vendor.example/search": settings}}

        def spec(self, _: str) -> Any:
            return self

        def connection(self, _: str) -> Any:
            return self

    def needed(trust: str, settings: Any) -> tuple[str, ...]:
        return scopes_of(Registry(trust, settings), "one", FIND)  # type: ignore[arg-type]

    labelled = {"workbench/scopes": ["one:read", "one:read"]}
    assert needed("bundled", labelled) == ("one:read",)
    assert needed("configured", labelled) == ("one:write",)
    assert needed("bundled", {}) == ("one:write",)
    assert needed("bundled", {"workbench/scopes": ["one read"]}) == ("*",)


def test_which_names_are_those_of_extensions() -> None:
    assert all(map(is_extension, (FIND, "skills/list", "com.example.deep/a/b-c_d.e", "x/y")))
    refused = ("tools/call", "TOOLS/x", "ping", "find", "a//b", "/a", "a/", "a b/c", "ä/b", "rpc.a/b", "a/" + "b" * 200)
    assert not any(map(is_extension, refused))


def test_the_nearest_declaration_counts() -> None:
    assert nearness(FIND, FIND) == nearness(f"{FIND}/more", FIND) == 3
    assert nearness(FIND, "vendor.example/search") == 2
    assert nearness("skills/list", "io.modelcontextprotocol/skills") == 1
    assert nearness(FIND, "example/find") == 0
    whole: JSON = {"extensions": {FIND: {}}}
    older: JSON = {"experimental": {"vendor.example/other": {}}}
    assert owners_of(FIND, [("a", whole), ("b", older)]) == ["a"]
    assert owners_of(FIND, [("b", older), ("c", {})]) == ["b"]
    assert owners_of(FIND, [("c", {"extensions": None})]) == []


# --- real servers


class Finding(RequestParams):
    """What `vendor.example/find` takes."""

    words: list[str] = []


class Found(Result):
    """What it gives: more than any revision knows."""

    model_config = {"extra": "allow"}


class Search(Extension):
    """An extension of an SDK server, with one method."""

    identifier = "vendor.example/search"

    def methods(self) -> list[MethodBinding]:
        async def find(ctx: Any, params: Finding) -> Found:
            return Found.model_validate({"hits": params.words, "odd": {"deep": [1, None]}})

        return [MethodBinding(FIND, Finding, find)]


def searching(seen: list[Any]) -> MCPServer:
    """An SDK server with that extension, which also takes notifications of it."""
    mcp = MCPServer("search", extensions=[Search()])

    async def heard(ctx: Any, params: Any) -> None:
        seen.append(params.model_dump(by_alias=True, exclude_none=True)["page"])

    class Seen(NotificationParams):
        page: int

    vars(mcp)["_lowlevel_server"].add_notification_handler("vendor.example/seen", Seen, heard)
    return mcp


@pytest.mark.parametrize("how", ["http", "older", "memory"])
async def test_a_real_server_is_asked_and_told_in_its_own_words(furnish: Any, serve: Any, how: str) -> None:
    seen: list[Any] = []
    mcp = searching(seen)
    server: Any = mcp
    if how != "memory":
        app: Any = mcp.streamable_http_app()
        server = f"{await serve(Older(app) if how == 'older' else app)}/mcp"
    house = await furnish(servers={"search": server})
    response = await Browser(house).modern(f"search.{FIND}", {"words": ["a"]})
    assert response.json["result"] | {"_meta": {}, "resultType": ""} == {
        "hits": ["a"], "odd": {"deep": [1, None]}, "_meta": {}, "resultType": "",
    }  # fmt: skip
    message = {"jsonrpc": "2.0", "method": "search.vendor.example/seen", "params": {"page": 3}}
    told = await Browser(house).send(message, headers={"mcp-protocol-version": "2026-07-28"})
    assert told.status == 202
    if how != "http":  # over HTTP a modern SDK server takes notifications and does not read them
        await until(lambda: seen == [3])
    assert house.outcomes() == ["ok", "ok"]


async def test_a_notification_that_a_server_refuses_is_not_said_to_be_accepted(furnish: Any, serve: Any) -> None:
    answers = {
        "vendor.example/none": (404, {"content-type": "application/json"}, -32601),
        "vendor.example/down": (500, {"content-type": "text/plain"}, 0),
    }

    async def handle(headers: Any, message: Any) -> Any:
        if message["method"] in answers:
            status, more, code = answers[message["method"]]
            error = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": "no"}}
            return status, more, json.dumps(error).encode()
        if message["method"] == "tools/list":
            return result(message, {"tools": []})
        return discovered(message)

    house = await furnish(servers={"raw": f"{await serve(raw(handle))}/mcp"})
    for method, status in (("vendor.example/none", 404), ("vendor.example/down", 503)):
        message = {"jsonrpc": "2.0", "method": f"raw.{method}"}
        told = await Browser(house).send(message, headers={"mcp-protocol-version": "2026-07-28"})
        assert told.status == status, told.body
    assert house.outcomes() == ["failed", "unavailable"]


async def test_who_is_not_connected_cannot_be_told() -> None:
    with pytest.raises(UnreachableError, match="not open"):
        await HttpConnection("http://127.0.0.1:9/mcp", name="x").notify(FIND, {}, timeout=1)
    with pytest.raises(UnreachableError, match="not open"):
        await MemoryConnection(MCPServer("x"), name="x").notify(FIND, {}, timeout=1)
