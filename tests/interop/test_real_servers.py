"""Servers that people run, started by their own launchers from cold caches, listed and called through the gateway.

All stand in one `mcp.json`, as a stranger's would. What a package index does not have is skipped. The option
`--servers-tried FILE` writes the table of what came of it.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from tests.interop.node_tools import installed_node
from tests.interop.real_servers import SERVERS, RealServer
from tests.interop.real_surroundings import node_on_path, surroundings
from tests.platforms import up
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.interop, pytest.mark.full, pytest.mark.timeout(1800)]

START_S = 1200.0
"""Seconds in which all have to be listed, from cold caches on a small machine."""
CALL_S = 120.0
LEAST = 25
_NOT_THERE = re.compile(
    r"E404|ETARGET|not found in the package registry|no version of|No matching version", re.IGNORECASE
)
"""How launchers say that an index does not have a package."""
_APPROVAL = re.compile(r"apr_[\w-]+")
_OURS = re.compile(
    r"workbench|a human has to approve|rate limit|Server '|did not answer within|not a valid", re.IGNORECASE
)
"""What the gateway says itself: no error of a server."""


@dataclass
class Tried:
    """What came of one server."""

    server: RealServer
    status: str = ""
    start_s: float = 0.0
    era: str = ""
    tools: int = 0
    repaired: int = 0
    presented: int = 0
    error: str = ""
    result: str = "not called"
    said: str = ""
    approved: bool = False
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """The platform that runs them all, and what has been found of each."""

    home: Path
    running: RunningPlatform
    names: dict[str, str]
    tried: dict[str, Tried]
    lacking: list[RealServer]
    """Those that were left out, because this machine has not what they need."""

    def filled(self, value: Any) -> Any:
        """With what the machine provides in place of its names."""
        return filled(value, self.names)


def filled(value: Any, names: dict[str, str]) -> Any:
    """`value` with what this machine provides, at any depth."""
    if isinstance(value, str):
        return re.sub(r"@([A-Z_]+)@", lambda found: names[found[1]], value)
    if isinstance(value, dict):
        return {key: filled(each, names) for key, each in value.items()}
    return [filled(each, names) for each in value] if isinstance(value, list) else value


def settled(running: RunningPlatform, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """The state of each server once all of `wanted` are ready or have failed for good."""
    deadline = time.monotonic() + START_S
    while True:
        with httpx2.Client(headers={"Authorization": f"Bearer {running.token}"}, timeout=60) as http:
            states = {each["id"]: each for each in http.get(f"{running.url}/servers").json()["servers"]}
        waits = [id for id in wanted if states[id]["status"] == "starting" or (states[id]["status"] == "down")]
        if not waits or time.monotonic() > deadline:
            return states
        time.sleep(0.5)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Trial]:
    folder = tmp_path_factory.mktemp("strangers")
    programs = node_on_path(folder / "bin", installed_node())
    with surroundings(folder / "files") as names:
        asked = {
            item.callspec.params["server"].name
            for item in request.session.items
            if hasattr(item, "callspec") and isinstance(item.callspec.params.get("server"), RealServer)
        }
        chosen = [server for server in SERVERS if server.name in asked and set(server.needs) <= set(names)]
        config = folder / "mcp.json"
        entries = {server.name: filled(server.entry, names) for server in chosen}
        config.write_text(json.dumps({"mcpServers": entries}, indent=2))
        environment = {
            "PATH": os.pathsep.join((str(programs), str(Path(sys.executable).parent), os.environ["PATH"])),
            "npm_config_cache": str(folder / "npm"),
            "UV_CACHE_DIR": str(folder / "uv"),
            "UV_PYTHON_DOWNLOADS": "never",
            "WORKBENCH_RATE_PER_MINUTE": "10000",
        }
        began = time.time()
        with up(folder / "home", "--servers", "", "--config", str(config), env=environment) as (running, _):
            states = settled(running, {server.name for server in chosen})
            tried = {server.name: looked_at(server, states[server.name], began) for server in chosen}
            for name, number in repaired(running).items():
                tried[name].repaired = number
            lacking = [server for server in SERVERS if server.name in asked and server not in chosen]
            yield Trial(folder / "home", running, names, tried, lacking)
    if target := request.config.getoption("--servers-tried"):
        Path(target).write_text(report(list(tried.values()), lacking), encoding="utf-8")


def repaired(running: RunningPlatform) -> Counter[str]:
    """How many tools of each server are read otherwise than they are written."""
    with httpx2.Client(headers={"Authorization": f"Bearer {running.token}"}, timeout=60) as http:
        tools = http.get(f"{running.url}/api/platform/tools", params={"limit": 1000}).json()["tools"]
    return Counter(tool["server"] for tool in tools if tool["repairs"])


def looked_at(server: RealServer, state: dict[str, Any], began: float) -> Tried:
    """What the platform says of a server that has settled."""
    return Tried(
        server,
        status=state["status"],
        start_s=state["since_us"] / 1e6 - began,
        era=state["era"],
        tools=state["tools"],
        error=state["last_error"],
        notices=list(state["notices"]),
    )


async def called(trial: Trial, server: RealServer) -> tuple[bool, str]:
    """Whether the call failed, and all text that came back."""
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {trial.running.token}"}, timeout=CALL_S) as http,
        Client(streamable_http_client(trial.running.mcp_url, http_client=http)) as client,
    ):
        mine = [name for name in await every_tool(client) if name.startswith(f"{server.name}__")]
        trial.tried[server.name].presented = len(mine)
        name = f"{server.name}__{server.tool}"
        assert name in mine
        arguments = trial.filled(server.arguments)
        failed, text = await answer(client, name, arguments)
        if failed and (approval := _APPROVAL.search(text)):
            await approved(trial, approval[0])
            failed, text = await answer(client, name, arguments)
            trial.tried[server.name].approved = True
        return failed, text


async def answer(client: Client, name: str, arguments: dict[str, Any]) -> tuple[bool, str]:
    """Of one call: whether it failed, as a result or as an error of the protocol, and the text."""
    try:
        result = await client.call_tool(name, arguments)
    except MCPError as e:
        return True, e.message
    return bool(result.is_error), "\n".join(getattr(block, "text", "") for block in result.content)


async def every_tool(client: Client) -> list[str]:
    """Names of all tools that are listed, on however many pages."""
    found, cursor = [], None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += [tool.name for tool in page.tools]
        if not (cursor := page.next_cursor):
            return found


async def approved(trial: Trial, approval: str) -> None:
    """As the owner of the machine does, on its command line."""
    command = [sys.executable, "-m", "workbench", "approvals", "approve", approval]
    environment = {**os.environ, "WORKBENCH_HOME": str(trial.home)}
    ran = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
async def test_a_server_that_people_run_is_listed_and_answers(trial: Trial, server: RealServer) -> None:
    if server.name not in trial.tried:
        pytest.skip(f"this machine has no {', '.join(server.needs).lower()}")
    tried = trial.tried[server.name]
    if tried.status != "ready" and _NOT_THERE.search(tried.error):
        tried.result = "skipped: the package index does not have it"
        pytest.skip(tried.error)
    assert tried.status == "ready", tried.error
    failed, text = await called(trial, server)
    expected = RealServer(
        **{**vars(server), "answers": trial.filled(server.answers), "refuses": trial.filled(server.refuses)}
    )
    fits = expected.fits(failed, text) and not _OURS.search(text)
    tried.result = ("its own error" if expected.refuses else "answered") if fits else "missed"
    tried.said = text
    assert fits, f"failed: {failed}; it said: {text[:2000]}"
    assert tried.presented, "it lists tools, and none is offered"


def test_at_least_25_of_them_have_been_called(trial: Trial, request: pytest.FixtureRequest, capsys: Any) -> None:
    """The last of this file: it looks at what the others found."""
    states = trial.tried.values()
    with capsys.disabled():
        print(f"\n{report(list(states), trial.lacking)}")
    asked = [item for item in request.session.items if item.fspath == request.node.fspath]
    if len(asked) <= len(SERVERS):
        pytest.skip("not all servers were tried")
    assert sum(tried.result in ("answered", "its own error") for tried in states) >= LEAST


def report(found: list[Tried], lacking: list[RealServer]) -> str:
    """The table, as a page; servers in `lacking` were left out and are counted."""
    ran = sum(tried.result in ("answered", "its own error") for tried in found)
    skipped = sum(tried.result.startswith("skipped") for tried in found)
    day = datetime.datetime.now(datetime.UTC).date()
    return PAGE.format(
        day=day, ran=ran, all=len(found) + len(lacking), skipped=skipped, lacking=len(lacking),
        rows="\n".join(map(row, found)), remarks=remarks(found, lacking),
    )  # fmt: skip


PAGE = """# Servers tried

