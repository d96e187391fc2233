"""The records of all gateways of a fleet, as one: who answers questions to them, and telling them what is new here."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from workbench.audit.backends import open_catalog
from workbench.audit.fleet.publication import publish as publish_files
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.replication import ship
from workbench.audit.lake.segment_store import open_store

if TYPE_CHECKING:
    from workbench.audit.lake.lake_catalog import Member
    from workbench.audit.lake.manifest import Manifest
    from workbench.audit.query.engine import SqlEngine
    from workbench.config import Settings


def open_fleet(settings: Settings, tenant: str | None = None) -> SqlEngine:
    """What answers SQL over the records of a fleet: the server of `audit_engine`, else DuckDB over `audit_catalog`.

    Args:
        tenant: show only this tenant's rows, whatever the statement; None shows all.

    Raises:
        MisuseError: neither is set, or a package is missing.
        UnreachableError: it does not answer.
    """
    if settings.audit_engine:
        from workbench.audit.fleet.postgres_engine import PostgresEngine

        return PostgresEngine(settings.audit_engine, tenant=tenant)
    from workbench.audit.query.reader import Reader

    return Reader(settings.home, tenant=tenant, catalog=open_catalog(settings))


def members(settings: Settings) -> list[Member]:
    """The records that are in the catalog, or else on the server.

    Raises:
        MisuseError: neither is set, or a package is missing.
        UnreachableError: it does not answer.
    """
    if settings.audit_catalog or not settings.audit_engine:
        with contextlib.closing(open_catalog(settings)) as catalog:
            return catalog.members()
    from workbench.audit.fleet.postgres_loader import loaded

    return loaded(settings.audit_engine)


def publish(settings: Settings, manifest: Manifest | None = None) -> int | None:
    """Let the fleet have what is compacted here; returns how many files came and went for it.

    Args:
        manifest: the files that count, for the catalog alone; default those that count now, for catalog and server.

    Returns:
        None when the compactor is at work.

    Raises:
        MisuseError: neither catalog nor server is set, or a package is missing.
        StoreConflictError: another record publishes its files from the same place.
        UnreachableError: the catalog or the server does not answer.
        LakeRefusedError: a file is not what its seal says.
    """
    changed: list[int | None] = []
    if settings.audit_catalog or not settings.audit_engine:
        if manifest is None and settings.audit_catalog and settings.audit_store:  # others read the copies there
            ship(
                AuditFolder(settings.home),
                open_store(settings.audit_store),
                lambda shipped: changed.append(publish_files(settings, shipped)),
            )
        changed.append(publish_files(settings, manifest))
    if settings.audit_engine and manifest is None:
        from workbench.audit.fleet.postgres_loader import load

        changed.append(load(settings))
    return None if None in changed else max((n for n in changed if n is not None), default=0)
