"""`workbench profiles`, and `--profile` of the commands that list, call, ask and connect."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.platforms import up
from workbench.config import prepare_home
from workbench.platform.run_file import RunningPlatform

pytestmark = pytest.mark.slow

PROFILES = """
[catalogue]
title = "Catalogue"
description = "What we sell."
instructions = "Find a product first."
servers = ["products"]
tools = ["products.search_*", "products.get_product"]

[catalogue.override."products.get_product"]
description = "All about one product."

[lost]
servers = ["prodcts"]
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = prepare_home(tmp_path_factory.mktemp("profiles") / "home")
    (found / "profiles.toml").write_text(PROFILES)
    return found


@pytest.fixture(scope="module", autouse=True)
def platform(home: Path) -> Iterator[RunningPlatform]:
    with up(home, "--servers", "products") as (running, _):
        yield running


def run(home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "workbench", "--home", str(home), *command], capture_output=True, text=True, timeout=60
    )


def test_profiles_are_listed_with_what_is_wrong_in_their_file(home: Path, platform: RunningPlatform) -> None:
    listed = run(home, "profiles", "--json")
    assert listed.returncode == 1
    found = json.loads(listed.stdout)
    catalogue, lost = found["profiles"]
    assert catalogue["path"] == "/profiles/catalogue/mcp"
    assert catalogue["tools"] == ["products.get_product", "products.search_products"]
    assert lost["tools"] == []
    assert [problem.partition("profiles.toml, ")[2] for problem in found["problems"]] == [
        "line 13, profile 'lost': there is no server 'prodcts'. Did you mean 'products'?"
    ]
    shown = run(home, "profiles")
    assert f"{platform.url}/profiles/catalogue/mcp" in shown.stdout.replace("\n", "")
    assert "Did you mean 'products'?" in shown.stderr


def test_tools_of_a_profile_are_listed_found_and_called_in_its_words(home: Path) -> None:
    tools = json.loads(run(home, "tools", "--profile", "catalogue", "--json").stdout)
    assert {tool["name"]: tool["description"] for tool in tools}["get_product"] == "All about one product."
    called = run(home, "call", "--profile", "catalogue", "products.get_product", "product_id=P-0001", "--json")
    assert json.loads(called.stdout)["kind"] == "ok"
    outside = run(home, "call", "--profile", "catalogue", "products.check_stock", "product_id=P-0001")
    assert outside.returncode == 2
    assert "There is no tool 'products.check_stock'" in outside.stdout + outside.stderr
    missing = run(home, "tools", "--profile", "catalog")
    assert missing.returncode == 2
    assert "Did you mean 'catalogue'?" in missing.stderr


def test_a_question_is_answered_with_the_tools_of_a_profile_and_recorded_with_it(home: Path) -> None:
    asked = run(home, "ask", "--provider", "planner", "--profile", "catalogue", "--json", "What does P-0001 cost?")
    events = json.loads(asked.stdout)["events"]
    assert events[0]["tools"] == 2
    query = "select distinct tool from tool_calls where profile = 'catalogue' and source = 'cli' and run_id is not null"
    called = {row["tool"] for row in json.loads(run(home, "sql", query, "--json").stdout)}
    assert called
    assert called <= {"search_products", "get_product"}


def test_an_answer_that_stays_the_same_is_given_again_and_marked(home: Path) -> None:
    for _ in range(2):
        run(home, "call", "products.search_products", "query=meter")
    query = "select cached from tool_calls where tool = 'search_products' and args like '%meter%' order by ts"
    assert [row["cached"] for row in json.loads(run(home, "sql", query, "--json").stdout)] == [False, True]


async def test_a_client_that_only_speaks_stdio_gets_a_profile(home: Path) -> None:
    arguments = ["-m", "workbench", "--home", str(home), "connect", "--profile", "catalogue"]
    bridge = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    mode: Any
    for mode in ("auto", "legacy"):
        async with Client(stdio_client(bridge), mode=mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {
                "products__get_product", "products__search_products",
            }  # fmt: skip
            answer = await client.call_tool("products__get_product", {"product_id": "P-0001"})
            assert answer.structured_content["product_id"] == "P-0001"
    refused = run(home, "connect", "--profile", "nothing")
    assert refused.returncode == 4
    assert " profiles`" in refused.stderr
    both = run(home, "connect", "--profile", "catalogue", "--server", "products")
    assert both.returncode == 2


def test_a_changed_file_is_read_again_and_that_is_on_the_record(home: Path) -> None:
    path = home / "profiles.toml"
    path.write_text(PROFILES.replace("[lost]\nservers", "[lost]\nserver"))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 2_000_000_000))
    for _ in range(20):  # a look at the file is at most every second
        found = json.loads(run(home, "profiles", "--json").stdout)
        if any("unknown key 'server'" in problem for problem in found["problems"]):
            break
    assert found["problems"][0].endswith("The profiles that were read before stay in force.")
    assert [profile["name"] for profile in found["profiles"]] == ["catalogue", "lost"]
    events = "select event from registry_events where server = 'platform' and event like 'profiles%'"
    assert [row["event"] for row in json.loads(run(home, "sql", events, "--json").stdout)] == ["profiles_refused"]


def test_the_doctor_reads_the_file(home: Path) -> None:
    path = home / "profiles.toml"
    before = path.read_text()
    path.write_text(PROFILES)
    check = {c["name"]: c for c in json.loads(run(home, "doctor", "--json").stdout)["checks"]}["profiles"]
    assert (check["verdict"], check["finding"]) == ("ok", f"catalogue, lost in {path}")
    path.write_text(before.replace("[catalogue]", "[catalogue]\nserver = 1"))
    check = {c["name"]: c for c in json.loads(run(home, "doctor", "--json").stdout)["checks"]}["profiles"]
    assert check["verdict"] == "problem"
    assert "unknown key 'server'" in check["finding"]


def test_remembered_answers_are_counted(platform: RunningPlatform) -> None:
    headers = {"authorization": f"Bearer {platform.token}"}
    with httpx2.Client(headers=headers) as http:
        metrics = http.get(f"{platform.url}/metrics").text
    found = dict(re.findall(r'workbench_cache_lookups_total\{found="(\w+)"\} ([0-9.]+)', metrics))
    assert float(found["memory"]) >= 1
    assert float(found["nowhere"]) >= 1
    assert found["redis"] == "0.0"
    assert "workbench_cache_failures_total 0.0" in metrics
