"""What the platform does about policy by itself, and how its doors show it."""

from __future__ import annotations

from typing import Any

from workbench.client import Workbench
from workbench.events import Call, now_us
from workbench.platform.platform import Platform


def test_approvals_that_ended_are_put_on_the_record_once(wb: Workbench, platform: Platform) -> None:
    caller = platform.access.local_caller()
    tool = next(t for t in platform.tools(caller) if t.destructive)
    made = Call(caller=caller, tool=tool.qualified, arguments={"id": "of a call that nobody decides"})
    approvals = platform.policy.approvals
    asked = approvals.request(made, tool)
    clock, approvals._clock = approvals._clock, lambda: now_us() + 16 * 60 * 1_000_000
    try:
        assert wb._loop.portal.call(platform.expire_approvals) >= 1
        assert wb._loop.portal.call(platform.expire_approvals) == 0
    finally:
        approvals._clock = clock
    found = wb.sql("select event, status from approvals where approval_id = $id", {"id": asked.id})
    assert found.to_dict("records") == [{"event": "expired", "status": "expired"}]


def test_the_status_names_engine_and_problems_of_policy_and_roles(wb: Workbench, api: Any) -> None:
    status = api("GET", "/status").json()
    assert status["policy"]["engine"] == "embedded-rego"
    assert status["policy"]["problem"] == ""
    assert status["access"] == {"problem": ""}
    assert wb.status()["access"] == {"problem": ""}


def test_a_used_up_rate_is_a_429_with_headers_over_rest(platform: Platform, api: Any) -> None:
    _, token = platform.access.create_key("of the rate", roles=("owner",))
    limits = platform.policy.limits
    before, limits._per_minute = limits._per_minute, 1
    try:
        tool = {"tool": "payments.list_invoices", "arguments": {}}
        first = api("POST", "/api/platform/call", json=tool, token=token)
        assert first.status_code != 429
        second = api("POST", "/api/platform/call", json=tool, token=token)
    finally:
        limits._per_minute = before
    assert (second.status_code, second.headers["ratelimit-limit"], second.headers["ratelimit-remaining"]) == (
        429,
        "1",
        "0",
    )
    assert 1 <= int(second.headers["retry-after"]) <= int(second.headers["ratelimit-reset"]) <= 60
