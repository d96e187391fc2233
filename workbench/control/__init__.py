"""The control store: keys, approvals, tokens and pins, in SQLite here or in a Postgres that several gateways share."""

from workbench.control.opening import open_store
from workbench.control.store import ControlDown, ControlStore, Told

__all__ = ["ControlDown", "ControlStore", "Told", "open_store"]
