"""The sink and the catalog that the settings name."""

from __future__ import annotations

from workbench.audit.lake.lake_catalog import LakeCatalog
from workbench.audit.write.sink import Sink
from workbench.config import Settings
from workbench.events import MisuseError


def open_sink(settings: Settings) -> Sink | None:
    """The sink that the setting `audit_sink` names; None when the log on this machine is enough.

    Raises:
        MisuseError: it is no Postgres, a package is missing, or there is no `audit_store` that takes over from it.
        OSError: it does not answer.
    """
    if not settings.audit_sink:
        return None
    if not settings.audit_store:
        raise MisuseError(
            "The setting audit_sink is set, and audit_store is not.",
            hint="The sink keeps what is not in the store yet; set both.",
        )
    from workbench.audit.fleet.postgres_sink import PostgresSink

    return PostgresSink(settings.audit_sink, settings.home)


def open_catalog(settings: Settings) -> LakeCatalog:
    """The catalog of the fleet, which the setting `audit_catalog` names.

    Raises:
        MisuseError: none is set, it is no Postgres, or a package for it is missing.
        UnreachableError: it does not answer.
    """
    if not settings.audit_catalog:
        raise MisuseError("There is no catalog of a fleet.", hint="Set audit_catalog and audit_warehouse.")
    if not settings.audit_catalog.startswith(("postgresql://", "postgres://")):
        raise MisuseError(
            "The setting audit_catalog names no Postgres.", hint="Expected postgresql://user@host/database."
        )
    if not settings.audit_warehouse:
        raise MisuseError(
            "The setting audit_warehouse is empty.",
            hint="Name a folder or s3://bucket/prefix that all gateways share, for the catalog's own files.",
        )
    from workbench.audit.fleet.iceberg_catalog import IcebergCatalog

    return IcebergCatalog(settings.audit_catalog, settings.audit_warehouse)
