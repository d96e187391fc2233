"""Rate limits and quotas: exact, per identity, and correct when many call at once."""

from __future__ import annotations

import threading

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.events import Caller, Tool
from workbench.policy import RateLimits
from workbench.policy.limits import rate_limits

change = msgspec.structs.replace
ANN = Caller(tenant="acme", subject="ann")
FIND = Tool(server="crm", name="find")


class Clock:
    """Seconds that the test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def no_quota(tenant: str, tool: str) -> int:
    return 0


def test_the_call_after_the_last_one_waits_until_the_first_is_a_minute_old() -> None:
    clock = Clock()
    limit = RateLimits(3, no_quota, clock=clock)
    for _ in range(3):
        assert limit.check(ANN, FIND) is None
        clock.at += 10
    assert limit.check(ANN, FIND) == pytest.approx(30)
    clock.at += 29.9
    assert limit.check(ANN, FIND) == pytest.approx(0.1)
    clock.at += 0.2
    assert limit.check(ANN, FIND) is None
    assert limit.check(ANN, FIND) == pytest.approx(9.9)


def test_refused_calls_do_not_prolong_the_wait() -> None:
    clock = Clock()
    limit = RateLimits(1, no_quota, clock=clock)
    assert limit.check(ANN, FIND) is None
    for _ in range(100):
        assert limit.check(ANN, FIND) == pytest.approx(60)
    clock.at += 60
    assert limit.check(ANN, FIND) is None


def test_the_identity_counts_not_the_key_the_session_or_the_role() -> None:
    limit = RateLimits(2, no_quota, clock=Clock())
    assert limit.check(ANN, FIND) is None
    assert limit.check(change(ANN, credential="another-key", roles=("owner",), method="key"), FIND) is None
    assert limit.check(ANN, FIND) is not None
    assert limit.check(change(ANN, subject="bob"), FIND) is None
    assert limit.check(change(ANN, tenant="globex"), FIND) is None


def test_names_that_run_together_are_different_identities() -> None:
    limit = RateLimits(1, no_quota, clock=Clock())
    assert limit.check(Caller(tenant="a", subject="b.c"), FIND) is None
    assert limit.check(Caller(tenant="a.b", subject="c"), FIND) is None
    assert limit.check(Caller(tenant="crm.find", subject="a"), FIND) is None


def test_a_quota_is_shared_by_the_callers_of_a_tenant_and_by_nobody_else() -> None:
    clock = Clock()
    limit = RateLimits(100, lambda tenant, tool: 2 if (tenant, tool) == ("acme", "crm.find") else 0, clock=clock)
    assert limit.check(ANN, FIND) is None
    clock.at += 15
    assert limit.check(change(ANN, subject="bob"), FIND) is None
    assert limit.used("acme", "crm.find") == 2
    assert limit.check(change(ANN, subject="cy"), FIND) == pytest.approx(45)
    assert limit.numbers(change(ANN, subject="cy"), FIND) == {"name": "tool", "limit": 2, "remaining": 0, "reset_s": 45}
    assert limit.check(ANN, change(FIND, name="other")) is None
    assert limit.check(change(ANN, tenant="globex"), FIND) is None


def test_a_call_that_the_quota_refuses_is_not_held_against_the_caller() -> None:
    limit = RateLimits(5, lambda *_: 1, clock=Clock())
    for _ in range(10):
        limit.check(ANN, FIND)
    assert limit.numbers(ANN, change(FIND, name="other"))["remaining"] == 1
    assert limit._windows["caller", "acme", "ann"].__len__() == 1


def test_a_quota_that_cannot_be_found_out_refuses() -> None:
    def broken(tenant: str, tool: str) -> int:
        raise RuntimeError("no rules")

    limit = RateLimits(5, broken)
    assert limit.check(ANN, FIND) == rate_limits.WINDOW_S
    assert limit.numbers(ANN, FIND)["remaining"] == 0


def test_headers_say_what_is_left_and_when_it_comes_back() -> None:
    clock = Clock()
    limit = RateLimits(3, no_quota, clock=clock)
    assert limit.headers(ANN, FIND) == {
        "RateLimit-Limit": "3",
        "RateLimit-Remaining": "3",
        "RateLimit-Reset": "0",
    }
    limit.check(ANN, FIND)
    clock.at += 12.5
    assert limit.headers(ANN, FIND) == {
        "RateLimit-Limit": "3",
        "RateLimit-Remaining": "2",
        "RateLimit-Reset": "48",
    }


@given(st.integers(1, 5), st.lists(st.floats(0, 30), max_size=60))
def test_no_minute_ever_holds_more_than_the_limit_and_no_wait_is_longer_than_needed(
    per_minute: int, pauses: list[float]
) -> None:
    clock = Clock()
    limit = RateLimits(per_minute, no_quota, clock=clock)
    accepted: list[float] = []
    for pause in pauses:
        clock.at += pause
        recent = [t for t in accepted if t > clock.at - 60]
        wait = limit.check(ANN, FIND)
        if len(recent) < per_minute:
            assert wait is None
            accepted.append(clock.at)
        else:
            assert wait == pytest.approx(max(recent[-per_minute] + 60 - clock.at, 0.001), abs=1e-6)


def test_a_burst_from_many_threads_gets_exactly_the_limit() -> None:
    limit = RateLimits(100, lambda *_: 70, clock=Clock())
    accepted: list[bool] = []
    start = threading.Barrier(8)

    def burst() -> None:
        start.wait()
        accepted.extend(limit.check(ANN, FIND) is None for _ in range(50))

    threads = [threading.Thread(target=burst) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(accepted) == 70


def test_idle_callers_are_forgotten_and_busy_ones_never(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_SWEEP_FROM", 10)
    clock = Clock()
    limit = RateLimits(1, no_quota, clock=clock)
    limit._sweep_at = 10
    assert limit.check(ANN, FIND) is None
    for i in range(200):
        assert limit.check(change(ANN, subject=f"u{i}"), FIND) is None
    assert limit.check(ANN, FIND) is not None
    clock.at += 61
    for i in range(450):
        limit.check(change(ANN, subject=f"v{i}"), FIND)
    assert ("caller", "acme", "u5") not in limit._windows
    assert len(limit._windows) <= 450 + 201


def test_a_credential_with_a_rate_of_its_own_is_measured_by_that() -> None:
    clock = Clock()
    limit = RateLimits(2, no_quota, clock=clock)
    wide = change(ANN, rate_per_minute=3)
    assert [limit.check(wide, FIND) for _ in range(3)] == [None] * 3
    assert limit.numbers(wide, FIND)["limit"] == 3
    assert limit.check(wide, FIND) == pytest.approx(60)
    assert limit.check(ANN, FIND) == pytest.approx(60), "the same person's other key opens no further window"
