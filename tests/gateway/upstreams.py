"""One server over every upstream transport."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp.server.transport_security import TransportSecuritySettings

from tests.gateway.test_crossings import Older
from workbench.upstream.in_memory import MemoryConnection
from workbench.upstream.stdio import StdioConnection

UPSTREAMS = ("HTTP, 2026", "HTTP, 2025", "HTTP+SSE", "stdio, 2026", "stdio, 2025", "in-process")
SECURITY = TransportSecuritySettings(enable_dns_rebinding_protection=False)


@asynccontextmanager
async def upstream(kind: str, serve: Any, make: Callable[[], Any], script: Path) -> AsyncIterator[Any]:
    """The server of `make` behind the transport `kind`: a connection that is not open yet, or a URL.

    Args:
        kind: one of `UPSTREAMS`.
        serve: the fixture of that name.
        make: a new server object of the SDK.
        script: serves what `make` makes over stdio; with the argument `older`, as before 2026-07-28.
    """
    if kind == "in-process":
        yield MemoryConnection(make(), name="x")
    elif kind == "HTTP+SSE":
        yield f"{await serve(make().sse_app(transport_security=SECURITY))}/sse"
    elif kind.startswith("HTTP"):
        app = make().streamable_http_app(transport_security=SECURITY)
        yield f"{await serve(Older(app) if kind.endswith('2025') else app)}/mcp"
    else:
        child = await asyncio.create_subprocess_exec(
            sys.executable, str(script), "older" if kind.endswith("2025") else "both",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None
        connection = StdioConnection(child.stdin, child.stdout, name="x")
        try:
            yield connection
        finally:
            await connection.close()
            if child.returncode is None:
                child.kill()
            await child.stdout.read()
            await child.wait()
