"""Several gateways publish their files in one catalog on Postgres, and their records are read as one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from workbench.audit import AuditLog, Reader
from workbench.audit.backends import open_catalog
from workbench.audit.fleet.iceberg_catalog import IcebergCatalog
from workbench.audit.fleet.publication import publish
from workbench.audit.format import records
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.lake_catalog import FolderCatalog, root_of
from workbench.audit.lake.manifest import Manifest
from workbench.audit.lake.replication import ship
from workbench.audit.lake.retention import DAY_US, RetentionRules, retain
from workbench.audit.lake.segment_store import StoreConflictError, open_store
from workbench.config import Settings
from workbench.events import Call, Caller, MisuseError, Outcome, Tool, UnreachableError, now_us

pytestmark = [pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def database_server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture
def fleet(database_server: str, tmp_path: Path) -> dict[str, Any]:
    """Settings that all gateways of a fleet share."""
    return {"audit_catalog": postgres.new_database(database_server), "audit_warehouse": str(tmp_path / "warehouse")}


def call(tenant: str, number: int, ts: int | None = None) -> dict[str, Any]:
    asked = Call(caller=Caller(tenant=tenant, subject="ann"), tool="crm.find", arguments={"n": number})
    done = Outcome(kind="ok", call=asked.id, tool="crm.find", server="crm", latency_us=1000 + number)
    row = records.call(asked, Tool(server="crm", name="find"), done, args_redacted={"n": number}, response_redacted={})
    return row if ts is None else {**row, "timestamp": ts}


class Gateway:
    """One state folder of the fleet."""

    def __init__(self, home: Path, fleet: dict[str, Any], **more: Any) -> None:
        self.settings = Settings.load(env={}, home=home, audit_min_free_bytes=1, **fleet, **more)
        self.folder = AuditFolder(home)
        self.written = 0

    async def write(self, count: int, *tenants: str, ts: int | None = None) -> None:
        log = await AuditLog.open(self.settings)
        for number in range(count):
            for tenant in tenants:
                await log.write(tenant, call(tenant, number, ts))
        await log.close()

    def compact(self, **options: Any) -> None:
        Compactor(self.folder, grace_s=0).run(**options)

    def publish(self) -> int | None:
        return publish(self.settings)


def rows(settings: Settings, tenant: str | None = None, query: str = "select count(*) as n from tool_calls") -> Any:
    with Reader(settings.home, tenant=tenant, catalog=open_catalog(settings)) as reader:
        return reader.sql(query).to_pylist()


async def test_the_records_of_several_gateways_are_read_as_one(fleet, tmp_path):
    one, two = (Gateway(tmp_path / name, fleet) for name in ("one", "two"))
    assert rows(one.settings) == [{"n": 0}]
    await one.write(3, "a", "b")
    one.compact()
    assert one.publish() == 1
    assert rows(two.settings) == [{"n": 6}]
    with Reader(one.settings.home, catalog=open_catalog(one.settings)) as reader:
        assert reader.sql("select count(*) as n from events").to_pylist() == [{"n": 6}]
        await two.write(5, "b")
        two.compact()
        assert two.publish() == 1
        # a reader that is open sees the gateway that joined
        assert reader.sql("select count(*) as n from events").to_pylist() == [{"n": 11}]
    by_tenant = "select tenant, count(*) as n from tool_calls group by tenant order by tenant"
    assert rows(one.settings, query=by_tenant) == [{"tenant": "a", "n": 3}, {"tenant": "b", "n": 8}]
    assert rows(two.settings, query="select cast(sum(calls) as bigint) as n from tool_calls_hourly") == [{"n": 11}]
    assert rows(two.settings, tenant="a", query=by_tenant) == [{"tenant": "a", "n": 3}]
    assert rows(two.settings, "a", "select cast(sum(calls) as bigint) as n from tool_calls_hourly") == [{"n": 3}]
    with pytest.raises(MisuseError, match="not available"):
        rows(two.settings, "a", f"from read_parquet('{one.folder.lake}/*/*.parquet')")


async def test_saying_it_again_changes_nothing_and_merged_days_replace_their_parts(fleet, tmp_path):
    gateway, other = Gateway(tmp_path / "one", fleet), Gateway(tmp_path / "two", fleet)
    await other.write(1, "z")
    other.compact()
    other.publish()
    for _ in range(3):
        await gateway.write(2, "a")
        gateway.compact()
        gateway.publish()
    assert gateway.publish() == 0
    assert rows(gateway.settings) == [{"n": 7}]
    gateway.compact(today="2999-01-01")  # three parts become one
    assert gateway.publish() == 4
    assert rows(gateway.settings) == [{"n": 7}]
    with contextlib.closing(open_catalog(gateway.settings)) as catalog:
        assert len(catalog.current().parts) == 2


async def test_what_retention_removes_is_gone_for_the_fleet(fleet, tmp_path):
    gateway = Gateway(tmp_path / "one", fleet)
    then = now_us() - 40 * DAY_US
    with pytest.MonkeyPatch.context() as past:
        past.setattr("workbench.audit.write.writer.now_us", lambda: then)
        await gateway.write(2, "a", "b", ts=then)
    gateway.compact()
    gateway.publish()
    assert rows(gateway.settings) == [{"n": 4}]
    retain(gateway.folder, RetentionRules({"a": 10}), grace_s=0)
    gateway.publish()
    assert rows(gateway.settings, query="select distinct tenant from events") == [{"tenant": "b"}]


async def test_what_is_published_was_copied_to_the_store_before(fleet, tmp_path):
    from workbench.audit.fleet.fleet import publish as publish_to_fleet

    gateway = Gateway(tmp_path / "one", fleet, audit_store=str(tmp_path / "store"))
    await gateway.write(2, "a")
    gateway.compact()
    assert publish_to_fleet(gateway.settings) == 1
    assert publish_to_fleet(gateway.settings) == 0
    shutil.rmtree(gateway.folder.lake)
    assert rows(gateway.settings) == [{"n": 2}]


async def test_two_records_cannot_publish_from_one_place(fleet, tmp_path):
    gateway = Gateway(tmp_path / "one", fleet)
    await gateway.write(1, "a")
    gateway.compact()
    gateway.publish()
    with (
        contextlib.closing(open_catalog(gateway.settings)) as catalog,
        pytest.raises(StoreConflictError, match="Another record"),
    ):
        catalog.publish(root_of(gateway.folder, ""), "another key", Manifest.read(gateway.folder))
    assert rows(gateway.settings) == [{"n": 1}]


async def test_a_file_that_is_not_there_publishes_nothing(fleet, tmp_path):
    gateway = Gateway(tmp_path / "one", fleet)
    await gateway.write(1, "a")
    gateway.compact()
    await gateway.write(1, "a")
    gateway.compact()
    manifest = Manifest.read(gateway.folder)
    (gateway.folder.root / manifest.parts[1]["path"]).unlink()
    with pytest.raises(UnreachableError, match="nothing was published"):
        gateway.publish()
    assert rows(gateway.settings) == [{"n": 0}]


async def test_gateways_that_publish_at_once_all_succeed(fleet, tmp_path):
    gateways = [Gateway(tmp_path / f"g{n}", fleet) for n in range(4)]
    for gateway in gateways:
        await gateway.write(2, "a")
        gateway.compact()
    failures: list[BaseException] = []

    def work(gateway: Gateway) -> None:
        try:
            gateway.publish()
        except Exception as e:  # noqa: BLE001 - whatever it is, it is the finding
            failures.append(e)

    threads = [threading.Thread(target=work, args=[gateway]) for gateway in gateways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert rows(gateways[0].settings) == [{"n": 8}]


@pytest.mark.slow
async def test_a_publication_that_is_killed_is_there_wholly_or_not(fleet, tmp_path):
    gateway = Gateway(tmp_path / "one", fleet)
    await gateway.write(1, "a")
    Compactor(gateway.folder).run()  # files that were replaced stay for readers
    gateway.publish()
    script = (
        "import sys, workbench.audit.lake.lake_catalog as c, workbench.config as s\n"
        "import pyiceberg.catalog.sql, pyiceberg.io.pyarrow\n"
        "settings = s.Settings.load(env={}, home=sys.argv[1], audit_catalog=sys.argv[2], audit_warehouse=sys.argv[3])\n"
        "print('ready', flush=True)\n"
        "c.publish(settings)\n"
    )
    seen = {1}
    expected = 1
    for round_ in range(6):
        for _ in range(2):  # two parts, which come together
            await gateway.write(1, "a")
            Compactor(gateway.folder).run()  # files that were replaced stay for readers
        process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-c", script, str(gateway.settings.home), *map(str, fleet.values())],
            stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], env={**os.environ, "PYTHONPATH": os.getcwd()},
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        if round_:
            # ever later in its work; the last ones may well be done
            threading.Event().wait(0.04 * round_)
            process.kill()
        process.wait()
        process.stdout.close()
        found = rows(gateway.settings)[0]["n"]
        assert found in (max(seen), expected + 2)
        assert (found - 1) % 2 == 0
        seen.add(found)
        expected += 2
    gateway.publish()
    assert rows(gateway.settings) == [{"n": expected}]


async def test_old_states_are_forgotten_and_their_files_removed(fleet, tmp_path, monkeypatch):
    from datetime import timedelta

    monkeypatch.setattr("workbench.audit.fleet.iceberg_catalog._MAX_SNAPSHOTS", 3)
    monkeypatch.setattr("workbench.audit.fleet.iceberg_catalog.KEPT", timedelta(0))
    gateway = Gateway(tmp_path / "one", fleet)
    sizes = []
    for _ in range(8):
        await gateway.write(1, "a")
        gateway.compact()
        gateway.publish()
        sizes.append(len([p for p in (tmp_path / "warehouse").rglob("*") if p.suffix == ".avro"]))
    assert rows(gateway.settings) == [{"n": 8}]
    assert max(sizes) < 16


async def test_columns_that_a_later_version_adds_are_added_to_the_table(fleet, tmp_path, monkeypatch):
    from workbench.audit.fleet import iceberg_catalog
    from workbench.audit.format import columns

    gateway = Gateway(tmp_path / "one", fleet)
    await gateway.write(1, "a")
    gateway.compact()
    with contextlib.closing(open_catalog(gateway.settings)) as catalog:
        monkeypatch.setattr(iceberg_catalog, "COLUMNS", tuple(c for c in columns.COLUMNS if c.name != "args_sha256"))
        catalog.publish("file:///elsewhere/audit", "of an earlier version", Manifest())
        monkeypatch.undo()
    assert gateway.publish() == 1
    assert rows(gateway.settings, query="select length(args_sha256) as n from events") == [{"n": 64}]


@pytest.mark.interop
async def test_a_fleet_whose_files_are_in_a_bucket(bucket_server, fleet, tmp_path, monkeypatch):
    import urllib.request

    for name, value in {
        "AWS_ENDPOINT_URL": bucket_server, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket = f"fleet-{os.urandom(4).hex()}"
    made = urllib.request.Request(f"{bucket_server}/{bucket}", method="PUT")
    urllib.request.urlopen(made, timeout=20).close()  # noqa: ASYNC210
    shared = {**fleet, "audit_warehouse": f"s3://{bucket}/catalog"}
    gateways = [Gateway(tmp_path / n, shared, audit_store=f"s3://{bucket}/{n}") for n in ("one", "two")]
    for gateway in gateways:
        for _ in range(2):
            await gateway.write(2, "a", "b")
            gateway.compact()
            store = open_store(gateway.settings.audit_store)
            ship(gateway.folder, store, lambda manifest, at=gateway: publish(at.settings, manifest))
    reader = Settings.load(env={}, home=tmp_path / "analyst", **shared)
    assert rows(reader) == [{"n": 16}]
    assert rows(reader, tenant="a") == [{"n": 8}]
    gateways[0].compact(today="2999-01-01")
    ship(
        gateways[0].folder,
        store := open_store(gateways[0].settings.audit_store),
        lambda m: publish(gateways[0].settings, m),
    )
    assert len(store.names("lake/")) == 1
    assert rows(reader) == [{"n": 16}]


async def test_a_file_that_was_replaced_while_it_was_to_be_read_is_no_error(fleet, tmp_path, monkeypatch):
    gateway = Gateway(tmp_path / "one", fleet)
    for _ in range(2):
        await gateway.write(1, "a")
        gateway.compact()
    gateway.publish()
    with Reader(gateway.settings.home, catalog=open_catalog(gateway.settings)) as reader:
        before = reader._catalog.current()
        gateway.compact(today="2999-01-01")
        gateway.publish()
        for path in before.parts:
            Path(path).unlink(missing_ok=True)
        real = reader._catalog.current
        states = iter([before])
        monkeypatch.setattr(reader._catalog, "current", lambda: next(states, None) or real())
        assert reader.sql("select count(*) as n from events").to_pylist() == [{"n": 2}]


async def test_the_compactors_process_publishes_and_the_doors_read_the_fleet(fleet, tmp_path, monkeypatch, capsys):
    from click.testing import CliRunner

    import workbench
    from workbench.audit.compact import main
    from workbench.cli import cli
    from workbench.platform.sql_process import SqlProcess

    for name, value in fleet.items():
        monkeypatch.setenv(f"WORKBENCH_{name.upper()}", value)
    gateways = [Gateway(tmp_path / name, fleet) for name in ("one", "two")]
    for gateway in gateways:
        await gateway.write(2, "local", "b")
        with monkeypatch.context() as patch:
            patch.setattr("threading.Event.wait", lambda *_: True)
            assert main([str(gateway.settings.home), "--every", "60"]) == 0
        assert "fleet: 1 files" in capsys.readouterr().out
    home = str(gateways[0].settings.home)

    def run(*arguments: str) -> str:
        done = CliRunner().invoke(cli, ["--home", home, *arguments], standalone_mode=False, catch_exceptions=False)
        return done.output

    assert run("sql", "--fleet", "--csv", "select count(*) as n from tool_calls") == "n\n8\n"
    assert run("sql", "--csv", "select count(*) as n from tool_calls") == "n\n4\n"
    assert "crm.find" in run("questions", "--fleet", "slowest_tools")
    assert run("audit", "fleet").count("1 files, 4 rows") == 2
    assert "0 files came or went" in run("audit", "publish")
    process = SqlProcess(gateways[0].settings.home)
    try:
        asked = "select cast(sum(1) as bigint) as n from tool_calls"
        for tenant, expected in (("b", 4), (None, 8)):
            found = await process.encoded(asked, tenant=tenant, fleet=True, form="json")
            assert f'[{{"n":{expected}}}]' in found.decode()
        monkeypatch.setenv("WORKBENCH_AUDIT_CATALOG", "")
    finally:
        await process.close()
    alone = SqlProcess(gateways[0].settings.home)
    with pytest.raises(MisuseError, match="no catalog"):
        await alone.encoded("select 1", tenant="b", fleet=True)
    await alone.close()
    monkeypatch.setenv("WORKBENCH_AUDIT_CATALOG", fleet["audit_catalog"])
    with workbench.open(home=home, servers=(), attach=False) as bench:
        assert bench.sql("select count(*) as n from tool_calls", fleet=True)["n"][0] == 8


def test_settings_that_name_no_catalog_are_refused(tmp_path):
    for given, said in (
        ({}, "no catalog"),
        ({"audit_catalog": "mysql://x"}, "audit_catalog is not what it can be.*postgresql://"),
        ({"audit_catalog": "postgresql://x"}, "audit_warehouse"),
    ):
        with pytest.raises(MisuseError, match=said):
            open_catalog(Settings.load(env={}, home=tmp_path, **given))
    with pytest.raises(UnreachableError, match="catalog"):
        IcebergCatalog("postgresql://postgres@/none?host=/nowhere", str(tmp_path))


async def test_the_catalog_of_a_state_folder_is_its_manifest(tmp_path):
    gateway = Gateway(tmp_path / "one", {})
    await gateway.write(1, "a")
    gateway.compact()
    catalog = FolderCatalog(gateway.folder)
    manifest = Manifest.read(gateway.folder)
    assert catalog.publish("", "", manifest) == 0
    assert len(catalog.current().parts) == 1
    manifest.parts.clear()
    assert catalog.publish("", "", manifest) == 1
    catalog.close()
