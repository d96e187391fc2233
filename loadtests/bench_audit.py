"""What the record costs and how fast it answers, beside SQLite and a plain DuckDB appender in the same run.

`python -m loadtests.bench_audit [--events N] [--groups N]`. The events are those of a busy platform: forty tenants,
sixty tools, arguments and answers of a few hundred bytes. Durable means that the disk confirmed it. Targets that are
stated for ten million events are judged only when so many are recorded (`--events 10000000`; about ten minutes, 20 GB).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from workbench.audit import AuditLog, Reader, records, verify
from workbench.audit.compact import compact
from workbench.config import Settings
from workbench.events import Call, Caller, Decision, Outcome, Tool

GROUP = 100
TEN_MILLION = 10_000_000
Row = dict[str, Any]


def row(name: str, value: float | None, unit: str, target: float | None = None, *, at_least: bool = False) -> Row:
    """One figure; without a target it is there to compare with."""
    met = None if target is None or value is None else value >= target if at_least else value <= target
    said = "" if target is None else f"{'≥' if at_least else '≤'} {target:g} {unit}"
    return {"name": name, "value": None if value is None else round(value, 4), "unit": unit, "target": said, "ok": met}


def events(count: int, seed: int = 1) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tenant and record of `count` calls; the same for the same seed, save for ids and times."""
    chance = random.Random(seed)
    decision = Decision(allow=True, rule="tool_scopes.allow", revision="c0ffee", engine="rego", elapsed_us=40)
    for _ in range(count):
        tenant = f"tenant-{int(41 ** chance.random()) - 1:02d}"
        number = int(61 ** chance.random()) - 1
        tool = Tool(server=f"server{number % 12}", name=f"tool_{number:02d}", definition_hash="d" * 16)
        luck = chance.random()
        kind = "tool_error" if luck < 0.03 else "denied" if luck < 0.04 else "ok"
        arguments = {"query": f"customer {chance.randrange(100_000)}", "limit": chance.randrange(500)}
        caller = Caller(tenant=tenant, subject=f"user{chance.randrange(50)}", credential="key-1")
        call = Call(caller=caller, tool=tool.qualified, arguments=arguments, source="mcp", protocol="2026-07-28")
        outcome = Outcome(
            kind=kind,  # type: ignore[arg-type]
            call=call.id,
            tool=tool.qualified,
            decision=decision,
            latency_us=int(chance.lognormvariate(8.5, 0.9)),
            upstream_us=900,
        )
        answer = {"content": [{"type": "text", "text": "x" * 150}]}
        yield tenant, records.call(call, tool, outcome, args_redacted=arguments, response_redacted=answer)


def settings(home: Path, **changes: Any) -> Settings:
    """Settings of a fresh state folder."""
    return Settings.load(env={}, cwd=home.parent, home=home, **changes)


async def in_groups(
    home: Path, mode: str, groups: list[list[tuple[str, dict[str, Any]]]], callers: int = 1
) -> tuple[float, float]:
    """Events per second, and processor µs of each, when every caller waits for a group before it puts the next."""
    log = await AuditLog.open(settings(home, audit_mode=mode))
    left = iter(groups)

    async def caller() -> None:
        for group in left:
            for waiter in [log.put(tenant, record) for tenant, record in group]:
                assert waiter is not None
                await waiter

    began, busy = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    took, worked = time.perf_counter() - began, time.process_time() - busy
    await log.close()
    count = sum(map(len, groups))
    return count / took, worked / count * 1e6


async def alone(home: Path, mode: str, count: int) -> list[float]:
    """Milliseconds of single records, one after another."""
    log = await AuditLog.open(settings(home, audit_mode=mode))
    times = []
    for tenant, record in events(count):
        began = time.perf_counter()
        await log.write(tenant, record)
        times.append((time.perf_counter() - began) * 1000)
    await log.close()
    return times


def sqlite_groups(path: Path, groups: list[list[tuple[str, dict[str, Any]]]]) -> float:
    """The same into SQLite: WAL, synchronous=FULL, two indexes, one transaction for each group."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("pragma journal_mode = wal")
    db.execute("pragma synchronous = full")
    db.execute("create table events (ts, tenant, tool, outcome, latency_us, trace_id, body)")
    db.execute("create index by_tenant on events (tenant, ts)")
    db.execute("create index by_trace on events (trace_id)")
    began = time.perf_counter()
    for group in groups:
        db.execute("begin")
        db.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?)", [flat(t, r) for t, r in group])
        db.execute("commit")
    took = time.perf_counter() - began
    db.close()
    return sum(map(len, groups)) / took


def duckdb_groups(path: Path, groups: list[list[tuple[str, dict[str, Any]]]]) -> float:
    """The same into a DuckDB file through its appender, flushed and committed for each group."""
    import duckdb

    with duckdb.connect(str(path)) as db:
        db.execute(
            "create table events (ts bigint, tenant varchar, tool varchar, outcome varchar, latency_us bigint, "
            "trace_id varchar, body varchar)"
        )
        began = time.perf_counter()
        for group in groups:
            with db.appender("events") as appender:
                for tenant, record in group:
                    appender.append_row(*flat(tenant, record))
        took = time.perf_counter() - began
    return sum(map(len, groups)) / took


def flat(tenant: str, record: dict[str, Any]) -> tuple[Any, ...]:
    """A record as the columns that the other stores get."""
    keys = ("tool", "outcome", "latency_us", "trace_id")
    return (record["timestamp"], tenant, *(record[key] for key in keys), json.dumps(record))


async def freshness(home: Path, rounds: int) -> list[float]:
    """Milliseconds from an acknowledgement to a query's result that holds the record."""
    log = await AuditLog.open(settings(home))
    times = []
    with Reader(home) as reader:
        reader.sql("select count(*) from events")
        for tenant, record in events(rounds, seed=3):
            await log.write(tenant, record)
            began = time.perf_counter()
            newest = reader.sql("select event_id from tool_calls order by ts desc limit 1").column(0)[0].as_py()
            times.append((time.perf_counter() - began) * 1000)
            assert newest == record["event_id"]
    await log.close()
    return times


