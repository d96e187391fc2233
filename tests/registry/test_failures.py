"""When a server that fails is tried again, and what is said of it."""

from __future__ import annotations

from workbench.registry.processes.failed_starts import MAX_PERMANENT_RETRY_S, MAX_RETRY_S, StartFailures


def test_pauses_double_up_to_a_bound() -> None:
    failures = StartFailures(0.5)
    pauses = []
    for n in range(12):
        failures.add(f"reason {'abc'[n % 3]}", was_ready=False)
        pauses.append(failures.pause)
    assert pauses[:3] == [0.5, 1.0, 2.0]
    assert pauses[-1] == MAX_RETRY_S
    assert failures.remark("s") == ""


def test_the_same_reason_again_and_again_is_said_with_a_remedy_and_tried_seldom() -> None:
    failures = StartFailures(0.5)
    for pid in range(20):
        failures.add(f"process {pid} at 0x{pid:x}: no key", was_ready=False)
    assert failures.permanent
    assert failures.pause == MAX_PERMANENT_RETRY_S
    assert "failure 20 in a row" in failures.remark("crm")
    assert "`workbench servers restart crm`" in failures.remark("crm")
    failures.reset()
    assert failures.pause == 0.5
    assert not failures.permanent


def test_a_server_that_was_ready_in_between_has_no_permanent_failure() -> None:
    failures = StartFailures(0.5)
    for _ in range(10):
        failures.add("It crashed.", was_ready=True)
    assert not failures.permanent
    assert failures.pause == MAX_RETRY_S
