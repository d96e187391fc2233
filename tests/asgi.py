"""An ASGI application behind a real uvicorn, on the event loop of the test."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

GRACE_S = 0.05
"""Seconds that requests get to end once the test is over; streams that stay open are cancelled then."""


class ListeningServer(uvicorn.Server):
    """Says when it listens, and ends at once where uvicorn looks ten times a second whether it may."""

    def __init__(self, config: uvicorn.Config, bound: socket.socket) -> None:
        super().__init__(config)
        self.port: int = bound.getsockname()[1]
        self.listening = asyncio.Event()
        self.ending = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            _, late = await asyncio.wait(list(self.server_state.tasks), timeout=GRACE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.lifespan.shutdown()


@asynccontextmanager
async def listening(app: Any, *, bound: socket.socket | None = None, **config: Any) -> AsyncIterator[ListeningServer]:
    """`app` behind a server that ends with the block; `config` is what `uvicorn.Config` takes."""
    bound = bound or socket.create_server(("127.0.0.1", 0), backlog=256)
    settings = {"log_level": "error", "access_log": False, "lifespan": "off", "ws": "none", **config}
    server = ListeningServer(uvicorn.Config(app, **settings), bound)
    task = asyncio.create_task(server._serve([bound]))
    try:
        async with asyncio.timeout(10):
            waiting = asyncio.create_task(server.listening.wait())
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        if task.done():
            await task  # it could not start
            raise RuntimeError("The server ended before it listened.")
        yield server
    finally:
        server.ending.set()
        await task
        bound.close()
