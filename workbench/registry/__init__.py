"""Which servers and tools exist: launching, watching, listing, trusting and finding them."""

from __future__ import annotations

from workbench.registry.bundled import bundled_specs, foreign_servers
from workbench.registry.configuration.mcp_json import (
    Configuration,
    ConfigurationRemarks,
    ExcludedServer,
    read_configuration,
    read_mcp_json,
)
from workbench.registry.connection import Connection, ConnectionFactory, LaunchContext, RpcError
from workbench.registry.definitions.definition_pins import VaryingAcceptance
from workbench.registry.registration import registration
from workbench.registry.registry import Registry, ReloadResult
from workbench.registry.server import (
    OverloadedError,
    ReplicaState,
    ServerDownError,
    ServerSpec,
    ServerState,
    UnknownToolError,
)

__all__ = [
    "Configuration",
    "ConfigurationRemarks",
    "Connection",
    "ConnectionFactory",
    "ExcludedServer",
    "LaunchContext",
    "OverloadedError",
    "Registry",
    "ReloadResult",
    "ReplicaState",
    "RpcError",
    "ServerDownError",
    "ServerSpec",
    "ServerState",
    "UnknownToolError",
    "VaryingAcceptance",
    "bundled_specs",
    "foreign_servers",
    "read_configuration",
    "read_mcp_json",
    "registration",
]
