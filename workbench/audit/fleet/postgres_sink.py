"""A Postgres as sink: every line is committed there before it is acknowledged, and stays until the store has it.

With the copy in the store, at most a minute old, that is the whole record, also when the machine is lost.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from workbench.audit.fleet.postgres_loader import connect
from workbench.audit.format.folder import AuditFolder, replace_durably
from workbench.audit.format.hash_chain import LINE
from workbench.audit.format.record_keys import first_key
from workbench.audit.lake.segment_store import SegmentStore
from workbench.audit.write.seals import read_seals
from workbench.events import MissingPackageError, MisuseError

WRITE_TIMEOUT_S = 8.0
"""How long a lost connection is mended before the record counts as not written; less than the log waits for a disk."""

_RETRY_PAUSE_S = 0.2
_TABLE = (
    "CREATE SCHEMA IF NOT EXISTS record",
    "CREATE TABLE IF NOT EXISTS record.lines (owner text NOT NULL, writer text, tenant text, seq bigint, "
    "line bytea NOT NULL, PRIMARY KEY (writer, tenant, seq))",
)
_KEEP = (
    "INSERT INTO record.lines (owner, writer, tenant, seq, line) SELECT %s, %s, t, s, l "
    "FROM unnest(%s::text[], %s::bigint[], %s::bytea[]) AS batch(t, s, l) ON CONFLICT DO NOTHING"
)


class PostgresSink:
    """The table `record.lines`. A batch is one statement, and saying it again changes nothing.

    Args:
        url: of the Postgres.
        home: the state folder, whose public key says whose lines they are.

    Raises:
        MisuseError: a package is missing, or the URL is none of a Postgres.
        OSError: it does not answer.
    """

    def __init__(self, url: str, home: Path) -> None:
        if not url.startswith(("postgresql://", "postgres://")):
            raise MisuseError(
                "The setting audit_sink names no Postgres.", hint="Expected postgresql://user@host/database."
            )
        try:
            import psycopg
        except ImportError as e:
            raise MissingPackageError(str(e.name), "postgres") from e
        self._url = url
        self._folder = AuditFolder(home)
        self._owner = ""
        self._connection: Any = None
        try:
            connection = self._connected()
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('mcp-workbench record'))")
                for statement in _TABLE:
                    connection.execute(statement)
        except psycopg.Error as e:
            self.close()
            raise _unwritten(e) from e

    def commit(self, writer: str, lines: Mapping[str, Sequence[bytes]]) -> None:
        import psycopg

        self._owner = self._owner or first_key(self._folder)
        rows = [
            (tenant.replace("\0", "\ufffd"), _seq(line), line.rstrip(b"\n"))
            for tenant in lines
            for line in lines[tenant]
        ]
        batch = [self._owner, writer, *map(list, zip(*rows, strict=True))]
        until = time.monotonic() + WRITE_TIMEOUT_S
        while True:
            try:
                self._connected().execute(_KEEP, batch)
                return
            except psycopg.OperationalError as e:  # whether it arrived is not known: it is said again
                self.close()
                if time.monotonic() > until:
                    raise _unwritten(e) from e
                time.sleep(_RETRY_PAUSE_S)
            except psycopg.Error as e:
                raise _unwritten(e) from e

    def _connected(self) -> Any:
        import psycopg

        if self._connection is None or self._connection.closed:
            self._connection = psycopg.connect(
                self._url, autocommit=True, connect_timeout=3,
                options="-c synchronous_commit=on -c statement_timeout=5000 -c lock_timeout=3000",
            )  # fmt: skip
        return self._connection

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _seq(line: bytes) -> int:
    return int(line[7 : line.index(b",")])


def _unwritten(error: Exception) -> OSError:
    return OSError(f"the sink does not keep it ({str(error).strip().splitlines()[0]})")


def trim(url: str, folder: AuditFolder, store: SegmentStore) -> int:
    """Remove from the sink what the store has; returns how many lines those were.

    Raises:
        MisuseError: a package is missing.
        UnreachableError: Postgres or the store does not answer.
    """
    heads = store.names("heads/")
    if not heads:
        return 0
    shipped = int(heads[-1].removeprefix("heads/").removesuffix(".json"))
    ends: dict[tuple[str, str], int] = {}
    for _, seal in read_seals(folder)[:shipped]:
        for state in seal["lineage"] if seal.get("type") == "segment" else ():
            ends[seal["writer"], state["tenant"]] = state["seq"]
    gone = 0
    with connect(url) as connection:
        kept = connection.execute("SELECT DISTINCT writer, tenant FROM record.lines").fetchall()
        for place in kept:
            if place in ends:
                statement = "DELETE FROM record.lines WHERE writer = %s AND tenant = %s AND seq < %s"
                gone += connection.execute(statement, [*place, ends[place]]).rowcount
    return gone


def refill(url: str, folder: AuditFolder) -> int:
    """Add the lines that the sink has of this record and the folder has not; returns how many those were.

    They are put into the log as what a dead writer left. For a record that was fetched from its store; no platform may
    run on the folder.

    Raises:
        MisuseError: there is no record in the folder, or a package is missing.
        UnreachableError: Postgres does not answer.
        OSError: the disk says no.
    """
    if not folder.public_key.exists():
        raise MisuseError(f"There is no record in {folder.home}.", hint="Fetch it from its store first.")
    owner = first_key(folder)
    have = _sequences(folder)
    missing: dict[str, list[bytes]] = {}
    with connect(url) as connection:
        asked = "SELECT writer, tenant, seq, line FROM record.lines WHERE owner = %s ORDER BY writer, tenant, seq"
        for writer, tenant, seq, line in connection.execute(asked, [owner]).fetchall():
            if seq not in have.get((writer, str(folder.lineage_of(tenant, writer))), ()):
                missing.setdefault(writer, []).append(bytes(line))
    for writer, lines in missing.items():
        last = max((number for w, number in _numbers(folder) if w == writer), default=-1)
        replace_durably(folder.segment(writer, last + 1), b"".join(line + b"\n" for line in lines))
    return sum(map(len, missing.values()))


def _numbers(folder: AuditFolder) -> list[tuple[str, int]]:
    """Every segment that there is or was: writer and number."""
    sealed = [(s["writer"], s["number"]) for _, s in read_seals(folder) if s.get("type") == "segment"]
    return sealed + [(writer, number) for writer, number, _ in folder.segments()]


def _sequences(folder: AuditFolder) -> dict[tuple[str, str], set[int]]:
    """Which lines the folder has: of each writer and lineage file, by number."""
    have: dict[tuple[str, str], set[int]] = {}
    for _, seal in read_seals(folder):
        for state in seal["lineage"] if seal.get("type") == "segment" else ():
            place = str(folder.lineage / state["file"])
            have.setdefault((seal["writer"], place), set()).update(range(state["seq"] - state["rows"], state["seq"]))
    for file in folder.lineages():
        mine = {int(found[1]) for line in _lines(file) if (found := LINE.match(line))}
        have.setdefault((file.stem, str(file)), set()).update(mine)
    for writer, _, segment in folder.segments():
        for line in _lines(segment):
            if found := LINE.match(line):
                place = str(folder.lineage_of(orjson.loads(line)["tenant"], writer))
                have.setdefault((writer, place), set()).add(int(found[1]))
    return have


def _lines(path: Path) -> list[bytes]:
    """The whole lines of a file."""
    return path.read_bytes().rpartition(b"\n")[0].splitlines()
