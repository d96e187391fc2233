"""A database server answers the same questions with the same rows as DuckDB does over the files."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests import postgres
from workbench.audit import AuditLog, QueryStoppedError, Reader, questions
from workbench.audit.fleet.fleet import members, open_fleet, publish
from workbench.audit.fleet.postgres_dialect import translate
from workbench.audit.fleet.postgres_engine import PostgresEngine
from workbench.audit.fleet.postgres_loader import connect
from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.audit.lake.retention import DAY_US, RetentionRules, retain
from workbench.audit.query.views import TABLES
from workbench.config import Settings
from workbench.events import MisuseError, UnreachableError, now_us

sys.path.insert(0, str(Path(__file__).parent))
from recorded_things import things
from test_audit_sql_attacks import ATTACKS, ERRORS_THAT_TELL, PROBES

pytestmark = [pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def database_server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="module")
def recorded(database_server: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A record with every kind of thing in it, compacted and loaded."""
    home = tmp_path_factory.mktemp("engine") / "home"
    engine = postgres.new_database(database_server)
    settings = Settings.load(env={}, home=home, audit_min_free_bytes=1, audit_engine=engine)
    asyncio.run(write(settings, things(7, 60)))
    assert publish(settings) == len(set(AuditFolder(home).lake.glob("*/*.parquet")))
    return settings


async def write(settings: Settings, rows: list[tuple[str, dict[str, Any]]]) -> None:
    log = await AuditLog.open(settings)
    for tenant, row in rows:
        log.put(tenant, row)
    await log.close()
    Compactor(AuditFolder(settings.home), grace_s=0).run()


@pytest.fixture(scope="module")
def both(recorded: Settings) -> Iterator[tuple[Reader, PostgresEngine]]:
    with Reader(recorded.home) as reader, contextlib.closing(open_fleet(recorded)) as engine:
        assert isinstance(engine, PostgresEngine)
        yield reader, engine


@pytest.fixture(scope="module")
def acme(recorded: Settings) -> Iterator[PostgresEngine]:
    """What one tenant asks; whatever an attack changes of its session is there when the next one is tried."""
    with contextlib.closing(open_fleet(recorded, "acme")) as engine:
        assert isinstance(engine, PostgresEngine)
        yield engine


def same(one: Any, other: Any) -> None:
    """The same columns, types and rows, whatever their order; fractions to nine digits."""
    assert other.schema.types == one.schema.types
    assert other.schema.names == one.schema.names

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return "nan" if math.isnan(value) else f"{value:.9g}"
        if isinstance(value, Decimal):
            return f"{float(value):.9g}"
        return value.replace("\0", "\ufffd") if isinstance(value, str) else value

    def rows(table: Any) -> list[str]:
        return sorted(repr([plain(v) for v in row.values()]) for row in table.to_pylist())

    assert rows(other) == rows(one)


@pytest.mark.parametrize("name", [question.name for question in questions()])
def test_every_saved_question_has_the_same_answer_on_both(name: str, both) -> None:
    reader, engine = both
    question = next(q for q in questions() if q.name == name)
    parameters = dict(question.parameters)
    if "id" in parameters:
        parameters["id"] = reader.sql("select request_id as id from tool_calls limit 1").to_pylist()[0]["id"]
    found = reader.sql(question.sql, parameters)
    assert found.num_rows > 0 or name == "unfinished_calls"
    same(found, engine.sql(question.sql, parameters))


@pytest.mark.parametrize("table", [*TABLES, "tables", "table_columns"])
def test_every_table_holds_the_same_rows_on_both(table: str, both) -> None:
    reader, engine = both
    found = reader.sql(f"select * from {table}")
    assert found.num_rows > 0
    same(found, engine.sql(f"select * from {table}"))


