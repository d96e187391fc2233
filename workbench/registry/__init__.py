"""Which servers and tools exist: launching, watching, listing, trusting and finding them."""

from __future__ import annotations

from workbench.registry.connection import Connection, ConnectionFactory, Launched, RpcError
from workbench.registry.server import ServerDown, ServerSpec, ServerState, UnknownTool

__all__ = [
    "Connection",
    "ConnectionFactory",
    "Launched",
    "RpcError",
    "ServerDown",
    "ServerSpec",
    "ServerState",
    "UnknownTool",
]
