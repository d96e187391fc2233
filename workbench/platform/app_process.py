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
from socket import socket

from workbench.config import Settings
from workbench.events import MisuseError


def shipped(folder: str) -> Path:
    """A folder that ships with the project: beside the package in a clone, inside it in an installed wheel.

    Raises:
        MisuseError: neither is there.
    """
    package = Path(str(resources.files("workbench")))
    for candidate in (package.parent / folder, package / "_shipped" / folder):
        if candidate.is_dir():
            return candidate
    raise MisuseError(
        f"The folder {folder!r} is missing beside {package}.", hint="Install again, or clone the project whole."
    )


class AppProcess:
    """Keeps the server of the app running until `close()`.

    Args:
        settings: of the platform.
        bound: the socket it answers on; it stays open here, so that a restarted app has the same port.
        adopt: told of every process that is started.
        environment: further variables for it.
    """

    def __init__(
        self,
        settings: Settings,
        bound: socket,
        *,
        adopt: Callable[[int], None] = lambda pid: None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        host = f"[{settings.app_host}]" if ":" in settings.app_host else settings.app_host
        self.url = f"http://{host}:{bound.getsockname()[1]}"
        self.restarts = 0
        self._home, self._bound, self._adopt = settings.home, bound, adopt
        self._environment = {
            # whatever platform our shell names, and whatever folder the settings were found in
            **{"WORKBENCH_HOME": str(settings.home), "WORKBENCH_URL": ""},
            "WORKBENCH_ALLOWED_HOSTS": ",".join(settings.allowed_hosts),
            "WORKBENCH_ALLOWED_ORIGINS": ",".join(settings.allowed_origins),
            "WORKBENCH_PUBLIC_URL": settings.public_url,
            "WORKBENCH_APP_SESSION_SECONDS": str(settings.app_session_seconds),
            **(environment or {}),
        }
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
        log = (self._home / "app.log").open("ab")
        number = self._bound.fileno()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "workbench.serve.app_server", "--fd", str(number), pass_fds=(number,),
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **self._environment}, cwd=shipped("dashboards"),
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
