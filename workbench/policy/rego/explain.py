"""Why a recorded call was decided as it was: its input rebuilt as far as the record goes, looked at rule by rule."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from workbench.events import JSON, Call, Caller, Decision, Record, Tool
from workbench.policy.decisions import Policy
from workbench.policy.rego import rego_engine
from workbench.policy.rego.engine_answer import forms


class ExplainedCondition(Record, frozen=True, kw_only=True):
    """One condition of the rules."""

    rule: str
    holds: bool | None
    """None where the record does not tell."""
    finding: str


class PolicyExplanation(Record, frozen=True, kw_only=True):
    """A recorded decision beside what the rules of now say of the same call."""

    call: str
    recorded: JSON
    """Decision, rule, reason, revision and engine as recorded."""
    now: Decision
    steps: tuple[ExplainedCondition, ...]
    caveats: tuple[str, ...]
    """What of the input could not be rebuilt, or is of now instead of then."""


def explain(policy: Policy, row: JSON, caller: Caller | None, tool: Tool | None, *, used: int) -> PolicyExplanation:
    """Look at one row of `tool_calls` again.

    Args:
        policy: the rules of now.
        row: of `tool_calls`.
        caller: whom the recorded credential stands for now; used for calls of which the record does not keep what the
            rules were told.
        tool: as listed now; likewise.
        used: calls of the tenant to the tool in the minute before.
    """
    judged = _judged(row)
    caveats = list(_caveats(policy, row, caller, tool, judged=judged is not None))
    who = caller or Caller(tenant=str(row["tenant"]), subject=str(row["user_id"] or ""))
    what = tool or Tool(server=str(row["server"] or ""), name=str(row["tool"] or ""))
    if judged is not None:
        who, what = _as_judged(row, judged, what)
    arguments = _json(row.get("args"))
    call = Call(caller=who, tool=what.qualified, arguments=arguments if isinstance(arguments, dict) else {})
    approved = row["policy_decision"] == "approval"
    now = policy.decide_by_rules(call, what, approved=approved, usage={"calls_last_minute": used})
    recorded = {name: row.get(f"policy_{name}") for name in ("decision", "rule", "reason", "revision", "engine")}
    steps = _steps(policy, who, what, now, len(orjson.dumps(call.arguments)), used, approved)
    steps += _denials(recorded, now, steps)
    return PolicyExplanation(
        call=str(row["request_id"]), recorded=recorded, now=now, steps=tuple(steps), caveats=tuple(caveats)
    )


def _denials(recorded: JSON, now: Decision, steps: list[ExplainedCondition]) -> list[ExplainedCondition]:
    """What denied the call, then or now, where none of `steps` does: rules of one's own, limits, guards."""
    failing = {step.rule for step in steps if step.holds is False}
    found: list[ExplainedCondition] = []
    if recorded["decision"] == "deny" and str(recorded["rule"]) not in failing:
        why = str(recorded["reason"] or "it gave no reason")
        found.append(
            ExplainedCondition(
                rule=str(recorded["rule"]), holds=False, finding=f"denied the call when it was made: {why}"
            )
        )
    if not now.allow and not now.approval and not failing:
        why = f"denies it now: {now.reason}" if now.reason else "denies it now and gives no reason"
        own = "the conditions of the shipped rules hold, so a condition that was added to them does not"
        found.append(ExplainedCondition(rule=now.rule, holds=False, finding=f"{why} ({own})"))
    return found


