"""Names behind `/mcp` and profiles: what model APIs accept, one for each tool; the dotted form is understood."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.server.lowlevel import Server
from mcp_types import CallToolResult, GetPromptResult, ListPromptsResult, ListToolsResult, Prompt, TextContent, Tool

from tests.gateway.conftest import Browser, Furnish, House
from workbench.config import Settings
from workbench.events import Tool as OurTool
from workbench.gateway.wire_names import WireNames

WIRE = re.compile(r"[a-zA-Z0-9_-]{1,64}")
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}
LONG = "x" * 100
ODD = ["get user", "github/create_issue", "ns:tool", "tool.with.dots", "échange", "查询", "tool@v2", "",
       "_private", "-dash", LONG, "a\u202eb", "zero\u200bwidth", " padded ", "echo"]  # fmt: skip
PROMPTS = ["plain", "sum up", "a.b", "日本", LONG]


def odd(names: list[str] = ODD, prompts: list[str] = PROMPTS) -> Server[Any]:
    """A server whose tools and prompts have odd names and answer with the name by which they were asked for."""

    async def tools(context: Any, params: Any) -> ListToolsResult:
        listed = [Tool.model_validate({"name": name, "inputSchema": SCHEMA}) for name in names]
        return ListToolsResult(tools=listed, ttl_ms=0, cache_scope="private")

    async def call(context: Any, params: Any) -> Any:
        return CallToolResult(content=[TextContent(type="text", text=params.name)])

    async def list_prompts(context: Any, params: Any) -> ListPromptsResult:
        return ListPromptsResult(prompts=[Prompt(name=name) for name in prompts], ttl_ms=0, cache_scope="private")

    async def get_prompt(context: Any, params: Any) -> GetPromptResult:
        return GetPromptResult(description=params.name, messages=[])

    return Server("odd", on_list_tools=tools, on_call_tool=call, on_list_prompts=list_prompts, on_get_prompt=get_prompt)


@pytest.fixture
async def odd_house(furnish: Furnish) -> House:
    return await furnish(servers={"odd": odd()})


async def listed(browser: Browser, kind: str = "tools", **more: Any) -> list[Any]:
    return list((await browser.modern(f"{kind}/list", **more)).json["result"][kind])


def text(response: Any) -> str:
    return str(response.json["result"]["content"][0]["text"])


@pytest.mark.parametrize("path", ["/mcp", "/profiles/all/mcp"])
async def test_every_listed_name_fits_model_apis_and_calls_its_own_tool(odd_house: House, path: str) -> None:
    (odd_house.settings.home / "profiles.toml").write_text('[all]\nservers = ["*"]\n')
    odd_house.gateway.profiles._clock = lambda: float("inf")  # look at the file now
    browser = Browser(odd_house, path)
    for tools in (await listed(browser), (await browser.legacy("tools/list")).json["result"]["tools"]):
        assert all(WIRE.fullmatch(tool["name"]) for tool in tools)
        ours = [tool for tool in tools if tool["name"].startswith("odd__")]
        assert len({tool["name"] for tool in ours}) == len(ODD)
    called = set()
    for tool in ours:
        called.add(text(await browser.modern("tools/call", {"name": tool["name"], "arguments": {}})))
    assert called == set(ODD)


async def test_lists_have_the_original_and_what_is_odd_about_it(odd_house: House) -> None:
    by_original = {
        tool.get("_meta", {}).get("workbench/original_name"): tool for tool in await listed(Browser(odd_house))
    }
    assert {
        "get user",
        "github/create_issue",
        "échange",
        "查询",
        "",
        "a\\u202eb",
        "zero\\u200bwidth",
    } <= by_original.keys()
    notes = by_original["a\\u202eb"]["_meta"]["workbench/notes"]
    assert any("RIGHT-TO-LEFT OVERRIDE" in note for note in notes)


async def test_the_record_and_the_rules_have_server_and_tool(odd_house: House) -> None:
    browser = Browser(odd_house)
    (tool,) = [t for t in odd_house.registry.tools() if t.original == "get user"]
    assert text(await browser.modern("tools/call", {"name": f"odd__{tool.name}"})) == "get user"
    (record,) = odd_house.recorded()
    assert (record["tool"], record["server"]) == (f"odd.{tool.name}", "odd")


@pytest.mark.parametrize("name", ["odd.echo", "odd__echo"])
@pytest.mark.parametrize("speak", ["modern", "legacy"])
async def test_both_forms_are_understood(odd_house: House, name: str, speak: str) -> None:
    assert text(await getattr(Browser(odd_house), speak)("tools/call", {"name": name, "arguments": {}})) == "echo"


@pytest.mark.parametrize("original", ODD)
async def test_behind_one_server_both_safe_and_own_names_are_understood(odd_house: House, original: str) -> None:
    browser = Browser(odd_house, "/servers/odd/mcp")
    (tool,) = [t for t in odd_house.registry.tools() if t.upstream_name == original and t.server == "odd"]
    assert tool.name in {listing["name"] for listing in await listed(browser)}
    for name in (tool.name, original):
        assert text(await browser.legacy("tools/call", {"name": name, "arguments": {}})) == original


async def test_a_setting_restores_the_dotted_form(furnish: Furnish) -> None:
    house = await furnish(servers={"odd": odd()}, tool_name_style="dotted")
    browser = Browser(house)
    names = {tool["name"] for tool in await listed(browser)}
    assert {"calc.add", "odd.echo", "odd.tool.with.dots"} <= names
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,150}", name) for name in names)
    assert "odd.plain" in {prompt["name"] for prompt in await listed(browser, "prompts")}
    assert text(await browser.modern("tools/call", {"name": "odd__echo", "arguments": {}})) == "echo"
    assert "`server.tool`" in (await browser.modern("server/discover")).json["result"]["instructions"]


# --- what messages say


async def test_messages_use_the_kind_of_name_that_the_client_used(odd_house: House) -> None:
    browser = Browser(odd_house)
    wrong = {"arguments": {"a": "one", "b": 2}}
    for name in ("calc__add", "calc.add"):
        said = text(await browser.modern("tools/call", {"name": name, **wrong}))
        assert f"of {name}:" in said
        unknown = (await browser.modern("tools/call", {"name": f"{name}d"})).error
        assert f"Did you mean {name} " in unknown["message"]
        assert unknown["data"]["suggestions"][0] == name
        assert unknown["data"]["workbench/outcome"]["suggestions"][0] == name
    bare = (await browser.modern("tools/call", {"name": "add"})).error
    assert "There is no tool 'add'. Did you mean calc__add?" in bare["message"]
    assert [record["tool"] for record in odd_house.recorded()][:4] == ["calc.add", "calc.addd", "calc.add", "calc.addd"]


async def test_a_refusal_by_the_rules_names_the_tool_as_the_client_does(odd_house: House) -> None:
    reader = Browser(odd_house, token=odd_house.key(scopes=("calc:read",)))
    said = (await reader.modern("tools/call", {"name": "calc__fail"})).error["message"]
    assert "calc__fail" in said
    assert "calc.fail" not in said


async def test_a_tool_of_a_server_that_is_down_is_unavailable_under_any_of_its_names(odd_house: House) -> None:
    names = [tool["name"] for tool in await listed(Browser(odd_house)) if tool["name"].startswith("odd__")]
    await odd_house.registry._entries["odd"].stop()
    for name in (*names, "odd.echo", "odd__nothing", "odd__nothing__deadbeef"):
        answer = await Browser(odd_house).modern("tools/call", {"name": name})
        assert answer.json["result"]["_meta"]["workbench/outcome"]["server"] == "odd", name


async def test_the_header_carries_the_name_on_the_wire(odd_house: House) -> None:
    browser = Browser(odd_house)
    call = {"name": "calc__add", "arguments": {"a": 1, "b": 2}}
    assert (await browser.modern("tools/call", call, headers={"mcp-name": "calc__add"})).status == 200
    assert (await browser.modern("tools/call", call, headers={"mcp-name": "calc.add"})).status == 400


@pytest.mark.parametrize("name", ["calc__region", "calc.region"])
async def test_arguments_are_mirrored_in_headers_under_either_name(house: House, name: str) -> None:
    call = {"name": name, "arguments": {"region": "north"}}
    for mirrored, status in (("north", 200), ("south", 400), (None, 400)):
        answer = await Browser(house).modern("tools/call", call, headers={"mcp-param-region": mirrored})
        assert answer.status == status, mirrored


# --- prompts


@pytest.mark.parametrize("path", ["/mcp", "/servers/odd/mcp"])
async def test_prompts_have_safe_names_and_are_got_by_them(odd_house: House, path: str) -> None:
    browser = Browser(odd_house, path)
    prompts = await listed(browser, "prompts")
    fits = re.compile(r"[A-Za-z0-9_.-]{1,128}") if "servers" in path else WIRE
    assert all(fits.fullmatch(prompt["name"]) for prompt in prompts)
    for speak in (browser.modern, browser.legacy):
        got = [(await speak("prompts/get", {"name": p["name"]})).json["result"]["description"] for p in prompts]
        assert sorted(got) == sorted(PROMPTS)
    titles = {p["name"]: p.get("title") for p in prompts}
    assert "sum up" in titles.values(), "who has another name keeps its own as a title"


@pytest.mark.parametrize("name", ["odd.plain", "odd.sum up", "odd.a.b"])
async def test_prompts_are_got_by_the_dotted_form_as_well(odd_house: House, name: str) -> None:
    got = await Browser(odd_house).modern("prompts/get", {"name": name})
    assert got.json["result"]["description"] == name[4:]


@pytest.mark.parametrize("name", ["plain", "nobody__plain", "nobody.plain", "odd__sum_up__00000000", "", 7])
async def test_an_unknown_prompt_is_said_to_be_unknown(odd_house: House, name: Any) -> None:
    error = (await Browser(odd_house).modern("prompts/get", {"name": name}, headers={"mcp-name": str(name)})).error
    assert error["code"] in (-32602, -32020)


# --- one name, one tool


class _Listing:
    """As much of a registry as `WireNames` looks at."""

    def __init__(self, tools: list[OurTool]) -> None:
        self.version = 1
        self.all = tools

    def known_tools(self) -> list[OurTool]:
        return self.all

    def has_tool(self, qualified: str) -> bool:
        return any(tool.qualified == qualified for tool in self.all)

    def servers(self, tenant: str) -> list[Any]:
        ids = {tool.server for tool in self.all if tool.tenant in ("", tenant)}
        return [msgspec.defstruct("State", ["id"])(id) for id in sorted(ids)]


ids = st.from_regex(r"[ab][ab_-]{0,5}", fullmatch=True)
own = st.from_regex(r"[ab_.-]{1,6}|b__[0-9a-f]{8}|[ab]{60,70}", fullmatch=True)
sets = st.sets(st.tuples(ids, own), min_size=1, max_size=12)


@given(sets, sets)
def test_a_wire_name_means_exactly_one_tool_and_stays_when_others_come_and_go(
    some: set[tuple[str, str]], more: set[tuple[str, str]]
) -> None:
    settings = Settings()
    few: Any = _Listing([OurTool(server=server, name=name) for server, name in sorted(some)])
    many: Any = _Listing([OurTool(server=server, name=name) for server, name in sorted(some | more, reverse=True)])
    before, after = WireNames(settings, few), WireNames(settings, many)
    seen = {}
    for tool in many.all:
        name = after.of(tool.qualified)
        assert WIRE.fullmatch(name)
        assert after.meant(name, "", "local") == tool.qualified
        assert after.meant(tool.qualified, "", "local") == tool.qualified
        assert seen.setdefault(name, tool) is tool
    for tool in few.all:
        assert before.of(tool.qualified) == after.of(tool.qualified)
    for tool in many.all:
        if not few.has_tool(tool.qualified):  # a name of a tool that is not there means none that is
            assert not few.has_tool(before.meant(after.of(tool.qualified), "", "local"))


def test_two_names_with_one_short_hash_both_get_a_longer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from workbench.registry.definitions import tool_names

    true = tool_names._hash
    monkeypatch.setattr(tool_names, "_hash", lambda text, digits: "0" * digits if digits == 8 else true(text, digits))
    tool_names.wire_name.cache_clear()
    try:
        tools = [OurTool(server="a", name=name) for name in ("x" * 100, "x" * 101, "plain")]
        names = WireNames(Settings(), _Listing(tools))  # type: ignore[arg-type]
        wires = [names.of(tool.qualified) for tool in tools]
        assert len(set(wires)) == 3
        assert [names.meant(wire, "", "local") for wire in wires] == [tool.qualified for tool in tools]
    finally:
        tool_names.wire_name.cache_clear()


def test_what_exists_for_another_tenant_is_not_found_by_any_name() -> None:
    tools = [
        OurTool(server="theirs", name="get user", tenant="acme"),
        OurTool(server="theirs", name="x", tenant="acme"),
    ]
    names = WireNames(Settings(), _Listing(tools))  # type: ignore[arg-type]
    assert names.meant("theirs__x", "", "acme") == "theirs.x"
    assert names.meant("theirs__x", "", "local") == "theirs__x"
