"""Starts a real platform as `workbench up` does, for tests that talk to it from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from workbench.platform.run_file import RunningPlatform, find_running

START_SECONDS = 90.0
STOP_SECONDS = 15.0


@contextlib.contextmanager
def up(
    home: Path, *options: str, env: dict[str, str] | None = None
) -> Iterator[tuple[RunningPlatform, subprocess.Popen[str]]]:
    """A platform on `home` with free ports, without the app unless `--app` is among the options; stopped at the end."""
    process = start(home, options, env or {})
    try:
        yield wait(home, process), process
    finally:
        stop(process)


def start(home: Path, options: Sequence[str] = (), env: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Launch it and return at once; what it prints goes to `up.log` beside the state folder."""
    app = () if {"--app", "--no-app"} & set(options) else ("--no-app",)
    clean = {k: v for k, v in os.environ.items() if not k.endswith("_API_KEY") and not k.startswith("WORKBENCH_")}
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / "up.log").open("a", encoding="utf-8") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "workbench", "up", "--port", "auto", *app, *options],
            env={**clean, "WORKBENCH_HOME": str(home), **(env or {})},
            stdout=log,
            stderr=log,
            text=True,
            cwd=home.parent,
        )


def wait(home: Path, process: subprocess.Popen[str]) -> RunningPlatform:
    """Until it announces itself."""
    return wait_for(home, process, home.parent / "up.log", pid=process.pid)


def wait_for(home: Path, process: subprocess.Popen[str], log: Path, *, pid: int | None = None) -> RunningPlatform:
    """Until a platform on `home` announces itself, with the process id `pid` if that is given."""
    deadline = time.monotonic() + START_SECONDS
    while (running := find_running(home)) is None or pid not in (None, running.pid):
        if process.poll() is not None or time.monotonic() > deadline:
            text = log.read_text(encoding="utf-8")
            raise AssertionError(f"The platform did not start:\n{text[-4000:]}")
        time.sleep(0.05)
    return running


def stop(process: subprocess.Popen[str]) -> int:
    """As Ctrl-C does; returns the exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"The platform did not stop within {STOP_SECONDS:g} s of Ctrl-C.") from None
