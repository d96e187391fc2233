"""Builders: every kind of thing that is stored has exactly one, and each gives one flat JSON object.

Common fields are `kind`, `event_id` (UUIDv7), `timestamp` (µs since the epoch, UTC) and `tenant`. What is asked for
often is a field of its own; what only one kind has lies under `data`. The log adds `seq` and `prev` when it writes.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from workbench.events import (
    JSON,
    Call,
    Caller,
    Decision,
    Outcome,
    RunDone,
    RunStarted,
    Tool,
    TurnDone,
    new_id,
    now_us,
)
from workbench.json_values import MAX_REFUSED_BYTES, MAX_VALUE_BYTES, bounded, fingerprint, text, whole

KINDS = (
    "call",
    "intent",
    "run",
    "turn",
    "registry_event",
    "access_event",
    "health_check",
    "approval",
    "metric",
    "load_run",
    "load_request",
    "administration",
)
"""Every kind that is stored."""

ROUTINE = frozenset({"health_check", "metric"})
"""Kinds that an idle platform writes all day; alone they do not hurry a seal."""

_ALWAYS = frozenset({"user", "tool", "args_redacted", "response_redacted", "outcome"})


_REFUSED = frozenset({"invalid", "not_found", "denied", "throttled"})


def call(
    call: Call,
    tool: Tool | None,
    outcome: Outcome,
    *,
    args_redacted: Any,
    response_redacted: Any,
    params_redacted: Any = None,
) -> JSON:
    """How one call ended.

    Args:
        call: the request.
        tool: the tool, or None when the name was unknown.
        outcome: how it ended; its `decision` is recorded with it.
        args_redacted: arguments as they may be kept.
        response_redacted: the answer as it may be kept.
        params_redacted: what reaches the tool beside the arguments, as it may be kept; None when there is nothing.
    """
    # field by field, without those that are empty, because this runs for every call
    details = outcome.details
    code = details.get("code")
    most = MAX_REFUSED_BYTES if is_refused(outcome) else MAX_VALUE_BYTES
    record = _of_call("call", call, tool)
    if outcome.decision is not None:
        _add_decision(record, outcome.decision)
    record["args_redacted"] = bounded(args_redacted, most)
    record["response_redacted"] = bounded(response_redacted)
    record["outcome"] = outcome.kind
    if not outcome.ok:
        record["error_code"] = text(code) if code is not None else outcome.kind
    if outcome.message:
        record["error_message"] = text(outcome.message)
    record["latency_us"] = whole(outcome.latency_us)
    record["upstream_us"] = whole(outcome.upstream_us)
    if (approval := _identifier(details.get("approval") or details.get("approval_id"))) is not None:
        record["approval_id"] = approval
    record["redactions"] = whole(outcome.redactions)
    record["result_bytes"] = whole(outcome.result_bytes)
    judged = _judged(call.caller, tool) if tool and outcome.decision else {}
    if aside := _aside(call, details, judged, bounded(params_redacted, most)):
        record["data"] = aside
    return record


def is_refused(outcome: Outcome) -> bool:
    """Whether a call was turned down before anything was done: nothing of it reached a server."""
    return outcome.kind in _REFUSED or (outcome.kind == "unavailable" and not outcome.upstream_us)


def _aside(call: Call, details: JSON, judged: JSON, params: Any) -> JSON:
    """What the rules were asked; and what only some calls have: how the answer was got, signs that were seen, whose
    arguments ran, the profile it came through, what went along with the arguments."""
    aside: JSON = {}
    if details:
        names = ("cached", "age_ms", "signals", "edited", "standing")
        aside = {name: bounded(details[name]) for name in names if name in details}
    if call.profile:
        aside["profile"] = text(call.profile)
    if params:
        aside["params"] = bounded(params)
    return {**aside, "judged": judged} if judged else aside


def _judged(caller: Caller, tool: Tool) -> JSON:
    """What the rules were told of caller and tool beside their names, so that a decision can be explained later."""
    return _judged_of(caller.roles, caller.scopes, caller.method, tool.scopes, tool.read_only, tool.destructive)


@lru_cache(4096)
def _judged_of(
    roles: tuple[str, ...], scopes: frozenset[str], method: str, needed: tuple[str, ...], reads: bool, destroys: bool
) -> JSON:
    return {
        "roles": [text(role) for role in roles],
        "scopes": sorted(text(scope) for scope in scopes),
        "method": text(method),
        "needed": [text(scope) for scope in needed],
        "read_only": reads,
        "destructive": destroys,
    }


def intent(call: Call, tool: Tool, *, args_redacted: Any) -> JSON:
    """That a call is about to be dispatched; written first in `strict` mode."""
    return {**_of_call("intent", call, tool), "args_redacted": bounded(args_redacted)}


def run(started: RunStarted, done: RunDone, caller: Caller, *, source: str) -> JSON:
    """One question and how it ended.

    Args:
        source: the door the question came through.
    """
    return {
        **_base("run", caller.tenant),
        **_of_caller(caller),
        "outcome": done.status,
        "error_message": text(done.message) if done.message else None,
        "latency_us": whole(done.elapsed_us),
        "source": text(source),
        "run_id": text(started.run),
        "trace_id": text(started.trace_id) or None,
        "data": {
            "question": text(started.question),
            "answer": text(done.answer),
            "provider": text(started.provider),
            "model": text(started.model),
            "is_llm": started.is_llm,
            "why": text(started.why),
            "tools": whole(started.tools),
            "turns": whole(done.turns),
            "calls": whole(done.calls),
            "started_us": whole(started.ts),
            **_of_usage(done),
        },
    }


def turn(done: TurnDone, caller: Caller, provider: str, model: str) -> JSON:
    """One exchange with a model inside a run."""
    return {
        **_base("turn", caller.tenant),
        **_of_caller(caller),
        "latency_us": whole(done.elapsed_us),
        "run_id": text(done.run),
        "data": {
            "turn": whole(done.turn),
            "provider": text(provider),
            "model": text(model),
            "stop": text(done.stop),
            **_of_usage(done),
        },
    }


def registry_event(server: str, event: str, detail: JSON, *, tenant: str) -> JSON:
    """Something that happened to a server: started, ready, down, restarted, added, removed, tools changed…"""
    return {
        **_base("registry_event", tenant),
        "server": text(server),
        "outcome": text(event),
        "data": bounded(detail),
    }


def access_event(event: str, detail: JSON, *, tenant: str, subject: str, credential: str = "") -> JSON:
    """Something that happened to credentials: a client or key made or ended, consent given, a token issued or revoked.

    Args:
        event: what happened, in words.
        detail: ids, scopes and lifetimes; never a secret.
        subject: whose credential it is.
        credential: id of the one that was used to do it.
    """
    return {
        **_base("access_event", tenant),
        "user": text(subject),
        "credential": text(credential) or None,
        "outcome": text(event),
        "data": bounded(detail),
    }


def health_check(server: str, ok: bool, latency_us: int, message: str, *, tenant: str) -> JSON:
    """One health check of one server."""
    return {
        **_base("health_check", tenant),
        "server": text(server),
        "outcome": "ok" if ok else "failed",
        "latency_us": whole(latency_us),
        "error_message": text(message) if message else None,
    }


def approval(approval: JSON, event: str, *, tenant: str) -> JSON:
    """A step in the life of an approval: requested, approved, denied, consumed, expired.

    Args:
        approval: the approval as plain data; `id`, `tool`, `subject`, `call`, `run`, `args_hash` and
            `definition_hash` become fields of their own.
        event: what happened to it.
    """
    return {
        **_base("approval", tenant),
        **_of_tool(text(approval.get("tool"))),
        "user": text(approval.get("subject") or approval.get("user")) or None,
        "outcome": text(event),
        "approval_id": _identifier(approval.get("id")),
        "request_id": _identifier(approval.get("call") or approval.get("call_id")),
        "run_id": _identifier(approval.get("run")),
        "args_sha256": _identifier(approval.get("args_hash") or approval.get("args_sha256")),
        "definition_hash": _identifier(approval.get("definition_hash")),
        "data": bounded(approval),
    }


def metric(
    name: str, value: float, labels: JSON | None = None, *, tenant: str, type: str = "gauge", unit: str = ""
) -> JSON:
    """One sample of one metric.

    Args:
        type: `counter`, `gauge` or `histogram` (then `labels` holds `le`, and `value` the cumulated count).
        unit: of the value, e.g. `seconds`, `bytes`.
    """
    return {
        **_base("metric", tenant),
        "data": {
            "name": text(name),
            "type": text(type),
            "value": float(value) if math.isfinite(value) else None,
            "unit": text(unit),
            "labels": bounded(labels or {}),
        },
    }


def load_run(run: JSON, tenant: str) -> JSON:
    """The summary of one load run: its id, profile, users, requests, failures, percentiles…"""
    return {**_base("load_run", tenant), "run_id": _identifier(run.get("id") or run.get("run")), "data": bounded(run)}


def load_request(request: JSON, tenant: str) -> JSON:
    """One request of a load run, or one aggregate line of it: `run`, `name`, `ok`, `latency_us`, `user`, `message`…"""
    ok = request.get("ok")
    return {
        **_base("load_request", tenant),
        "run_id": _identifier(request.get("run") or request.get("run_id")),
        "trace_id": _identifier(request.get("trace_id")),
        "outcome": None if ok is None else "ok" if ok else "failed",
        "latency_us": whole(request.get("latency_us")),
        "error_message": text(request.get("message")) or None,
        "data": bounded(request),
    }


def administration(action: str, detail: JSON, caller: Caller | None, *, tenant: str) -> JSON:
    """What was done with the record itself: queried, exported, cut by retention, a subject forgotten.

    Args:
        action: `sql`, `export`, `retention`, `forget`.
        detail: what it was done to.
        caller: who did it; None when the platform did it by a rule.
    """
    return _present(
        {
            **_base("administration", tenant),
            **(_of_caller(caller) if caller else {"user": None}),
            "outcome": text(action),
            "data": bounded(detail),
        }
    )


# --- what the builders share -------------------------------------------------


def _base(kind: str, tenant: str) -> JSON:
    return {"kind": kind, "event_id": new_id(), "timestamp": now_us(), "tenant": text(tenant)}


def _present(record: JSON) -> JSON:
    """`record` without the fields that are empty, save for those that every call shows."""
    return {key: value for key, value in record.items() if value is not None or key in _ALWAYS}


def _of_caller(caller: Caller) -> JSON:
    return {"user": text(caller.subject), "credential": text(caller.credential)}


def _of_tool(qualified: str) -> JSON:
    server, dot, _ = qualified.partition(".")
    return {"tool": qualified or None, "server": server if dot else None}


def _of_call(kind: str, call: Call, tool: Tool | None) -> JSON:
    """What every record about a call has, without fields that are empty, save for those in `_ALWAYS`."""
    caller = call.caller
    tenant, user, credential = _texts(caller.tenant, caller.subject, caller.credential)
    record: JSON = {
        "kind": kind,
        "event_id": new_id(),
        "timestamp": now_us(),
        "tenant": tenant,
        "user": user,
        "credential": credential,
    }
    if tool is not None:
        record["tool"], record["server"] = tool.qualified, tool.server
    else:
        named = _of_tool(text(call.tool))
        record["tool"] = named["tool"]
        if named["server"] is not None:
            record["server"] = named["server"]
    record["source"] = call.source
    if call.protocol:
        record["protocol"] = text(call.protocol)
    if call.session:
        record["session_id"] = text(call.session)
    record["request_id"] = text(call.id)
    if call.run:
        record["run_id"] = text(call.run)
    if call.step:
        record["step_id"] = text(call.step)
    if call.trace_id:
        record["trace_id"] = text(call.trace_id)
    if call.span_id:
        record["span_id"] = text(call.span_id)
    if call.parent_span_id:
        record["parent_span_id"] = text(call.parent_span_id)
    if tool is not None and tool.definition_hash:
        record["definition_hash"] = tool.definition_hash
    record["args_sha256"] = fingerprint(call.arguments)
    return record


def _add_decision(record: JSON, decision: Decision) -> None:
    rule, revision, engine = _texts(decision.rule, decision.revision, decision.engine)
    record["policy_decision"] = "deny" if not decision.allow else "approval" if decision.approval else "allow"
    record["policy_rule"] = rule
    if decision.reason:
        record["policy_reason"] = text(decision.reason)
    if revision:
        record["policy_revision"] = revision
    if engine:
        record["policy_engine"] = engine
    record["policy_us"] = whole(decision.elapsed_us)
    record["missing_scopes"] = [text(scope) for scope in decision.missing_scopes]


@lru_cache(1024)
def _texts(*values: str) -> tuple[str, ...]:
    """Short texts that are the same in many records."""
    return tuple(map(text, values))


def _of_usage(done: RunDone | TurnDone) -> JSON:
    usage = done.usage
    return {
        "input_tokens": whole(usage.input_tokens),
        "output_tokens": whole(usage.output_tokens),
        "cached_tokens": whole(usage.cached_tokens),
        "cost_usd": float(usage.cost_usd),
    }


def _identifier(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("id")
    return text(value) or None if value is not None else None
