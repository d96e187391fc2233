"""Names of tools behind `/mcp` and profiles: those that model APIs accept, and the way back to `server.tool`.

A name is made from server and tool alone (`registry.tool_names.wire_name`), so it stays when other tools come and go.
The form with a dot is understood as well: no name on the wire has one, and every `server.tool` does. So are the names
that servers themselves give to tools with odd ones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from workbench.events import Call, Outcome, Tool
from workbench.gateway.method_tools import is_method
from workbench.registry.definitions.tool_names import LONG_HASH_DIGITS, is_hashed, wire_name

if TYPE_CHECKING:
    from workbench.config import Settings
    from workbench.registry import Registry

SEPARATOR = "__"


class WireNames:
    """The names of one gateway's tools on the wire.

    Args:
        settings: which style lists show (`tool_name_style`).
        registry: which tools there are.
    """

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self.dotted = settings.tool_name_style == "dotted"
        self._registry = registry
        self._version = -1
        self._meant: dict[str, tuple[str, str]] = {}
        self._long: frozenset[str] = frozenset()

    def of(self, qualified: str) -> str:
        """The name in lists and messages of the tool that is `server.name`."""
        server, dot, name = qualified.partition(".")
        if self.dotted or not dot:
            return qualified
        self._refresh()
        return _long(server, name) if qualified in self._long else wire_name(server, name)

    def of_prompt(self, server: str, name: str) -> str:
        """The name in lists of a prompt with that safe name."""
        return f"{server}.{name}" if self.dotted else wire_name(server, name)

    def meant(self, name: str, server: str, tenant: str) -> str:
        """The qualified name of the tool that a client calls `name`; of an unknown one what comes nearest to it.

        Args:
            name: on the wire, `server.tool`, or, behind the endpoint of one server, its own name.
            server: the one server behind the endpoint; empty where there may be several.
            tenant: of the caller. What exists for another tenant alone is unknown.
        """
        if self._version != self._registry.version:
            self._refresh()
        given = f"{server}.{name}" if server else name
        found = self._meant.get(given)
        if found is not None and found[1] in ("", tenant):
            return found[0]
        return given if server or "." in name else self._unlisted(name, tenant)

    def worded(self, outcome: Outcome, call: Call) -> Outcome:
        """An outcome without a tool's answer, in the kind of names that its client used in the call."""
        if self.dotted or "." in (call.named or call.tool) or is_method(call.tool):
            return outcome
        # Only names of ours are replaced: what else the message quotes was redacted before it came here.
        close = outcome.details.get("suggestions")
        names = {name: self.of(name) for name in close} if isinstance(close, list) else {}
        if call.named and outcome.tool == call.tool:
            names[call.tool] = call.named
        if not names:
            return outcome
        listed = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        message = re.sub(rf"(?<![\w.-])(?:{listed})(?!\.?[\w-])", lambda found: names[found.group()], outcome.message)
        details = {**outcome.details, "suggestions": [names[name] for name in close]} if close else outcome.details
        return msgspec.structs.replace(outcome, message=message, details=details)

    def _unlisted(self, name: str, tenant: str) -> str:
        """`server.tool` of a name that no listed tool has, where its server is known: that one may just be down."""
        own = name.partition(SEPARATOR)[0]
        ids = [state.id for state in self._registry.servers(tenant) if name.startswith(f"{state.id}{SEPARATOR}")]
        server = own if own in ids else max(ids, key=len, default="")
        rest = name[len(server) + len(SEPARATOR) :]
        # a name with a hash is never read as a plain one, so it means that one tool or none
        return f"{server}.{rest}" if server and rest and not self._listed(server, rest, name) else name

    def _listed(self, server: str, rest: str, name: str) -> bool:
        return is_hashed(name) and self._registry.has_tool(f"{server}.{rest}")

    def _refresh(self) -> None:
        """Take over what the registry lists, the tools of servers that are down included."""
        version = self._registry.version
        if self._version == version:
            return
        names: dict[str, list[Tool]] = {}
        for tool in self._registry.known_tools():
            names.setdefault(wire_name(tool.server, tool.name), []).append(tool)
        long = [tool for same in names.values() if len(same) > 1 for tool in same]
        meant = {name: (same[0].qualified, same[0].tenant) for name, same in names.items() if len(same) == 1}
        meant |= {_long(tool.server, tool.name): (tool.qualified, tool.tenant) for tool in long}
        for same in names.values():
            for tool in same:
                if tool.original is not None:
                    meant[f"{tool.server}.{tool.original}"] = (tool.qualified, tool.tenant)
        self._long = frozenset(tool.qualified for tool in long)
        self._meant, self._version = meant, version


def _long(server: str, name: str) -> str:
    """Where two names get the same short hash: all of them get a longer one, whatever the order."""
    return wire_name(server, name, digits=LONG_HASH_DIGITS)
