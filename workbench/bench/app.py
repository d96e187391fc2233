"""The Streamlit app as a child process: started beside the platform, restarted when it dies, gone with it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path

from workbench.events import Misuse


def shipped(folder: str) -> Path:
    """A folder that ships with the project: beside the package in a clone, inside it in an installed wheel.

    Raises:
        Misuse: neither is there.
    """
    package = Path(str(resources.files("workbench")))
    for candidate in (package.parent / folder, package / "_shipped" / folder):
        if candidate.is_dir():
            return candidate
    raise Misuse(
        f"The folder {folder!r} is missing beside {package}.", hint="Install again, or clone the project whole."
    )


class AppProcess:
    """Keeps one Streamlit server running until `close()`."""

    def __init__(
        self,
        home: Path,
        host: str,
        port: int,
        *,
        adopt: Callable[[int], None] = lambda pid: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.url = f"http://{'localhost' if host in ('0.0.0.0', '::') else host}:{port}"
        self.restarts = 0
        self._home, self._host, self._port, self._adopt = home, host, port, adopt
        self._environment = environment or {}
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start it; returns at once."""
        self._process = await self._launch()
        self._keeper = asyncio.create_task(self._keep(), name="app keeper")

    async def close(self) -> None:
        """End it and what it started."""
        if self._keeper is not None:
            self._keeper.cancel()
        process = self._process
        if process is None or process.returncode is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 1.5)
                return

    async def _launch(self) -> asyncio.subprocess.Process:
        script = shipped("dashboards") / "app.py"
        log = (self._home / "app.log").open("ab")
        try:
            ours = {"WORKBENCH_HOME": str(self._home), "WORKBENCH_URL": ""}  # whatever platform our shell names
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "streamlit", "run", str(script),
                f"--server.address={self._host}", f"--server.port={self._port}", "--server.headless=true",
                "--server.fileWatcherType=none", "--browser.gatherUsageStats=false", "--client.toolbarMode=viewer",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **ours, **self._environment}, cwd=script.parent,
            )  # fmt: skip
        finally:
            log.close()
        self._adopt(process.pid)
        return process

    async def _keep(self) -> None:
        pause = 0.5
        while self._process is not None:
            await self._process.wait()
            await asyncio.sleep(pause)
            pause = min(pause * 2, 30.0)
            self.restarts += 1
            self._process = await self._launch()
