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
from workbench.registry.connection import Connection, ConnectionFactory, Launched, RpcError
from workbench.registry.definitions.definition_pins import VaryingAcceptance
from workbench.registry.registration import registration
from workbench.registry.registry import Registry, Reloaded
from workbench.registry.server import Overloaded, ReplicaState, ServerDown, ServerSpec, ServerState, UnknownTool

__all__ = [
    "Configuration",
    "ConfigurationRemarks",
    "Connection",
    "ConnectionFactory",
    "ExcludedServer",
    "Launched",
    "Overloaded",
    "Registry",
    "Reloaded",
    "ReplicaState",
    "RpcError",
    "ServerDown",
    "ServerSpec",
    "ServerState",
    "UnknownTool",
    "VaryingAcceptance",
    "bundled_specs",
    "foreign_servers",
    "read_configuration",
    "read_mcp_json",
    "registration",
]
