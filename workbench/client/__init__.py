"""The façade: opens and closes everything, owns the one event-loop thread, attaches to a platform that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.client.results import Result, Run, Servers, Tools
    from workbench.client.workbench import Workbench, open

__all__ = ["Result", "Run", "Servers", "Tools", "Workbench", "open"]


def __getattr__(name: str) -> Any:
    # Finding a running platform must not cost the import of all rooms.
    if name in ("Workbench", "open"):
        from workbench.client import workbench as module
    elif name in __all__:
        from workbench.client import results as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module 'workbench.client' has no attribute {name!r}")
    return getattr(module, name)
