"""A server in this very process, built with the SDK: for embedding and for tests."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import anyio
import mcp_types
from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage

from workbench.events import JSON, UnreachableError
from workbench.upstream.duplex import DuplexConnection

if TYPE_CHECKING:
    from mcp.server import Server
    from mcp.server.mcpserver import MCPServer


class MemoryConnection(DuplexConnection):
    """Runs `server` as a task of its own and exchanges message objects with it.

    Args:
        server: a server object of the SDK, high or low level.
        name: how to call it in messages.
    """

    def __init__(self, server: MCPServer | Server[Any], *, name: str = "memory") -> None:
        super().__init__(name)
        # the SDK offers no public way from MCPServer to the object that can run on streams
        self._server: Server[Any] = vars(server).get("_lowlevel_server", server)
        self._stack = AsyncExitStack()
        self._running: asyncio.Task[None] | None = None

    @property
    def transport(self) -> str:
        return "memory"

    async def _connect(self) -> None:
        (read, write), (server_read, server_write) = await self._stack.enter_async_context(
            create_client_server_memory_streams()
        )
        self._write = write

        async def serve() -> None:
            try:
                await self._server.run(server_read, server_write, self._server.create_initialization_options())
            finally:
                self._end(f"Server {self.name!r} ended.")

        async def listen() -> None:
            async for item in read:
                if isinstance(item, SessionMessage):
                    await self._received(item.message.model_dump(mode="json", by_alias=True, exclude_unset=True))
            self._end(f"Server {self.name!r} ended.")

        self._running = self._tasks.start(serve())
        self._tasks.start(listen())

    async def _send(self, message: JSON) -> None:
        if self._lost:
            raise UnreachableError(self._lost)
        try:
            await self._write.send(SessionMessage(mcp_types.jsonrpc_message_adapter.validate_python(message)))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as e:
            self._end(f"Server {self.name!r} ended.")
            raise UnreachableError(self._lost) from e

    async def _disconnect(self) -> None:
        await self._stack.aclose()
