"""Profiles: what belongs to one, what its endpoint tells, and that nothing else can be reached through it."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from tests.gateway.conftest import Browser, House, Response, until
from workbench.endpoint.endpoint_scope import profile_of, server_of, view_of
from workbench.events import Call, MisuseError
from workbench.gateway.profile_file import Profile, line_of, read_profiles
from workbench.gateway.profiles import Profiles

TEXT = """
[support]
title = "Support desk"
instructions = "Look people up first."
servers = ["notes"]
tools = ["notes.*", "calc.add"]
without = ["notes.drop*"]

[support.override."calc.add"]
title = "Sum"
description = "Adds what a customer owes."

[numbers]
tools = ["calc.*"]
"""


def notes() -> MCPServer:
    """A server that has everything beside tools."""
    mcp = MCPServer("notes", instructions="Keeps notes.")

    @mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
    def look(word: str) -> str:
        """Look a note up."""
        return f"{word}: a note"

    @mcp.tool()
    def drop_all() -> str:
        """Drop every note."""
        return "gone"

    @mcp.prompt()
    def sum_up(of: str) -> str:
        """Sum a note up."""
        return f"Sum up {of}"

    @mcp.resource("note://first")
    def first() -> str:
        """The first note."""
        return "one"

    return mcp


def write(home: Path, text: str) -> Path:
    """Put `text` into the file of profiles, so that a look at it sees another file."""
    path = home / "profiles.toml"
    path.write_text(text)
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 1_000_000))
    return path


@pytest.fixture
async def house(furnish: Any, settings: Any) -> House:
    write(settings.home, TEXT)
    found: House = await furnish(servers={"notes": notes(), "more": notes()})
    return found


def at(house: House, profile: str = "support", token: str | None = None) -> Browser:
    return Browser(house, f"/profiles/{profile}/mcp", token)


def names(response: Response) -> list[str]:
    return [tool["name"] for tool in response.json["result"]["tools"]]


async def test_the_endpoint_of_a_profile_lists_its_tools_in_its_own_words(house: House) -> None:
    for listed in (await at(house).modern("tools/list"), await at(house).legacy("tools/list")):
        assert names(listed) == ["calc__add", "notes__look"]
        add, look = listed.json["result"]["tools"]
        assert (add["title"], add["description"]) == ("Sum", "Adds what a customer owes.")
        assert look["description"] == "Look a note up."
        assert add["inputSchema"]["required"] == ["a", "b"]
        assert set(listed.json["result"]["_meta"]["workbench/servers"]) == {"calc", "notes"}
    everywhere = next(
        t for t in (await Browser(house).modern("tools/list")).json["result"]["tools"] if t["name"] == "calc__add"
    )
    assert everywhere["description"] == "Add two numbers."


async def test_a_call_through_a_profile_is_recorded_with_its_name(house: House) -> None:
    response = await at(house).modern("tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}})
    assert response.json["result"]["structuredContent"] == {"total": 3}
    await Browser(house).modern("tools/call", {"name": "calc.add", "arguments": {"a": 1, "b": 2}})
    assert [(record.get("data") or {}).get("profile") for record in house.recorded()] == ["support", None]


@pytest.mark.parametrize("name", ["calc.fail", "notes.drop_all", "more.look", "calc.nothing"])
async def test_what_is_outside_of_a_profile_cannot_be_called_and_is_not_suggested(house: House, name: str) -> None:
    browser = at(house)
    for response in (
        await browser.modern("tools/call", {"name": name, "arguments": {}}),
        await browser.legacy("tools/call", {"name": name, "arguments": {}}),
    ):
        assert response.error["code"] == -32602
        assert response.error["message"].startswith(f"There is no tool {name!r}.")
        assert set(response.error["data"]["suggestions"]) <= {"calc.add", "notes.look"}
    assert house.outcomes() == ["not_found", "not_found"]
    assert house.calc.calls == []


async def test_a_profile_gives_no_right_that_its_caller_does_not_have(house: House) -> None:
    browser = at(house, token=house.key(scopes=("calc:read",)))
    assert names(await browser.modern("tools/list")) == ["calc__add"]
    assert (await browser.modern("tools/call", {"name": "notes.look", "arguments": {"word": "x"}})).status == 403
    assert at(house, token="wrong").path
    assert (await at(house, token="wrong").modern("tools/list")).status == 401


async def test_prompts_and_resources_of_a_profile_are_those_of_its_servers(house: House) -> None:
    browser = at(house)
    prompts = (await browser.modern("prompts/list")).json["result"]["prompts"]
    assert [prompt["name"] for prompt in prompts] == ["notes__sum_up"]
    resources = (await browser.modern("resources/list")).json["result"]["resources"]
    assert [resource["uri"] for resource in resources] == ["note://first"]  # `more`, which has it too, is outside
    got = await browser.modern("prompts/get", {"name": "notes.sum_up", "arguments": {"of": "it"}})
    assert got.json["result"]["messages"][0]["content"]["text"] == "Sum up it"
    header = {"mcp-name": "note://first"}
    read = await browser.modern("resources/read", {"uri": "note://first"}, headers=header)
    assert read.json["result"]["contents"][0]["text"] == "one"


async def test_what_other_servers_have_cannot_be_read_completed_or_watched_through_a_profile(house: House) -> None:
    browser = at(house)
    uri = "gateway://more/note://first"
    read = await browser.modern("resources/read", {"uri": uri}, headers={"mcp-name": uri})
    assert read.error["code"] == -32602
    got = await browser.modern("prompts/get", {"name": "more.sum_up", "arguments": {"of": "it"}})
    assert got.error["code"] == -32602
    asked = {"ref": {"type": "ref/prompt", "name": "more.sum_up"}, "argument": {"name": "of", "value": "x"}}
    assert (await browser.modern("completion/complete", asked)).error["code"] == -32602
    session = await browser.legacy(
        "initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
    )
    headers = {"mcp-session-id": session.headers["mcp-session-id"]}
    watched = await browser.legacy("resources/subscribe", {"uri": uri}, headers=headers)
    assert watched.error["code"] == -32602
    assert house.outcomes() == ["not_found"] * 4
    assert (await at(house, "numbers").modern("prompts/list")).json["result"]["prompts"] == []


async def test_discover_and_initialize_tell_the_truth_about_a_profile(house: House) -> None:
    for name, capabilities in (("support", {"tools", "prompts", "resources"}), ("numbers", {"tools"})):
        found = (await at(house, name).modern("server/discover")).json["result"]
        assert capabilities <= set(found["capabilities"])
        assert ("prompts" in found["capabilities"]) is ("prompts" in capabilities)
        begun = await at(house, name).legacy("initialize", {"protocolVersion": "2025-11-25"})
        assert begun.json["result"]["capabilities"] == found["capabilities"]
        assert begun.json["result"]["instructions"] == found["instructions"]
    assert found["instructions"].endswith("calc: Adds numbers.")
    support = (await at(house).modern("server/discover")).json["result"]
    assert support["instructions"] == "Look people up first."
    assert support["_meta"]["io.modelcontextprotocol/serverInfo"]["title"] == "Support desk"


async def test_a_session_of_a_profile_is_good_at_its_endpoint_alone(house: House) -> None:
    begun = await at(house).legacy("initialize", {"protocolVersion": "2025-11-25"})
    headers = {"mcp-session-id": begun.headers["mcp-session-id"]}
    assert (await at(house).legacy("ping", headers=headers)).status == 200
    for path in ("/mcp", "/profiles/numbers/mcp", "/servers/calc/mcp"):
        assert (await Browser(house, path).legacy("ping", headers=headers)).status == 404


async def test_a_token_for_a_profile_is_good_at_its_endpoint_alone(house: House) -> None:
    reach = house.access.resources.reach
    base = house.access.resources.origins[0] if house.access.resources.origins else ""
    if not base:
        resources = type(house.access.resources)(house.settings.replace(port="8800"))
        reach, base = resources.reach, resources.origin
    assert reach([f"{base}/profiles/support/mcp"]) == {"profiles/support"}
    assert reach([f"{base}/servers/calc/mcp"]) == {"calc"}


async def test_there_is_no_endpoint_of_a_profile_that_there_is_not(house: House) -> None:
    missing = await at(house, "sales").modern("tools/list")
    assert (missing.status, missing.body) == (404, b"There is no profile 'sales'.")
    call = Call(caller=house.owner, tool="calc.add", arguments={"a": 1, "b": 1}, profile="sales")
    outcome = await house.gateway.call(call)
    assert (outcome.kind, outcome.message) == ("not_found", "There is no profile 'sales'.")


async def test_tools_of_a_profile_are_found_by_words_in_its_own_words(house: House) -> None:
    found = house.gateway.search(house.owner, "what a customer owes", profile="support")
    assert {tool.qualified for tool, _ in found} <= {"calc.add", "notes.look"}
    assert house.gateway.tools(house.owner, "support")[0].description == "Adds what a customer owes."
    assert house.gateway.tools(house.owner, "sales") == []


# --- the file


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_changed_file_is_read_again_and_listeners_are_told(house: House) -> None:
    clock = Clock()
    profiles = Profiles(house.settings, house.registry, clock=clock)
    told: list[int] = []
    profiles.on_change.append(lambda: told.append(profiles.revision))
    write(house.settings.home, '[sales]\nservers = ["calc"]\n')
    assert profiles.find("sales") is None  # it was looked at a moment ago
    clock.now += 1.0
    assert profiles.find("sales") is not None
    assert profiles.find("support") is None
    assert told == [2]


async def test_a_broken_file_keeps_the_profiles_that_there_are_and_says_so(house: House) -> None:
    clock = Clock()
    profiles = Profiles(house.settings, house.registry, clock=clock)
    write(house.settings.home, '[sales]\nserver = ["calc"]\n')
    clock.now += 1.0
    assert profiles.find("support") is not None
    (problem,) = profiles.problems()
    assert "line 2, profile 'sales': unknown key 'server'. Did you mean 'servers'?" in problem
    assert problem.endswith("The profiles that were read before stay in force.")
    write(house.settings.home, TEXT)
    clock.now += 1.0
    assert profiles.problems() == []
    (house.settings.home / "profiles.toml").unlink()
    clock.now += 1.0
    assert profiles.all() == []


async def test_an_open_stream_is_told_that_a_profile_has_changed(house: House) -> None:
    heard: list[Any] = []
    browser = at(house)
    leave = asyncio.Event()
    wanted = {"notifications": {"toolsListChanged": True}}
    listening = asyncio.create_task(browser.modern("subscriptions/listen", wanted, leave=leave, on_event=heard.append))
    await until(lambda: heard)
    write(house.settings.home, '[support]\nservers = ["calc"]\n')
    await until(lambda: "calc.fail" in [tool.qualified for tool in house.gateway.tools(house.owner, "support")])
    await until(lambda: len(heard) > 1)
    assert heard[1]["method"] == "notifications/tools/list_changed"
    assert "calc__fail" in names(await browser.modern("tools/list"))
    leave.set()
    await listening


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a]\nserver = ['x']", "line 2, profile 'a': unknown key 'server'. Did you mean 'servers'?"),
        ("[a]\ntitle = 'x'", "it names neither servers nor tools"),
        ("[A]\nservers = ['x']", "line 1, profile 'A': 'A' cannot be the name of a profile"),
        ("[list]\nservers = ['x']\n[1ist]\nservers = ['x']", "profile '1ist': the name can be taken for 'list'"),
        ("a = 1", "line 1, profile 'a': 'a' is no table"),
        ("[a]\nservers = 'x'", "line 2, profile 'a': servers is 'x'. Expected a list of texts"),
        ("[a]\nservers = [\n 'b',\n 'c.d']", "line 4, profile 'a': 'c.d' is no server. Put it under tools"),
        ("[a]\ntools = ['b']", "'b' is no tool. Expected server.tool, e.g. 'b.*'."),
        ("[a]\nservers = ['x']\ntitle = 3", "line 3, profile 'a': title is 3. Expected a text."),
        ("[a]\nservers = ['x']\ntitle = 'a\u202eb'", "title has the hidden character U+202E"),
        ("[a]\nservers = ['x']\noverride = 3", "override is no table"),
        ("[a]\nservers = ['x']\n[a.override.'x.y']\ntitel = 'z'", "unknown key 'titel'. Did you mean 'title'?"),
        ("[a]\nservers = ['x']\n[a.override.'x.*']\ntitle = 'z'", "'x.*' cannot be overridden"),
        ("[a", "is not valid TOML"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_meant_is_refused_with_line_and_suggestion(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(MisuseError) as refused:
        read_profiles(path)
    assert str(path) in str(refused.value)
    assert told in str(refused.value)


def test_names_that_nothing_has_are_told_with_line_and_suggestion(tmp_path: Path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(
        "[a]\nservers = ['crmm', 'x*']\ntools = [\n 'crm.serch',\n 'down.any',\n 'lost.*']\n"
        "[a.override.'crm.other']\ntitle = 'x'\n"
    )
    known = {"crm": ["crm.search", "crm.other"], "down": None}
    assert [problem.removeprefix(str(path)) for problem in read_profiles(path).problems(known)] == [
        ", line 2, profile 'a': there is no server 'crmm'. Did you mean 'crm'?",
        ", line 2, profile 'a': no server matches 'x*'.",
        ", line 4, profile 'a': there is no tool 'crm.serch'. Did you mean 'crm.search'?",
        ", line 6, profile 'a': there is no server 'lost'.",
        ", line 7, profile 'a': the profile has no 'crm.other', so its override has no effect.",
    ]


async def test_a_broken_file_stops_a_start(furnish: Any, settings: Any, tmp_path: Path) -> None:
    write(settings.home, "[a]\ntitel = 'x'")
    with pytest.raises(MisuseError, match="unknown key 'titel'"):
        await furnish()
    with pytest.raises(MisuseError, match="cannot be read"):
        await furnish(profiles=tmp_path / "nowhere.toml")


def test_the_smaller_selection_counts() -> None:
    whole = Profile(name="a", servers=("crm", "t?ckets"))
    assert whole.has("crm.search")
    assert whole.has("tickets.list")
    assert not whole.has("crmx.search")
    some = Profile(name="b", servers=("crm",), tools=("crm.search_*", "tickets.list"), without=("crm.search_all",))
    assert some.has("crm.search_customers")
    assert not some.has("crm.search_all")
    assert not some.has("crm.delete")
    assert (some.offers("tickets"), some.includes("tickets")) == (False, True)


def test_lines_are_found_by_the_words_on_them() -> None:
    assert line_of("[a]\nx = 'n'\n[b]\nx = 'n'\n", "b", "n") == 4
    assert line_of("\n[a]\nx = 'nn'\n", "a", "n") == 2
    assert line_of("a = {servers = 'x'}\n", "a", "servers") == 1


def test_views_of_paths_cannot_be_mixed_up() -> None:
    assert view_of("/mcp") == ""
    assert view_of("/servers/crm/mcp") == "crm"
    assert view_of("/profiles/crm/mcp") == "profiles/crm"
    assert [view_of(path) for path in ("/profiles/a/b/mcp", "/profiles//mcp", "/x/mcp", "/mcp/")] == [None] * 4
    assert (server_of("crm"), server_of("profiles/crm"), profile_of("crm"), profile_of("profiles/crm")) == (
        "crm", "", "", "crm",
    )  # fmt: skip


def test_the_profile_of_the_document_is_one(tmp_path: Path) -> None:
    document = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"```toml\n(.*?)```", document, re.S)
    path = tmp_path / "profiles.toml"
    path.write_text(text, encoding="utf-8")
    found = read_profiles(path)
    servers = Path(__file__).parents[2] / "servers"
    tools = {
        server: [
            f"{server}.{name}" for name in re.findall(r"^def (\w+)", (servers / server / "server.py").read_text(), re.M)
        ]
        for server in ("crm", "tickets")
    }
    assert found.problems(tools) == []
