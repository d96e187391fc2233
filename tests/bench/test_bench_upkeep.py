"""Counters find their way into the record by themselves, and only when they change."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from workbench.audit import questions
from workbench.client import Workbench
from workbench.events import NotRecordedError
from workbench.platform import housekeeping as module
from workbench.platform.housekeeping import Housekeeping, MetricsSampler
from workbench.platform.platform import Platform


def on_loop(wb: Workbench, function: Any, *arguments: Any) -> Any:
    return wb._loop.portal.call(function, *arguments)


def test_the_record_holds_what_prometheus_sees(wb: Workbench, platform: Platform) -> None:
    sampler = MetricsSampler(platform)
    wb.call("crm.search_customers", query="smith")
    assert on_loop(wb, sampler.sample) > 10
    shown = on_loop(wb, platform.metrics).decode()
    counted = wb.sql(
        "select max(value) as v from metrics where name = 'workbench_calls_total' "
        "and labels ->> '$.tool' = 'crm.search_customers' and labels ->> '$.outcome' = 'ok'"
    )["v"][0]
    line = next(
        x
        for x in shown.splitlines()
        if "calls_total" in x and 'outcome="ok"' in x and 'tool="crm.search_customers"' in x
    )
    assert float(line.split()[-1]) == counted
    buckets = wb.sql("select type, unit, labels from metrics where name = 'workbench_call_seconds_bucket'")
    assert set(buckets["type"]) == {"histogram"}
    assert set(buckets["unit"]) == {"seconds"}
    assert "+Inf" in {json.loads(labels)["le"] for labels in buckets["labels"]}


def test_what_did_not_change_is_not_written_again(wb: Workbench, platform: Platform) -> None:
    sampler = MetricsSampler(platform)
    on_loop(wb, sampler.sample)
    assert on_loop(wb, sampler.sample) == 0
    wb.call("crm.search_customers", query="jones")
    assert 0 < on_loop(wb, sampler.sample) < 25


def test_the_saved_question_counts_calls_per_minute(wb: Workbench, platform: Platform) -> None:
    on_loop(wb, platform.upkeep.sampler.sample)
    for _ in range(3):
        wb.call("tickets.search_tickets", query="printer")
    on_loop(wb, platform.upkeep.sampler.sample)
    question = next(q for q in questions() if q.name == "calls_per_minute")
    rows = wb.sql(question.sql, question.parameters)
    assert rows[rows["server"] == "tickets"]["calls"].sum() >= 3


def test_the_task_samples_by_itself_and_survives_a_log_that_cannot_be_written(
    wb: Workbench, platform: Platform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "SAMPLE_INTERVAL_S", 0.001)
    sampled: list[int] = []

    async def run() -> None:
        upkeep, twice = Housekeeping(platform), asyncio.Event()

        def sample() -> int:
            sampled.append(1)
            if len(sampled) > 1:
                twice.set()
            raise NotRecordedError("the disk is full")

        monkeypatch.setattr(upkeep.sampler, "sample", sample)
        upkeep.start()
        await asyncio.wait_for(twice.wait(), 10)
        await upkeep.stop()
        await upkeep.stop()

    on_loop(wb, run)
    assert "metrics were not sampled" in caplog.text
