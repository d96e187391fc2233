"""SQL of others ends when it should and takes what it may, even where DuckDB itself cannot stop it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from workbench.audit import QueryStoppedError
from workbench.config import Settings
from workbench.events import MisuseError, UnreachableError
from workbench.platform import sql_process
from workbench.platform.sql_process import SqlProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
TWICE = "".join(
    f", a{n} as not materialized (select * from a{n - 1} union all select * from a{n - 1})" for n in range(1, 32)
)
HUNGRY = {
    "a recursion without end": "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
    "a recursion that grows": (
        "with recursive n(i, s) as (select 1, 'x' union all select i + 1, s || s from n) select max(length(s)) from n"
    ),
    "a product": "select count(*) from range(1000000) a, range(1000000) b where (a.range * b.range) % 7 = 3",
    "a list": "select list(range) from range(1000000000)",
    "a text": "select length(repeat('x', 2000000000)) + length(repeat('y', 2000000000))",
    "many texts": "select sum(length(repeat('x', 100000000 + range::int))) from range(100000)",
    "a padded text": "select length(lpad('x', 2000000000, 'y')) + length(rpad('x', 2000000000, 'y'))",
    "a wide number": "select length(printf('%2000000000d', 1)) + length(format('{:2000000000}', 1))",
    "what doubles in planning": f"with a0 as not materialized (select 1 as x){TWICE} select count(*) from a31",
    "a list in a list": "select list_sum(list_transform(range(10000000), lambda x: list_sum(range(x))))",
    "a text in pieces": "select len(string_split(repeat('a,', 900000000), ','))",
    "a comparison of long texts": "select levenshtein(repeat('a', 400000), repeat('b', 400000))",
    "an order of everything": "select * from range(1000000000) order by hash(range)",
    "too many columns": "select " + ",".join(["*"] * 3000) + " from events",
}


@pytest.fixture
async def process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqlProcess]:
    monkeypatch.setattr(sql_process, "GRACE_S", 1.0)
    opened = SqlProcess(settings.home)
    try:
        await opened.query("select 1", tenant="acme")
        yield opened
    finally:
        await opened.close()


def children(process: SqlProcess) -> Iterator[psutil.Process]:
    return (psutil.Process(child._process.pid) for child in process._children if child._process)


@pytest.mark.parametrize("what", list(HUNGRY))
async def test_it_is_stopped_and_the_next_query_is_answered(what: str, process: SqlProcess) -> None:
    asked = asyncio.create_task(process.query(HUNGRY[what], tenant="acme", timeout_s=1.0))
    most = 0
    while not asked.done():
        for child in children(process):
            try:
                most = max(most, child.memory_info().rss)
            except psutil.NoSuchProcess:
                continue
        await asyncio.wait([asked], timeout=0.02)
    with pytest.raises((QueryStoppedError, UnreachableError, MisuseError)):
        await asked
    assert most < sql_process.MAX_MEMORY
    assert (await process.query("select 2 as a", tenant="acme")).to_pylist() == [{"a": 2}]


async def test_a_child_cannot_have_more_memory_than_that(process: SqlProcess) -> None:
    for child in children(process):
        limits = (Path("/proc") / str(child.pid) / "limits").read_text(encoding="utf-8")
        line = next(line for line in limits.splitlines() if line.startswith("Max address space"))
        assert str(sql_process.MAX_MEMORY) in line