async def record_many(home: Path, count: int) -> None:
    """Record `count` events as fast as it goes."""
    log = await AuditLog.open(settings(home, audit_mode="os"))
    pending: list[asyncio.Future[None]] = []
    for tenant, record in events(count, seed=2):
        waiter = log.put(tenant, record)
        assert waiter is not None
        pending.append(waiter)
        if len(pending) >= 5000:
            await asyncio.gather(*pending)
            pending.clear()
    await asyncio.gather(*pending)
    await log.close()


def timed(action: Callable[[], Any], rounds: int = 3) -> float:
    """Median milliseconds."""
    times = []
    for _ in range(rounds):
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)


def writing(folder: Path, groups: int) -> list[Row]:
    """How fast records are written, and what one alone costs."""
    made = list(events(groups * GROUP))
    split = [made[i : i + GROUP] for i in range(0, len(made), GROUP)]
    found: dict[str, list[float]] = {name: [] for name in ("fsync", "many", "os", "sqlite", "duckdb", "processor")}
    for number in range(3):  # interleaved, so that a busy moment hits all of them
        for name, mode, callers in (("fsync", "fsync", 1), ("many", "fsync", 8), ("os", "os", 1)):
            rate, processor = asyncio.run(in_groups(folder / f"{name}{number}", mode, split, callers))
            found[name].append(rate)
            found["processor"].append(processor)
        found["sqlite"].append(sqlite_groups(folder / f"{number}.sqlite", split))
        found["duckdb"].append(duckdb_groups(folder / f"{number}.duckdb", split[:20]))
    median = {name: statistics.median(figures) for name, figures in found.items()}
    single = {mode: sorted(asyncio.run(alone(folder / f"alone-{mode}", mode, 1000))) for mode in ("os", "fsync")}
    return [
        row("durable events, groups of 100, one writer", median["fsync"], "1/s", 50_000, at_least=True),
        row("the same from eight callers at once", median["many"], "1/s", 50_000, at_least=True),
        row("the same, surviving the process only (os)", median["os"], "1/s"),
        row("the same into SQLite (WAL, FULL, 2 indexes)", median["sqlite"], "1/s"),
        row("the same into a DuckDB file (appender)", median["duckdb"], "1/s"),
        row("processor time of one event in a group", median["processor"], "µs"),
        row("added to one call, mode os, p50", single["os"][500], "ms", 0.2),
        row("added to one call, mode os, p99", single["os"][990], "ms"),
        row("added to one call, mode fsync, p50", single["fsync"][500], "ms"),
    ]


def reading(folder: Path, count: int) -> list[Row]:
    """How fast the record answers and is verified, over `count` events."""
    home = folder / "many"
    asyncio.run(record_many(home, count))
    began = time.perf_counter()
    compact(home)
    compacted = time.perf_counter() - began
    fresh = asyncio.run(freshness(home, 20))
    full = count >= TEN_MILLION
    day = "ts >= now()::timestamp - interval 1 day"
    hourly = (
        "select date_trunc('day', hour) d, outcome, sum(calls), sum(latency_us_sum) / sum(calls) "
        "from tool_calls_hourly where hour >= now()::timestamp - interval 30 day group by all"
    )
    with Reader(home, threads=2, memory="1GB") as reader:
        trace = reader.sql("select trace_id from tool_calls limit 1 offset 1000").column(0)[0].as_py()
        by_hour = (
            "select tool, date_trunc('hour', ts) h, quantile_cont(latency_us, 0.95) from tool_calls "
            f"where {day} group by all"
        )
        queries = timed(lambda: reader.sql(by_hour))
        traced = timed(lambda: reader.trace(trace))
        dashboard = timed(lambda: reader.sql(hourly))
    quick = timed(lambda: verify(home), 2)
    deep = timed(lambda: verify(home, deep=True), 1)
    size = f"{count:,} events"
    return [
        row("newest record visible to SQL, p50", statistics.median(fresh), "ms", 50),
        row(f"p95 by tool and hour over a day, {size}", queries, "ms", 150 if full else None),
        row(f"one trace, {size}", traced, "ms", 50 if full else None),
        row(f"30 days from hourly summaries, {size}", dashboard, "ms", 200 if full else None),
        row(f"compaction of {size}", compacted, "s"),
        row(f"quick verification of {size}", quick / 1000, "s", 10 if full else None),
        row("quick verification, per 10 million events", quick / 1000 * TEN_MILLION / count, "s", 10),
        row(f"deep verification of {size}", deep / 1000, "s"),
    ]


def main(json_path: str | None = None, arguments: list[str] | None = None) -> list[Row]:
    """Measure, print a table, and write the rows to `json_path` if given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events to read and verify")
    parser.add_argument("--groups", type=int, default=100, help="groups of 100 to write")
    given = parser.parse_args([] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as folder:
        rows = [*writing(Path(folder), given.groups), *reading(Path(folder), given.events)]
    for each in rows:
        verdict = {True: "yes", False: "NO", None: ""}[each["ok"]]
        print(f"{each['name']:<62} {each['value']:>14,.3f} {each['unit']:<5} {each['target']:<14} {verdict}")
    if json_path is not None:
        Path(json_path).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return rows


if __name__ == "__main__":
    import sys

    main(arguments=sys.argv[1:])
