"""The record of a fleet as an Apache Iceberg table whose catalog is in Postgres.

Every gateway publishes its Parquet files, where they lie, in one table `record.events`. A publication is one change of
one row in Postgres, so it is there wholly or not at all. Every engine that reads Iceberg can read the table.

Format: https://iceberg.apache.org/spec/; the catalog's tables are those of Iceberg's JDBC catalog.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.audit.format.columns import COLUMNS
from workbench.audit.lake.lake_catalog import Member
from workbench.audit.lake.manifest import CurrentFiles, Manifest
from workbench.audit.lake.segment_store import StoreConflictError
from workbench.events import MissingPackageError, UnreachableError

if TYPE_CHECKING:
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.table import Table

NAMESPACE, TABLE = "record", "events"
KEPT = timedelta(hours=1)
"""Earlier states of the table stay readable so long, for queries that have begun."""
_MAX_SNAPSHOTS = 60
_OWNER = "workbench.owner."
"""Properties of the table: the public key of the record under each root."""
_LOCAL = "file://"


class CataloguedFiles(CurrentFiles):
    """The files of a fleet. Nothing of their logs is among them: what is not compacted yet is not here yet."""

    def __init__(self, version: int, urls: list[str]) -> None:
        self.manifest = Manifest(generation=version)
        self.parts = [url.removeprefix(_LOCAL) for url in urls]
        self.rollups = ["/rollup/".join(path.rsplit("/lake/", 1)) for path in self.parts]  # written in pairs
        self.segments = []
        self.indexes = {}
        self.unindexed = self.parts


class IcebergCatalog:
    """The catalog of a fleet.

    Args:
        url: of the Postgres, `postgresql://user@host/database`.
        warehouse: folder or `s3://bucket/prefix` for the files of the table itself; every gateway and reader has it.

    Raises:
        MisuseError: the package pyiceberg is missing.
        UnreachableError: Postgres does not answer.
    """

    def __init__(self, url: str, warehouse: str) -> None:
        try:
            from pyiceberg.catalog.sql import SqlCatalog
        except ImportError as e:
            raise MissingPackageError(str(e.name), "catalog") from e
        place = warehouse if "://" in warehouse else f"{_LOCAL}{Path(warehouse).expanduser().absolute()}"
        properties = {
            "uri": "postgresql+psycopg://" + url.partition("://")[2],
            "warehouse": place.rstrip("/"),
            "pool_pre_ping": "true",
            "init_catalog_tables": "false",  # a reader need not have the right to make them
            **{name: os.environ[variable] for name, variable in _S3.items() if os.environ.get(variable)},
        }
        self._url = url
        with _reachable():
            self._catalog: SqlCatalog = SqlCatalog("workbench", **properties)
            self._owners = _owners(self._table())

    @property
    def folders(self) -> list[str]:
        return [f"{root.removeprefix(_LOCAL)}/{kind}" for root in sorted(self._owners) for kind in ("lake", "rollup")]

    def current(self) -> CataloguedFiles:
        with _reachable():
            table = self._table()
            self._owners = _owners(table)
            snapshot = table.current_snapshot() if table else None
            if table is None or snapshot is None:
                return CataloguedFiles(0, [])
            files = sorted(_files(table), reverse=True)  # the newest day first
            return CataloguedFiles(snapshot.snapshot_id, files)

    def members(self) -> list[Member]:
        with _reachable():
            table = self._table()
            files = _files(table) if table else {}
            return [
                Member(root, owner, len(of_it), sum(file.record_count for file in of_it))
                for root, owner in sorted(_owners(table).items())
                for of_it in [[file for path, file in files.items() if path.startswith(f"{root}/")]]
            ]

    def publish(self, root: str, owner: str, manifest: Manifest) -> int:
        wanted = {f"{root}/{part['path']}" for part in manifest.parts}
        with _reachable():
            table = self._table() or self._create()
            if (known := table.properties.get(_OWNER + root)) not in (None, owner):
                raise StoreConflictError(
                    f"Another record publishes its files from {root} (its key is {known}).",
                    hint="Give every gateway a folder of its own on a shared disk, or an audit_store.",
                )
            ours = {path: file for path, file in _files(table).items() if path.startswith(f"{root}/")}
            added, removed = sorted(wanted - set(ours)), [file for path, file in ours.items() if path not in wanted]
            if added or removed or known is None:
                self._commit(table, root, owner, added, removed)
            self._expire(table)
        return len(added) + len(removed)

    def _commit(self, table: Table, root: str, owner: str, added: list[str], removed: list[Any]) -> None:
        from pyiceberg.io.pyarrow import parquet_file_to_data_file

        with table.transaction() as change:
            if table.properties.get(_OWNER + root) is None:
                change.set_properties({_OWNER + root: owner})
            if not added and not removed:
                return
            update = change.update_snapshot(snapshot_properties={"workbench.root": root})
            with update.overwrite() if removed else update.merge_append() as snapshot:
                for path in added:
                    try:
                        snapshot.append_data_file(parquet_file_to_data_file(table.io, change.table_metadata, path))
                    except FileNotFoundError as e:
                        raise UnreachableError(
                            f"{path} is not there, so nothing was published.",
                            hint="The next run of the compactor copies it.",
                        ) from e
                for file in removed:
                    snapshot.delete_data_file(file)

    def _table(self) -> Table | None:
        from psycopg.errors import UndefinedTable
        from pyiceberg.exceptions import NoSuchTableError
        from sqlalchemy.exc import ProgrammingError

        try:
            table = self._catalog.load_table((NAMESPACE, TABLE))
        except NoSuchTableError:
            return None
        except ProgrammingError as e:
            if isinstance(e.orig, UndefinedTable):
                return None
            raise
        known = {field.name for field in table.schema().fields}
        if any(column.name not in known for column in COLUMNS):  # of an earlier version
            with table.transaction() as change:
                with change.update_schema() as schema:
                    schema.union_by_name(_schema())
                change.set_properties({_NAMES: change.table_metadata.schema().name_mapping.model_dump_json()})
        return table

    def _create(self) -> Table:
        import psycopg
        from pyiceberg.partitioning import PartitionField, PartitionSpec
        from pyiceberg.transforms import DayTransform

        schema = _schema()
        day = PartitionField(
            source_id=schema.find_field("ts").field_id, field_id=1000, transform=DayTransform(), name="day"
        )
        properties = {
            _NAMES: schema.name_mapping.model_dump_json(),
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "10",
            "commit.retry.num-retries": "20",  # gateways publish at the same time
            "commit.manifest-merge.enabled": "true",
        }
        # one gateway at a time: the catalog's own tables are not made for several
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(hashtext('mcp-workbench catalog'))")
            self._catalog.create_tables()
            self._catalog.create_namespace_if_not_exists(NAMESPACE)
            return self._catalog.create_table_if_not_exists(
                (NAMESPACE, TABLE), schema, partition_spec=PartitionSpec(day), properties=properties
            )

    def _expire(self, table: Table) -> None:
        """Forget states of the table that no query reads any more, and remove the files that only they had."""
        table = table.refresh()
        if len(table.metadata.snapshots) <= _MAX_SNAPSHOTS:
            return
        before = _own_files(table)
        table.maintenance.expire_snapshots().older_than(datetime.now(UTC) - KEPT).commit()
        for path in before - _own_files(table.refresh()):
            with contextlib.suppress(FileNotFoundError):
                table.io.delete(path)

    def close(self) -> None:
        self._catalog.close()


_NAMES = "schema.name-mapping.default"
_S3 = {"s3.endpoint": "AWS_ENDPOINT_URL", "s3.region": "AWS_REGION"}


def _schema() -> Any:
    """The columns of `events` as Iceberg has them: all optional, because older files lack the newer ones."""
    from pyiceberg.schema import Schema
    from pyiceberg.types import IntegerType, ListType, LongType, NestedField, StringType, TimestampType

    types: dict[str, Callable[[], Any]] = {
        "VARCHAR": StringType, "BIGINT": LongType, "INTEGER": IntegerType, "TIMESTAMP": TimestampType,
    }  # fmt: skip
    fields = []
    for number, column in enumerate(COLUMNS, 1):
        if column.type.endswith("[]"):
            element = types[column.type.removesuffix("[]")]()
            kind: Any = ListType(element_id=500 + number, element=element, element_required=False)
        else:
            kind = types[column.type]()
        fields.append(NestedField(number, column.name, kind, doc=column.meaning, required=False))
    return Schema(*fields)


def _owners(table: Table | None) -> dict[str, str]:
    properties = table.properties if table else {}
    return {name.removeprefix(_OWNER): key for name, key in properties.items() if name.startswith(_OWNER)}


def _files(table: Table) -> dict[str, Any]:
    """The data files that count, by path."""
    return {task.file.file_path: task.file for task in table.scan().plan_files()}


def _own_files(table: Table) -> set[str]:
    """The lists of files that the table's states consist of."""
    own: set[str] = set()
    for snapshot in table.metadata.snapshots:
        own.add(snapshot.manifest_list)
        own.update(manifest.manifest_path for manifest in snapshot.manifests(table.io))
    return own


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    import psycopg
    from pyiceberg.exceptions import CommitFailedException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (DBAPIError, psycopg.Error, CommitFailedException) as e:
        said = str(getattr(e, "orig", None) or e).strip().splitlines()[0]
        raise UnreachableError(f"The catalog of the record cannot be used: {said}.", hint="See audit_catalog.") from e
