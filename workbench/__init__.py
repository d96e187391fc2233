"""MCP Workbench: launch MCP servers, govern every call, ask an agent, query the record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.version import __version__

if TYPE_CHECKING:
    from workbench.client import Workbench, open
    from workbench.events import Misuse, NotRecorded, Unauthenticated, Unreachable, WorkbenchError

__all__ = [
    "Misuse",
    "NotRecorded",
    "Unauthenticated",
    "Unreachable",
    "Workbench",
    "WorkbenchError",
    "__version__",
    "open",
]


def __getattr__(name: str) -> Any:
    # The façade pulls in the event loop and the rooms; importing the package must stay instant.
    if name in ("Workbench", "open"):
        from workbench import client

        return getattr(client, name)
    if name in __all__:
        from workbench import events

        return getattr(events, name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")
