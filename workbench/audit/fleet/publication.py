"""Publishing the files of one record to the catalog of its fleet."""

from __future__ import annotations

import contextlib

from workbench.audit.backends import open_catalog
from workbench.audit.format.folder import AuditFolder
from workbench.audit.format.record_keys import first_key
from workbench.audit.lake.lake_catalog import root_of
from workbench.audit.lake.manifest import Manifest
from workbench.config import Settings


def publish(settings: Settings, manifest: Manifest | None = None) -> int | None:
    """Let the files of this state folder count in the fleet's catalog; returns how many came and went.

    Args:
        manifest: the files; default those that count now, unless the compactor is at work: then None is returned.

    Raises:
        MisuseError: there is no such catalog.
        StoreConflictError: another record publishes its files from the same place.
        UnreachableError: the catalog does not answer, or a file is not there yet.
    """
    from workbench.audit.lake.compactor import Compactor

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
