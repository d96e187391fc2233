"""Many calls at once on one server: every one is answered, and answered as if it were alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from servers.tables.folder import Folder
from servers.tables.server import build


async def at_once(server: Any, calls: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    from mcp import Client

    async with Client(server) as client:
        results = await asyncio.gather(*(client.call_tool(tool, arguments) for tool, arguments in calls))
    return [r.content[0].text if r.is_error else r.structured_content for r in results]


async def test_the_company_answers_forty_callers(fresh: Callable[[str], Any]) -> None:
    payments = fresh("payments").server
    answers = await at_once(payments, [("payment_history", {"customer_id": f"C-{n:05d}"}) for n in range(1, 41)])
    assert [a["customer_id"] for a in answers] == [f"C-{n:05d}" for n in range(1, 41)]


async def test_writes_and_reads_at_once_lose_nothing(fresh: Callable[[str], Any]) -> None:
    tickets = fresh("tickets").server
    before = len((await at_once(tickets, [("get_ticket", {"ticket_id": "T-00042"})]))[0]["messages"])
    calls: list[tuple[str, dict[str, Any]]] = []
    for n in range(10):
        calls.append(("add_comment", {"ticket_id": "T-00042", "body": f"comment {n}"}))
        calls.append(("get_ticket", {"ticket_id": "T-00042"}))
    answers = await at_once(tickets, calls)
    assert not [a for a in answers if isinstance(a, str)]
    after = (await at_once(tickets, [("get_ticket", {"ticket_id": "T-00042"})]))[0]["messages"]
    assert len(after) == before + 10
    assert len({m["message_id"] for m in after}) == len(after)


async def test_only_one_of_several_closes_a_ticket(fresh: Callable[[str], Any]) -> None:
    tickets = fresh("tickets").server
    calls = [("close_ticket", {"ticket_id": "T-04461", "reason": f"reason {n}"}) for n in range(6)]
    answers = await at_once(tickets, calls)
    assert sum(isinstance(a, dict) for a in answers) == 1
    assert all("closed already" in a for a in answers if isinstance(a, str))


@pytest.mark.slow
async def test_tables_answer_queries_and_figures_at_once_while_a_file_changes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n\n" + "\n".join(str(n) for n in range(1000)) + "\n")
    folder = Folder(tmp_path, threads=1)
    calls: list[tuple[str, dict[str, Any]]] = []
    for n in range(15):
        calls.append(("query", {"sql": "select count(*) as c from t where n < ?", "parameters": [n]}))
        calls.append(("count_rows", {"table": "t", "filters": [{"column": "n", "op": "<", "value": n}]}))
        calls.append(("describe_table", {"table": "t"}))
    server = build(folder)
    first = asyncio.create_task(at_once(server, calls))
    (tmp_path / "u.csv").write_text("m\n1\n")
    answers = await first
    assert not [a for a in answers if isinstance(a, str)]
    assert [a["rows"][0]["c"] for a in answers[0::3]] == list(range(15))
    assert [a["count"] for a in answers[1::3]] == list(range(15))
    assert (await at_once(server, [("count_rows", {"table": "u"})]))[0]["count"] == 1
    folder.close()


@pytest.mark.slow
async def test_a_slow_query_does_not_hold_up_other_tools(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("n\n1\n")
    folder = Folder(tmp_path, threads=1)
    server = build(folder, timeout_s=1.0)
    slow = ("query", {"sql": "select sum(a.range * b.range) from range(1000000) a, range(1000000) b"})
    answers = await at_once(server, [slow, *[("count_rows", {"table": "t"})] * 20])
    assert "longer than 1 s" in answers[0]
    assert [a["count"] for a in answers[1:]] == [1] * 20
    folder.close()


@pytest.mark.slow
def test_a_worker_that_is_killed_is_started_again_and_one_that_retires_ends_its_query(tmp_path: Path) -> None:
    from servers.tables.answers import QueryFailed
    from servers.tables.worker import Worker

    (tmp_path / "t.csv").write_text("n\n1\n")
    folder = Folder(tmp_path, threads=1)
    views = list(folder.snapshot().views)
    worker = Worker(views, memory_mb=128, threads=1)
    assert worker.run("select n from t", [], most_rows=5, timeout_s=5)["rows"] == [{"n": 1}]
    process = worker._process
    assert process
    process.kill()
    process.wait()
    assert worker.run("select n from t", [], most_rows=5, timeout_s=5)["rows"] == [{"n": 1}]
    with pytest.raises(QueryFailed, match=r"longer than 0\.2 s"):
        worker.run("select count(*) from range(100000000000)", [], most_rows=5, timeout_s=0.2)
    again = worker._process
    worker.retire()
    assert again
    assert again.wait(10) != 0
    with pytest.raises(QueryFailed, match="have changed"):
        worker.run("select n from t", [], most_rows=5, timeout_s=5)
    folder.close()
