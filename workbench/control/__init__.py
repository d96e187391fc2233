"""The control store: keys, approvals, tokens and pins, in SQLite here or in a Postgres that several gateways share."""

from workbench.control.control_store import ChangeNotice, ControlStore, ControlStoreError
from workbench.control.factory import open_store

__all__ = ["ChangeNotice", "ControlStore", "ControlStoreError", "open_store"]