Real servers from npm and PyPI, all in one `mcp.json` as their pages say to write it, started together by `npx` and
`uvx` from empty caches on two cores that had other work, without a way to the internet beyond the package indexes, then
listed and called through `/mcp` with the Python SDK. On {day}, {ran} of {all} did as expected; {skipped} were skipped,
because the package index did not have them, and {lacking}, because the machine had not what they need, such as a
database. `make check-full` runs them again; with
`ARGS="--servers-tried docs/servers-tried.md"` it writes this page.

*Start* is the time from `workbench up` until the server was listed, downloads and the wait for all the others included.
*Tools* are those that the server lists, *offered* those that clients are shown, *repaired* those whose schema was read
otherwise than it is written. *Its own error*: the call needs an account or a host that was not reachable, and what the
server itself said of that arrived.

| server | package | launcher | start | revision | tools | offered | repaired | called | result | what it said |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

{remarks}"""


def row(tried: Tried) -> str:
    """A line of the table."""
    server = tried.server
    launcher = server.entry["command"] + (f" ({server.made_of})" if server.made_of else "")
    start = f"{tried.start_s:.0f} s" if tried.status == "ready" else tried.status
    counts = (str(tried.tools), str(tried.presented), str(tried.repaired))
    result = tried.result + (", after an approval" if tried.approved else "")
    said = one_line(re.sub(r"/tmp/\S+/|[`|<>*\[\]]", "", tried.said))[:90].strip()
    cells = (server.name, f"`{server.package}`", launcher, start, tried.era, *counts, f"`{server.tool}`", result, said)
    return "| " + " | ".join(cells) + " |"


def one_line(text: str) -> str:
    """`text` without line breaks."""
    return re.sub(r"\s+", " ", text)


def remarks(found: list[Tried], lacking: list[RealServer]) -> str:
    """What else is to be known, a line each."""
    lines = [f"- {tried.server.name}: {tried.server.remark}." for tried in found if tried.server.remark]
    for tried in found:
        lines += [f"- {tried.server.name}: {notice}" for notice in tried.notices]
        if tried.status != "ready":
            lines.append(f"- {tried.server.name}: {one_line(tried.error)[:400]}")
    lines += [
        f"- {server.name}: left out, because there was no {', '.join(server.needs).lower()}." for server in lacking
    ]
    return "\n".join(lines) + "\n"
