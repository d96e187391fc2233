"""The command line of somebody whose servers fail and whose people lack rights: what is said, and what to do next."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.platforms import up
from tests.waiting import soon
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Run = Callable[..., subprocess.CompletedProcess[str]]

TINY = """
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("tiny")


@server.tool(annotations=ToolAnnotations(destructiveHint=False, readOnlyHint=False))
def greet(name: str) -> str:
    return f"Hello {name}"


@server.tool(annotations=ToolAnnotations(destructiveHint=True, readOnlyHint=False))
def forget(name: str) -> str:
    return f"{name} is forgotten"


server.run()
"""


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningPlatform, Path]]:
    folder = tmp_path_factory.mktemp("failed")
    (folder / "tiny.py").write_text(TINY, encoding="utf-8")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: whoever connects is refused
        port = closed.getsockname()[1]
        servers = {
            "tiny": {"command": sys.executable, "args": [str(folder / "tiny.py")]},
            "away": {"url": f"http://127.0.0.1:{port}/mcp"},
            "typo": {"command": "no-such-program-of-anybody"},
        }
        (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
        with up(folder / "home", "--servers", "", "--config", str(folder / "mcp.json")) as (running, _):
            yield running, folder / "home"


@pytest.fixture
def run(platform: tuple[RunningPlatform, Path], tmp_path: Path) -> Run:
    """Run `workbench ARGS` as a program of its own."""

    def command(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("WORKBENCH_")}
        home = () if "WORKBENCH_URL" in env else ("--home", str(platform[1]))
        return subprocess.run(
            [sys.executable, "-m", "workbench", *home, *arguments],
            env={**clean, **env}, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return command


def test_restarting_a_server_that_still_fails_says_so_and_exits_with_4(run: Run) -> None:
    done = run("servers", "restart", "away")
    assert done.returncode == 4
    assert done.stdout == ""
    assert "away was restarted and has failed: " in done.stderr


def test_restarting_a_server_that_comes_up_says_that_it_is_ready(run: Run) -> None:
    done = run("servers", "restart", "tiny")
    assert (done.returncode, done.stdout) == (0, "tiny was restarted and is ready: 2 tools.\n")


def test_a_hint_is_a_command_that_can_be_typed_as_it_is(run: Run, platform: tuple[RunningPlatform, Path]) -> None:
    done = run("approvals", "approve", "apr_nonsense")
    assert done.returncode == 2
    hint = re.search("`(.+)` lists those that wait", done.stderr)
    assert hint is not None
    assert str(platform[1]) in hint[1]
    listed = subprocess.run(shlex.split(hint[1]), capture_output=True, text=True, check=False)
    assert "Nothing waits" in listed.stderr, listed


def test_an_unknown_server_leads_to_the_command_that_lists_them(run: Run) -> None:
    assert re.search("`.*workbench.* servers`, or GET /servers", run("servers", "restart", "zzz").stderr)


@pytest.mark.parametrize("question", ["", "   "])
def test_a_question_without_words_is_refused_as_such(run: Run, question: str) -> None:
    done = run("ask", question)
    assert done.returncode == 2
    assert "The question is empty." in done.stderr
    assert "body" not in done.stderr


def test_a_configuration_that_is_not_there_is_refused_in_words_of_the_option(run: Run, tmp_path: Path) -> None:
    done = run("--home", str(tmp_path / "other"), "up", "--no-app", "--port", "auto", "--config", "none.json")
    assert done.returncode == 2
    assert "none.json" in done.stderr
    assert "mcp_config" not in done.stderr


def test_a_value_that_does_not_fit_is_refused_with_the_option_that_gave_it(run: Run) -> None:
    assert "Setting port is 'many' (from --port)." in run("up", "--port", "many").stderr


def test_a_port_in_use_is_answered_with_the_option_that_chooses_another(
    run: Run, platform: tuple[RunningPlatform, Path], tmp_path: Path
) -> None:
    port = platform[0].url.rpartition(":")[2]
    done = run("--home", str(tmp_path / "other"), "up", "--no-app", "--port", port)
    assert done.returncode == 2
    assert "up --port auto` takes a free one" in done.stderr


def test_the_owner_is_told_how_to_approve_and_another_that_somebody_else_has_to(
    run: Run, platform: tuple[RunningPlatform, Path]
) -> None:
    owners = run("call", "tiny.forget", "name=Ida")
    assert owners.returncode == 7
    assert re.search("Approve it with `.* approvals approve ", owners.stderr)

    made = run("access", "roles", "--write")
    roles = Path(made.stdout.strip())
    text = roles.read_text(encoding="utf-8")
    roles.write_text(text.replace('"orders:read", "servers:read",', '"servers:read", "tiny:*",'), encoding="utf-8")
    key = run("access", "create", "bob", "--role", "employee").stdout.strip()
    asked = ("call", "tiny.forget", "name=Bob")
    theirs = owners

    def granted() -> bool:  # the platform looks at the file once a second
        nonlocal theirs
        theirs = run(*asked, WORKBENCH_URL=platform[0].url, WORKBENCH_TOKEN=key)
        return "lacks" not in theirs.stdout

    soon(granted, 60)
    assert theirs.returncode == 7, theirs
    assert "Somebody else, who has the scope approvals:decide" in theirs.stderr


def test_the_list_of_servers_cuts_no_word_and_names_every_reason(run: Run) -> None:
    done = run("servers")
    assert "away has failed: Server 'away' cannot be reached" in done.stderr
    assert "typo has failed: The program 'no-such-program-of-anybody' is not on the PATH" in done.stderr
    for line in done.stdout.splitlines():
        assert not re.search(r"\bfor the same rea$|\bin$", line)


def test_the_doctor_names_each_failed_server_before_any_setting(run: Run) -> None:
    done = run("doctor")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    [first] = [n for n, line in enumerate(lines) if line.startswith("problem servers: 1 of 3 servers ready")]
    assert "away has failed: Server 'away' cannot be reached" in "\n".join(lines[first:])
    assert "typo has failed: The program 'no-such-program-of-anybody' is not on the PATH" in done.stdout
    assert re.search("Mend what is named, then `.* servers restart NAME`", done.stdout)
    assert next(n for n, line in enumerate(lines) if line.startswith("setting ")) > first


def test_the_doctor_shows_settings_that_are_no_defaults_and_all_when_asked(run: Run) -> None:
    few, all_of_them = run("doctor").stdout, run("doctor", "--settings").stdout
    assert "mcp_config" in few
    assert "health_interval" not in few
    assert "health_interval" in all_of_them
    assert re.search(r"\d+ settings at their defaults; `.*doctor --settings` shows them", " ".join(few.split()))


def test_the_terminal_tells_of_a_server_that_was_killed_and_of_rules_that_were_refused(
    run: Run, platform: tuple[RunningPlatform, Path]
) -> None:
    log = platform[1].parent / "up.log"
    before = len(log.read_text(encoding="utf-8"))

    def told() -> str:
        return log.read_text(encoding="utf-8")[before:]

    tiny = next(each for each in json.loads(run("servers", "--json").stdout) if each["id"] == "tiny")
    os.kill(tiny["pid"], signal.SIGKILL)
    soon(lambda: re.search("^tiny: down. The process ended by SIGKILL", told(), re.M), 30)
    soon(lambda: re.search(r"^tiny: ready, 2 tools, process \d+$", told(), re.M), 30)

    roles = platform[1] / "policy" / "roles.toml"
    roles.parent.mkdir(exist_ok=True)
    good = roles.read_text(encoding="utf-8") if roles.exists() else None
    roles.write_text("[owner\n", encoding="utf-8")
    soon(lambda: re.search("^access: The changed roles are not in force", told(), re.M), 30)
    if good is None:
        roles.unlink()
    else:
        roles.write_text(good, encoding="utf-8")
    soon(lambda: re.search("^access: in order again$", told(), re.M), 30)
