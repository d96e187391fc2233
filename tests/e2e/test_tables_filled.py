"""Every table of the record is filled by using the platform, and says what it holds."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import workbench
from workbench.audit.query.views import TABLES
from workbench.events import new_id, now_us
from workbench.platform.load_run import summarise
from workbench.platform.prometheus import PlatformCollector

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
EXPECTED = {
    "tool_calls", "decisions", "approvals", "runs", "turns", "registry_events", "health_checks", "metrics",
    "load_runs", "load_requests",
}  # fmt: skip


def until(found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_each_kind_of_thing_that_is_done_has_a_row_in_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.platform.housekeeping.SAMPLE_INTERVAL_S", 0.5)
    chosen = {"servers": ("crm", "tickets"), "health_interval": 0.3}
    with workbench.open(home=tmp_path / "home", attach=False, source="cli", **chosen) as wb:

        def count(table: str) -> int:
            return int(wb.sql(f"select count(*) as n from {table}")["n"][0])

        assert wb.call("crm.search_customers", query="a").ok
        asked = wb.call("tickets.close_ticket", ticket_id="T-00001", reason="duplicate")
        assert asked.kind == "approval_required"
        wb.deny(asked.outcome.details["approval"], note="not today")
        assert wb.ask("How many customers are there?", provider="planner").done
        wb.restart("crm")
        request = {"name": "crm.search_customers", "ok": True, "latency_us": 900, "timestamp": now_us()}
        run = {"id": new_id(), "profile": "smoke", "users": 1, **summarise([request])}
        wb.record_load(run, [{**request, "run": run["id"]}])
        until(lambda: count("metrics") > 0 and count("health_checks") > 0)

        empty = {table for table in EXPECTED if count(table) == 0}
        assert not empty
        refused = wb.sql("select * from decisions where policy_rule = 'tool_scopes.approval'")
        assert set(refused["qualified"]) == {"tickets.close_ticket"}
        assert set(wb.sql("select event from approvals")["event"]) >= {"requested", "denied"}
        assert wb.sql("select r.run_id from runs r join turns t using (run_id)").shape[0] >= 1
        assert set(wb.sql("select server from registry_events")["server"]) >= {"crm", "tickets"}
        joined = wb.sql("select q.name, r.users from load_requests q join load_runs r using (run_id)")
        assert joined.to_dict("records") == [{"name": "crm.search_customers", "users": 1}]

        def sampled() -> dict[tuple[str, str], float]:
            rows = wb.sql(
                "select labels ->> '$.tool' as tool, labels ->> '$.outcome' as outcome, arg_max(value, ts) as value "
                "from metrics where name = 'workbench_calls_total' group by all"
            )
            return {(row["tool"], row["outcome"]): row["value"] for row in rows.to_dict("records")}

        def shown() -> dict[tuple[str, str], float]:
            platform = wb._backend.platform  # type: ignore[union-attr]
            families = PlatformCollector(platform, platform.settings.tenant).collect()
            samples = [s for family in families for s in family.samples if s.name == "workbench_calls_total"]
            return {(s.labels["tool"], s.labels["outcome"]): s.value for s in samples}

        until(lambda: sampled() == shown())
        assert sum(shown().values()) == count("tool_calls")


def test_every_table_and_every_column_says_what_it_means(tmp_path: Path) -> None:
    with workbench.open(home=tmp_path / "home", servers=(), attach=False) as wb:
        tables = wb.sql("select name, meaning from tables")
        columns = wb.sql("select table_name, column_name, meaning from table_columns")
    assert set(TABLES) >= EXPECTED
    assert set(tables["name"]) == set(TABLES)
    assert set(columns["table_name"]) == set(TABLES)
    assert tables[tables["meaning"].str.len() < 10].empty
    assert columns[columns["meaning"].str.len() < 5].to_dict("records") == []
