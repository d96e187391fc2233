"""Providers that nobody here wrote, installed once into a folder of the machine's temporary directory."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

AIMOCK = "@copilotkit/aimock@1.43.0"
LLMOCK = "llmock==0.2.2"


def _folder(name: str) -> Path:
    folder = Path(tempfile.gettempdir()) / "workbench-stand-ins" / re.sub(r"[^a-z0-9.]+", "-", name)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _install(folder: Path, *commands: list[str]) -> None:
    """Run `commands` once; a machine that cannot reach the package index skips."""
    finished = folder / "finished"
    if finished.exists():
        return
    for command in commands:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
        if done.returncode:
            pytest.skip(f"{command[0]} could not install: {done.stderr.strip()[-300:]}")
    finished.touch()


@contextlib.contextmanager
def _running(command: list[str], says: str) -> Iterator[str]:
    """A process until the block ends; yields the URL in the first line of its output that matches `says`."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
    try:
        assert process.stdout is not None
        heard = []
        for line in process.stdout:
            heard.append(line)
            if found := re.search(says, line):
                yield found[1]
                return
        pytest.fail(f"{command[0]} did not start: {''.join(heard)[-1000:]}")
    finally:
        process.terminate()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@contextlib.contextmanager
def aimock(folder: Path, fixtures: list[dict[str, Any]]) -> Iterator[str]:
    """aimock (npm) answering from `fixtures`; yields its URL. Skips without Node."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("npm is not installed")
    home = _folder(AIMOCK)
    _install(home, [npm, "install", "--no-audit", "--no-fund", "--prefix", str(home), AIMOCK])
    (folder / "fixtures").mkdir()
    (folder / "fixtures" / "all.json").write_text(json.dumps({"fixtures": fixtures}))
    (folder / "aimock.json").write_text(json.dumps({"llm": {"fixtures": str(folder / "fixtures")}}))
    program = home / "node_modules" / "@copilotkit" / "aimock" / "dist" / "aimock-cli.js"
    command = [node, str(program), "--config", str(folder / "aimock.json"), "--port", "0"]
    with _running(command, r"listening on (http://\S+)") as url:
        yield url


@contextlib.contextmanager
def llmock() -> Iterator[str]:
    """llmock (PyPI) in an environment of its own; yields its URL."""
    home = _folder(LLMOCK)
    python = home / "env" / "bin" / "python"
    _install(
        home,
        [sys.executable, "-m", "venv", str(home / "env")],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", LLMOCK],
    )
    command = [str(python), "-m", "uvicorn", "llmock.main:app", "--port", "0", "--no-access-log"]
    with _running(command, r"running on (http://\S+)") as url:
        ask(f"{url}/health")
        yield url


def ask(url: str, body: Any = None) -> Any:
    """GET, or POST with a JSON body; the JSON that comes back."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    until = time.monotonic() + 10
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return json.load(response)
        except ConnectionError:
            if time.monotonic() > until:
                raise
