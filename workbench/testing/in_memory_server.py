"""An MCP server in the process of the test, reached through the same `Connection` as every other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mcp.server import Server
from mcp.server.mcpserver import MCPServer

from workbench.events import MisuseError
from workbench.registry import ServerSpec
from workbench.upstream.in_memory import MemoryConnection


@dataclass(frozen=True)
class InMemoryServer:
    """A server object of the SDK, or the functions that shall be its tools.

    Args:
        server: an `MCPServer`, a low-level `Server`, or functions: name, docstring and annotations of each become a
            tool, as with `MCPServer.add_tool`.
        trust: `bundled` for a server whose tools' scope labels count (see docs/access.md), as for the servers that are
            bundled.
        tenant: the only tenant for which it exists; empty: all.

    Example:
        >>> def add(a: int, b: int) -> int:
        ...     "Add two numbers."
        ...     return a + b
        >>> connection = InMemoryServer([add]).connect("calc")
    """

    server: MCPServer[Any] | Server[Any] | Sequence[Callable[..., Any]]
    trust: Literal["bundled", "configured"] = "configured"
    tenant: str = ""

    def spec(self, id: str) -> ServerSpec:
        """How the registry knows it under `id`."""
        return ServerSpec(
            id=id, kind="url", url=f"memory://{id}", trust=self.trust, tenant=self.tenant, source="workbench.testing"
        )

    def connect(self, name: str = "memory") -> MemoryConnection:
        """A new connection to it; `open` it before use, and `close` it.

        Args:
            name: of the server, in messages.

        Raises:
            MisuseError: `server` is neither a server object nor functions.
        """
        if not isinstance(self.server, Sequence) and hasattr(self.server, "run"):
            return MemoryConnection(self.server, name=name)
        if not isinstance(self.server, Sequence) or not all(map(callable, self.server)):
            raise MisuseError(
                f"Server {name!r} is {self.server!r}.", hint="Give a server object of the SDK, or a list of functions."
            )
        server: MCPServer[Any] = MCPServer(name)
        for function in self.server:
            server.add_tool(function)
        return MemoryConnection(server, name=name)
