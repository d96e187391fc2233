"""A test kit for servers, policy rules and questions: a real gateway in the process of the test.

Nothing is replaced but what a test decides itself: which servers there are (`InMemoryServer`) and what the language
model says (`ScriptedProvider`). `GatewayHarness` puts the real registry, policy, gateway, agent and record around them,
without a child process and without a network port. `docs/testing.md` shows how each is used; the fixtures for pytest
are in `workbench.testing.fixtures`.
"""

from __future__ import annotations

from workbench.testing.gateway_harness import GatewayHarness, SyncGatewayHarness
from workbench.testing.in_memory_server import InMemoryServer
from workbench.testing.scripted_provider import (
    ScriptedPart,
    ScriptedProvider,
    ScriptedTurn,
    ScriptError,
    SingleProviderChooser,
)

__all__ = [
    "GatewayHarness",
    "InMemoryServer",
    "ScriptError",
    "ScriptedPart",
    "ScriptedProvider",
    "ScriptedTurn",
    "SingleProviderChooser",
    "SyncGatewayHarness",
]
