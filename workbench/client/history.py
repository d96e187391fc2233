"""What happened before, read back from the record as the same objects that live calls and runs give."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from workbench.client.results import Result, Run
from workbench.events import JSON, AnyRunEvent, Decision, Outcome, RunDone, RunStarted, ToolAsked, ToolDone, Usage

if TYPE_CHECKING:
    from workbench.audit.query.engine import SqlEngine

_CALL = "select * from tool_calls where request_id = $id order by ts desc limit 1"
_RUN = "select epoch_us(ts) as ended_us, * from runs where run_id = $id order by ts desc limit 1"
_CALLS = "select epoch_us(ts) as ended_us, * from tool_calls where run_id = $id order by ts, seq"


def recorded_call(engine: SqlEngine, call: str) -> Result | None:
    """The call of that id as it was recorded: arguments and answer after redaction. None when there is none."""
    rows = engine.sql(_CALL, {"id": call}).to_pylist()
    return _result(rows[0]) if rows else None


def recorded_run(engine: SqlEngine, run: str) -> Run | None:
    """The run of that id as it was recorded: steps and answer, not the streamed text. None when there is none."""
    rows = engine.sql(_RUN, {"id": run}).to_pylist()
    if not rows:
        return None
    row, calls = rows[0], engine.sql(_CALLS, {"id": run}).to_pylist()
    started = RunStarted(
        run=run, ts=row["ended_us"] - _whole(row["latency_us"]), question=row["question"] or "",
        provider=row["provider"] or "", model=row["model"] or "", is_llm=bool(row["is_llm"]), why=row["why"] or "",
        trace_id=row["trace_id"] or "",
    )  # fmt: skip
    events: list[AnyRunEvent] = [started]
    for number, each in enumerate(calls, 1):
        result, step = _result(each), each["step_id"] or str(number)
        asked_us = each["ended_us"] - _whole(each["latency_us"])
        events.append(ToolAsked(run=run, ts=asked_us, step=step, tool=result.tool, arguments=result.arguments))
        events.append(ToolDone(run=run, ts=each["ended_us"], step=step, tool=result.tool, outcome=result.outcome))
    usage = Usage(
        input_tokens=_whole(row["input_tokens"]), output_tokens=_whole(row["output_tokens"]),
        cached_tokens=_whole(row["cached_tokens"]), cost_usd=row["cost_usd"] or 0.0,
    )  # fmt: skip
    events.append(
        RunDone(
            run=run, ts=row["ended_us"], status=row["status"], answer=row["answer"] or "",
            turns=_whole(row["turns"]), calls=_whole(row["calls"]), usage=usage,
            elapsed_us=_whole(row["latency_us"]), message=row["error_message"] or "",
        )
    )  # fmt: skip
    return Run(events)


def _result(row: JSON) -> Result:
    """One row of `tool_calls`."""
    answer, arguments = _parsed(row["result"]), _parsed(row["args"])
    if isinstance(answer, dict) and answer.get("omitted") is True and "sha256" in answer:
        answer = {"structuredContent": answer}  # too large for the record: size, hash and beginning were kept
    outcome = Outcome(
        kind=row["outcome"], call=row["request_id"] or "", tool=row["qualified"] or "", server=row["server"] or "",
        result=answer if isinstance(answer, dict) else None, message=row["error_message"] or "",
        details={"approval": row["approval_id"]} if row["approval_id"] else {}, decision=_decision(row),
        latency_us=_whole(row["latency_us"]), upstream_us=_whole(row["upstream_us"]),
        redactions=_whole(row["redactions"]), result_bytes=_whole(row["result_bytes"]),
    )  # fmt: skip
    return Result(outcome.tool, arguments if isinstance(arguments, dict) else {}, outcome)


def _decision(row: JSON) -> Decision | None:
    said = row["policy_decision"]
    if said is None:
        return None
    return Decision(
        allow=said != "deny", approval=said == "approval", rule=row["policy_rule"] or "",
        reason=row["policy_reason"] or "", missing_scopes=tuple(row["missing_scopes"] or ()),
        revision=row["policy_revision"] or "", engine=row["policy_engine"] or "",
        elapsed_us=_whole(row["policy_us"]),
    )  # fmt: skip


def _parsed(text: str | None) -> Any:
    return json.loads(text) if text else None


def _whole(value: int | None) -> int:
    return value or 0