STATEMENTS = [
    "select count(*) as n, count(distinct user_id) as users from tool_calls",
    "from tool_calls select tool, count(*) group by tool",
    "select server, outcome, count(*) as n, avg(latency_us) as mean, max(latency_us) / 7 as part from "
    "tool_calls group by all",
    "select date_trunc('hour', ts) as hour, sum(latency_us) as us from tool_calls group by 1 order by 1",
    "select args ->> '$.q' as q, try_cast(args ->> '$.n' as bigint) as n from tool_calls",
    "select t.tool, d.policy_rule from tool_calls t join decisions d using (request_id)",
    "with slow as (select * from tool_calls where latency_us > 5e6) select tool, count(*) from slow group by "
    "tool having count(*) > 1",
    "select tool, row_number() over (partition by tool order by ts, event_id) as n from tool_calls",
    "select case when outcome = 'ok' then 1 else 0 end as good, coalesce(run_id, '-') as run from tool_calls",
    "select * from tool_calls where tool like 'f%' or user_id ilike 'A%' order by ts limit 5",
    "select tool from tool_calls union select server from tool_calls",
    "select quantile_cont(latency_us, 0.9) as p90, median(latency_us) as p50, min(ts), max(ts) from tool_calls",
    "select arg_max(tool, latency_us) as slowest, arg_min(tool, latency_us) filter (outcome = 'ok') as quickest "
    "from tool_calls",
    "select lower(tool) || '!' as t, length(tool) as n, substr(tool, 2, 3) as s, replace(tool, 'f', 'g') as r "
    "from tool_calls",
    "select extract(hour from ts) as h, ts::date as d, cast(latency_us as varchar) as text from tool_calls",
    "select array_to_string(missing_scopes, ';') as s, missing_scopes from tool_calls where len(missing_scopes) > 0",
    "select 7 // 2 as a, 7 / 2 as b, 7 % 4 as c, 1.5 * 2 as d, round(2.345, 2) as e, true and null as f",
    "select round(2.345::double, 2) as a, round(1.005::double, 2) as b, round(2.5::double) as c, "
    "round(-2.5::double) as d, round(25::double, -1) as e, round(1e300::double, 5) as f, round(3.5) as g",
    "select round(1005 * 0.001, 2) as a, round(1.005, 2) as b, round(1005 / 1000, 2) as c, round(-0.125, 2) as d",
    "select round(avg(latency_us) / 1000, 1) as a, round(sum(latency_us) * 0.0005) as b from tool_calls group by tool",
    "select round(avg(n)) as a, round(avg(n) / 2, 1) as b from (values (1), (2), (4), (3)) as t(n)",
    "select count(*) from tool_calls where ts > now()::timestamp - interval '7 days' and contains(lower(tool), 'f')",
    "select name, meaning from tables where name not in (select table_name from table_columns) or true",
    "values (1, 'a'), (2, 'b')",
]  # fmt: skip


@pytest.mark.parametrize("query", STATEMENTS)
def test_what_people_ask_has_the_same_answer_on_both(query: str, both) -> None:
    reader, engine = both
    same(reader.sql(query), engine.sql(query))


def test_parameters_are_values_and_nothing_else(both) -> None:
    reader, engine = both
    for value in ("ann", "'; drop table record.rows; --", "\\", "%s", "$1"):
        for query, given in (
            ("select count(*) as n from tool_calls where user_id = $who", {"who": value}),
            ("select count(*) as n from tool_calls where user_id = ?", [value]),
        ):
            same(reader.sql(query, given), engine.sql(query, given))
    with pytest.raises(MisuseError):
        engine.sql("select $a", {})
    with pytest.raises(MisuseError, match="character 0"):
        engine.sql("select count(*) from events where user_id = $a", {"a": "\0"})


def test_no_attack_gets_an_answer(recorded) -> None:
    for tenant in (None, "acme"):
        with contextlib.closing(open_fleet(recorded, tenant)) as engine:
            for attack in ATTACKS:
                with pytest.raises(MisuseError) as raised:
                    engine.sql(attack.format(home=recorded.home, wal="/etc/passwd", lake="/etc/passwd"))
                assert "rival" not in str(raised.value), attack
            assert engine.sql("select count(*) as n from events").to_pylist()[0]["n"] > 0


POSTGRES = [
    "select set_config('workbench.tenant', 'rival', false)",
    "select current_setting('workbench.tenant')",
    "select query_to_xml('select * from record.rows', true, true, '')",
    "select pg_read_file('/etc/passwd')",
    "select pg_sleep(10)",
    "select lo_import('/etc/passwd')",
    "select dblink('x', 'select 1')",
    "select * from record.rows",
    "select * from record_all.events",
    "from pg_stat_activity",
    "select * from pg_ls_dir('.')",
    "select pg_terminate_backend(1)",
    "select current_user",
    "select version()",
    "select * from json_each('{}') as record_all",
    "select 1 from events for update",
    "select tenant from events where tenant = 'rival' or user_id = (select max(tenant) from record_all.events)",
]


@pytest.mark.parametrize("attack", POSTGRES)
def test_nothing_of_the_server_itself_can_be_reached(attack: str, acme) -> None:
    try:
        found = str(acme.sql(attack).to_pylist())
    except MisuseError as e:
        found = str(e)
    assert "root:" not in found
    assert "'rival'" not in found.replace(attack, "")
    assert acme.sql("select distinct tenant from events").to_pylist() == [{"tenant": "acme"}]


@pytest.mark.parametrize("probe", [*PROBES, *ERRORS_THAT_TELL])
def test_a_tenant_sees_nothing_of_another(probe: str, acme) -> None:
    try:
        found = str([list(row.values()) for row in acme.sql(probe).to_pylist()])
    except MisuseError as e:
        found = str(e).split("LINE 1:")[0].replace(probe, "")
    assert "rival" not in found


