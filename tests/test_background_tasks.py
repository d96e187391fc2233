"""Background tasks: what fails is logged unless somebody heard of it, and none outlives its owner."""

from __future__ import annotations

import asyncio
import logging

import pytest

from workbench.background_tasks import BackgroundTasks
from workbench.events import UnreachableError


async def fail(error: Exception) -> None:
    raise error


async def test_a_task_that_fails_is_logged_with_its_owner(caplog: pytest.LogCaptureFixture) -> None:
    tasks = BackgroundTasks("server 'crm'")
    await asyncio.wait({tasks.start(fail(UnreachableError("It is gone.")))})
    await asyncio.wait({tasks.start(fail(ZeroDivisionError("a bug")))})
    expected, bug = caplog.records
    assert expected.getMessage() == "server 'crm': a background task failed: It is gone."
    assert (expected.levelno, expected.exc_info) == (logging.WARNING, None)
    assert bug.exc_info is not None
    assert bug.exc_info[0] is ZeroDivisionError
    assert len(tasks) == 0


async def test_whoever_awaits_a_shielded_task_is_told_of_its_failure_and_the_log_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tasks = BackgroundTasks("tests")
    with pytest.raises(ZeroDivisionError):
        await tasks.shielded(fail(ZeroDivisionError()))
    assert caplog.records == []


async def test_a_shielded_task_goes_on_when_its_waiter_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    tasks, go_on = BackgroundTasks("tests"), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        raise UnreachableError("Too late.")

    waiter = tasks.shielded(work())
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    assert len(tasks) == 1
    go_on.set()
    await tasks.finish()
    assert [record.getMessage() for record in caplog.records] == ["tests: a background task failed: Too late."]


async def test_closing_ends_every_task_without_a_word(caplog: pytest.LogCaptureFixture) -> None:
    tasks = BackgroundTasks("tests")
    running = [tasks.start(asyncio.Event().wait()) for _ in range(3)]
    await tasks.close()
    assert all(task.cancelled() for task in running)
    assert (len(tasks), caplog.records) == (0, [])


async def test_finishing_waits_and_cancels_what_takes_too_long() -> None:
    tasks, turns = BackgroundTasks("tests"), []

    async def short() -> None:
        await asyncio.sleep(0)
        turns.append("done")

    tasks.start(short())
    endless = tasks.start(asyncio.Event().wait())
    await tasks.finish(timeout=0.01)
    assert (turns, endless.cancelled()) == (["done"], True)
