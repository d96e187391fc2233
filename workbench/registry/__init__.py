"""Which servers and tools exist: launching, watching, listing, trusting and finding them."""

from __future__ import annotations

from workbench.registry.bundled import bundled_specs
from workbench.registry.connection import Connection, ConnectionFactory, Launched, RpcError
from workbench.registry.mcpjson import read_mcp_json
from workbench.registry.registration import registration
from workbench.registry.registry import Registry
from workbench.registry.server import Overloaded, ReplicaState, ServerDown, ServerSpec, ServerState, UnknownTool

__all__ = [
    "Connection",
    "ConnectionFactory",
    "Launched",
    "Overloaded",
    "Registry",
    "ReplicaState",
    "RpcError",
    "ServerDown",
    "ServerSpec",
    "ServerState",
    "UnknownTool",
    "bundled_specs",
    "read_mcp_json",
    "registration",
]
