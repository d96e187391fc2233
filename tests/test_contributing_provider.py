"""The guide to a new model provider works in a copy of the code to which only its file, row and model were added."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "contributing" / "provider.md").read_text(encoding="utf-8")
PLANNER = '        ProviderRow(name="planner"'
pytestmark = pytest.mark.timeout(180)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.M | re.S)


ADAPTER, ROW = blocks("python")
[MODEL] = blocks("toml")
[LINES] = blocks("json")
[COMMANDS] = blocks("sh")
LIST, DOCTOR, ASK = (shlex.split(line)[1:] for line in COMMANDS.splitlines())


@dataclass
class Nimbus:
    """The API of the page over real HTTP: the lines of the page, then an answer that repeats its result."""

    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    cut: bool = False
    """Whether every answer breaks off before its end."""

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        if request.headers["Authorization"] != "Bearer right":
            return web.Response(status=401, text="this key is not known")
        lines = [json.loads(line) for line in LINES.splitlines()]
        if body["messages"][-1]["role"] == "tool":
            lines = [
                {"type": "text", "text": f"The tool said: {body['messages'][-1]['text']}"},
                {**lines[-1], "stop": "end"},
            ]
        return web.Response(text="".join(f"{json.dumps(line)}\n" for line in lines[: -1 if self.cut else None]))


@pytest.fixture
async def nimbus() -> AsyncIterator[Nimbus]:
    served = Nimbus()
    app = web.Application()
    app.router.add_post("/v1/turns", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    served.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield served
    await runner.cleanup()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, and what the page adds to it."""
    folder = tmp_path_factory.mktemp("clone")
    for part in ("workbench", "servers", "data"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "workbench" / "agent" / "providers" / "nimbus.py").write_text(ADAPTER, encoding="utf-8")
    table = folder / "workbench" / "provider_table.py"
    before, planner, after = table.read_text(encoding="utf-8").partition(PLANNER)
    assert planner
    table.write_text(f"{before}        {ROW.strip()},\n{planner}{after}", encoding="utf-8")
    with (folder / "workbench" / "agent" / "models.toml").open("a", encoding="utf-8") as models:
        models.write(MODEL)
    return folder


class Shell:
    """Runs commands of the page in the copy, with the environment of a new user."""

    def __init__(self, clone: Path, home: Path) -> None:
        self._clone = clone
        self._env = {
            name: value
            for name, value in os.environ.items()
            if not name.endswith(("_API_KEY", "_BASE_URL")) and not name.startswith("WORKBENCH_")
            if not name.lower().endswith("_proxy")
        }
        self._env |= {
            "PYTHONPATH": str(clone),
            "WORKBENCH_HOME": str(home),
            "WORKBENCH_SERVERS": "crm",
            "NO_COLOR": "1",
        }

    async def run(self, command: list[str], **env: str) -> tuple[int, str, str]:
        """Exit code, standard output and standard error of `workbench` with the arguments `command`."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "workbench",
            *command,
            cwd=self._clone,
            env={**self._env, **env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def shell(clone: Path, tmp_path: Path) -> Shell:
    return Shell(clone, tmp_path / "home")


async def test_the_provider_of_the_page_answers_over_a_real_tool(shell: Shell, nimbus: Nimbus) -> None:
    code, out, err = await shell.run(ASK, NIMBUS_API_KEY="right", NIMBUS_BASE_URL=nimbus.url)
    assert code == 0, out + err
    assert "nimbus-large" in err
    assert "crm.search_customers" in err
    assert "The tool said:" in out
    assert '"email": "john.smith@acme.com"' in out, "what the tool said came back to the provider and into the answer"
    first, second = nimbus.requests
    assert first["model"] == "nimbus-large"
    assert [message["role"] for message in first["messages"]] == ["system", "user"]
    assert "crm__search_customers" in {tool["name"] for tool in first["tools"]}
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][-1]["error"] is False


async def test_its_errors_are_named_with_what_to_do(shell: Shell, nimbus: Nimbus, free_tcp_port: int) -> None:
    code, out, err = await shell.run(ASK, NIMBUS_BASE_URL=nimbus.url)
    assert (code, nimbus.requests) == (4, [])
    assert "nimbus: NIMBUS_API_KEY is not set. Set NIMBUS_API_KEY, or choose another provider" in flat(out + err)

    code, out, err = await shell.run(ASK, NIMBUS_API_KEY="wrong", NIMBUS_BASE_URL=nimbus.url)
    assert code == 4
    assert "nimbus: HTTP 401: this key is not known Check NIMBUS_API_KEY" in flat(out + err)
    assert "wrong" not in out + err

    code, out, err = await shell.run(ASK, NIMBUS_API_KEY="right", NIMBUS_BASE_URL=f"http://127.0.0.1:{free_tcp_port}")
    assert code == 4
    assert "nimbus: no connection" in flat(out + err)


async def test_an_answer_that_breaks_off_calls_no_tool_and_is_asked_for_once_more(shell: Shell, nimbus: Nimbus) -> None:
    nimbus.cut = True
    code, out, err = await shell.run(ASK, NIMBUS_API_KEY="right", NIMBUS_BASE_URL=nimbus.url)
    assert code == 4
    assert "nimbus: the stream ended without a line of type end." in flat(out + err)
    assert "crm.search_customers" not in err
    assert [len(request["messages"]) for request in nimbus.requests] == [2, 2]


async def test_it_is_listed_with_what_it_lacks_or_why_it_is_ready(shell: Shell) -> None:
    _, out, _ = await shell.run(LIST)
    assert re.search(r"^nimbus +nimbus-large +NIMBUS_API_KEY is not set\.$", out, re.M)
    _, out, _ = await shell.run(LIST, NIMBUS_API_KEY="right", NIMBUS_MODEL="nimbus-small")
    assert re.search(r"^nimbus +nimbus-small +NIMBUS_API_KEY is set$", out, re.M)
    _, out, err = await shell.run(DOCTOR, NIMBUS_API_KEY="right")
    assert "nimbus: NIMBUS_API_KEY is set" in flat(out + err)
    _, out, _ = await shell.run(["ask", "--help"])
    assert "gemini, nimbus, compatible" in flat(out)


def flat(text: str) -> str:
    """`text` as one line, however it was wrapped."""
    return " ".join(text.split())
