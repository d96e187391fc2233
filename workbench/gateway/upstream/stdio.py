"""A server that is our child: newline-delimited JSON-RPC over its pipes (basic/transports/stdio)."""

from __future__ import annotations

import asyncio
from typing import Final

from workbench.events import JSON, Unreachable
from workbench.gateway.upstream.duplex import DuplexConnection
from workbench.gateway.upstream.messages import MAX_MESSAGE, decode, encode
from workbench.gateway.upstream.revision import Refused

READ: Final = 1 << 16

NOISE_SECONDS: Final = 3.0
"""A program that has written what is no JSON, and then neither more of it nor a message, is no MCP server."""


class StdioConnection(DuplexConnection):
    """Talks to a child that somebody else launched and will end.

    Args:
        stdin: the child's standard input.
        stdout: the child's standard output.
        name: how to call the server in messages.
        max_bytes: longest line accepted from the child; a longer one ends the connection.
    """

    def __init__(
        self, stdin: asyncio.StreamWriter, stdout: asyncio.StreamReader, *, name: str, max_bytes: int = MAX_MESSAGE
    ) -> None:
        super().__init__(name)
        self._stdin = stdin
        self._stdout = stdout
        self._max_bytes = max_bytes
        self._spoke = False
        self._wrote = ""

    async def open(self) -> None:
        try:
            await super().open()
        except Unreachable as e:
            if self._spoke or not self._wrote:
                raise
            raise Unreachable(
                f"Server {self.name!r} wrote {self._wrote!r} to its standard output and no message of MCP.",
                hint="See its command and arguments; what it logs belongs on standard error.",
            ) from e

    async def _connect(self) -> None:
        self._spawn(self._read())

    async def _disconnect(self) -> None:
        # The end of its input is how a server is asked to leave; the supervisor waits for that, and insists if need be.
        self._stdin.close()

    async def _send(self, message: JSON) -> None:
        if self._lost:
            raise Unreachable(self._lost)
        try:
            self._stdin.write(encode(message) + b"\n")
            await self._stdin.drain()
        except (OSError, RuntimeError) as e:
            self._end(f"Server {self.name!r} does not read its input any more: {e or type(e).__name__}.")
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
        self._end(f"Server {self.name!r} ended.")

    async def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            message = decode(line, self.name)
        except Refused:
            self._noise(line)  # programs print banners and logs to stdout although they must not
            return
        self._spoke = True
        for one in message if isinstance(message, list) else (message,):
            await self._received(one)

    def _noise(self, line: bytes) -> None:
        """Before its first message, a server has little time to follow what is none with one."""
        if not self._spoke:
            self._wrote = line.decode("utf-8", "replace").strip()[:200]
            self._hurry(NOISE_SECONDS)
