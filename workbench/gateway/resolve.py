"""What a call means: the tool of that name, or the method of a server, as far as its caller may know of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.events import Call, Caller, MisuseError, Tool
from workbench.gateway.extensions import scopes_of
from workbench.gateway.method_tools import SCHEMAS, is_method, method_tool
from workbench.gateway.refusals import CallRefusedError, unknown
from workbench.gateway.task_ids import METHODS
from workbench.registry.connection import Connection
from workbench.registry.server import ServerDownError, UnknownToolError
from workbench.suggestions import close_names

if TYPE_CHECKING:
    from workbench.gateway.call import Gateway


class ToolResolver:
    """Finds tools for the call path.

    Args:
        gateway: whose registry and profiles count.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._registry = gateway.registry

    def resolve(self, call: Call) -> tuple[Tool, Connection]:
        """The tool of a call, and the connection to its server.

        Raises:
            CallRefusedError: there is none for this caller, or it cannot be called now.
        """
        if call.profile:
            self._check_within(call)
        try:
            if is_method(call.tool):
                return self._method(call)
            tool, connection = self._registry.resolve(call.tool)
        except UnknownToolError as e:
            raise self._unknown(call) from e
        except ServerDownError as e:
            down = e.state
            if not self._registry.exists(down.id, call.caller.tenant):
                raise self._unknown(call) from e
            # What a server last wrote is for those who look after servers: it may quote anything.
            why = f" {down.last_error}" if down.last_error and call.caller.has("servers:manage") else ""
            runs = down.status not in ("disabled", "invalid")
            then = "it is started again by itself" if runs else "its configuration has to be changed first"
            message = f"Server {down.id!r} {down.condition}; {then}.{why}"
            raise CallRefusedError("unavailable", message, server=down.id, status=down.status, retry_after=1) from e
        if tool.tenant and tool.tenant != call.caller.tenant:
            raise self._unknown(call)
        if tool.quarantined:
            message = f"{tool.qualified} is quarantined: {tool.quarantined} An administrator has to accept the change."
            raise CallRefusedError("unavailable", message, rule="quarantined")
        return tool, connection

    def everything(self, caller: Caller) -> list[Tool]:
        """All that a caller's lists could show: the tools that exist for the tenant, and reading from each server."""
        tenant = caller.tenant
        there = [tool for tool in self._registry.tools() if tool.tenant in ("", tenant)]
        return there + [method_tool(state.id, "resources/read") for state in self._registry.servers(tenant)]

    def _check_within(self, call: Call) -> None:
        """Refuse what does not belong to the profile through which the call came, as if it did not exist."""
        profile = self._gateway.profiles.find(call.profile)
        if profile is None:
            raise CallRefusedError("not_found", f"There is no profile {call.profile[:100]!r}.", rule="profile")
        server, _, name = call.tool.partition(".")
        if name in METHODS:
            inside = profile.has(self._gateway.dispatch.tasks.of(call).tool)
        else:
            inside = profile.offers(server) if is_method(call.tool) else profile.has(call.tool)
        if not inside:
            raise self._unknown(call)

    def _method(self, call: Call) -> tuple[Tool, Connection]:
        server, _, method = call.tool.partition(".")
        if not self._registry.exists(server, call.caller.tenant):
            raise CallRefusedError("not_found", f"There is no server {server[:200]!r}.", server=server)
        try:
            scopes: tuple[str, ...] = ()
            if method in METHODS:
                scopes = self._gateway.dispatch.tasks.of(call).scopes
            elif method not in SCHEMAS:
                scopes = scopes_of(self._registry, server, method)
            return method_tool(server, method, scopes), self._registry.connection(server)
        except MisuseError as e:
            raise CallRefusedError("not_found", str(e), server=server) from e

    def _unknown(self, call: Call) -> CallRefusedError:
        """Names of tools that the caller may not see are nobody's business, and not whether there are any."""
        known = [tool.qualified for tool in self._gateway.tools(call.caller, call.profile)]
        return unknown(call.tool, close_names(call.tool, known))
