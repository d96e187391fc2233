"""SQL of others: it cannot change anything, reach anything else, or learn of another tenant."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.audit.format.folder import AuditFolder
from workbench.audit.lake.compactor import Compactor
from workbench.events import MisuseError

ATTACKS = [
    # --- more than one statement, or none that reads
    "select 1; drop view events",
    "select 1; select 2",
    "drop view events",
    "create table t(a int)",
    "create view v as select 1",
    "create or replace view events as select 1",
    "create macro f() as 1",
    "create secret s (type s3)",
    "insert into events values (1)",
    "update events set tenant = 'x'",
    "delete from events",
    "truncate events",
    "alter view events rename to e",
    "comment on view events is 'x'",
    "with x as (insert into events values (1) returning *) select * from x",
    "with x as (delete from events returning *) select * from x",
    "begin transaction",
    "vacuum",
    "checkpoint",
    "call pragma_version()",
    "explain select 1",
    "explain analyze select * from events",
    "prepare p as select 1",
    "execute p",
    # --- settings
    "set memory_limit = '100GB'",
    "reset memory_limit",
    "pragma enable_profiling",
    "set enable_external_access = true",
    "set variable x = 1",
    "use system",
    "select current_setting('allowed_directories')",
    "select getvariable('x')",
    "select getenv('HOME')",
    # --- extensions, databases, files to write
    "install httpfs",
    "load httpfs",
    "attach '{home}/audit.duckdb' as a",
    "attach ':memory:' as a",
    "detach memory",
    "copy events to '{home}/stolen.csv'",
    "copy (select 1) to '{home}/audit/wal/x.jsonl'",
    "export database '{home}/x'",
    "import database '{home}/x'",
    # --- files to read
    "select * from '{wal}'",
    "from '{wal}'",
    'from "{wal}"',
    "select * from read_json('{wal}')",
    "select * from read_json_auto('{wal}')",
    "select * from read_ndjson('{wal}')",
    "select * from read_ndjson_objects('{wal}')",
    "select * from read_text('{wal}')",
    "select * from read_blob('{wal}')",
    "select * from read_csv('{wal}', columns={{'x':'VARCHAR'}}, delim='\x01')",
    "select * from read_parquet('{lake}')",
    "select * from parquet_scan('{lake}')",
    "select * from parquet_metadata('{lake}')",
    "select * from parquet_schema('{lake}')",
    "select * from '/etc/passwd'",
    "select * from read_text('/etc/passwd')",
    "select * from read_csv('/etc/passwd')",
    "select * from glob('/etc/*')",
    "select * from sniff_csv('/etc/passwd')",
    "select * from read_text('http://127.0.0.1:1/')",
    "from 's3://bucket/x.parquet'",
    # --- hiding a table function
    "select (select max(content) from read_text('/etc/passwd'))",
    "select 1 where exists (from read_text('/etc/passwd'))",
    "with x as (from read_text('/etc/passwd')) from x",
    "with x as materialized (from '{wal}') from x",
    "select 1 union all select content from read_text('/etc/passwd')",
    "select * from (values (1)) t, lateral (select * from read_text('/etc/passwd'))",
    "select * from events order by (select max(content) from read_text('/etc/passwd'))",
    "describe select * from read_text('/etc/passwd')",
    "summarize from '{wal}'",
    "from query('select * from live')",
    "from query_table('live')",
    "from query_table(['live'])",
    "select * from json_execute_serialized_sql(json_serialize_sql('select * from live'))",
    "from histogram('live', tenant)",
    # --- hidden objects and the catalog
    "from live",
    "from LIVE",
    'from "live"',
    "from live_hourly",
    "from main.live",
    "from memory.main.live",
    "from memory.main.events",
    "describe live",
    "summarize live",
    "show all tables",
    "from duckdb_views()",
    "from duckdb_views",
    "from duckdb_settings()",
    "from duckdb_secrets()",
    "from duckdb_tables()",
    "from information_schema.tables",
    "from sqlite_master",
    "from pg_catalog.pg_class",
    "from pragma_table_info('live')",
    "from system.information_schema.tables",
    "select pg_get_viewdef(1)",
    # --- a common table as a pretext for a name
    "with live as (select 1) select * from (select 1), (from live)",
    "with x as (with live as (select 1) select 1) from live",
    "select * from (with \"{wal}\" as (select 1) select 1) t, \"{wal}\"",
    "with duckdb_views as (select 1 as a) from duckdb_views",
    "from identifier('live')",
    "from table('live')",
    "from (pivot live on tenant using count(*))",
    "from (unpivot live on columns(*))",
    "from live.events",
    "merge into events using live on true when matched then delete",
    "from tool_calls t, t.live",
    "with t(a) as (from live) from t",
    "select (with live as (select 1 a) select a from live), (select count(*) from live)",
    "from events at (version => 1)",
    "from unnest((select list(x) from live x))",
    "select * from events semi join live using (tenant)",
    "select * from range((select count(*) from live))",
    "from json_each((select content from read_text('/etc/passwd')))",
    "select apply(['live'], x -> query(x))",
    "select tenant.stats() from events",
    "select events.stats() from events",
    "select list_aggregate([1], 'stats')",
    # --- statistics and side doors of scalar functions
    "select stats(tenant) from events",
    "select nextval('s')",
    "select write_log('x')",
    "select sleep_ms(100)",
    "select current_query()",
    # --- without end
    "select " + "(" * 5000 + "1" + ")" * 5000,
    "select " + "1+" * 90_000 + "1",
    "select * from (" * 1000 + "select 1" + ")" * 1000,
    "select len(range(10000000000))",
    # --- more of each
    "create or replace table events as select 1",
    "create type t as enum ('a')",
    "create index i on events (tenant)",
    "with x as (update events set tenant = 'x' returning *) from x",
    "copy (from events) to '/dev/stdout'",
    "copy from database memory to memory",
    "attach 'postgres:host=127.0.0.1' as p (type postgres)",
    "attach 'https://example.com/x.duckdb' as x",
    "force install httpfs from 'https://example.com'",
    "update extensions",
    "load '{home}/x.duckdb_extension'",
    "from 'hf://datasets/x/y.csv'",
    "from '/proc/self/environ'",
    "from read_text(['/etc/passwd'])",
    "from READ_TEXT('/etc/passwd')",
    'from "read_text"(\'/etc/passwd\')',
    "from main.read_text('/etc/passwd')",
    "from system.main.read_text('/etc/passwd')",
    "from read_duckdb('{home}/x.duckdb')",
    "from (pivot (from read_text('/etc/passwd')) on filename using count(*))",
    "from events limit (select size from read_text('/etc/passwd'))",
    "from events join read_text('/etc/passwd') on true",
    "from events union all by name from read_text('/etc/passwd')",
    "values ((select content from read_text('/etc/passwd')))",
    "select list_transform([1], lambda x: (select max(content) from read_text('/etc/passwd')))",
    "with recursive r as (select 1 a union all select a from r, read_text('/etc/passwd')) from r",
    "select 1;;select 2",
    "set session memory_limit = '100GB'",
    "set global threads = 64",
    "set lock_configuration = false",
    "set temp_directory = '{home}'",
    "reset enable_external_access",
    "pragma database_list",
    "pragma memory_limit = '100GB'",
    "from pragma_database_list()",
    "from duckdb_temporary_files()",
    "from duckdb_logs()",
    "from duckdb_external_file_cache()",
    "from test_all_types()",
    "from which_secret('s3://x', 's3')",
    "select which_secret('s3://x', 's3')",
    "select set_config('a', 'b', false)",
    "select __internal_compress_string_utinyint('a')",
    "abort",
    "rollback",
    "deallocate p",
    # --- no SQL
    "",
    ";",
    "-- nothing",
    "\x00",
]  # fmt: skip


@pytest.fixture
async def two_tenants(open_log, make_call, home: Path):
    """Rows of two tenants, half of them compacted, half of them live."""
    async with open_log(audit_segment_bytes=1) as log:
        for tenant in ("acme", "rival"):
            await log.write(tenant, make_call(tenant=tenant, user=f"user-of-{tenant}", arguments={"n": secret(tenant)}))
    Compactor(AuditFolder(home)).run()
    async with open_log() as log:
        for tenant in ("acme", "rival"):
            await log.write(tenant, make_call(tenant=tenant, user=f"user-of-{tenant}", arguments={"n": secret(tenant)}))
    return home


def secret(tenant: str):
    return 7 if tenant == "acme" else "TOPSECRET"


def snapshot(home: Path) -> dict[str, bytes]:
    return {str(p.relative_to(home)): p.read_bytes() for p in home.rglob("*") if p.is_file()}


async def test_no_attack_gets_an_answer_or_changes_a_file(two_tenants, open_reader):
    home = two_tenants
    folder = AuditFolder(home)
    names = {"home": home, "wal": folder.segments()[-1][2], "lake": next(folder.lake.glob("*/*.parquet"))}
    before = snapshot(home)
    for reader in (open_reader(), open_reader(tenant="acme")):
        for attack in ATTACKS:
            query = attack.format(**names)
            with pytest.raises(MisuseError) as raised:
                reader.sql(query)
            assert "rival" not in str(raised.value), query
            assert "TOPSECRET" not in str(raised.value), query
        assert reader.sql("select count(*) n from events where tenant = 'acme'").to_pylist() == [{"n": 2}]
    assert snapshot(home) == before


def test_of_all_table_functions_that_there_are_only_those_without_a_source_are_allowed(open_reader):
    reader = open_reader()
    found = reader._connection.execute(
        "select distinct function_name from duckdb_functions() "
        "where function_type in ('table', 'table_macro', 'pragma')"
    ).fetchall()
    names = {row[0] for row in found} - {"range", "generate_series", "unnest", "json_each", "json_tree"}
    assert len(names) > 80
    for name in sorted(names):
        for query in (
            f"from {name}('x')",
            f"select (select count(*) from {name}(1))",
            f"pragma {name}",
            f"call {name}()",
        ):
            with pytest.raises(MisuseError):
                reader.sql(query)


def test_there_are_enough_attacks():
    assert len(set(ATTACKS)) > 100


PROBES = [
    "from events",
    "from tool_calls",
    "from decisions",
    "from tool_calls_hourly",
    "select * from tool_calls where tenant = 'rival'",
    "select * from tool_calls where tenant = 'acme' or true",
    "select distinct tenant from events",
    "select * from events where tenant <> 'acme'",
    "select min(user_id), max(user_id), max(args) from events",
    "select * from events e1 full outer join events e2 on e1.tenant <> e2.tenant",
    "with events2 as (from events) from events2",
    "with events as (select * from events) from events",
    "with recursive t as (select tenant from events union select tenant from events) from t",
    "summarize events",
    "describe events",
    "select histogram(tenant) from events",
    "select approx_top_k(user_id, 9) from events",
    "select list(args) from events",
    "select first(user_id order by user_id desc) from events",
    "select * from events anti join (select 'acme' as tenant) using (tenant)",
    "select any_value(tenant) from events group by all having count(*) > 0",
    "select * from events using sample 100%",
    "select * from events tablesample reservoir(100)",
    "select tenant, count(*) over () from events qualify row_number() over () < 99",
    "select columns('.*') from events",
    "select events from events",
    "select t.* from events t positional join events u",
    "select * from tables, events",
]


@pytest.mark.parametrize("probe", PROBES)
async def test_a_tenant_sees_nothing_of_another(probe, two_tenants, open_reader):
    found = str(open_reader(tenant="acme").sql(probe).to_pylist())
    assert "rival" not in found
    assert "TOPSECRET" not in found
    assert "rival" in str(open_reader().sql("from events").to_pylist())


ERRORS_THAT_TELL = [
    "select * from tool_calls where cast(args ->> '$.n' as int) > 0",
    "select sum(cast(args ->> '$.n' as int)) from tool_calls",
    "select * from tool_calls where case when args like '%TOPSECRET%' then error(args) else true end",
    "select * from tool_calls where if(user_id = 'user-of-rival', error('found'), true)",
    "select 1 / (case when tenant = 'rival' then 0 else 1 end) from events",
    "select cast(user_id[9:] as int) from events where tenant = 'rival'",
    "select * from events where json_extract(args, '$.n')::int = 7 and latency_us >= 0 order by tenant",
    "select * from events e join (select 1 a) x on e.tenant = 'rival' and error(e.args)",
    "select count(*) filter (error(args)) from events where tenant = 'rival'",
]


@pytest.mark.parametrize("probe", ERRORS_THAT_TELL)
async def test_no_expression_is_evaluated_on_a_row_of_another_tenant(probe, two_tenants, open_reader):
    reader = open_reader(tenant="acme")
    for _ in range(3):  # filters may be reordered at run time
        try:
            found = str([list(row.values()) for row in reader.sql(probe).to_pylist()])  # names repeat the probe
        except MisuseError as e:
            found = str(e).split("LINE 1:")[0]
        assert "TOPSECRET" not in found
        assert "rival" not in found


@pytest.mark.parametrize("tenant", ["a'b", "x' or '1'='1", "acme'; drop view events; --", "", "Ü"])
async def test_a_tenant_name_is_no_sql(tenant, open_log, make_call, open_reader):
    async with open_log() as log:
        await log.write(tenant, make_call(tenant=tenant))
        await log.write("other", make_call(tenant="other"))
        assert open_reader(tenant=tenant).sql("select tenant from events").to_pylist() == [{"tenant": tenant}]


async def test_the_connection_itself_reaches_no_file_outside_the_record(two_tenants, open_reader, tmp_path):
    """Were the guard ever wrong about a statement, DuckDB's own locks still hold."""
    import duckdb

    outside = tmp_path / "outside.csv"
    outside.write_text("a\n1\n")
    connection = open_reader()._connection
    for statement in (
        f"from '{outside}'",
        f"from read_csv('{outside}')",
        "from read_text('/etc/passwd')",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        f"attach '{tmp_path}/x.duckdb'",
        "set enable_external_access = true",
        "set memory_limit = '10GB'",
        "install httpfs",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "outside.csv"}


