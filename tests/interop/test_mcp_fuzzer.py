"""`mcp-fuzzer` in all its modes against a running gateway: nothing breaks, and everybody else keeps being served."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz.protocol_client import Fuzzer
from tests.fuzz.test_protocol_fuzz import gateway_port
from tests.gateway.conftest import make_calc
from tests.interop.defense_adapter import opened
from tests.interop.node_tools import CACHE, alone
from workbench.audit.verification.verifier import verify

PACKAGE = "mcp-fuzzer==0.7.0"
TYPES = 24
"""Types of messages that it makes in the mode `all`, beside calls of tools."""


@pytest.fixture(scope="module")
def program() -> Path:
    """The fuzzer, out of an environment of its own; skipped where it cannot be had."""
    venv = CACHE / "mcp-fuzzer"
    with alone("mcp-fuzzer"):
        if not (venv / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            got = subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", PACKAGE], capture_output=True)
            if got.returncode:
                pytest.skip(f"{PACKAGE} cannot be had, so 0 calls were made: {got.stderr[-300:]!r}")
            (venv / "ready").touch()
    return venv / "bin/mcp-fuzzer"


async def harmless(program: Path, folder: Path, runs: int, caplog: Any) -> int:
    """Let it run; how many requests came in. Fails where anything broke."""
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    statuses: list[int] = []
    async with opened({"calc": make_calc().mcp}, rate_per_minute=1_000_000, call_timeout=30.0) as house:
        answer = house.endpoint.__call__

        async def counting(scope: Any, receive: Any, send: Any) -> None:
            async def counted(message: Any) -> None:
                if message["type"] == "http.response.start":
                    statuses.append(message["status"])
                await send(message)

            await answer(scope, receive, counted)

        keys = [house.key("owner", subject=name) for name in ("ann", "bea")]
        async with gateway_port(house, counting) as port:
            beside = Fuzzer(port, keys, [key.encode() for key in keys])
            stop = asyncio.Event()
            others = asyncio.create_task(beside.behave(stop))
            env = {key: value for key, value in os.environ.items() if not key.startswith("MCP_")}
            process = await asyncio.create_subprocess_exec(
                program, "--mode", "all", "--protocol", "streamablehttp", "--endpoint", f"http://127.0.0.1:{port}/mcp",
                "--runs", str(runs), "--runs-per-type", str(runs), "--seed", "42", "--auth-env", "--no-network",
                "--output-dir", folder / "out", "--fs-root", folder / "files",
                env={**env, "MCP_API_KEY": keys[1], "HOME": str(folder)}, cwd=folder,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            said, _ = await process.communicate()
            stop.set()
            right = await others
            # calls of older revisions go on when their client is gone, and some wait for what it would have answered
            async with asyncio.timeout(60):
                while house.gateway.dispatch.under_way:  # noqa: ASYNC110 - it is another task's count
                    await asyncio.sleep(0.05)
        assert b"Protocol Results" in said, said[-3000:].decode("utf-8", "replace")
        assert beside.findings == []
        assert right > 5
        assert [status for status in statuses if status >= 500] == []
        assert unhandled == []
        ours = [record for record in caplog.records if not record.name.startswith("mcp.")]
        assert [record.getMessage() for record in ours if record.levelname == "ERROR" or record.exc_info] == []
        await house.audit.close()
        found = verify(house.settings.home, deep=True)
        assert found.ok, found
        print(f"{len(statuses) - right} requests of the fuzzer, {right} right answers beside", file=sys.__stderr__)
        return len(statuses) - right


@pytest.mark.interop
@pytest.mark.timeout(300)
async def test_a_short_run_breaks_nothing(program: Path, tmp_path: Path, caplog: Any) -> None:
    assert await harmless(program, tmp_path, 2, caplog) > 2 * TYPES


@pytest.mark.interop
@pytest.mark.full
@pytest.mark.timeout(3600)
async def test_a_thousand_calls_break_nothing(program: Path, tmp_path: Path, caplog: Any) -> None:
    assert await harmless(program, tmp_path, 45, caplog) >= 1_000
