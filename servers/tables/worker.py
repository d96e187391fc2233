"""A process of its own for free-form SQL.

Some of what can be written in SQL ends neither by an interrupt nor at the engine's memory limit (a list of a thousand
million numbers, made while the query is planned). A process can be given a limit by the kernel, and can be killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import selectors
import subprocess
import sys
import threading
import weakref
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # `servers` is a package beside `data`, in a clone and inside the wheel alike
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from servers.tables.answers import QueryFailed, run
from servers.tables.folder import attached

HEADROOM_MB = 512
"""What the process itself needs, on top of the memory of the engine."""
STOP_TIMEOUT_S = 1.0
"""How much longer than a query's time the process may take before it is killed."""


class Worker:
    """The parent's side: one process, started at the first query and again after it was killed.

    Args:
        views: name and database file of each table.
        memory_mb: memory of the engine.
        threads: threads of the engine.
    """

    def __init__(self, views: list[tuple[str, str]], *, memory_mb: int, threads: int) -> None:
        self._start = {"views": views, "memory_mb": memory_mb, "threads": threads}
        self._process: subprocess.Popen[bytes] | None = None
        self._end: weakref.finalize[Any, Any] | None = None
        self._retired = False
        self._lock = threading.Lock()

    def run(self, sql: str, parameters: Any, *, most_rows: int, timeout_s: float) -> dict[str, Any]:
        """As `answers.run`, in the other process.

        Raises:
            QueryFailed: the query is wrong, too slow or too large, or others are before it for too long.
        """
        if not self._lock.acquire(timeout=2 * timeout_s + STOP_TIMEOUT_S):
            raise QueryFailed("Other queries are running. Try again.")
        try:
            if self._retired:
                raise QueryFailed("The tables have changed while the query waited. Try again.")
            process = self._process
            if process is None or process.poll() is not None:
                process = self._process = self._launch()
            request = {"sql": sql, "parameters": parameters, "most_rows": most_rows, "timeout_s": timeout_s}
            answer = self._exchange(process, request, timeout_s + STOP_TIMEOUT_S)
        finally:
            self._lock.release()
        if "error" in answer:
            raise QueryFailed(answer["error"])
        return answer

    def retire(self) -> None:
        """End when the query that runs has its answer; take no more. Returns at once."""

        def wait() -> None:
            with self._lock:
                self._retired = True
                self.close()

        threading.Thread(target=wait, daemon=True).start()

    def close(self) -> None:
        """End the process."""
        end, self._end, self._process = self._end, None, None
        if end:
            end()

    def _launch(self) -> subprocess.Popen[bytes]:
        self.close()
        process = subprocess.Popen(
            [sys.executable, __file__, json.dumps(self._start)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG", "TMPDIR", "SYSTEMROOT")},
        )
        # also when nobody closes: with the object, or at the end of the program
        self._end = weakref.finalize(self, _end, process)
        assert process.stdout
        process.stdout.readline()  # it says when it is ready
        return process

    def _exchange(self, process: subprocess.Popen[bytes], request: dict[str, Any], patience_s: float) -> dict[str, Any]:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            with selectors.DefaultSelector() as waiting:  # select() knows no more than 1,024 open files
                waiting.register(process.stdout, selectors.EVENT_READ)
                ready = bool(waiting.select(patience_s))
            line = process.stdout.readline() if ready else b""
        except BrokenPipeError:
            ready, line = True, b""
        if line:
            return dict(json.loads(line))
        self.close()
        if ready:
            raise QueryFailed("The query needs more memory than it may have. Narrow it or group first.")
        raise QueryFailed(f"The query took longer than {request['timeout_s']:g} s and was stopped. Narrow it.")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


def main() -> None:
    """The process: one request and one answer per line, until the parent closes the pipe or dies."""
    start = json.loads(sys.argv[1])
    _limit_memory(start["memory_mb"] + HEADROOM_MB)
    connection = attached(start["views"], memory=f"{start['memory_mb']}MB", threads=start["threads"])
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            requests.put(line)
        os._exit(0)  # the parent is gone; a query that still runs has nobody to answer

    threading.Thread(target=listen, daemon=True).start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        request = json.loads(requests.get())
        try:
            sql, parameters = request.pop("sql"), request.pop("parameters")
            answer = run(connection, sql, parameters, **request)
        except QueryFailed as e:
            answer = {"error": str(e)}
        except MemoryError:
            answer = {"error": "The query needs more memory than it may have. Narrow it or group first."}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _limit_memory(megabytes: int) -> None:
    try:
        import resource
    except ImportError:  # no such limits on Windows; the engine's own limit remains
        return
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))


if __name__ == "__main__":
    main()
