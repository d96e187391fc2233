"""Which Parquet files make up the record: those of one state folder, or those of a whole fleet of gateways."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.record_keys import first_key
from workbench.audit.lake.manifest import CurrentFiles, Manifest


class Member(NamedTuple):
    """One record in a catalog."""

    root: str
    """Where its files are; empty for rows on a server."""
    owner: str
    """Its first public key."""
    files: int
    rows: int


class LakeCatalog(Protocol):
    """Says which files count. A reader sees the files of one publication or of the next, never a mixture."""

    @property
    def folders(self) -> list[str]:
        """Where the files are: folders, or buckets with a prefix. A reader may open nothing else."""

    def current(self) -> CurrentFiles:
        """The files that count now.

        Raises:
            UnreachableError: the catalog does not answer.
        """

    def publish(self, root: str, owner: str, manifest: Manifest) -> int:
        """Let exactly the files of `manifest` count for one record; returns how many came and went.

        All of them do, or none when it fails or is killed; saying it again changes nothing.

        Args:
            root: where the paths in the manifest begin, see `root_of`.
            owner: the record's first public key.
            manifest: which files count.

        Raises:
            StoreConflictError: another record publishes its files under this root.
            UnreachableError: the catalog does not answer.
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


def root_of(folder: AuditFolder, store: str) -> str:
    """Where others find the files of a record: in its store when there is one, else in its state folder."""
    if "://" in store:
        return store.rstrip("/")
    return f"file://{Path(store).expanduser().absolute() if store else folder.root}"