def _steps(
    policy: Policy, caller: Caller, tool: Tool, now: Decision, size: int, used: int, approved: bool
) -> list[ExplainedCondition]:
    somebody = bool(caller.tenant and caller.subject)
    steps = [
        ExplainedCondition(
            rule="tool_scopes.no_caller", holds=somebody, finding=f"the caller is {caller.tenant}/{caller.subject}"
        ),
        ExplainedCondition(
            rule="tool_scopes.quarantined",
            holds=not tool.quarantined,
            finding=tool.quarantined or "the tool is not quarantined",
        ),
        ExplainedCondition(
            rule="tool_scopes.unlabelled",
            holds=bool(tool.scopes),
            finding=f"the tool needs {', '.join(tool.scopes)}" if tool.scopes else "the tool names no scope",
        ),
    ]
    for scope in tool.scopes:
        held = next((form for form in forms(scope) if form in caller.scopes), None)
        finding = f"{scope} is held as {held}" if held else f"{scope} is not held"
        steps.append(ExplainedCondition(rule="tool_scopes.missing_scopes", holds=held is not None, finding=finding))
    steps.append(
        ExplainedCondition(
            rule="tool_scopes.arguments_bytes",
            holds=None,
            finding=f"the arguments have {size} bytes as recorded, without personal data",
        )
    )
    needed = "an approval is needed" if now.approval else "no approval is needed"
    had = " and one was used" if approved else ""
    steps.append(
        ExplainedCondition(rule="tool_scopes.approval", holds=approved or not now.approval, finding=needed + had)
    )
    try:
        quota = policy.rules.quota(caller.tenant, tool.qualified)
        finding = f"{used} of {quota} calls in the minute before" if quota else "no quota stands on the tool"
        steps.append(ExplainedCondition(rule="tenant_quota", holds=not quota or used < quota, finding=finding))
    except Exception as e:  # noqa: BLE001 - told as what it is: the rules give no answer
        steps.append(ExplainedCondition(rule="tenant_quota", holds=None, finding=f"the quota cannot be found out: {e}"))
    return steps


def _judged(row: JSON) -> JSON | None:
    """What the rules were told at the time, where the record keeps it."""
    data = _json(row.get("data"))
    judged = data.get("judged") if isinstance(data, dict) else None
    return judged if isinstance(judged, dict) else None


def _as_judged(row: JSON, judged: JSON, tool: Tool) -> tuple[Caller, Tool]:
    """Caller and tool as the rules were told of them; quarantined when that was what they said."""
    caller = Caller(
        tenant=str(row["tenant"]),
        subject=str(row["user_id"] or ""),
        roles=tuple(judged["roles"]),
        scopes=frozenset(judged["scopes"]),
        credential=str(row.get("credential") or ""),
        method=judged["method"],
    )
    hints = {"readOnlyHint": judged["read_only"], "destructiveHint": judged["destructive"]}
    was = "It was when it was called." if row.get("policy_rule") == "tool_scopes.quarantined" else ""
    changes = {"scopes": tuple(judged["needed"]), "annotations": hints, "quarantined": was}
    return caller, msgspec.structs.replace(tool, **changes)


def _caveats(policy: Policy, row: JSON, caller: Caller | None, tool: Tool | None, *, judged: bool) -> list[str]:
    found = []
    if judged:
        pass
    elif caller is None:
        found.append(f"Credential {row.get('credential')!r} stands for nobody here now: roles and scopes are unknown.")
    else:
        found.append("Roles and scopes are those that the credential has now; the record does not keep them.")
    if tool is None and not judged:
        found.append("No server lists the tool now: its scopes and hints are unknown.")
    elif tool is not None and row.get("definition_hash") and row["definition_hash"] != tool.definition_hash:
        found.append(
            "The definition of the tool has changed since; scopes and hints are those of then."
            if judged
            else "The definition of the tool has changed since."
        )
    if row.get("policy_revision") and row["policy_revision"] != policy.rules.revision:
        found.append(f"The rules were of revision {row['policy_revision']}; those of now are {policy.rules.revision}.")
    if row.get("policy_engine") not in (None, "", rego_engine.NAME):
        found.append(f"The engine {row['policy_engine']} decided then; the steps are those of the rules here.")
    if row.get("policy_decision") is None:
        found.append("The call ended before the rules were asked.")
    return found


def _json(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
