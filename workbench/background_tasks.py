"""Tasks that run beside what started them: kept until they end, logged when they fail, ended with their owner."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from workbench.events import WorkbenchError

T = TypeVar("T")

_log = logging.getLogger(__name__)


class BackgroundTasks:
    """The background tasks of one owner, which closes them when it is closed itself.

    The event loop keeps only weak references to tasks (`asyncio.create_task`), so somebody has to hold them until
    they are done, and somebody has to look at the exception of a task that nobody awaits.

    Args:
        owner: whose tasks they are, as the log names them.
    """

    def __init__(self, owner: str) -> None:
        self._owner = owner
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        """How many are not done."""
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work`; when it fails, that is logged."""
        task = self._create(work)
        task.add_done_callback(self._log_failure)
        return task

    def shielded(self, work: Coroutine[Any, Any, T]) -> asyncio.Future[T]:
        """Run `work` to its end, even if whoever awaits it is cancelled.

        Returns:
            What to await; a failure is raised there, and logged only when the wait was cancelled.
        """
        task = self._create(work)
        waiter = asyncio.shield(task)

        def done(_: asyncio.Task[T]) -> None:
            if waiter.cancelled():
                self._log_failure(task)

        task.add_done_callback(done)
        return waiter

    async def finish(self, timeout: float | None = None) -> None:
        """Wait until all are done; those that are not after `timeout` seconds are cancelled."""
        try:
            async with asyncio.timeout(timeout):
                while self._tasks:  # one may start another
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            await self.close()

    async def close(self) -> None:
        """Cancel all, and wait until they have ended."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _create(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _log_failure(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or (error := task.exception()) is None:
            return
        # an error of the vocabulary says all that there is to know; any other is a bug, and its traceback is needed
        trace = None if isinstance(error, WorkbenchError) else error
        _log.warning("%s: a background task failed: %s", self._owner, error or type(error).__name__, exc_info=trace)