ALLOWED = [
    "values (1)",
    "table tool_calls",
    "from tool_calls select count(*)",
    "SHOW TABLES;",
    "describe tool_calls",
    "summarize tool_calls",
    "with a as (select 1 x), b as (select x + 1 y from a) select * from b",
    "select * from unnest([1, 2, 3])",
    "select * from generate_series(1, 3)",
    "select * from json_each('[1,2]')",
    "select (select max(ts) from tool_calls)",
    "select * from tool_calls a join decisions b using (request_id)",
    "select tool, quantile_cont(latency_us, [0.5, 0.95]) from tool_calls group by all",
    "select row_number() over (partition by tool order by ts) from tool_calls",
    "select list_transform([1, 2], lambda x: x + 1)",
    "select date_trunc('hour', ts), strftime(ts, '%Y'), time_bucket(interval 5 minutes, ts) from events",
    "select args ->> '$.q', args::json -> 'q' from tool_calls",
    "select * exclude (args) replace (upper(tool) as tool) from tool_calls",
    "select regexp_matches(tool, '^f') from tool_calls union all select false",
    "/* comment */ select 1; -- done",
    "select * from tool_calls where ts > now()::timestamp - interval 1 day",
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 5) select * from n",
    'select "tool" as "Tool ""x""" from TOOL_CALLS',
    "select * from (select 1) t(a) asof join (select 1) u(b) on a >= b",
]


@pytest.mark.parametrize("query", ALLOWED)
def test_honest_queries_are_not_refused(query, open_reader):
    assert open_reader(tenant="acme").sql(query).num_columns >= 1
