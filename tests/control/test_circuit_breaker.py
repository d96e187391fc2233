"""The circuit breaker before OPA and Redis."""

from __future__ import annotations

import threading

from workbench.control.circuit_breaker import CircuitBreaker


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock) -> CircuitBreaker:
    breaker = CircuitBreaker(3, 1.0, 4.0, clock=clock)
    for _ in range(3):
        assert breaker.admit()
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(3, clock=Clock())
    for ended in (breaker.failed, breaker.failed, breaker.succeeded, breaker.failed, breaker.failed):
        assert breaker.admit()
        ended()
    assert breaker.state == "closed"
    breaker.failed()
    assert (breaker.state, breaker.admit()) == ("open", False)


def test_after_the_pause_exactly_one_call_probes() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1.0
    admitted: list[bool] = []
    together = threading.Barrier(8)

    def one() -> None:
        together.wait()
        admitted.append(breaker.admit())

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(admitted) == [False] * 7 + [True]
    assert breaker.state == "half-open"


def test_a_probe_that_succeeds_closes_it() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1.0
    assert breaker.admit()
    breaker.succeeded()
    assert (breaker.state, breaker.admit(), breaker.admit()) == ("closed", True, True)


def test_every_probe_that_fails_doubles_the_pause_up_to_the_longest() -> None:
    clock = Clock()
    breaker = opened(clock)
    for pause in (1.0, 2.0, 4.0, 4.0):
        clock.now += pause - 0.01
        assert not breaker.admit()
        clock.now += 0.01
        assert breaker.admit()
        breaker.failed()


def test_a_probe_that_was_given_up_makes_room_for_the_next() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1.0
    assert breaker.admit()
    breaker.released()
    assert breaker.admit()
