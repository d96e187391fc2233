"""Which control store the settings mean."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from workbench.config import Settings, prepare_home
from workbench.control.control_store import ControlStore
from workbench.control.key_files import SHARED
from workbench.control.sqlite import SqliteStore
from workbench.secrets import SecretResolver
from workbench.secrets.keyring import ring_path


def share_key(store: ControlStore, path: Path, make: Callable[[], bytes]) -> None:
    """See to it that a secret key, and the keys before and after it, are the same on every gateway of the store."""
    store.share(ring_path(path), bytes)  # the ring first: a key that is newer than its ring is in it as the next one
    store.share(path, make)


def open_store(where: Settings | Path) -> ControlStore:
    """The control store of these settings, or that of a state folder alone.

    Whoever opens it closes it. Every room opens its own.

    Raises:
        MisuseError: the database is corrupt, or is not one that this version can use.
        ControlStoreError: the Postgres of `database_url` does not answer.
    """
    if isinstance(where, Path):
        return SqliteStore(prepare_home(where))
    home = prepare_home(where.home)
    if not where.database_url:
        return SqliteStore(home)
    from workbench.control.postgres import PostgresStore

    url = SecretResolver.of(where).read(where.database_url)
    store = PostgresStore(url, where.database_schema, home, grace=where.database_grace)
    try:
        for name in SHARED:
            share_key(store, home / name, lambda: secrets.token_bytes(32))
    except BaseException:
        store.close()
        raise
    return store
