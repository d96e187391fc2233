"""A source whose answers the tests decide, and an AWS Secrets Manager of a process of its own."""

from __future__ import annotations

import glob
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench.config import Settings
from workbench.secrets import SecretNotFoundError, SecretResolver

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mcp-workbench-tests"


class Safe:
    """Keeps secrets, counts how often it is asked, and can be down."""

    name = "env"

    def __init__(self) -> None:
        self.current: dict[str, str] = {}
        self.next: dict[str, str] = {}
        self.asked = 0
        self.down = False

    def read(self, name: str) -> tuple[str, str] | None:
        self.asked += 1
        if self.down:
            raise SecretNotFoundError("The safe does not answer.")
        return (self.current[name], "1") if name in self.current else None

    def pending(self, name: str) -> str | None:
        self.asked += 1
        return self.next.get(name)


class Ticks:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def safe() -> Safe:
    return Safe()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def secrets(settings: Settings, safe: Safe, ticks: Ticks) -> SecretResolver:
    return SecretResolver(settings.replace(secrets=("env",)), ticks=ticks, sources={"env": safe})


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's server in an environment of its own; boto3 comes from there, too, behind all packages that we have."""
    uv, home = shutil.which("uv"), CACHE / "moto"
    if uv is None:
        pytest.skip("uv is needed to install moto")
    if not (home / "bin" / "moto_server").exists():
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(home)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(home / "bin/python"), "moto[server]"], check=True)
    packages = glob.glob(str(home / "lib" / "python3*" / "site-packages"))[0]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        process = subprocess.Popen([str(home / "bin" / "moto_server"), "-p", str(port)], stdout=log, stderr=log)
    sys.path.append(packages)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline
                assert process.poll() is None
        yield url
    finally:
        sys.path.remove(packages)
        process.terminate()
        process.wait()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the account that the process's environment leads to; the account is empty."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    urllib.request.urlopen(urllib.request.Request(f"{moto}/moto-api/reset", method="POST"), timeout=20).close()
    import boto3

    return boto3.client("secretsmanager")
