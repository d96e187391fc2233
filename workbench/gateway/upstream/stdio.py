"""A server that is our child: newline-delimited JSON-RPC over its pipes (basic/transports/stdio)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from workbench.events import JSON, Unreachable
from workbench.gateway.upstream.duplex import DuplexConnection
from workbench.gateway.upstream.framing import MessageReader
from workbench.gateway.upstream.messages import MAX_MESSAGE, encode

READ: Final = 1 << 16

INCOMPLETE_TIMEOUT_S: Final = 5.0
"""Seconds after a line feed within a message in which the message has to go on."""

LAST_WORDS_S: Final = 0.05
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
        self._messages = MessageReader(max_bytes=max_bytes, noise=self._noise, broken=self._unreadable)
        self._incomplete: asyncio.TimerHandle | None = None
        self.wrote = ""
        """What it last wrote to its standard output that is no message, before its first message."""

    async def _connect(self) -> None:
        self._spawn(self._read())
        if self._exited is not None:
            self._spawn(self._until_exit(self._exited))

    async def _disconnect(self) -> None:
        # The end of its input is how a server is asked to leave; the supervisor waits for that, and insists if need be.
        if self._incomplete is not None:
            self._incomplete.cancel()
        self._stdin.close()

    async def _send(self, message: JSON) -> None:
        if self._lost:
            raise Unreachable(self._lost)
        try:
            self._stdin.write(encode(message) + b"\n")
            await self._stdin.drain()
        except (OSError, RuntimeError) as e:
            how = await self._how_it_ended(f"It does not read its input any more: {e or type(e).__name__}.")
            self._end(f"Server {self.name!r} has ended. {how}")
            raise Unreachable(self._lost) from e

    async def _read(self) -> None:
        # StreamReader.readline has a limit of its own that the launcher chose; lines are put together here instead.
        parts: list[bytes] = []
        size = 0
        while chunk := await self._stdout.read(READ):
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                parts.append(line)
                await self._line(b"".join(parts))
                parts, size = [], 0
            if rest:
                parts.append(rest)
                size += len(rest)
            if size > self._max_bytes:
                self._end(f"Server {self.name!r} wrote a line of more than {self._max_bytes:,} bytes.")
                return
        partial = b"".join(parts)
        how = await self._how_it_ended("It closed its standard output.")
        for message in self._messages.end(partial, how):
            await self._received(message)
        self._end(f"Server {self.name!r} has ended. {how}")

    async def _line(self, line: bytes) -> None:
        if not line or line.isspace():
            return
        for message in self._messages.feed(line):
            await self._received(message)
        if self._incomplete is not None:
            self._incomplete.cancel()
            self._incomplete = None
        if self._messages.pending:
            loop = asyncio.get_running_loop()
            self._incomplete = loop.call_later(INCOMPLETE_TIMEOUT_S, self._give_up_message)

    def _give_up_message(self) -> None:
        self._incomplete = None
        for message in self._messages.give_up(f"it did not go on for {INCOMPLETE_TIMEOUT_S:g} s"):
            self._spawn(self._received(message))

    def _noise(self, line: bytes) -> None:
        """Programs print banners and logs to stdout although they must not."""
        if not self.heard_at:
            self.wrote = line.decode("utf-8", "replace").strip()[:200] or self.wrote

    async def _until_exit(self, exited: Callable[[], Awaitable[str]]) -> None:
        """A process that ends without closing its output: one that it started holds the other end."""
        self._why_closed = f"Server {self.name!r} has ended. {await exited()}"
        await asyncio.sleep(LAST_WORDS_S)
        self._end(self._why_closed)

    async def _how_it_ended(self, otherwise: str) -> str:
        if self._exited is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_TIMEOUT_S):
                    return await self._exited()
        return otherwise
