"""A server that is our child: newline-delimited JSON-RPC over its pipes (basic/transports/stdio)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from workbench.events import JSON, UnreachableError
from workbench.registry.processes.stderr_lines import clean_line, recent_and_earlier
from workbench.secrets import hide
from workbench.upstream.duplex import DuplexConnection
from workbench.upstream.jsonrpc_messages import MAX_MESSAGE, encode, without_secrets
from workbench.upstream.line_framing import LARGE, MAX_INDENTED, MessageReader

READ: Final = 1 << 16
MAX_LINES_PER_TURN: Final = 256
"""Lines after which others get their turn."""

NOISE_LINES: Final = 20
"""Lines without a message that are kept."""
MAX_NOISE: Final = 500
"""Bytes of such a line that are kept."""

INCOMPLETE_TIMEOUT_S: Final = 5.0
"""Seconds after a line feed within a message in which the message has to go on."""

LAST_OUTPUT_TIMEOUT_S: Final = 0.05
"""Seconds after the end of a process in which what it wrote last is read, where its output does not end with it."""

EXIT_TIMEOUT_S: Final = 0.5
"""Seconds between the end of a server's output and its own, before the first is told without the second."""


class StdioConnection(DuplexConnection):
    """Talks to a child that somebody else launched and will end.

    Args:
        stdin: the child's standard input.
        stdout: the child's standard output.
        name: how to call the server in messages.
        max_bytes: longest line accepted from the child; a longer one ends the connection.
        older: whether the server is known to understand nothing before `initialize`.
        handshake_timeout: seconds for the handshake, see `DuplexConnection`.
        exited: waits for the end of the process and says how it ended.
    """

    def __init__(
        self,
        stdin: asyncio.StreamWriter,
        stdout: asyncio.StreamReader,
        *,
        name: str,
        max_bytes: int = MAX_MESSAGE,
        older: bool = False,
        handshake_timeout: float | None = None,
        exited: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        super().__init__(name, older=older, handshake_timeout=handshake_timeout)
        self._stdin = stdin
        self._stdout = stdout
        self._max_bytes = max_bytes
        self._exited = exited
        self._messages = MessageReader(
            max_bytes=min(max_bytes, MAX_INDENTED), noise=self._noise, broken=self._unreadable
        )
        self._incomplete: asyncio.TimerHandle | None = None
        self._other_lines: deque[tuple[float, bytes]] = deque(maxlen=NOISE_LINES)
        self._parts: list[bytes] = []

    @property
    def transport(self) -> str:
        return "stdio"

    async def _connect(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks.start(self._read())
        if self._exited is not None:
            self._tasks.start(self._until_exit(self._exited))

    async def _disconnect(self) -> None:
        # The end of its input is how a server is asked to leave; the supervisor waits for that, and insists if need be.
        if self._incomplete is not None:
            self._incomplete.cancel()
        self._stdin.close()

    async def _send(self, message: JSON) -> None:
        if self._lost:
            raise UnreachableError(self._lost)
        try:
            self._stdin.write(encode(message) + b"\n")
            await self._stdin.drain()
        except (OSError, RuntimeError) as e:
            how = await self._how_it_ended(f"It does not read its input any more: {e or type(e).__name__}.")
            self._end(self._ended(how))
            raise UnreachableError(self._lost) from e

    @property
    def output(self) -> list[str]:
        """The last lines on its standard output that are no messages; the last one may be without an end, as prompts
        are."""
        return [line for _, line in self._dated_output()]

    def _dated_output(self) -> list[tuple[float, str]]:
        """The same, each with the time of the event loop at which it came."""
        lines = [*self._other_lines, (self._loop.time(), b"".join(self._parts)[-MAX_NOISE:])]
        return [(when, hide(clean_line(line.decode("utf-8", "replace")))) for when, line in lines if line.strip()]

    @property
    def wrote(self) -> str:
        """What it last wrote to its standard output, if it has not yet written a message."""
        return "" if self.heard_at else next((line.strip()[:200] for line in reversed(self.output)), "")

    async def _read(self) -> None:
        # StreamReader.readline has a limit of its own that the launcher chose; lines are put together here instead.
        parts = self._parts
        size = 0
        while chunk := await self._stdout.read(READ):
            *lines, rest = chunk.split(b"\n")
            for number, line in enumerate(lines, 1):
                if number % MAX_LINES_PER_TURN == 0:
                    await asyncio.sleep(0)
                parts.append(line)
                whole = b"".join(parts)
                parts.clear()
                size = 0
                await self._line(whole)
            if rest:
                parts.append(rest)
                size += len(rest)
            if size > self._max_bytes:
                self._end(f"Server {self.name!r} wrote a line of more than {self._max_bytes:,} bytes.")
                return
        how = await self._how_it_ended("It closed its standard output.")
        for message in self._messages.end(b"".join(parts), how):
            await self._received(message)
        self._end(self._ended(how))

    async def _line(self, line: bytes) -> None:
        reader = self._messages
        hidden = len(line) > LARGE
        for message in reader.feed(await without_secrets(line) if hidden else line, hidden=hidden):
            await self._received(message)
        if reader.deferred or reader.pending or self._incomplete is not None:
            await self._unusual()

    async def _unusual(self) -> None:
        """A message is large and odd, or goes on over lines."""
        while self._messages.deferred:
            for message in await asyncio.to_thread(self._messages.rescue, *self._messages.deferred.pop(0)):
                await self._received(message)
        if self._incomplete is not None:
            self._incomplete.cancel()
            self._incomplete = None
        if self._messages.pending:
            self._incomplete = self._loop.call_later(INCOMPLETE_TIMEOUT_S, self._give_up_message)

    def _give_up_message(self) -> None:
        self._incomplete = None
        for message in self._messages.give_up(f"it did not go on for {INCOMPLETE_TIMEOUT_S:g} s"):
            self._tasks.start(self._received(message))

    def _soon_unreadable(self, id: int | None, why: str) -> None:
        self._loop.call_soon_threadsafe(self._unreadable, id, why)

    def _noise(self, line: bytes) -> None:
        """Programs print banners and logs to stdout although they must not."""
        self._other_lines.append((self._loop.time(), line[:MAX_NOISE]))

    def _ended(self, how: str) -> str:
        """That the server has ended, and how; some write to standard output what is wrong."""
        lines = [] if "\n" in how else recent_and_earlier(self._dated_output(), self._loop.time(), "standard output")
        return "\n".join([f"Server {self.name!r} has ended. {how}", *(line[:MAX_NOISE] for line in lines)])

    async def _until_exit(self, exited: Callable[[], Awaitable[str]]) -> None:
        """A process that ends without closing its output: one that it started holds the other end."""
        self._why_closed = self._ended(await exited())
        await asyncio.sleep(LAST_OUTPUT_TIMEOUT_S)
        self._end(self._why_closed)

    async def _how_it_ended(self, otherwise: str) -> str:
        if self._exited is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_TIMEOUT_S):
                    return await self._exited()
        return otherwise