def test_limits_and_cancelling(recorded) -> None:
    long = "select count(*) as n from events a, events b, events c, events d where a.seq + b.seq + c.seq + d.seq = -1"
    with contextlib.closing(open_fleet(recorded)) as engine:
        cut = engine.sql("select * from events", max_rows=3)
        assert cut.num_rows == 3
        assert cut.schema.metadata == {b"truncated": b"true"}
        with pytest.raises(QueryStoppedError, match=r"longer than 0\.3 s"):
            engine.sql(long, timeout_s=0.3)
        stopped: list[BaseException] = []

        def ask() -> None:
            try:
                engine.sql(long, timeout_s=100)
            except QueryStoppedError as e:
                stopped.append(e)

        thread = threading.Thread(target=ask)
        thread.start()
        while thread.is_alive():  # until it runs there
            engine.interrupt()
            thread.join(0.05)
        assert "cancelled" in str(stopped[0])


async def test_new_files_are_added_and_what_retention_removed_is_gone(database_server, tmp_path) -> None:
    url = postgres.new_database(database_server)
    gateways = [Settings.load(env={}, home=tmp_path / n, audit_min_free_bytes=1, audit_engine=url) for n in ("a", "b")]
    old = now_us() - 40 * DAY_US
    for settings in gateways:
        with pytest.MonkeyPatch.context() as past:
            past.setattr("workbench.audit.write.writer.now_us", lambda: old)
            await write(settings, [(t, {**row, "timestamp": old}) for t, row in things(1, 3)])
        await write(settings, things(2, 2))
        publish(settings)
        assert publish(settings) == 0
    everything = 2 * (len(list(things(1, 3))) + len(list(things(2, 2))))
    assert [member.rows for member in members(gateways[0])] == [everything // 2] * 2

    def counted() -> int:
        with contextlib.closing(open_fleet(gateways[0])) as engine:
            return int(engine.sql("select count(*) as n from events").to_pylist()[0]["n"])

    assert counted() == everything
    Compactor(AuditFolder(gateways[0].home), grace_s=0).run(today="2999-01-01")
    publish(gateways[0])
    assert counted() == everything
    mine = sum(1 for tenant, _ in things(1, 3) if tenant == "acme")
    retain(AuditFolder(gateways[0].home), RetentionRules({"acme": 10}), grace_s=0)
    publish(gateways[0])
    assert counted() == everything - mine


async def test_a_load_that_breaks_off_leaves_a_day_as_it_was(database_server, tmp_path, monkeypatch) -> None:
    settings = Settings.load(
        env={}, home=tmp_path / "a", audit_min_free_bytes=1, audit_engine=postgres.new_database(database_server)
    )
    await write(settings, things(1, 2))
    publish(settings)
    await write(settings, things(2, 2))
    with monkeypatch.context() as broken:
        broken.setattr("workbench.audit.fleet.postgres_loader._CHUNK", 64)
        real = Path.open

        def opened(path: Path, *how: Any, **more: Any) -> Any:
            file = real(path, *how, **more)
            return Broken(file) if path.name == "rows.csv" else file

        broken.setattr(Path, "open", opened)
        with pytest.raises(OSError, match="broke off"):
            publish(settings)
    with contextlib.closing(open_fleet(settings)) as engine:
        assert engine.sql("select count(*) as n from events").to_pylist() == [{"n": len(list(things(1, 2)))}]
        publish(settings)
        assert engine.sql("select count(*) as n from events").to_pylist() == [
            {"n": len(list(things(1, 2))) + len(list(things(2, 2)))}
        ]


class Broken:
    """A file that cannot be read to its end."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = 3

    def __enter__(self) -> Broken:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        self._left -= 1
        if not self._left:
            raise OSError("broke off")
        return bytes(self._file.read(size))


def test_a_server_that_is_none_or_holds_nothing_says_so(database_server, tmp_path) -> None:
    with pytest.raises(MisuseError, match="no Postgres"), connect("mysql://x"):
        pass
    with pytest.raises(UnreachableError, match="Postgres refuses"), connect("postgresql://postgres@/x?host=/nowhere"):
        pass
    empty = Settings.load(env={}, home=tmp_path, audit_engine=postgres.new_database(database_server))
    assert members(empty) == []
    with contextlib.closing(open_fleet(empty)) as engine, pytest.raises(MisuseError, match="No gateway has loaded"):
        engine.sql("select * from events")


@pytest.mark.parametrize(
    "query", ["select 1; select 2", "drop table x", "select f(1)", "select * from elsewhere", "select ?"]
)
def test_what_cannot_be_said_is_not_translated(query: str) -> None:
    with pytest.raises(MisuseError):
        translate(query, tables=("events",))
