"""The guide `Add a transport to servers`: its connection carries calls of a real gateway to a server on a socket."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.conftest import Furnish
from workbench.events import UnreachableError
from workbench.registry.connection import LaunchContext
from workbench.registry.server import ServerSpec

GUIDE = (Path(__file__).parents[2] / "docs" / "contributing" / "transport.md").read_text(encoding="utf-8")
CONNECTION, BRANCH = re.findall(r"^```python\n(.*?)^```", GUIDE, re.M | re.S)
SERVER = Path(__file__).with_name("stdio_child.py")


@pytest.fixture
def guide() -> dict[str, Any]:
    """The names that the code of the guide defines, and `choose`, which ends in its branch."""
    names: dict[str, Any] = {}
    exec(compile(CONNECTION, "transport.md", "exec"), names)
    exec("def choose(spec, launched):\n" + textwrap.indent(BRANCH, "    "), names)
    return names


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    """A socket whose every client gets a server process of its own, as inetd does it."""
    path, children = tmp_path / "s", []
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    listening.setblocking(False)

    async def serve() -> None:
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(listening)
            with client:
                client.setblocking(True)  # the child shares this flag
                arguments = (sys.executable, str(SERVER), "sdk")
                children.append(
                    await asyncio.create_subprocess_exec(
                        *arguments, stdin=client, stdout=client, stderr=asyncio.subprocess.DEVNULL
                    )
                )

    serving = asyncio.create_task(serve())
    yield path
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    listening.close()
    for child in children:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def test_calls_reach_a_server_over_the_connection_of_the_guide(
    guide: dict[str, Any], path: Path, furnish: Furnish
) -> None:
    connection = guide["choose"](ServerSpec(id="sockets", kind="url"), LaunchContext(url=f"unix:{path}"))
    house = await furnish(servers={"sockets": connection})
    outcome = await house.call("sockets.echo", {"text": "ü\u2028"})
    assert outcome.ok, outcome.message
    assert outcome.result is not None
    assert outcome.result["content"][0]["text"] == "ü\u2028"
    state = house.platform.registry.state("sockets")
    assert (state.transport, state.era) == ("unix", "2026-07-28")


async def test_other_addresses_are_left_to_the_branches_that_follow(guide: dict[str, Any]) -> None:
    assert guide["choose"](ServerSpec(id="x", kind="url"), LaunchContext(url="http://127.0.0.1:1/mcp")) is None


async def test_a_socket_on_which_nobody_listens_is_unreachable(guide: dict[str, Any], tmp_path: Path) -> None:
    connection = guide["UnixSocketConnection"](tmp_path / "none", name="sockets")
    with pytest.raises(UnreachableError, match="'sockets' does not listen on"):
        await connection.open()
    assert not connection.alive
