"""The call path: each step, each refusal, and the record of all of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from workbench.events import JSON, Call, NotRecordedError, UnreachableError
from workbench.registry.connection import RpcError
from workbench.upstream.negotiation import IncompleteAnswerError


def call(house: Any, tool: str, arguments: JSON | None = None, **more: Any) -> Call:
    return Call(caller=more.pop("caller", None) or house.owner, tool=tool, arguments=arguments or {}, **more)


async def test_an_allowed_call_is_answered_and_recorded(house: Any) -> None:
    asked = call(house, "calc.add", {"a": 1, "b": 2}, run="r1", step="s1")
    outcome = await house.gateway.call(asked)
    assert outcome.ok
    assert outcome.data == {"total": 3}
    assert outcome.server == "calc"
    assert outcome.decision.allow
    assert outcome.latency_us >= outcome.upstream_us > 0
    assert outcome.result_bytes > 20
    (record,) = house.recorded()
    assert (record["request_id"], record["outcome"], record["tool"]) == (asked.id, "ok", "calc.add")
    assert (record["run_id"], record["step_id"], record["trace_id"]) == ("r1", "s1", asked.trace_id)
    assert record["args_redacted"] == {"a": 1, "b": 2}


async def test_a_tool_that_fails_is_an_outcome_with_its_own_words(house: Any) -> None:
    outcome = await house.gateway.call(call(house, "calc.fail"))
    assert (outcome.kind, outcome.ok) == ("tool_error", False)
    assert "use search first" in outcome.message
    assert outcome.result["isError"] is True
    assert house.outcomes() == ["tool_error"]


@pytest.mark.parametrize(
    ("arguments", "path", "given", "expected"),
    [
        ({"a": "x", "b": 1}, "a", '"x"', "integer"),
        ({"a": 1, "b": -5}, "b", "-5", "minimum 0"),
        ({"b": 5}, "a", "nothing", "integer"),
    ],
)
async def test_arguments_that_do_not_fit_are_named_with_what_was_expected(
    house: Any, arguments: JSON, path: str, given: str, expected: str
) -> None:
    outcome = await house.gateway.call(call(house, "calc.add", arguments))
    assert outcome.kind == "invalid"
    assert (outcome.details["path"], outcome.details["given"], outcome.details["expected"]) == (path, given, expected)
    assert path in outcome.message
    assert house.calc.calls == []
    assert house.outcomes() == ["invalid"]


async def test_an_unknown_tool_gets_suggestions_that_the_caller_may_see(house: Any) -> None:
    outcome = await house.gateway.call(call(house, "calc.ad"))
    assert outcome.kind == "not_found"
    assert outcome.details["suggestions"][0] == "calc.add"
    assert "Did you mean calc.add" in outcome.message
    stranger = house.caller(scopes=("tickets:read",))
    outcome = await house.gateway.call(call(house, "calc.ad", caller=stranger))
    assert outcome.details["suggestions"] == []
    assert house.outcomes() == ["not_found", "not_found"]


async def test_missing_scopes_are_all_named_with_the_rule(house: Any) -> None:
    reader = house.caller(scopes=("calc:read",))
    assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 1}, caller=reader))).ok
    outcome = await house.gateway.call(call(house, "calc.fail", caller=reader))
    assert outcome.kind == "denied"
    assert outcome.details["missing_scopes"] == ["calc:write"]
    assert outcome.details["rule"] == "tool_scopes.missing_scopes"
    assert "calc:write" in outcome.message
    assert house.outcomes() == ["ok", "denied"]


async def test_who_may_not_call_a_tool_learns_nothing_about_its_arguments(house: Any) -> None:
    stranger = house.caller(scopes=("tickets:read",))
    outcome = await house.gateway.call(call(house, "calc.add", {"nonsense": 1}, caller=stranger))
    assert outcome.kind == "denied"
    assert "integer" not in outcome.message


async def test_calls_beyond_the_rate_are_told_how_long_to_wait(furnish: Any) -> None:
    house = await furnish(rate_per_minute=2)
    for _ in range(2):
        assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 1}))).ok
    outcome = await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 1}))
    assert outcome.kind == "throttled"
    assert 1 <= outcome.details["retry_after"] <= 60
    assert house.outcomes() == ["ok", "ok", "throttled"]


async def test_a_destructive_tool_runs_once_per_approval_of_exactly_that_call(house: Any) -> None:
    gateway, approvals = house.gateway, house.policy.approvals
    first = await gateway.call(call(house, "calc.erase", {"what": "all"}))
    assert first.kind == "approval_required"
    assert first.details["approval"] in first.message
    again = await gateway.call(call(house, "calc.erase", {"what": "all"}))
    assert again.details["approval"] == first.details["approval"]
    assert house.calc.calls == []
    approvals.decide(first.details["approval"], True, "bob")
    other = await gateway.call(call(house, "calc.erase", {"what": "more"}))
    assert other.kind == "approval_required"
    named = {"_meta": {"workbench/approval": first.details["approval"]}}
    assert (await gateway.call(call(house, "calc.erase", {"what": "all"}, meta=named))).ok
    assert (await gateway.call(call(house, "calc.erase", {"what": "all"}))).kind == "approval_required"
    assert house.calc.calls == ["erase all"]
    assert [record["outcome"] for record in house.recorded("approval")] == [
        "requested",
        "requested",
        "used",
        "requested",
    ]


async def test_the_record_of_a_call_names_the_approval_that_it_used_however_it_ended(house: Any) -> None:
    for arguments, kind in (
        ({"what": "all"}, "ok"),
        ({"what": "nothing"}, "tool_error"),
        ({"what": "for ever"}, "timeout"),
    ):
        asked = call(house, "calc.erase", arguments, timeout_s=0.2)
        id = (await house.gateway.call(asked)).details["approval"]
        house.policy.approvals.decide(id, True, "bob")
        outcome = await house.gateway.call(call(house, "calc.erase", arguments, timeout_s=0.2))
        record = house.recorded()[-1]
        assert (outcome.kind, record["outcome"], record["approval_id"]) == (kind, kind, id)
        assert outcome.details["approval_id"] == id


async def test_an_approval_is_not_asked_for_by_a_call_that_is_wrong_anyway(house: Any) -> None:
    outcome = await house.gateway.call(call(house, "calc.erase", {"waht": "all"}))
    assert outcome.kind == "invalid"
    assert house.policy.approvals.pending("local") == []


async def test_a_server_that_hangs_ends_at_the_deadline_and_is_told(house: Any) -> None:
    outcome = await house.gateway.call(call(house, "calc.hang", timeout_s=0.2))
    assert outcome.kind == "timeout"
    assert "0.2 s" in outcome.message
    async with asyncio.timeout(5):
        await house.calc.cancelled.wait()
    assert house.outcomes() == ["timeout"]


async def test_the_configured_deadline_wins_over_a_longer_one_of_the_caller(furnish: Any) -> None:
    house = await furnish(call_timeout=0.2)
    outcome = await house.gateway.call(call(house, "calc.hang", timeout_s=3600.0))
    assert outcome.details["timeout_s"] == 0.2


async def test_a_cancelled_call_reaches_the_server_and_is_recorded_once(house: Any) -> None:
    task = asyncio.create_task(house.gateway.call(call(house, "calc.hang")))
    async with asyncio.timeout(5):
        await house.calc.started.wait()
        task.cancel()
        await house.calc.cancelled.wait()
    with pytest.raises(asyncio.CancelledError):
        await task
    await house.audit.close()
    assert house.outcomes() == ["cancelled"]


async def test_progress_reaches_whoever_calls(house: Any) -> None:
    heard: list[JSON] = []

    async def notify(message: JSON) -> None:
        heard.append(message["params"])

    asked = call(house, "calc.steps", meta={"_meta": {"progressToken": "t"}})
    assert (await house.gateway.call(asked, notify=notify)).ok
    assert [(p["progressToken"], p["progress"]) for p in heard] == [("t", 1), ("t", 2)]


async def test_nothing_is_dispatched_when_nothing_can_be_recorded(house: Any) -> None:
    await house.audit.close()
    with pytest.raises(NotRecordedError):
        await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))
    assert house.calc.calls == []


@pytest.mark.parametrize("mode", ["os", "strict"])
async def test_a_log_that_breaks_under_way_means_no_answer(
    furnish: Any, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    house = await furnish(audit_mode=mode)

    def full(batch: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(house.audit._segments, "commit", full)
    with pytest.raises(NotRecordedError, match="No space left"):
        await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))
    # in strict mode the intent has to be durable before anything happens
    assert house.calc.calls == ([] if mode == "strict" else ["add"])


async def test_strict_mode_records_the_intent_first(furnish: Any) -> None:
    house = await furnish(audit_mode="strict")
    assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 2}))).ok
    (intent,), (done,) = house.recorded("intent"), house.recorded()
    assert intent["request_id"] == done["request_id"]
    assert intent["seq"] < done["seq"]


class Flaky:
    """A connection that fails as told, then answers."""

    transport = "memory"
    era, server_info, capabilities, instructions, on_notification, alive = (
        "2026-07-28",
        {},
        {"tools": {}},
        "",
        None,
        True,
    )

    def __init__(self, *failures: Exception, answer: JSON | None = None) -> None:
        self.failures = list(failures)
        self.answer = answer or {"content": []}
        self.sent: list[tuple[JSON, JSON]] = []

    async def open(self) -> None: ...
    async def close(self) -> None: ...

    async def request(
        self, method: str, params: JSON, *, timeout: float, notify: Any = None, meta: Any = None, **_: Any
    ) -> JSON:
        if method != "tools/call":
            safe = {"name": "read", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
            return {"tools": [safe, {"name": "write", "inputSchema": {"type": "object"}}]}
        self.sent.append((params, meta))
        if self.failures:
            raise self.failures.pop(0)
        return self.answer


@pytest.mark.parametrize(
    ("tool", "failures", "kind", "sent"),
    [
        ("read", [UnreachableError("cut")], "ok", 2),
        ("read", [UnreachableError("cut"), UnreachableError("again")], "unavailable", 2),
        ("read", [IncompleteAnswerError("half of it")], "unavailable", 1),
        ("write", [UnreachableError("cut")], "unavailable", 1),
        ("write", [RpcError(-32603, "boom", {"x": 1})], "failed", 1),
    ],
)
async def test_only_an_idempotent_call_of_which_nothing_came_back_is_sent_again(
    furnish: Any, tool: str, failures: list[Exception], kind: str, sent: int
) -> None:
    flaky = Flaky(*failures)
    house = await furnish(servers={"flaky": flaky})
    outcome = await house.gateway.call(call(house, f"flaky.{tool}"))
    assert (outcome.kind, len(flaky.sent)) == (kind, sent)
    assert house.outcomes() == [kind]


async def test_what_the_client_sent_beside_the_arguments_reaches_the_server_untouched(furnish: Any) -> None:
    flaky = Flaky(answer={"content": [], "com.example/extra": [1, {"x": None}], "structuredContent": [2**80]})
    house = await furnish(servers={"flaky": flaky})
    meta = {"_meta": {"com.example/a": 1, "tracestate": "v=1"}, "inputResponses": {"q": {}}, "com.example/b": 2}
    asked = call(house, "flaky.read", {"a": [1.0, None]}, meta=meta)
    outcome = await house.gateway.call(asked)
    ((params, sent_meta),) = flaky.sent
    assert params == {"name": "read", "arguments": {"a": [1.0, None]}, "inputResponses": {"q": {}}, "com.example/b": 2}
    assert sent_meta == {
        "com.example/a": 1,
        "tracestate": "v=1",
        "traceparent": f"00-{asked.trace_id}-{asked.span_id}-01",
    }
    assert outcome.result == flaky.answer
    assert house.outcomes() == ["ok"]


async def test_a_result_beyond_the_cap_is_withheld_with_advice(furnish: Any) -> None:
    flaky = Flaky(answer={"content": [{"type": "text", "text": "x" * 5000}]})
    house = await furnish(servers={"flaky": flaky}, max_result_bytes=1000)
    outcome = await house.gateway.call(call(house, "flaky.read"))
    assert outcome.kind == "failed"
    assert "at most 1,000" in outcome.message
    assert outcome.result is None


async def test_a_server_that_is_down_is_said_to_be(furnish: Any) -> None:
    class Down(Flaky):
        async def open(self) -> None:
            raise UnreachableError("secret stderr")

    house = await furnish(servers={"flaky": Down()})
    outcome = await house.gateway.call(call(house, "flaky.read"))
    assert outcome.kind == "unavailable"
    assert "secret stderr" in outcome.message
    outcome = await house.gateway.call(call(house, "flaky.read", caller=house.caller("viewer")))
    assert "secret stderr" not in outcome.message
    assert house.outcomes() == ["unavailable"] * 2


@pytest.mark.parametrize("bound", ["calls_per_replica", "calls_at_once"])
async def test_too_many_calls_at_once_are_turned_away(furnish: Any, bound: str) -> None:
    house = await furnish(**{bound: 1})
    first = asyncio.create_task(house.gateway.call(call(house, "calc.hang", timeout_s=5)))
    await house.calc.started.wait()
    outcome = await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 1}))
    assert (outcome.kind, outcome.details["rule"]) == ("unavailable", "busy")
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 1}))).ok


async def test_a_bug_is_a_traceback_and_on_the_record(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(house.gateway, "_shape", broken)
    with pytest.raises(ZeroDivisionError):
        await house.gateway.call(call(house, "calc.add", {"a": 1, "b": 1}))
    (record,) = house.recorded()
    assert record["outcome"] == "failed"
    assert "ZeroDivisionError" in record["error_message"]


async def test_lists_and_search_show_what_may_be_called(house: Any) -> None:
    reader = house.caller(scopes=("calc:read",))
    assert [tool.name for tool in house.gateway.tools(reader)] == ["add"]
    assert {"add", "erase", "fail"} <= {tool.name for tool in house.gateway.tools(house.owner)}
    found = house.gateway.search(reader, "destroy or add numbers", 5)
    assert [tool.name for tool, _ in found] == ["add"]


async def test_personal_data_is_kept_out_of_the_record_of_refusals(house: Any) -> None:
    await house.gateway.call(call(house, "calc.add", {"a": "jane.roe@example.com", "b": 1}))
    (record,) = house.recorded()
    assert "jane.roe" not in str(record)


@pytest.mark.parametrize("who", ["owner", "reader"])
async def test_a_large_result_is_redacted_and_on_the_record_like_any_other(furnish: Any, who: str) -> None:
    rows = [{"email": "jane.roe@example.com", "note": "x" * 90} for _ in range(1000)]
    flaky = Flaky(answer={"content": [], "structuredContent": {"rows": rows}})
    house = await furnish(servers={"flaky": flaky})
    caller = house.owner if who == "owner" else house.caller(scopes=("flaky:read",))
    outcome = await house.gateway.call(call(house, "flaky.read", caller=caller))
    assert outcome.ok
    assert outcome.result_bytes > 64 << 10
    assert ("jane.roe" in str(outcome.result)) is (who == "owner")
    (record,) = house.recorded()
    assert record["outcome"] == "ok"
    assert "jane.roe" not in str(record)


async def test_a_call_that_timed_out_is_not_sent_again(furnish: Any) -> None:
    flaky = Flaky(TimeoutError())
    house = await furnish(servers={"flaky": flaky})
    assert (await house.gateway.call(call(house, "flaky.read"))).kind == "timeout"
    assert len(flaky.sent) == 1
