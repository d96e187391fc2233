"""The hot path: every tool call, from whichever door, and the wire to and from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.gateway.challenge import challenge
from workbench.upstream import upstream_connection, upstreams

if TYPE_CHECKING:
    from workbench.gateway.call import Gateway
    from workbench.gateway.http import McpEndpoint

__all__ = ["Gateway", "McpEndpoint", "challenge", "upstream_connection", "upstreams"]


def __getattr__(name: str) -> Any:
    # The registry's tests need connections alone; call path and endpoint load when they are used.
    if name == "Gateway":
        from workbench.gateway.call import Gateway

        return Gateway
    if name == "McpEndpoint":
        from workbench.gateway.http import McpEndpoint

        return McpEndpoint
    raise AttributeError(f"module 'workbench.gateway' has no attribute {name!r}")
