"""What the record costs and how fast it answers, beside SQLite and a plain DuckDB file in the same run.

`python -m loadtests.bench_audit [--events N] [--groups N] [--keep FOLDER]`. The events are those of a busy platform:
forty tenants, sixty tools, 31 days, lines of a thousand bytes. Durable means that the disk confirmed it. Targets that
are stated for ten million events are judged only when so many are recorded: `--events 10000000` takes about ten minutes
and 25 GB. With `--keep` the record stays in FOLDER, and another run asks it again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from loadtests.other_stores import Copies, duckdb_groups, plain_groups, plain_hashes, sqlite_groups
from loadtests.recorded_month import Load, Recorded, events, record_month, settings
from workbench.audit import AuditLog, Reader, verify
from workbench.audit.format.folder import AuditFolder

GROUP = 100
TEN_MILLION = 10_000_000
Row = dict[str, Any]

BY_HOUR = (
    "select tool, date_trunc('hour', ts) as hour, quantile_cont(latency_us, 0.95) from tool_calls "
    "where ts >= $since group by all"
)
MONTH = (
    "select date_trunc('day', hour) as day, outcome, sum(calls), sum(latency_us_sum) / sum(calls) "
    "from tool_calls_hourly where hour >= now()::timestamp - interval 30 day group by all"
)


def row(name: str, value: float | None, unit: str, target: float | None = None, *, at_least: bool = False) -> Row:
    """One figure; without a target it is there to compare with."""
    met = None if target is None or value is None else value >= target if at_least else value <= target
    said = "" if target is None else f"{'≥' if at_least else '≤'} {target:g} {unit}"
    return {"name": name, "value": None if value is None else round(value, 4), "unit": unit, "target": said, "ok": met}


def say(text: str) -> None:
    """Progress."""
    print(f"  {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


async def in_groups(home: Path, mode: str, groups: list[list[Recorded]], callers: int = 1) -> tuple[float, ...]:
    """Events per second, processor µs of each, and commits per second; callers wait for each group of theirs."""
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
    commits = log.commits
    await log.close()
    count = sum(map(len, groups))
    return count / took, worked / count * 1e6, commits / took


async def alone(home: Path, mode: str, count: int) -> list[float]:
    """Milliseconds of single records, one after another."""
    log = await AuditLog.open(settings(home, audit_mode=mode))
    times = []
    for tenant, record in events(count):
        began = time.perf_counter()
        await log.write(tenant, record)
        times.append((time.perf_counter() - began) * 1000)
    await log.close()
    return sorted(times)


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


def timed(action: Callable[[], Any], rounds: int = 5) -> float:
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
    found: dict[str, list[float]] = {}
    for number in range(5):  # interleaved, so that a busy moment hits all of them
        for name, mode, callers in (("fsync", "fsync", 1), ("many", "fsync", 8), ("os", "os", 1)):
            home = folder / f"{name}{number}"
            rate, processor, commits = asyncio.run(in_groups(home, mode, split, callers))
            found.setdefault(name, []).append(rate)
            found.setdefault("processor", []).append(processor)
            if name == "fsync":
                found.setdefault("commits", []).append(commits)
                segments = [path for _, _, path in AuditFolder(home).segments()]
                plain = plain_groups(folder / f"{number}.plain", segments, GROUP)
                found.setdefault("plain", []).append(plain)
                found.setdefault("ratio", []).append(rate / plain)
        found.setdefault("sqlite", []).append(sqlite_groups(folder / f"{number}.sqlite", split))
        found.setdefault("duckdb", []).append(duckdb_groups(folder / f"{number}.duckdb", split[:20]))
    median = {name: statistics.median(figures) for name, figures in found.items()}
    single = {mode: asyncio.run(alone(folder / f"alone-{mode}", mode, 1000)) for mode in ("os", "fsync")}
    return [
        row("durable events, groups of 100, one writer", median["fsync"], "1/s", 50_000, at_least=True),
        row("  commits of it, each an fdatasync", median["commits"], "1/s"),
        row("  the same bytes by write and fdatasync alone", median["plain"], "1/s"),
        row("  share of that rate which the record reaches", median["ratio"], ""),
        row("the same from eight callers at once", median["many"], "1/s", 50_000, at_least=True),
        row("the same, surviving the process only (os)", median["os"], "1/s"),
        row("the same into SQLite (WAL, FULL, 2 indexes)", median["sqlite"], "1/s"),
        row("the same into a DuckDB file (appender)", median["duckdb"], "1/s"),
        row("processor time of one event in a group", median["processor"], "µs"),
        row("added to one call, mode os, p50", single["os"][500], "ms", 0.2),
        row("added to one call, mode os, p99", single["os"][990], "ms"),
        row("added to one call, mode fsync, p50", single["fsync"][500], "ms"),
    ]


def recorded(folder: Path, count: int) -> tuple[Path, Load]:
    """A month of `count` events: the one that is in the folder already, or a new one."""
    home, told = folder / "many", folder / "load.json"
    if told.exists() and (known := json.loads(told.read_text(encoding="utf-8")))["events"] == count:
        return home, Load(**known["load"])
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    load = record_month(home, count, say)
    told.write_text(json.dumps({"events": count, "load": load.__dict__}), encoding="utf-8")
    return home, load


def asking(home: Path, count: int) -> list[Row]:
    """How fast the record answers over `count` events, and how fast the others do."""
    fresh = statistics.median(asyncio.run(freshness(home, 20)))
    full = count >= TEN_MILLION
    with Reader(home, threads=2, memory="1GB") as reader:
        say("asking")
        last = reader.sql("select max(ts) as ts from tool_calls").column(0)[0].as_py()
        day = {"since": last - timedelta(days=1)}
        newest, old = (
            reader.sql(
                "select trace_id, request_id from tool_calls where ts <= now()::timestamp - to_days($days) "
                "and ts > now()::timestamp - to_days($days + 1) limit 1 offset 100", {"days": days},
            ).to_pylist()[0]
            for days in (0, 9)
        )  # fmt: skip
        by_hour, month = timed(lambda: reader.sql(BY_HOUR, day)), timed(lambda: reader.sql(MONTH))
        traced = {
            name: timed(partial(reader.trace, call["trace_id"])) for name, call in (("new", newest), ("old", old))
        }
        called = timed(lambda: reader.events_of("request_id", old["request_id"]))
        assert reader.trace(old["trace_id"]).num_rows >= 3
    say("the same of SQLite and DuckDB")
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as folder:
        others = Copies(Path(folder), home)
        beside = {
            "p95 by tool and hour over a day, SQLite with this day alone": timed(others.sqlite_by_hour, 3),
            "p95 by tool and hour over a day, DuckDB file": timed(others.duckdb_by_hour),
            "one trace, SQLite with one day alone, by index": timed(lambda: others.sqlite_trace(newest["trace_id"])),
            "one trace, DuckDB file without index": timed(lambda: others.duckdb_trace(old["trace_id"])),
            "30 days, DuckDB file without summaries": timed(others.duckdb_month),
        }
        others.close()
    size = f"{count:,} events"
    return [
        row("newest record visible to SQL, p50", fresh, "ms", 50),
        row(f"p95 by tool and hour over a day, {size}", by_hour, "ms", 150 if full else None),
        row(f"one trace of today, {size}", traced["new"], "ms", 50 if full else None),
        row(f"one trace of nine days ago, {size}", traced["old"], "ms", 50 if full else None),
        row(f"one call by its id, {size}", called, "ms", 50 if full else None),
        row(f"30 days from hourly summaries, {size}", month, "ms", 200 if full else None),
        *(row(f"  {name}", value, "ms") for name, value in beside.items()),
    ]


def verifying(home: Path, count: int, *, deep: bool) -> list[Row]:
    """How long it takes to check the record, and what of that is the hashing alone."""
    say("verifying")
    quick = [verify(home) for _ in range(3)]
    assert all(found.ok and found.rows >= count for found in quick)
    began = time.perf_counter()
    hashed = plain_hashes(AuditFolder(home).root)
    bare = time.perf_counter() - began
    median = statistics.median(found.elapsed_s for found in quick)
    size = f"{count:,} events"
    rows = [
        row(f"quick verification of {size}", median, "s", 10 if count >= TEN_MILLION else None),
        row("  SHA-256 of the same files alone, on all cores", bare, "s"),
        row("  their size", hashed / 1e9, "GB"),
    ]
    if deep:
        say("verifying every line")
        found = verify(home, deep=True)
        assert found.ok
        rows.append(row(f"deep verification of {size}", found.elapsed_s, "s"))
    return rows


def main(json_path: str | None = None, arguments: list[str] | None = None) -> list[Row]:
    """Measure, print a table, and write the rows to `json_path` if given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=200_000, help="events to read and verify")
    parser.add_argument("--groups", type=int, default=100, help="groups of 100 to write")
    parser.add_argument("--keep", type=Path, help="folder in which the record stays, to be asked again")
    given = parser.parse_args([] if arguments is None else arguments)
    with tempfile.TemporaryDirectory(prefix="bench-audit-") as folder:
        say("writing")
        rows = writing(Path(folder), given.groups)
        home, load = recorded(given.keep or Path(folder), given.events)
        size = f"{given.events:,} events"
        rows += [
            row(f"recording and compacting {size}", load.seconds, "s"),
            row("  most memory of the compactor", load.compactor_mib, "MiB", 512),
            *asking(home, given.events),
            *verifying(home, given.events, deep=True),
        ]
    for each in rows:
        verdict = {True: "yes", False: "NO", None: ""}[each["ok"]]
        print(f"{each['name']:<66} {each['value']:>14,.3f} {each['unit']:<5} {each['target']:<14} {verdict}")
    if json_path is not None:
        Path(json_path).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    return rows


if __name__ == "__main__":
    main(arguments=sys.argv[1:])
