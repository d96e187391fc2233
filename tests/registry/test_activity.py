"""What launched processes use, as the system tells it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.waiting import soon
from workbench.registry.processes import activity
from workbench.registry.processes.activity import ProcessUsage, usage_of, works

NEST = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'while True: pass']); time.sleep(60)"


@pytest.fixture
def nested() -> Iterator[int]:
    """A process that sleeps, and has started one that works."""
    process = subprocess.Popen([sys.executable, "-c", NEST], start_new_session=True)
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def used(pid: int) -> ProcessUsage:
    found = usage_of(pid)
    if found is None:
        pytest.skip("this system does not tell what processes use")
    return found


async def test_what_a_process_started_counts_as_its_own_work(nested: int) -> None:
    soon(lambda: len(used(nested).processes) == 2)
    before = used(nested)
    soon(lambda: used(nested).cpu_s > before.cpu_s)
    assert used(nested).worked_since(before, 0.01)
    assert await works(nested)


async def test_a_process_that_is_gone_does_nothing() -> None:
    gone = used(2**22 + 1)
    assert gone == ProcessUsage(0.0, 0, frozenset())
    assert not gone.worked_since(gone, 1.0)
    assert not await works(2**22 + 1)


def test_an_idle_process_may_wake_up_now_and_then() -> None:
    before = ProcessUsage(1.0, 100, frozenset({1}))
    assert not before._replace(cpu_s=1.005).worked_since(before, 1.0)
    assert before._replace(cpu_s=1.02).worked_since(before, 1.0)
    assert before._replace(io_bytes=101).worked_since(before, 1.0)
    assert before._replace(processes=frozenset({2})).worked_since(before, 1.0)


async def test_where_the_system_tells_nothing_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> list[str]:
        raise FileNotFoundError(path)

    monkeypatch.setattr(activity.os, "listdir", missing)
    assert usage_of(1) is None
    assert not await works(1)
