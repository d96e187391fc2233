"""The processes that help a platform: who kills one finds another, and the record says so."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.config import Settings
from workbench.events import JSON
from workbench.platform import compactor_process, sql_process
from workbench.platform.compactor_process import CompactorProcess
from workbench.platform.platform import Platform
from workbench.platform.sql_process import SqlProcess


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a process has no event of ours
            await asyncio.sleep(0.01)


async def test_a_killed_compactor_is_replaced_and_said_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor_process, "FIRST_PAUSE_S", 0.01)
    adopted: list[int] = []
    said: list[tuple[str, JSON]] = []
    compactor = CompactorProcess(
        settings.home, adopt=adopted.append, told=lambda e, d: said.append((e, d)), environment={"MARK": "m"}
    )
    await compactor.start()
    try:
        assert compactor.process is not None
        first = compactor.process.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: said)
        assert compactor.process.pid != first
        assert adopted == [first, compactor.process.pid]
        assert said[0][0] == "compactor_restarted"
        assert said[0][1]["status"] == -signal.SIGKILL
    finally:
        await compactor.close()
    assert compactor.process.returncode is not None
    await compactor.close()


async def test_a_killed_sql_process_is_replaced_and_said_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_process, "STEADY_S", 0.0)
    said: list[str] = []
    desk = SqlProcess(home, told=lambda event, detail: said.append(event))
    try:
        assert (await desk.query("select 1 as one", tenant="acme")).to_pylist() == [{"one": 1}]
        child = next(c for c in desk._children if c._process is not None)
        first = child._process
        assert first is not None
        first.kill()
        await until(lambda: child._process is not None and child._process is not first)
        assert said == ["sql_process_ended"]
        assert (await desk.query("select 2 as two", tenant="acme")).to_pylist() == [{"two": 2}]
    finally:
        await desk.close()


@pytest.fixture
def home(settings: Settings) -> Path:
    return settings.home


def test_what_happens_to_a_helper_is_on_the_record(platform: Platform, wb: Any) -> None:
    wb._loop.portal.call(platform._happened, "compactor_restarted", {"pid": 1})
    query = "select count(*) as n from registry_events where server = 'platform'"
    for _ in range(200):
        if wb.sql(query)["n"][0]:
            return
    raise AssertionError("it was not recorded")
