"""The breaker of a replica: when it opens, and that it always recovers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from workbench.registry.replica_breaker import FIRST_PAUSE_S, MAX_FAILURES, MAX_PAUSE_S, SLOW_RETURN_S, ReplicaBreaker


class Watched:
    """A breaker with a clock of ours, and what it said."""

    def __init__(self) -> None:
        self.now = 100.0
        self.said: list[str] = []
        self.breaker = ReplicaBreaker(lambda state, why: self.said.append(state), clock=lambda: self.now)

    def open(self) -> None:
        for _ in range(MAX_FAILURES):
            self.breaker.begun()
            self.breaker.failed("gone")


def test_it_opens_after_failures_in_a_row_only() -> None:
    watched = Watched()
    for _ in range(20):
        watched.breaker.failed("gone")
        watched.breaker.succeeded()
    assert watched.said == []
    watched.open()
    assert watched.said == ["open"]
    assert not watched.breaker.admits
    assert watched.breaker.retry_s >= 1


def test_a_health_check_lets_one_call_through_and_its_answer_closes() -> None:
    watched = Watched()
    watched.open()
    watched.breaker.probed(True)
    assert watched.breaker.admits
    watched.breaker.begun()
    assert not watched.breaker.admits
    watched.breaker.succeeded()
    assert watched.said == ["open", "half-open", "closed"]
    assert watched.breaker.share < 1
    watched.now += SLOW_RETURN_S
    assert watched.breaker.share == 1


def test_each_failed_probe_doubles_the_pause_up_to_its_longest() -> None:
    watched = Watched()
    watched.open()
    assert watched.breaker.probe_in == FIRST_PAUSE_S
    pauses = []
    for _ in range(8):
        watched.now += watched.breaker.probe_in
        watched.breaker.probed(False)
        pauses.append(watched.breaker.probe_in)
    assert pauses == [2, 4, 8, 16, 30, 30, 30, 30]
    assert max(pauses) == MAX_PAUSE_S


def test_a_slow_tool_does_not_speak_against_a_server_that_answers_others() -> None:
    watched = Watched()
    for _ in range(20):
        began = watched.breaker.begun()
        watched.now += 1
        watched.breaker.succeeded()
        watched.breaker.fell_silent(began)
    assert watched.breaker.state == "closed"
    for _ in range(MAX_FAILURES):
        watched.now += 1
        watched.breaker.fell_silent(watched.breaker.begun())
    assert watched.breaker.state == "open"


ACTIONS: dict[str, Any] = {
    "begin": lambda w: w.breaker.admits and w.breaker.begun(),
    "succeed": lambda w: w.breaker.succeeded(),
    "fail": lambda w: w.breaker.failed("gone"),
    "silence": lambda w: w.breaker.fell_silent(w.now),
    "release": lambda w: w.breaker.released(),
    "probe": lambda w: w.breaker.probed(True),
    "probe in vain": lambda w: w.breaker.probed(False),
    "wait": lambda w: setattr(w, "now", w.now + 7),
}


@given(st.lists(st.sampled_from(sorted(ACTIONS)), max_size=60))
def test_whatever_has_happened_it_recovers_once_the_replica_is_well(history: list[str]) -> None:
    watched = Watched()
    for action in history:
        ACTIONS[action](watched)
    breaker = watched.breaker
    assert breaker.probe_in == float("inf") or breaker.probe_in <= MAX_PAUSE_S
    breaker.released()  # calls under way always end somehow
    if breaker.state == "open":
        watched.now += breaker.probe_in
        breaker.probed(True)
    assert breaker.admits
    breaker.begun()
    breaker.succeeded()
    assert breaker.state == "closed"
    assert 0 < breaker.share <= 1
