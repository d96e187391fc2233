"""Replacing a secret key of the state folder, which gateways may share through their control store."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from workbench.config import Settings
from workbench.control import ControlStore, open_store
from workbench.control.factory import share_key
from workbench.control.key_files import write
from workbench.events import now_us
from workbench.secrets.keyring import KeyRing, ring_path


class KeyFile:
    """One key with the keys before and after it, in the state folder and, with `database_url`, in the database.

    Every method raises ControlDown when the database does not answer, and Misuse when a file holds something else.

    Args:
        settings: whose key.
        name: of its file.
        make: a new key.
    """

    def __init__(self, settings: Settings, name: str, make: Callable[[], bytes]) -> None:
        self._settings = settings
        self._path = settings.home / name
        self._make = make

    def exists(self) -> bool:
        """Whether there is one, here or at another gateway."""
        if not self._settings.database_url:
            return self._path.exists()
        with contextlib.closing(open_store(self._settings)) as store:
            return store.row("select 1 from control_files where name = ?", self._path.name) is not None

    def ring(self) -> KeyRing:
        """The keys around it."""
        with self._alone() as store:
            return self._ring(store)

    def prepare(self) -> bool:
        """Make the next key, which is accepted from the next start on. False when there is one already."""
        with self._alone() as store:
            ring = self._ring(store)
            if ring.next is None:
                self._keep(store, ring.prepared(self._make()))
            return ring.next is None

    def rotate(self, kept_us: int | None) -> None:
        """Use the next key, or a new one where none was prepared.

        Args:
            kept_us: how long the old one is accepted, in microseconds; None: as long as it is kept.
        """
        with self._alone() as store:
            ring, old = self._ring(store), self._path.read_bytes()
            new = self._make() if ring.next is None else ring.next
            after = ring.rotated(old, None if kept_us is None else now_us() + kept_us)
            # a crash after this leaves both keys accepted, and the next rotation goes on with the same key
            self._keep(store, after.prepared(new))
            self._use(store, new)
            self._keep(store, after)

    def replace(self) -> None:
        """Use a new key, and accept nothing of those before it."""
        with self._alone() as store:
            self._use(store, self._make())
            self._keep(store, KeyRing())

    @contextlib.contextmanager
    def _alone(self) -> Iterator[ControlStore]:
        with contextlib.closing(open_store(self._settings)) as store:
            share_key(store, self._path, self._make)
            with store.exclusively("files"):
                yield store

    def _ring(self, store: ControlStore) -> KeyRing:
        if not self._settings.database_url:
            return KeyRing.beside(self._path)
        row = store.row("select content from control_files where name = ?", ring_path(self._path).name)
        return KeyRing.decoded(bytes(row[0])) if row else KeyRing()

    def _use(self, store: ControlStore, key: bytes) -> None:
        if self._settings.database_url:
            store.change("update control_files set content = ? where name = ?", key, self._path.name)
        write(self._path, key)

    def _keep(self, store: ControlStore, ring: KeyRing) -> None:
        path, content = ring_path(self._path), ring.encoded()
        if self._settings.database_url:
            store.change("update control_files set content = ? where name = ?", content, path.name)
        write(path, content)
