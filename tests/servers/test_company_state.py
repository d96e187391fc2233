"""Changes are kept beside the sample, seen by every server, and survive a torn write."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from servers.company import Company

CLOSE = {"table": "tickets", "key": {"ticket_id": "T-00001"}, "set": {"status": "open"}}


def status(company: Company, ticket_id: str = "T-00001") -> str:
    row = company.one("select status from tickets where ticket_id = ?", ticket_id)
    assert row
    return str(row["status"])


def test_a_change_is_seen_by_other_processes_and_after_a_restart(tmp_path: Path) -> None:
    one, other = Company("tickets", state=tmp_path), Company("tickets", "customers", state=tmp_path)
    assert status(one) == status(other) == "closed"
    with one.writing("test") as write:
        write(CLOSE)
    assert status(one) == status(other) == "open"
    assert status(Company("tickets", state=tmp_path)) == "open"


def test_a_server_without_the_table_reads_on(tmp_path: Path) -> None:
    with Company("tickets", state=tmp_path).writing("test") as write:
        write(CLOSE)
    assert Company("products", state=tmp_path).one("select count(*) as n from products")


def test_nothing_is_written_when_the_block_raises(tmp_path: Path) -> None:
    company = Company("tickets", state=tmp_path)

    def write_and_fail() -> None:
        with company.writing("test") as write:
            write(CLOSE)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_fail()
    assert status(company) == "closed"
    assert (tmp_path / "changes.jsonl").read_bytes() == b""


def test_half_a_line_of_a_killed_writer_is_not_applied_and_then_removed(tmp_path: Path) -> None:
    company = Company("tickets", state=tmp_path)
    with company.writing("test") as write:
        write(CLOSE)
    with (tmp_path / "changes.jsonl").open("ab") as file:
        file.write(b'{"changes": [{"table": "tickets", "key": {"ticket_id": "T-00002"}, "se')
    assert status(company, "T-00002") == "closed"
    with company.writing("test") as write:
        write({**CLOSE, "key": {"ticket_id": "T-00003"}})
    lines = (tmp_path / "changes.jsonl").read_text().splitlines()
    assert [json.loads(line)["changes"][0]["key"]["ticket_id"] for line in lines] == ["T-00001", "T-00003"]
    assert status(company, "T-00003") == "open"


def test_a_change_of_an_unknown_column_is_refused_before_it_is_written(tmp_path: Path) -> None:
    company = Company("tickets", state=tmp_path)
    with pytest.raises(ValueError, match="mood"), company.writing("test") as write:
        write({"table": "tickets", "key": {"ticket_id": "T-00001"}, "set": {"mood": "bad"}})
    assert (tmp_path / "changes.jsonl").read_bytes() == b""


def test_writers_at_the_same_time_wait_for_each_other(tmp_path: Path) -> None:
    seen: list[int] = []

    def count_up() -> None:
        company = Company("tickets", state=tmp_path)
        for _ in range(5):
            with company.writing("test") as write:
                row = company.one("select satisfaction as n from tickets where ticket_id = 'T-00001'")
                assert row is not None
                seen.append(row["n"] or 0)
                number = (row["n"] or 0) + 1
                write({"table": "tickets", "key": {"ticket_id": "T-00001"}, "set": {"satisfaction": number}})

    with Company("tickets", state=tmp_path).writing("test") as write:
        write({"table": "tickets", "key": {"ticket_id": "T-00001"}, "set": {"satisfaction": 0}})
    threads = [threading.Thread(target=count_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(20)), "no update was lost"


def test_the_database_reaches_no_file_and_no_setting(tmp_path: Path) -> None:
    import duckdb

    company = Company("products", state=tmp_path)
    for sql in ("select * from read_text('/etc/passwd')", f"copy products to '{tmp_path}/x.csv'", "set threads = 4"):
        with pytest.raises(duckdb.Error):
            company.rows(sql)


def test_a_missing_sample_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m data\.generator"):
        Company("products", data=tmp_path).rows("select 1")
