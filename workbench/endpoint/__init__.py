"""The MCP endpoint: what clients of every revision and transport speak to.

Streamable HTTP of 2026-07-28 (`modern`) and of the revisions before it (`legacy`), HTTP+SSE, and WebSocket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.endpoint.mcp_endpoint import McpEndpoint

__all__ = ["McpEndpoint"]


def __getattr__(name: str) -> Any:
    # Files of the call path import single modules of this package; the endpoint loads when it is used.
    if name == "McpEndpoint":
        from workbench.endpoint.mcp_endpoint import McpEndpoint

        return McpEndpoint
    raise AttributeError(f"module 'workbench.endpoint' has no attribute {name!r}")
