"""What is stored comes back as it was given, whatever it was."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from workbench import json_values
from workbench.audit import AuditLog, Reader, verify
from workbench.audit.format import records
from workbench.config import Settings
from workbench.events import (
    Call,
    Caller,
    Decision,
    Outcome,
    RunDone,
    RunStarted,
    Tool,
    TurnDone,
    Usage,
)

ANN = Caller(tenant="acme", subject="ann", credential="k1")

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63) + 1, (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
wild = st.recursive(
    st.integers() | st.floats() | st.text(st.characters(codec=None)) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3),
    max_leaves=8,
)


def as_read(value):
    """What JSON keeps of a value."""
    return orjson.loads(orjson.dumps(value))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(st.dictionaries(st.text(), anything, max_size=4), min_size=1, max_size=40))
@example(arguments=[{"q": "a\u2028b\u2029c\x00d\x7f\u0085 \ud7ff \U0001f600"}, {"": [[[[]]]]}, {"n": -(1 << 62)}])
def test_any_json_arguments_come_back_through_sql(arguments, tmp_path_factory):
    home = tmp_path_factory.mktemp("round") / "home"
    results = asyncio.run(written(home, arguments))
    assert results == [as_read(a) for a in arguments]
    assert verify(home, deep=True).ok


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(wild, min_size=1, max_size=40))
@example(arguments=[1 << 80, 1 << 40_000, "\ud800", {"x": "\udfff"}, {1: 2}, math.nan, math.inf, b"\xff", {"a", "b"}])
def test_no_value_whatever_loses_a_row(arguments, tmp_path_factory):
    home = tmp_path_factory.mktemp("wild") / "home"
    results = asyncio.run(written(home, arguments))
    assert results == [as_read(json_values.plain(a)) for a in arguments]


async def written(home: Path, arguments: list) -> list:
    log = await AuditLog.open(Settings.load(env={}, cwd=home.parent, home=home))
    for value in arguments:
        call = Call(caller=ANN, tool="s.t", arguments={})
        outcome = Outcome(kind="ok", call=call.id)
        await log.write("acme", records.call(call, None, outcome, args_redacted=value, response_redacted=value))
    with Reader(home) as reader:
        rows = reader.sql("select args, result from tool_calls order by seq").to_pylist()
        assert all(row["args"] == row["result"] for row in rows)
    await log.close()
    return [None if row["args"] is None else json.loads(row["args"]) for row in rows]


def test_a_value_nested_deeper_than_any_encoder_goes_is_cut():
    deep = inner = []
    for _ in range(2000):
        inner.append([])
        inner = inner[0]
    assert len(orjson.dumps(json_values.plain(deep))) < json_values.MAX_TEXT_LENGTH + 1000


def test_a_large_answer_is_kept_as_size_hash_and_beginning():
    kept = json_values.bounded({"rows": "x" * (2 << 20)})
    assert kept["omitted"] is True
    assert kept["bytes"] > 2 << 20
    assert len(kept["sha256"]) == 64
    assert kept["beginning"].startswith('{"rows":"xxx')


def test_an_answer_of_just_the_largest_size_is_kept_whole():
    value = "x" * (json_values.MAX_VALUE_BYTES - 2)
    assert json_values.bounded(value) is value
    assert json_values.bounded(value + "x")["omitted"] is True


def test_a_call_has_every_field_that_an_auditor_asks_for():
    tool = Tool(server="crm", name="find", definition_hash="d1")
    call = Call(
        caller=ANN, tool="crm.find", arguments={"q": 1}, run="r", step="2", session="s", parent_span_id="p" * 16
    )
    decision = Decision(
        allow=False,
        rule="deny.scope",
        reason="no",
        missing_scopes=("crm:read",),
        revision="v",
        engine="e",
        elapsed_us=7,
    )
    outcome = Outcome(
        kind="denied",
        call=call.id,
        message="no scope",
        decision=decision,
        latency_us=11,
        upstream_us=3,
        redactions=2,
        result_bytes=9,
        details={"approval": "a1", "code": -32001},
    )
    record = records.call(call, tool, outcome, args_redacted={"q": 1}, response_redacted=None)
    expected = {
        "kind": "call",
        "tenant": "acme",
        "user": "ann",
        "credential": "k1",
        "tool": "crm.find",
        "server": "crm",
        "args_redacted": {"q": 1},
        "response_redacted": None,
        "outcome": "denied",
        "error_code": "-32001",
        "error_message": "no scope",
        "latency_us": 11,
        "upstream_us": 3,
        "source": "rest",
        "session_id": "s",
        "request_id": call.id,
        "run_id": "r",
        "step_id": "2",
        "trace_id": call.trace_id,
        "span_id": call.span_id,
        "parent_span_id": "p" * 16,
        "policy_decision": "deny",
        "policy_rule": "deny.scope",
        "policy_reason": "no",
        "policy_revision": "v",
        "policy_engine": "e",
        "policy_us": 7,
        "missing_scopes": ["crm:read"],
        "approval_id": "a1",
        "redactions": 2,
        "result_bytes": 9,
        "definition_hash": "d1",
        "args_sha256": json_values.fingerprint({"q": 1}),
        "data": {
            "judged": {
                "roles": list(call.caller.roles),
                "scopes": sorted(call.caller.scopes),
                "method": call.caller.method,
                "needed": list(tool.scopes),
                "read_only": tool.read_only,
                "destructive": tool.destructive,
            }
        },
    }
    assert {key: record[key] for key in expected} == expected
    assert set(record) - set(expected) == {"event_id", "timestamp"}


def test_an_unknown_tool_is_recorded_by_the_name_that_was_asked_for():
    call = Call(caller=ANN, tool="crm.fnd")
    record = records.call(call, None, Outcome(kind="not_found", call=call.id), args_redacted={}, response_redacted=None)
    assert (record["server"], record["tool"], record["error_code"]) == ("crm", "crm.fnd", "not_found")
    assert "policy_decision" not in record


def test_the_fingerprint_of_arguments_does_not_depend_on_their_order():
    assert json_values.fingerprint({"a": 1, "b": 2}) == json_values.fingerprint({"b": 2, "a": 1})
    assert json_values.fingerprint({"a": 1 << 70}) != json_values.fingerprint({"a": 1 << 71})


@pytest.mark.parametrize(
    ("table", "record", "expected"),
    [
        (
            "runs",
            records.run(
                RunStarted(
                    run="r1", question="why?", provider="planner", model="m", is_llm=False, why="-", trace_id="t" * 32
                ),
                RunDone(
                    run="r1",
                    status="answered",
                    answer="so",
                    turns=2,
                    calls=3,
                    usage=Usage(input_tokens=5, output_tokens=6, cost_usd=0.25),
                    elapsed_us=77,
                ),
                ANN,
                source="cli",
            ),
            {
                "run_id": "r1",
                "question": "why?",
                "answer": "so",
                "status": "answered",
                "is_llm": False,
                "turns": 2,
                "calls": 3,
                "input_tokens": 5,
                "cost_usd": 0.25,
                "latency_us": 77,
                "source": "cli",
                "trace_id": "t" * 32,
            },
        ),
        (
            "turns",
            records.turn(
                TurnDone(run="r1", turn=1, usage=Usage(output_tokens=4), elapsed_us=9, stop="end"), ANN, "openai", "gpt"
            ),
            {"run_id": "r1", "turn": 1, "provider": "openai", "model": "gpt", "output_tokens": 4, "stop": "end"},
        ),
        (
            "registry_events",
            records.registry_event("crm", "down", {"why": "killed"}, tenant="acme"),
            {"server": "crm", "event": "down", "details": '{"why":"killed"}'},
        ),
        (
            "access_events",
            records.access_event(
                "token issued", {"client": "mc_1", "scope": "crm:read"}, tenant="acme", subject="bob", credential="k1"
            ),
            {"event": "token issued", "client": "mc_1", "user_id": "bob", "credential": "k1"},
        ),
        (
            "health_checks",
            records.health_check("crm", False, 12, "no answer", tenant="acme"),
            {"server": "crm", "ok": False, "latency_us": 12, "error_message": "no answer"},
        ),
        (
            "administration",
            records.administration("sql", {"sql": "select 1"}, ANN, tenant="acme"),
            {"action": "sql", "user_id": "ann", "details": '{"sql":"select 1"}'},
        ),
        (
            "administration",
            records.administration("retention", {"rule": "r"}, None, tenant="acme"),
            {"action": "retention", "user_id": None, "details": '{"rule":"r"}'},
        ),
        (
            "approvals",
            records.approval(
                {"id": "a1", "tool": "crm.drop", "subject": "bob", "call": "c1", "status": "approved",
                 "decided_by": "eve", "note": "fine", "args_hash": "h"},
                "approved",
                tenant="acme",
            ),
            {"approval_id": "a1", "event": "approved", "tool": "drop", "qualified": "crm.drop", "user_id": "bob",
             "request_id": "c1", "status": "approved", "decided_by": "eve", "note": "fine", "args_sha256": "h"},
        ),
        (
            "metrics",
            records.metric("calls_total", 3, {"tool": "x"}, tenant="acme", type="counter", unit="1"),
            {"name": "calls_total", "value": 3.0, "type": "counter", "unit": "1", "labels": '{"tool":"x"}'},
        ),
        (
            "load_runs",
            records.load_run({"id": "l1", "profile": "smoke", "users": 5, "requests": 100, "failures": 1}, "acme"),
            {"run_id": "l1", "profile": "smoke", "users": 5, "requests": 100, "failures": 1},
        ),
        (
            "load_requests",
            records.load_request({"run": "l1", "name": "crm.find", "ok": 0, "latency_us": 8, "message": "x"}, "acme"),
            {"run_id": "l1", "name": "crm.find", "ok": False, "latency_us": 8, "error_message": "x"},
        ),
        (
            "intents",
            records.intent(
                Call(caller=ANN, tool="crm.find", id="c9"), Tool(server="crm", name="find"), args_redacted={"q": 1}
            ),
            {"request_id": "c9", "tool": "find", "args": '{"q":1}', "user_id": "ann"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
async def test_every_kind_has_a_table_that_shows_it(table, record, expected, open_log, open_reader):
    assert record["kind"] in records.KINDS
    async with open_log() as log:
        await log.write("acme", record)
        [row] = open_reader().sql(f"from {table}").to_pylist()
    assert {key: row[key] for key in expected} == expected
    assert row["tenant"] == "acme"


def test_numbers_that_no_column_holds_are_left_out_or_cut():
    assert json_values.whole(1 << 70) == (1 << 63) - 1
    assert json_values.whole(math.nan) is None
    assert json_values.whole("7") is None
    assert records.metric("m", math.inf, tenant="t")["data"]["value"] is None
