"""Many clients at once, in a process of their own: each keeps a connection, sends one request after another.

`python -m loadtests.clients` reads what to do as JSON from its input and prints what it found as JSON. It knows no
more of HTTP than where an answer ends, and runs on uvloop, so that it is not what is measured; its own share of a
processor is told with the figures.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

ROOT = Path(__file__).parents[1]
AT_ONCE = 200
"""Connections that are opened at the same time."""


class Crowd(NamedTuple):
    """What many clients saw."""

    calls: int
    errors: int
    """Other answers than those with a result, and broken connections."""
    first_error: str
    p50_ms: float
    p99_ms: float
    longest_ms: float
    per_second: float
    own_cpu: float
    """Share of one processor that the clients themselves took."""


def run(port: int, requests: Sequence[bytes], *, count: int, seconds: float, rate: float = 0.0) -> Crowd:
    """Let `count` clients work for `seconds`.

    Args:
        requests: what they send, head and body, one after another and from the beginning again.
        rate: requests per second of all together, each due at a time fixed beforehand, from which on it is timed. 0
            lets every client send its next request as soon as the last is answered.
    """
    texts = [request.decode("latin-1") for request in requests]
    asked = {"port": port, "requests": texts, "count": count, "seconds": seconds, "rate": rate}
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.clients"],
        cwd=ROOT, input=json.dumps(asked), text=True, capture_output=True, check=True,
    )  # fmt: skip
    return Crowd(**json.loads(done.stdout))


class _Client(asyncio.Protocol):
    def __init__(self, work: _Work, offset: float) -> None:
        self._work = work
        self._due = offset
        self._waiting = False
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def start(self) -> None:
        """Begin; `_due` counts from now."""
        self._due += time.perf_counter()
        self._next()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        if not _complete(head.lower(), body):
            return
        answer, self._received, self._waiting = self._received, b"", False
        now = time.perf_counter()
        ok = head.startswith(b"HTTP/1.1 200") and b'"result"' in body
        self._work.answered(now - self._due, None if ok else answer)
        self._due = self._due + self._work.interval if self._work.interval else now
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting and not self._work.over:
            self._work.answered(0.0, b"the connection was closed")

    def _next(self) -> None:
        wait = self._due - time.perf_counter()
        if wait > 0:
            self._work.loop.call_later(wait, self._send)
        else:
            self._send()

    def _send(self) -> None:
        if self._work.over or self.transport.is_closing():
            return
        self._waiting = True
        self.transport.write(next(self._work.requests))


class _Work:
    def __init__(self, asked: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.requests = itertools.cycle([text.encode("latin-1") for text in asked["requests"]])
        self.count: int = asked["count"]
        self.interval = self.count / asked["rate"] if asked["rate"] else 0.0
        self.over = False
        self.times: list[float] = []
        self.errors = 0
        self.first_error = ""
        self._port, self._seconds = asked["port"], asked["seconds"]

    def answered(self, seconds: float, error: bytes | None) -> None:
        if self.over:
            return
        if error is None:
            self.times.append(seconds)
        else:
            self.errors += 1
            self.first_error = self.first_error or error[:500].decode("latin-1")

    async def run(self) -> Crowd:
        chance = random.Random(1)
        clients = [_Client(self, chance.random() * self.interval) for _ in range(self.count)]
        for at in range(0, self.count, AT_ONCE):
            some = clients[at : at + AT_ONCE]
            await asyncio.gather(*(self.loop.create_connection(lambda c=c: c, "127.0.0.1", self._port) for c in some))  # type: ignore[misc]
        busy, began = time.process_time(), time.perf_counter()
        for client in clients:
            client.start()
        await asyncio.sleep(self._seconds)
        self.over = True
        took, busy = time.perf_counter() - began, time.process_time() - busy
        cuts = statistics.quantiles(self.times, n=100) if len(self.times) > 1 else [0.0] * 99
        for client in clients:
            client.transport.abort()
        return Crowd(
            len(self.times), self.errors, self.first_error, cuts[49] * 1e3, cuts[98] * 1e3,
            max(self.times, default=0.0) * 1e3, len(self.times) / took, busy / took,
        )  # fmt: skip


def _complete(head: bytes, body: bytes) -> bool:
    """Whether a whole answer is there; of those without a length, chunked ones."""
    if not head:
        return False
    _, found, rest = head.partition(b"content-length:")
    return len(body) >= int(rest.split(b"\r\n", 1)[0]) if found else body.endswith(b"0\r\n\r\n")


async def _main() -> None:
    found = await _Work(json.load(sys.stdin)).run()
    print(json.dumps(found._asdict()))


if __name__ == "__main__":
    uvloop.run(_main())
