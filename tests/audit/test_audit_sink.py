"""With a sink, what was acknowledged is in two places; when the second cannot keep it, nothing is acknowledged."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests import postgres
from workbench.audit import AuditLog, Reader, verify
from workbench.audit.fleet.postgres_sink import refill, trim
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.replication import fetch, ship
from workbench.audit.lake.segment_store import open_store
from workbench.config import Settings
from workbench.events import MisuseError, NotRecordedError

pytestmark = [pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def database_server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture
def sink(database_server: str) -> str:
    return postgres.new_database(database_server)


@pytest.fixture
def given(sink: str, tmp_path: Path) -> dict[str, Any]:
    return {"audit_sink": sink, "audit_store": str(tmp_path / "store")}


def kept(sink: str) -> list[bytes]:
    with psycopg.connect(sink) as connection:
        rows = connection.execute("SELECT line FROM record.lines ORDER BY tenant, writer, seq").fetchall()
    return [bytes(row[0]) for row in rows]


def of_lineage(home: Path) -> list[bytes]:
    return [line for path in AuditFolder(home).lineages() for line in path.read_bytes().splitlines()]


async def test_every_line_is_in_both_places_as_the_same_bytes(given, sink, open_log, make_call, home):
    async with open_log(**given) as log:
        for number in range(9):
            tenant = ("a", "b", "nul\0")[number % 3]
            await log.write(tenant, make_call(tenant=tenant, arguments={"n": number}))
        assert len(kept(sink)) == 9  # acknowledged, so it is there
    assert sorted(kept(sink)) == sorted(of_lineage(home))
    assert verify(home, deep=True).ok


async def test_a_connection_that_breaks_is_mended_and_nothing_is_there_twice(given, sink, open_log, make_call, home):
    async with open_log(**given) as log:
        for _ in range(3):
            await log.write("a", make_call(tenant="a"))
            with psycopg.connect(sink, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        await log.write("a", make_call(tenant="a"))
    assert kept(sink) == of_lineage(home)
    assert len(kept(sink)) == 4


@pytest.mark.parametrize("how", ["DROP TABLE record.lines", "no connections"])
async def test_a_sink_that_cannot_keep_it_fails_the_log(how, given, sink, open_log, make_call, monkeypatch):
    monkeypatch.setattr("workbench.audit.fleet.postgres_sink.WRITE_TIMEOUT_S", 0.5)
    async with open_log(**given) as log:
        await log.write("a", make_call(tenant="a"))
        with psycopg.connect(sink.replace(sink.split("/")[3].split("?")[0], "postgres"), autocommit=True) as admin:
            if how == "no connections":
                name = sink.split("/")[3].split("?")[0]
                admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        if how != "no connections":
            with psycopg.connect(sink, autocommit=True) as connection:
                connection.execute(how)
        with pytest.raises(NotRecordedError, match="sink does not keep it"):
            await log.write("a", make_call(tenant="a"))
        with pytest.raises(NotRecordedError):
            log.put("a", make_call(tenant="a"))
        assert "sink" in log.failed


CHILD = """
import asyncio, sys
from workbench.audit import AuditLog
from workbench.audit.format import records
from workbench.config import Settings

async def main():
    home, sink, store = sys.argv[1:]
    settings = Settings.load(env={}, home=home, audit_min_free_bytes=1, audit_sink=sink, audit_store=store)
    log = await AuditLog.open(settings)
    for number in range(100000):
        await log.write("a", records.metric("n", number, tenant="a"))
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.mark.slow
def test_what_a_killed_writer_acknowledged_is_on_the_sink(given, sink, home):
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(home), given["audit_sink"], given["audit_store"]],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(200):
        process.stdout.readline()
    process.kill()
    acknowledged = 200 + len(process.stdout.read().splitlines())
    process.wait()
    process.stdout.close()
    assert len(kept(sink)) >= acknowledged
    assert len(kept(sink)) - acknowledged <= 1


async def test_a_lost_machine_is_rebuilt_from_store_and_sink(given, sink, open_log, make_call, home, tmp_path):
    folder, store = AuditFolder(home), open_store(given["audit_store"])
    async with open_log(**given, audit_segment_bytes=2000) as log:
        for number in range(6):
            await log.write("ab"[number % 2], make_call(tenant="ab"[number % 2], arguments={"n": number}))
    Compactor(folder, grace_s=0).run()
    assert ship(folder, store)
    assert trim(sink, folder, store) == 6
    assert kept(sink) == []
    async with open_log(**given) as log:
        for number in range(5):  # these are not shipped any more
            await log.write("ab"[number % 2], make_call(tenant="ab"[number % 2], arguments={"n": 10 + number}))
        before = calls(home)
        elsewhere = tmp_path / "elsewhere"
        fetch(store, elsewhere, folder.public_key.read_text())
        assert len(calls(elsewhere)) == 6
        assert refill(sink, AuditFolder(elsewhere)) == 5
        assert refill(sink, AuditFolder(elsewhere)) == 0
        assert calls(elsewhere) == before
    # with the key, a platform on the new machine takes it up: what was added is sealed and verifies
    shutil.copy(folder.key, AuditFolder(elsewhere).key)
    again = Settings.load(env={}, home=elsewhere, audit_min_free_bytes=1)
    await (await AuditLog.open(again)).close()
    found = verify(elsewhere, deep=True)
    assert found.ok, str(found)
    assert calls(elsewhere) == before


def calls(home: Path) -> list[Any]:
    with Reader(home) as reader:
        return reader.sql("select tenant, args, event_id from events order by event_id").to_pylist()


async def test_settings_that_cannot_be_meant_are_refused(sink, tmp_path, settings):
    base = settings.replace(audit_min_free_bytes=1)
    with pytest.raises(MisuseError, match="audit_store is not"):
        await AuditLog.open(base.replace(audit_sink=sink))
    with pytest.raises(MisuseError, match="no Postgres"):
        await AuditLog.open(base.replace(audit_sink="redis://x", audit_store=str(tmp_path)))
    gone = "postgresql://postgres@/x?host=/nowhere"
    with pytest.raises(NotRecordedError, match="sink does not keep it"):
        await AuditLog.open(base.replace(audit_sink=gone, audit_store=str(tmp_path)))
    with pytest.raises(MisuseError, match="no record"):
        refill(sink, AuditFolder(tmp_path / "none"))
