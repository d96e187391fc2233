"""Figures of load runs: percentiles are of successes, and a run without a success has none."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.events import MisuseError
from workbench.platform.load_run import batches, check_load, profiles, run_load, summarise
from workbench.platform.run_file import RunningPlatform


def request(latency: int, ok: bool = True, at: int = 0) -> dict[str, object]:
    return {"timestamp": at, "latency_us": latency, "ok": ok}


def test_percentiles_are_nearest_ranks_of_successes_only() -> None:
    found = summarise([request(i * 100, at=i) for i in range(1, 101)] + [request(1, ok=False)])
    assert (found["p50_us"], found["p95_us"], found["p99_us"]) == (5100, 9600, 10000)
    assert (found["requests"], found["failures"]) == (101, 1)


def test_a_run_that_only_failed_has_no_percentiles() -> None:
    assert summarise([request(3, ok=False)])["p99_us"] is None


def test_the_rate_covers_the_time_from_first_to_last() -> None:
    found = summarise([request(500_000, at=0), request(500_000, at=1_500_000)])
    assert found["requests_per_second"] == 1.0


def test_requests_travel_in_portions_and_none_is_lost() -> None:
    rows = [request(i) for i in range(4500)]
    portions = list(batches(rows))
    assert [len(p) for p in portions] == [2000, 2000, 500]
    assert [row for portion in portions for row in portion] == rows


@pytest.mark.parametrize(("run", "rows"), [({}, []), ({"id": "r", "requests": 1, "failures": 0}, [{"ok": True}])])
def test_what_is_no_load_run_is_refused(run: dict[str, object], rows: list[dict[str, object]]) -> None:
    with pytest.raises(MisuseError, match="lacks"):
        check_load(run, rows)


RUNNING = RunningPlatform(url="http://127.0.0.1:1", app_url="", pid=1, started=0, token="", version="0")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"profile": "nonsense"}, "no load profile 'nonsense'"),
        ({"users": 0}, "users=0"),
        ({"users": -3}, "users=-3"),
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": -1.0}, "seconds=-1"),
        ({"seconds": float("inf")}, "seconds=inf"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"spawn_rate": 0}, "spawn_rate=0"),
    ],
)
def test_a_run_that_cannot_be_meant_is_refused_before_it_begins(given: dict[str, Any], said: str) -> None:
    with pytest.raises(MisuseError, match=said):
        run_load(RUNNING, "", **{"users": 1, "spawn_rate": 1.0, "seconds": 1.0, "profile": "smoke", **given})


def test_the_profiles_that_ship_are_named() -> None:
    assert "smoke" in profiles()
