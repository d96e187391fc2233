"""The hot path: every tool call, from whichever door, passes `Gateway.call`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from workbench.gateway.call import Gateway

__all__ = ["Gateway"]


def __getattr__(name: str) -> Any:
    # Other rooms import single modules of this package; the call path loads when it is used.
    if name == "Gateway":
        from workbench.gateway.call import Gateway

        return Gateway
    raise AttributeError(f"module 'workbench.gateway' has no attribute {name!r}")
