"""The control store: keys, approvals, tokens and pins, in SQLite here or in a Postgres that several gateways share."""

from workbench.control.control_store import ControlDown, ControlStore, Told
from workbench.control.factory import open_store

__all__ = ["ControlDown", "ControlStore", "Told", "open_store"]
