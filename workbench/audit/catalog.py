"""Which Parquet files make up the record: those of one state folder, or those of a whole fleet of gateways."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from workbench.audit.folder import AuditFolder
from workbench.audit.lake import CurrentFiles, Manifest
from workbench.audit.record_keys import first_key
from workbench.events import Misuse

if TYPE_CHECKING:
    from workbench.config import Settings


class Member(NamedTuple):
    """One record in a catalog."""

    root: str
    """Where its files are; empty for rows on a server."""
    owner: str
    """Its first public key."""
    files: int
    rows: int


class Catalog(Protocol):
    """Says which files count. A reader sees the files of one publication or of the next, never a mixture."""

    @property
    def folders(self) -> list[str]:
        """Where the files are: folders, or buckets with a prefix. A reader may open nothing else."""

    def current(self) -> CurrentFiles:
        """The files that count now.

        Raises:
            Unreachable: the catalog does not answer.
        """

    def publish(self, root: str, owner: str, manifest: Manifest) -> int:
        """Let exactly the files of `manifest` count for one record; returns how many came and went.

        All of them do, or none when it fails or is killed; saying it again changes nothing.

        Args:
            root: where the paths in the manifest begin, see `root_of`.
            owner: the record's first public key.
            manifest: which files count.

        Raises:
            StoreConflict: another record publishes its files under this root.
            Unreachable: the catalog does not answer.
            OSError: the disk says no.
        """

    def members(self) -> list[Member]:
        """The records that publish their files here."""

    def close(self) -> None:
        """Give up connections. May be called twice."""


class FolderCatalog:
    """The catalog of one state folder: its `MANIFEST.json`, and the log for what is not in Parquet yet."""

    def __init__(self, folder: AuditFolder) -> None:
        self._folder = folder

    @property
    def folders(self) -> list[str]:
        folder = self._folder
        return [str(path) for path in (folder.wal, folder.lake, folder.rollup, folder.index)]

    def current(self) -> CurrentFiles:
        return CurrentFiles(self._folder)

    def publish(self, root: str, owner: str, manifest: Manifest) -> int:
        before = {part["path"] for part in Manifest.read(self._folder).parts}
        manifest.publish(self._folder)
        return len(before ^ {part["path"] for part in manifest.parts})

    def members(self) -> list[Member]:
        if not self._folder.public_key.exists():
            return []
        owner, parts = first_key(self._folder), Manifest.read(self._folder).parts
        return [Member(root_of(self._folder, ""), owner, len(parts), sum(part["rows"] for part in parts))]

    def close(self) -> None:
        """There are none."""


def open_catalog(settings: Settings) -> Catalog:
    """The catalog of the fleet, which the setting `audit_catalog` names.

    Raises:
        Misuse: none is set, it is no Postgres, or a package for it is missing.
        Unreachable: it does not answer.
    """
    if not settings.audit_catalog:
        raise Misuse("There is no catalog of a fleet.", hint="Set audit_catalog and audit_warehouse.")
    if not settings.audit_catalog.startswith(("postgresql://", "postgres://")):
        raise Misuse("The setting audit_catalog names no Postgres.", hint="Expected postgresql://user@host/database.")
    if not settings.audit_warehouse:
        raise Misuse(
            "The setting audit_warehouse is empty.",
            hint="Name a folder or s3://bucket/prefix that all gateways share, for the catalog's own files.",
        )
    from workbench.audit.iceberg import IcebergCatalog

    return IcebergCatalog(settings.audit_catalog, settings.audit_warehouse)


def root_of(folder: AuditFolder, store: str) -> str:
    """Where others find the files of a record: in its store when there is one, else in its state folder."""
    if "://" in store:
        return store.rstrip("/")
    return f"file://{Path(store).expanduser().absolute() if store else folder.root}"


def publish(settings: Settings, manifest: Manifest | None = None) -> int | None:
    """Let the files of this state folder count in the fleet's catalog; returns how many came and went.

    Args:
        manifest: the files; default those that count now, unless the compactor is at work: then None is returned.

    Raises:
        Misuse: there is no such catalog.
        StoreConflict: another record publishes its files from the same place.
        Unreachable: the catalog does not answer, or a file is not there yet.
    """
    from workbench.audit.compactor import Compactor

    folder = AuditFolder(settings.home)
    if not folder.public_key.exists():
        return 0  # nothing was recorded yet
    owner = first_key(folder)
    with contextlib.closing(open_catalog(settings)) as catalog, contextlib.ExitStack() as stack:
        if manifest is None:
            alone, _ = stack.enter_context(Compactor(folder).alone())
            if not alone:
                return None
            manifest = Manifest.read(folder)
        return catalog.publish(root_of(folder, settings.audit_store), owner, manifest)
