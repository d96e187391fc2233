"""Secret files of the state folder that all gateways of a deployment have in common.

Each gateway keeps a copy, so that the rooms read them as they do on one machine. The first gateway's counts: who was
alone before and joins a deployment puts its own aside.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from workbench.control.control_store import ControlStore
from workbench.secrets.keyring import KeyRing

SHARED: Final = ("session.key", "redaction.key")
"""32 random bytes each: what clients carry for us is sealed with the one, and pseudonyms are made with the other."""


def agree_on(store: ControlStore, path: Path, make: Callable[[], bytes]) -> None:
    """Make the file at `path` what the deployment has, or give the deployment what is there."""
    query = "select content from control_files where name = ?"
    found = store.row(query, path.name)
    if found is None:
        with store.exclusively("files"):
            content = path.read_bytes() if path.exists() else make()
            store.change("insert into control_files values (?, ?) on conflict do nothing", path.name, content)
            found = store.row(query, path.name)
    assert found is not None
    content = bytes(found[0])
    if path.exists():
        if path.read_bytes() == content:
            return
        if path.suffix == ".key" and not _was_replaced(path):
            path.replace(path.with_name(f"{path.name}.before-{secrets.token_hex(4)}"))
    write(path, content)


def _was_replaced(path: Path) -> bool:
    """Whether the key in a file is an earlier one of the deployment, which its ring keeps as long as it is needed."""
    content = path.read_bytes()
    return any(old.key == content for old in KeyRing.beside(path).previous)


def write(path: Path, content: bytes) -> None:
    """Put `content` into a file that only its owner may read, all at once."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
