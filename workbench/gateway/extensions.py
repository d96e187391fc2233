"""Methods beyond those of MCP itself: whose they are, what calling one needs, and how it is told from a core method.

A server says in its capabilities which extensions it has (`extensions`, or `experimental` up to 2025-11-25), under
identifiers like `vendor.example/feature` (basic/index, "Extensions"); an extension may define methods, results and
notifications. Here each becomes a tool of its server, `server.vendor.example/do`: the same rules, and on the record.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from workbench.events import JSON

if TYPE_CHECKING:
    from workbench.registry import Registry

SCOPES: Final = "workbench/scopes"
"""Key in the settings of an extension: the scopes that its methods need. It counts for bundled servers alone."""

OFFERED: Final = ("extensions", "experimental")
"""Capabilities that hold extensions by identifier."""

_CORE: Final = frozenset(
    {
        "tools", "prompts", "resources", "completion", "tasks", "server", "subscriptions", "logging", "sampling",
        "elicitation", "roots", "notifications", "client", "initialize", "ping", "rpc",
    }
)  # fmt: skip
"""First parts of core methods, of any revision. Nothing of that name is ever passed on as somebody's own method: a call
of a tool must not travel as anything but a call of that tool."""

_METHOD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(?:/[A-Za-z0-9][A-Za-z0-9_.-]*)+")
_MAX_LENGTH: Final = 128
_SCOPE = re.compile(r"[a-z0-9_*-]+(:[a-z0-9_*-]+)*")


def is_extension(method: str) -> bool:
    """Whether a method is one that an extension may define."""
    if "/" not in method or len(method) > _MAX_LENGTH or _METHOD.fullmatch(method) is None:
        return False
    first = method.partition("/")[0].casefold()
    return first not in _CORE and first.partition(".")[0] != "rpc"


def declared(capabilities: JSON) -> dict[str, Any]:
    """The extensions in a server's capabilities, by identifier."""
    found: dict[str, Any] = {}
    for key in OFFERED:
        offered = capabilities.get(key)
        for name, settings in offered.items() if isinstance(offered, dict) else ():
            found.setdefault(name, settings)
    return found


def nearness(method: str, identifier: str) -> int:
    """How surely a method is of an extension: 3, 2, 1, or 0 for not at all.

    It is when it is called like the extension or lies below it; nearly as surely when it has the vendor's prefix; and
    else when it is called by the extension's own name, as `skills/list` is of `io.modelcontextprotocol/skills`.
    """
    if method == identifier or method.startswith(f"{identifier}/"):
        return 3
    first = method.partition("/")[0]
    vendor, _, name = identifier.partition("/")
    return 2 if first == vendor else 1 if first == name else 0


def owners_of(method: str, servers: Iterable[tuple[str, JSON]]) -> list[str]:
    """Those of `servers`, given with their capabilities, that declare the extension that a method is of."""
    near: dict[str, int] = {}
    for server, capabilities in servers:
        near[server] = max((nearness(method, identifier) for identifier in declared(capabilities)), default=0)
    most = max(near.values(), default=0)
    return [server for server, nearest in near.items() if most and nearest == most]


def scopes_of(registry: Registry, server: str, method: str) -> tuple[str, ...]:
    """What calling a method of an extension needs: what a bundled server declares, else to be let write there.

    Raises:
        MisuseError: there is no such server.
        ServerDownError: it cannot be reached now, so nobody knows.
    """
    spec = registry.spec(server)
    if spec is not None and spec.trust == "bundled":
        found = declared(registry.connection(server).capabilities)
        nearest = max(found, key=lambda identifier: nearness(method, identifier), default="")
        settings = found.get(nearest) if nearest and nearness(method, nearest) else None
        labels = settings.get(SCOPES) if isinstance(settings, dict) else None
        if isinstance(labels, list) and labels:
            if all(isinstance(label, str) and _SCOPE.fullmatch(label) for label in labels):
                return tuple(dict.fromkeys(labels))
            return ("*",)  # a label that cannot be read opens nothing
    return (f"{server}:write",)
