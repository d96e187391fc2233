"""One launched server process: its environment, what it writes to stderr, and its end."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import signal
from collections import deque
from collections.abc import Coroutine
from typing import Any, TypeVar

from workbench.events import UnreachableError
from workbench.registry.connection import LaunchContext
from workbench.registry.processes.child_environment import find_program
from workbench.registry.processes.reaper import GRACE_S, send
from workbench.registry.processes.stderr_lines import clean_line, recent_and_earlier, tells_of_error
from workbench.registry.server import ServerSpec
from workbench.secrets import hide

T = TypeVar("T")

MAX_TAIL_LINES = 200
MAX_LINE_LENGTH = 2_000
FOLLOWERS_GRACE_S = 0.3
"""Seconds that the rest of a group gets once its leader has ended."""

MAX_STDOUT_BYTES = 32 << 20
"""Longest line a stdio server may send, in bytes."""

SHOWN_LENGTH = 500
"""Characters of a line in a message."""

STREAM_END_TIMEOUT_S = 0.2
"""Seconds that the pipes of a process that has ended may stay open before it is taken that somebody else holds them."""

_ERRORS_KEPT = 20
_ERRORS_KEPT_S = 60.0
_ERROR_WORDS = ("rror", "xception", "atal", "anic", "equired")


class _Exit(asyncio.subprocess.SubprocessStreamProtocol):
    """Tells of the end of the process at once. `Process.wait` returns only when its pipes are closed, too, which any
    grandchild can prevent."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, asyncio.get_running_loop())
        self.happened = asyncio.Event()
        self.output_closed = asyncio.Event()
        """Its standard output has come to its end, which can be before or after the end of the process."""
        self.by_itself = True
        """Whether it ended although its input was open."""

    def process_exited(self) -> None:
        self.by_itself = self.stdin is None or not self.stdin.is_closing()
        super().process_exited()
        self.happened.set()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        super().pipe_connection_lost(fd, exc)
        if fd == 1:
            self.output_closed.set()


