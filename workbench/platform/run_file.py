"""Where the platform of this state folder runs: `run.json`, written by `workbench up`, read by all that attach.

The file holds a bearer token, so it is readable by its owner alone. It may outlive a platform that was killed: a
reader checks that the process still is the one that wrote it, and removes the file when it is not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil

from workbench.config import Settings, names
from workbench.events import MisuseError, Record


class RunningPlatform(Record, frozen=True, kw_only=True):
    """A platform that runs now."""

    url: str
    """Origin of MCP endpoint and management API, e.g. `http://127.0.0.1:8800`."""
    app_url: str = ""
    pid: int
    started: float
    """Start time of the process as the operating system counts it; guards against a reused pid."""
    token: str = ""
    version: str = ""
    settings: Mapping[str, Any] = msgspec.field(default_factory=dict)
    """Settings that it was started with and that are no defaults; those that may hold a password are left out."""

    @property
    def mcp_url(self) -> str:
        """Address of the MCP endpoint."""
        return f"{self.url}/mcp"

    @property
    def elsewhere(self) -> bool:
        """Whether it was named by its URL: nothing but its doors can be reached from here."""
        return not self.pid


def told(settings: Settings) -> dict[str, Any]:
    """What others on this machine may know of the settings of a platform: `RunningPlatform.settings`."""
    found: dict[str, Any] = {}
    for name in names():
        value = getattr(settings, name)
        if name in ("home", "url") or settings.source_of(name) == "default" or value is None:
            continue
        value = str(value.absolute()) if isinstance(value, Path) else msgspec.to_builtins(value, enc_hook=_path)
        if "@" not in str(value) and "password" not in str(value):
            found[name] = value
    return found


def _path(value: Any) -> str:
    if isinstance(value, Path):
        return str(value.absolute())
    raise NotImplementedError


def as_started(settings: Settings) -> Settings:
    """`settings` as the platform has them that runs on this state folder, whatever shell it was started from."""
    running = None if settings.url else find_running(settings.home)
    if running is None or not running.settings:
        return settings
    theirs = Settings.load(home=settings.home, **running.settings)
    sources = dict.fromkeys(running.settings, "the running platform")
    return dataclasses.replace(theirs, sources={**theirs.sources, **sources})


def at_url(url: str, token: str) -> RunningPlatform:
    """A platform elsewhere.

    Args:
        url: its origin, or any address below it that the platform prints, e.g. of its MCP endpoint.
        token: a key or access token.

    Raises:
        MisuseError: it is no URL of a web server.
    """
    try:
        found = urlsplit(url)
        sound = found.scheme in ("http", "https") and bool(found.hostname) and "@" not in found.netloc
        sound = sound and (found.port is None or found.port > 0)
    except ValueError:
        sound = False
    if not sound:
        raise MisuseError(f"{url!r} is no URL of a platform.", hint="Expected e.g. https://tools.example:8800.")
    path = found.path.rstrip("/").removesuffix("/mcp").rstrip("/")
    return RunningPlatform(url=f"{found.scheme}://{found.netloc}{path}", pid=0, started=0.0, token=token)


def process_started(pid: int) -> float | None:
    """When `pid` was started, in seconds since the epoch, or None when there is no such process."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def announce(home: Path, running: RunningPlatform) -> None:
    """Write `run.json` so that it is never seen half-written nor by others."""
    temporary = home / f"run.json.{os.getpid()}"
    descriptor = os.open(temporary, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(running))
    temporary.rename(home / "run.json")


def withdraw(home: Path) -> None:
    """Remove `run.json` if it is ours."""
    with contextlib.suppress(OSError, ValueError, msgspec.ValidationError):
        if json.loads((home / "run.json").read_bytes()).get("pid") == os.getpid():
            (home / "run.json").unlink()


def find_running(home: Path) -> RunningPlatform | None:
    """The platform that runs on this state folder, or None. A stale or damaged `run.json` is removed."""
    path = home / "run.json"
    try:
        running = msgspec.json.decode(path.read_bytes(), type=RunningPlatform)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, msgspec.ValidationError):
        path.unlink(missing_ok=True)
        return None
    started = process_started(running.pid)
    if started is None or abs(started - running.started) > 1.0:
        path.unlink(missing_ok=True)
        return None
    return running
