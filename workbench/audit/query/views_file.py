"""`audit.duckdb`: a DuckDB database that holds only views, so that any DuckDB client can read the record.

Open it read-only (`duckdb -readonly .workbench/audit.duckdb`): then any number of clients can, while the platform
writes. The views find the files of the moment by themselves; the paths in them are absolute, so the file is written
anew when the state folder was moved. No tenant is filtered here: the file is for the owner of the machine.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from workbench.audit.format.columns import quoted, select_lines, select_nothing, select_parquet
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.rollups import select_rollup, show_hourly
from workbench.audit.query.views import comment_views, create_views, show_files

if TYPE_CHECKING:
    import duckdb


def write_views_file(folder: AuditFolder) -> bool:
    """Write `audit.duckdb` unless it already fits this folder. Returns whether it was written.

    Raises:
        OSError: the disk says no.
    """
    import duckdb

    marker = folder.root / "views.key"
    key = f"3 {duckdb.__version__} {folder.root}\n"
    fits = folder.views.exists() and marker.exists() and marker.read_text(encoding="utf-8") == key
    if fits and (_seen.get(str(folder.views)) == _stamp(folder) or views_difference(folder) is None):
        _seen[str(folder.views)] = _stamp(folder)
        marker.chmod(0o600)  # of earlier versions everybody could read it
        return False
    if not folder.manifest.exists():
        Manifest().publish(folder)
    temporary = folder.views.with_name(f"audit.duckdb.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with duckdb.connect(str(temporary)) as connection:
        folder.no_lines.touch(mode=0o600)
        # files without rows, which give the columns when there are no others yet
        for path, select in (
            (folder.no_parts, select_nothing()),
            (folder.no_rollups, select_rollup(f"({select_nothing()})")),
        ):
            connection.execute(f"COPY ({select}) TO {quoted(str(path))} (FORMAT parquet)")
        create_views(connection)
        comment_views(connection)
        show_files(connection, *_select_current(folder))
    temporary.chmod(0o600)
    temporary.replace(folder.views)
    marker.touch(mode=0o600)
    marker.chmod(0o600)
    marker.write_text(key, encoding="utf-8")
    return True


_seen: dict[str, tuple[int, int, int]] = {}
"""Files that were looked at and are as they should be, as they were then."""


def _stamp(folder: AuditFolder) -> tuple[int, int, int]:
    found = folder.views.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


class ViewsDifference(NamedTuple):
    """In what `audit.duckdb` is not what would be written."""

    message: str
    moved: bool
    """Whether it is only that its views read the record in another folder."""


def views_difference(folder: AuditFolder) -> ViewsDifference | None:
    """What is different about `audit.duckdb`: views that hide, add or change rows, or read another folder.

    Returns:
        None when it is as it would be written now, or is not there.
    """
    import duckdb

    if not folder.views.exists():
        return None
    with duckdb.connect(":memory:") as expected:
        create_views(expected)
        show_files(expected, *_select_current(folder))
        ours = _objects(expected)
    try:
        with duckdb.connect(str(folder.views), read_only=True) as connection:
            theirs = _objects(connection)
    except duckdb.Error as e:
        return ViewsDifference(f"it cannot be read as a file of views: {str(e).splitlines()[0][:200]}", moved=False)
    if ours == theirs:
        return None
    roots = {match for sql in theirs.values() for match in _ROOT.findall(sql)}
    root = roots.pop() if len(roots) == 1 else ""
    if root and {name: sql.replace(root, str(folder.root)) for name, sql in theirs.items()} == ours:
        return ViewsDifference(f"its views read the record in {root}", moved=True)
    changed = sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name))
    more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
    return ViewsDifference(f"not as this version writes it: {', '.join(changed[:5])}{more}", moved=False)


_ROOT = re.compile(r"'([^']*)/MANIFEST\.json'")


def _objects(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Everything that a database defines, by kind and name."""
    found = connection.execute(
        "SELECT 'view ' || schema_name || '.' || view_name, sql FROM duckdb_views() WHERE NOT internal "
        "UNION ALL SELECT 'table ' || schema_name || '.' || table_name, sql FROM duckdb_tables() WHERE NOT internal "
        "UNION ALL SELECT 'function ' || schema_name || '.' || function_name, coalesce(macro_definition, '') "
        "FROM duckdb_functions() WHERE NOT internal"
    ).fetchall()
    return {str(name): str(sql) for name, sql in found}


def _select_current(folder: AuditFolder) -> tuple[str, str]:
    """SQL over the files of the moment in which it runs: the lake as the manifest says, the log from its marks on."""
    manifest = (
        f"read_json({quoted(str(folder.manifest))}, "
        "columns={marks: 'MAP(VARCHAR, BIGINT)', parts: 'JSON[]', rollups: 'JSON[]'})"
    )

    def counted(kind: str) -> str:
        root = quoted(f"{folder.root}/")
        return f"filename IN (SELECT {root} || (p ->> '$.path') FROM (SELECT unnest({kind}) AS p FROM {manifest}))"

    marks = f"SELECT unnest(map_keys(marks)) AS writer, unnest(map_values(marks)) AS mark FROM {manifest}"
    parquet = select_parquet([str(folder.no_parts), str(folder.lake / "*" / "*.parquet")], filename=True)
    lines = select_lines([str(folder.no_lines), str(folder.wal / "*.jsonl")], filename=True)
    recent = (
        f"SELECT l.* EXCLUDE (filename) FROM ({lines}) l LEFT JOIN ({marks}) m ON l.writer = m.writer "
        "WHERE CAST(parse_filename(l.filename)[26:33] AS BIGINT) >= coalesce(m.mark, 0)"
    )
    events = f"SELECT * EXCLUDE (filename) FROM ({parquet}) WHERE {counted('parts')} UNION ALL {recent}"
    files = f"[{quoted(str(folder.no_rollups))}, {quoted(str(folder.rollup / '*' / '*.parquet'))}]"
    rollups = (
        f"SELECT * EXCLUDE (filename) FROM read_parquet({files}, filename=true, allow_empty=true, "
        f"hive_partitioning=false) WHERE {counted('rollups')}"
    )
    return events, show_hourly(f"{rollups} UNION ALL {select_rollup(f'({recent})')}")
