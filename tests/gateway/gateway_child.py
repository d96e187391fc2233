"""One of several gateway processes on one state folder: says its port, and serves until it is ended.

Arguments: the state folder, an mcp.json, the URL of a Redis.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from workbench.api import build_app
from workbench.config import Settings
from workbench.platform.platform import Platform


class Quiet(uvicorn.Server):
    """Leaves signals to us: it would raise them again before the platform is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def main(home: str, servers: str, redis: str) -> None:
    settings = Settings.load(
        env={}, cwd=Path(home), home=home, servers=(), mcp_config=servers, redis_url=redis, port="8800", app=False
    )
    listening = socket.create_server(("127.0.0.1", 0))
    platform = await Platform.open(settings)
    try:
        assert platform.gateway.relay is not None
        await asyncio.wait_for(platform.gateway.relay.ready.wait(), 20)
        print(listening.getsockname()[1], platform.access.local_key(), flush=True)
        config = uvicorn.Config(build_app(platform), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        server = Quiet(config)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.handle_exit, signal.SIGTERM, None)
        await server.serve(sockets=[listening])
    finally:
        await platform.close()


asyncio.run(main(*sys.argv[1:]))