class ChildProcess:
    """A process in its own session and group. Made by `spawn`."""

    def __init__(
        self, spec: ServerSpec, transport: asyncio.SubprocessTransport, exit: _Exit, process: asyncio.subprocess.Process
    ) -> None:
        self.spec = spec
        self.process = process
        self.launched = LaunchContext(
            process=process,
            stdin=process.stdin if spec.stdio else None,
            stdout=process.stdout if spec.stdio else None,
            exited=self.exited if spec.stdio else None,
        )
        self._transport = transport
        self._source = spec.source or "its configuration"
        self._exit = exit
        self._tail: deque[tuple[float, str]] = deque(maxlen=MAX_TAIL_LINES)
        self._errors: deque[tuple[float, str]] = deque(maxlen=_ERRORS_KEPT)
        self._ending: asyncio.Task[str] | None = None
        self.ready = False
        """Whether it has become a server. Before that, a program may leave the work to what it started, and end."""
        output = process.stderr if spec.stdio else process.stdout
        assert output is not None
        self._reading = asyncio.create_task(self._read(output), name=f"stderr of {spec.id}")

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def gave_up_first(self) -> bool:
        """Whether we closed its input before it ended: then its end is no reason for anything."""
        stdin = self._exit.stdin
        return stdin is not None and stdin.is_closing() and not (self._exit.happened.is_set() and self._exit.by_itself)

    async def exited(self) -> str:
        """Wait for the end; returns how it ended, in words, with the last useful lines of stderr.

        A program that ends without an error before it was a server, and leaves its output to a process that it has
        started, goes on as that process. A server that closes its output has ended, too.
        """
        if self._ending is None:
            self._ending = asyncio.create_task(self._wait_for_end(), name=f"end of {self.spec.id}")
        return await asyncio.shield(self._ending)  # who asked first hears of it first

    async def _wait_for_end(self) -> str:
        exit = self._exit
        if not self.spec.stdio:
            await exit.happened.wait()
        else:
            await _first(exit.happened.wait(), exit.output_closed.wait())
            await _first(exit.output_closed.wait(), timeout=STREAM_END_TIMEOUT_S)
            if exit.happened.is_set() and not (exit.output_closed.is_set() or self.ready or self.process.returncode):
                await exit.output_closed.wait()
            await _first(exit.happened.wait(), timeout=STREAM_END_TIMEOUT_S)
            if not exit.happened.is_set():
                return f"The process closed its standard output but runs on.{self.last_words()}"
        code = self.process.returncode or 0
        # What it wrote last is still on its way; a grandchild may hold the pipe open, so do not wait for its end.
        await asyncio.wait({self._reading}, timeout=STREAM_END_TIMEOUT_S)
        hint = ""
        if not code and not self.ready:
            hint = f" A server runs until it is ended: see its command and arguments in {self._source}."
        return f"The process {_how(code)}.{hint}{self.last_words()}"

    @property
    def tail(self) -> list[str]:
        """The last lines of stderr (over HTTP also of stdout)."""
        return [line for _, line in self._tail]

    def last_words(self) -> str:
        """The last useful lines of stderr, on lines of their own; empty when nothing was written.

        What was written long before is said to have been.
        """
        now = asyncio.get_running_loop().time()
        lines = list(self._tail)
        if not any(tells_of_error(line) for _, line in lines):
            first = lines[0][0] if lines else now
            lines = [*(e for e in self._errors if now - _ERRORS_KEPT_S <= e[0] <= first), *lines]
        kept = [line[:SHOWN_LENGTH] for line in recent_and_earlier(lines, now)]
        return "\n" + "\n".join(kept) if kept else ""

    async def end(self, grace: float = GRACE_S) -> None:
        """Ask the group to end, and after `grace` seconds make it. Nothing of the group is left when this returns."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + grace
        try:
            if send(self.pid, signal.SIGTERM):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await self._exit.happened.wait()
                    # What it started has had the same signal; zombies that nobody reaps would count as alive for ever.
                    async with asyncio.timeout_at(min(deadline, loop.time() + FOLLOWERS_GRACE_S)):
                        while send(self.pid, 0):  # noqa: ASYNC110 - a process group has no event to wait for
                            await asyncio.sleep(0.01)
        finally:  # also when we are cancelled: better abrupt than left behind
            send(self.pid, signal.SIGKILL)
            self._reading.cancel()
            if self._ending is not None:
                self._ending.cancel()
            self._transport.close()
        await self._exit.happened.wait()

    async def _read(self, stream: asyncio.StreamReader) -> None:
        clock = asyncio.get_running_loop().time
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        while chunk := await stream.read(1 << 16):
            *lines, rest = (rest + decoder.decode(chunk)).split("\n")
            for line in lines[:-MAX_TAIL_LINES]:
                self._note_error(line, clock())
            for line in lines[-MAX_TAIL_LINES:]:
                self._keep(line, clock())
            rest = rest[-MAX_LINE_LENGTH:] if "\r" in rest else rest[:MAX_LINE_LENGTH]
        if rest:
            self._keep(rest, clock())

    def _keep(self, line: str, now: float) -> None:
        self._tail.append((now, hide(clean_line(line[-MAX_LINE_LENGTH:] if "\r" in line else line[:MAX_LINE_LENGTH]))))
        self._note_error(line, now)

    def _note_error(self, line: str, now: float) -> None:
        """Keep a line that tells of an error longer than the rest, which may push it out of the tail."""
        for word in _ERROR_WORDS:
            if word in line:
                if tells_of_error(clean := hide(clean_line(line[:MAX_LINE_LENGTH]))):
                    self._errors.append((now, clean))
                return


async def spawn(
    spec: ServerSpec, command: tuple[str, ...], env: dict[str, str], fds: tuple[int, ...] = ()
) -> ChildProcess:
    """Start `command` in its own session and group; stdin and stdout are the protocol's when `spec.stdio`.

    Raises:
        UnreachableError: there is no such program or folder, or it may not be executed.
    """
    if spec.cwd and not os.path.isdir(spec.cwd):
        raise UnreachableError(
            f"The working directory {spec.cwd!r} does not exist.", hint=f"Mend cwd in {spec.source}."
        )
    folder = spec.cwd or None
    program = find_program(command[0], env)
    loop = asyncio.get_running_loop()
    try:
        transport, exit = await loop.subprocess_exec(
            lambda: _Exit(MAX_STDOUT_BYTES),
            program,
            *command[1:],
            stdin=asyncio.subprocess.PIPE if spec.stdio else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE if spec.stdio else asyncio.subprocess.STDOUT,
            env=env,
            cwd=folder,
            start_new_session=True,
            pass_fds=fds,
        )
    except (OSError, ValueError) as e:
        raise UnreachableError(
            f"{program!r} cannot be started: {e}.", hint=f"It is configured in {spec.source}."
        ) from e
    return ChildProcess(spec, transport, exit, asyncio.subprocess.Process(transport, exit, loop))


async def unless_ended(child: ChildProcess, work: Coroutine[Any, Any, T], settle: float) -> T:
    """Await `work`, but give it up when the process ends.

    Args:
        child: the process.
        work: what needs it.
        settle: seconds that `work` gets to fail by itself once the process has ended.

    Raises:
        UnreachableError: the process has ended; the message has the last lines of its stderr.
    """
    task = asyncio.ensure_future(work)
    ended = asyncio.ensure_future(child.exited())
    try:
        await asyncio.wait({task, ended}, return_when=asyncio.FIRST_COMPLETED)
        failed = task.done() and task.exception() is not None
        if failed and child.gave_up_first:
            return task.result()
        if failed:
            # A dying process closes its pipes first; why it died says more than that they are closed.
            await asyncio.wait({ended}, timeout=2 * STREAM_END_TIMEOUT_S + 0.1)
        if ended.done():
            # What waits on the closed pipes is about to fail by itself, which is cleaner than to be cancelled then.
            await asyncio.wait({task}, timeout=settle)
            raise UnreachableError(ended.result())
        return task.result()
    finally:
        for one in (task, ended):
            one.cancel()
        await asyncio.gather(task, ended, return_exceptions=True)


async def _first(*waits: Coroutine[Any, Any, Any], timeout: float | None = None) -> None:
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


def _how(code: int) -> str:
    if code < 0:
        return f"ended by {_signal_name(-code)}"
    if code > 128 and (name := _signal_name(code - 128)).startswith("SIG"):
        return f"exited with status {code}, as shells report {name}"
    return f"exited with status {code}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
