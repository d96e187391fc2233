"""The compactor of the log as a child process: started beside the platform, restarted when it dies, gone with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from workbench.events import JSON

INTERVAL_S: Final = 60
FIRST_PAUSE_S: Final = 0.5
MAX_PAUSE_S: Final = 30.0


class CompactorProcess:
    """Keeps one low-priority child that moves sealed segments into Parquet, until `close()`.

    Args:
        home: the state folder.
        adopt: told the process id of each child, so that it ends with us however we end.
        told: called with what happened to it, and with details.
        environment: further variables of the child.
    """

    def __init__(
        self,
        home: Path,
        *,
        adopt: Callable[[int], None],
        told: Callable[[str, JSON], None],
        environment: Mapping[str, str],
    ) -> None:
        self.restarts = 0
        self._home, self._adopt, self._told, self._environment = home, adopt, told, environment
        self.process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it; returns at once."""
        self.process = await self._launch()
        self._keeper = asyncio.create_task(self._keep(self.process), name="keeper of the compactor")

    async def close(self) -> None:
        """End it. Safe to call twice, and without a start."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            await self.process.wait()

    async def _launch(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "workbench.audit.compact", str(self._home), "--every", str(INTERVAL_S),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, start_new_session=True,
            env={**os.environ, **self._environment},
        )  # fmt: skip
        self._adopt(process.pid)
        return process

    async def _keep(self, process: asyncio.subprocess.Process) -> None:
        pause = FIRST_PAUSE_S
        while True:
            status = await process.wait()
            await asyncio.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE_S)
            self.restarts += 1
            ended = {"pid": process.pid, "status": status}
            self.process = process = await self._launch()
            self._told("compactor_restarted", {**ended, "new_pid": process.pid, "attempt": self.restarts})
