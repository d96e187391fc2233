"""What there is, as clients are told: tools, capabilities and instructions, encoded once for each kind of caller."""

from __future__ import annotations

from typing import Any, Final

from workbench.display_text import visible
from workbench.endpoint.endpoint_scope import profile_of, server_of
from workbench.endpoint.feature_catalog import ORIGINAL, FeatureCatalog
from workbench.endpoint.resource_uris import with_page
from workbench.events import JSON, Caller, Tool
from workbench.gateway.call import Gateway, identity
from workbench.registry.definitions.definition_texts import visible_definition
from workbench.registry.definitions.lenient_definition import presented
from workbench.registry.server import ServerState
from workbench.upstream.jsonrpc_messages import encode
from workbench.upstream.negotiation import META, MODERN
from workbench.version import __version__

SERVER_INFO: Final[JSON] = {"name": "mcp-workbench", "title": "MCP Workbench", "version": __version__}

TTL_MS: Final = 30_000
"""How long a client may keep a list; changes are announced to those who listen."""

_MAX_BYTES: Final = 64 << 20
"""Of encoded lists that are kept; there is one for each kind of caller and endpoint."""

_MAX_INSTRUCTIONS_LENGTH: Final = 8000


NOTES: Final = "workbench/notes"
"""Key in `_meta` of a listed tool: what a person should know of it, in sentences."""


class FeatureLists:
    """The lists of one gateway, for each of its endpoints; see `views`."""

    def __init__(self, gateway: Gateway) -> None:
        self.offers = FeatureCatalog(gateway)
        self._gateway = gateway
        self._encoded: dict[Any, bytes] = {}
        self._bytes = 0

    async def tools(self, caller: Caller, view: str, *, modern: bool) -> bytes:
        """The encoded result of `tools/list`: what the caller may call, and how each server is."""
        gateway = self._gateway
        await gateway.judge(caller)
        states = self.states(caller, view)
        health = tuple((state.id, state.status) for state in states)
        rules = (gateway.policy.visibility_version(caller), gateway.profiles.revision)
        key = (view, modern, gateway.registry.version, rules, health, gateway.policy.redactor.ready, identity(caller))
        found = self._encoded.get(key)
        if found is None:
            found = encode(self._tools(caller, view, states, modern=modern))
            if self._bytes + len(found) > _MAX_BYTES:
                self._encoded.clear()
                self._bytes = 0
            self._encoded[key] = found
            self._bytes += len(found)
        return found

    def states(self, caller: Caller, view: str) -> list[ServerState]:
        """The servers behind an endpoint, as far as they exist for the caller's tenant."""
        states, name = self._gateway.registry.servers(caller.tenant), profile_of(view)
        if name:
            profile = self._gateway.profiles.find(name)
            return [state for state in states if profile is not None and profile.includes(state.id)]
        return [state for state in states if view in ("", state.id)]

    def discovered(self, caller: Caller, view: str) -> JSON:
        """The result of `server/discover`."""
        return {
            "supportedVersions": [MODERN],
            "capabilities": self.offers.capabilities(caller, view),
            "instructions": self.instructions(caller, view),
            "ttlMs": TTL_MS,
            "cacheScope": "private",
            "resultType": "complete",
            "_meta": {META + "serverInfo": self.server_info(caller, view)},
        }

    def server_info(self, caller: Caller, view: str) -> JSON:
        """Who answers: we, or behind an endpoint of one server that server, as it introduced itself."""
        if name := profile_of(view):
            profile = self._gateway.profiles.find(name)
            return {**SERVER_INFO, "title": profile.title} if profile is not None and profile.title else SERVER_INFO
        for state in self.states(caller, view) if view else ():
            info = {"name": state.id, "title": state.title or state.id, "version": state.version or "unknown"}
            return self._gateway.outbound.prose(info, caller.tenant)
        return SERVER_INFO

    def instructions(self, caller: Caller, view: str) -> str:
        """What the servers say on how to use them, each under its name; or what the profile says instead."""
        profile = self._gateway.profiles.find(profile_of(view)) if profile_of(view) else None
        if profile is not None and profile.instructions:
            return profile.instructions[:_MAX_INSTRUCTIONS_LENGTH]
        states = self.states(caller, view)
        told = [(state.id, state.instructions.strip()) for state in states if state.instructions.strip()]
        told = self._gateway.outbound.prose(told, caller.tenant)
        if server_of(view):
            return told[0][1] if told else ""
        form = "server.tool" if self._gateway.wire_names.dotted else "server__tool"
        lines = [f"Tools of several servers; each is called `{form}`.", *(f"{id}: {text}" for id, text in told)]
        return "\n".join(lines)[:_MAX_INSTRUCTIONS_LENGTH]

    def scopes(self) -> list[str]:
        """Every scope that a tool for all tenants needs: whoever asks for this has not said who they are."""
        return sorted({scope for tool in self._shared() for scope in tool.scopes})

    def reading_scopes(self) -> list[str]:
        """The scopes with which a client can begin: those of tools that change nothing."""
        return sorted({scope for tool in self._shared() if tool.read_only for scope in tool.scopes})

    def _shared(self) -> list[Tool]:
        return [tool for tool in self._gateway.registry.tools() if not tool.tenant]

    def _tools(self, caller: Caller, view: str, states: list[ServerState], *, modern: bool) -> JSON:
        gateway = self._gateway
        tools, server = gateway.tools(caller, profile_of(view)), server_of(view)
        name_of = gateway.wire_names.of
        listed = [
            _definition(tool, tool.name if server else name_of(tool.qualified), alone=bool(server))
            for tool in tools
            if server in ("", tool.server)
        ]
        servers = gateway.outbound.prose({state.id: _health(state, caller) for state in states}, caller.tenant)
        value: JSON = {"tools": listed, "_meta": {"workbench/servers": servers}}
        if modern:
            # What is filtered for one caller must not be shared with another (server/utilities/caching).
            value |= {"ttlMs": TTL_MS, "cacheScope": "private", "resultType": "complete"}
        return value


def _definition(tool: Tool, name: str, *, alone: bool) -> JSON:
    """The definition as the server lists it, in readable form, under the name by which it is called here."""
    shown = presented(tool) or {
        "description": tool.description,
        "inputSchema": tool.input_schema,
        "annotations": tool.annotations,
    }
    if tool.notes:
        meta = shown.get("_meta")
        own: JSON = {NOTES: list(tool.notes)}
        if tool.original is not None:
            own[ORIGINAL] = visible(tool.original)
        shown = {**visible_definition(shown), "_meta": {**(meta if isinstance(meta, dict) else {}), **own}}
    return {**(shown if alone else with_page(shown, tool.server)), "name": name}


def _health(state: ServerState, caller: Caller) -> JSON:
    health: JSON = {"status": state.status}
    if state.status != "ready" and caller.has("servers:manage"):
        health["error"] = state.last_error[:300]
    return health
