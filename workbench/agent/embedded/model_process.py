"""The language model in a child process: started when first needed, asked over pipes, stopped when a run is."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

from workbench.agent.provider import ProviderError
from workbench.events import JSON

WORKER = Path(__file__).with_name("worker.py")
LOAD_TIMEOUT_S = 120.0
"""Longest time loading may take, in seconds: the file may have to come from a slow disk."""
STOP_GRACE_S = 1.0
"""Seconds that a stopped request has to notice; then the process is killed and loaded anew for the next one."""


def threads() -> int:
    """Threads for the model: all processors but one. On two processors a second thread makes it ten times slower."""
    return max(1, (os.cpu_count() or 2) - 1)


class ModelProcess:
    """One model process, one request at a time. Belongs to the event loop that first uses it."""

    def __init__(self, model: Path, *, context: int = 6144, worker: Path = WORKER) -> None:
        self.model = model
        self._worker = worker
        self.context = context
        self.load_seconds = 0.0
        self._process: asyncio.subprocess.Process | None = None
        self._busy = asyncio.Lock()
        self._number = 0
        self._said: deque[str] = deque(maxlen=20)
        self._reader: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def chat(self, request: JSON) -> AsyncGenerator[JSON, None]:
        """Chunks of a chat completion (OpenAI's streaming form). Leaving the iteration stops the model.

        Raises:
            ProviderError: the process could not start, died, or refused the request.
        """
        async with self._busy:
            process = await self._started()
            self._number += 1
            number = self._number
            await self._send(process, {"id": number, "request": request})
            finished = False
            try:
                while True:
                    message = await self._receive(process)
                    if message.get("id") != number:
                        continue
                    if message.get("done"):
                        finished = True
                        if message.get("error"):
                            long = "context" in message["error"]
                            raise ProviderError(
                                "context" if long else "bad_request",
                                f"The embedded model failed: {message['error'][:400]}.",
                            )
                        return
                    yield message["chunk"]
            finally:
                if not finished:
                    await asyncio.shield(self._halt(process, number))

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        if self._reader is not None:
            self._reader.cancel()
            self._reader = None

    # --- the process

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self.close()
        command = [str(self._worker), str(self.model), "--threads", str(threads()), "--context", str(self.context)]
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE, limit=1 << 24,
        )  # fmt: skip
        self._said.clear()
        self._reader = asyncio.create_task(self._listen(process))
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                ready = await self._receive(process)
        except TimeoutError:
            await self.close()
            raise ProviderError("timeout", f"The embedded model did not load within {LOAD_TIMEOUT_S:g} s.") from None
        except BaseException:
            await self.close()
            raise
        self.load_seconds = float(ready.get("seconds", 0.0))
        return process

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Keep the last lines of what the native code says, for the error message should it die."""
        assert process.stderr is not None
        while line := await process.stderr.readline():
            self._said.append(line.decode(errors="replace").strip())

    async def _send(self, process: asyncio.subprocess.Process, message: JSON) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(message).encode() + b"\n")
            await process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise self._died(process) from None

    async def _receive(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        assert process.stdout is not None
        line = await process.stdout.readline()
        if not line:
            await process.wait()
            raise self._died(process)
        found: dict[str, Any] = json.loads(line)
        return found

    def _died(self, process: asyncio.subprocess.Process) -> ProviderError:
        last = next((s for s in reversed(self._said) if s), "it said nothing")
        return ProviderError(
            "unreachable",
            f"The process of the embedded model ended with code {process.returncode}: {last[:300]}.",
            hint="Ask again to start it anew; if it was killed for memory, it needs about 2 GB.",
        )

    async def _halt(self, process: asyncio.subprocess.Process, number: int) -> None:
        """Stop a request between two tokens; a process that does not notice in time is killed."""
        try:
            await self._send(process, {"stop": number})
            async with asyncio.timeout(STOP_GRACE_S):
                while True:
                    message = await self._receive(process)
                    if message.get("id") == number and message.get("done"):
                        return
        except (TimeoutError, ProviderError):
            await self.close()


async def collect(engine: ModelProcess, request: JSON, on_token: Callable[[], None]) -> tuple[str, JSON]:
    """The whole text of a completion, and its `usage` and finish reason; `on_token` is called as text arrives."""
    text: list[str] = []
    end: JSON = {}
    async with aclosing(engine.chat(request)) as chunks:
        async for chunk in chunks:
            if new := delta(chunk):
                on_token()
                text.append(new)
            end.update({k: chunk[k] for k in ("usage", "timings") if chunk.get(k)})
            for choice in chunk.get("choices") or []:
                if choice.get("finish_reason"):
                    end["finish"] = choice["finish_reason"]
    return "".join(text), end


def delta(chunk: JSON) -> str:
    """The new text of a chunk."""
    choices = chunk.get("choices") or [{}]
    return str((choices[0].get("delta") or {}).get("content") or "")
