"""From the answer of the rules to the decisions that the gateway gives, and from caller and tool to their input.

The input is closed and the same for every engine; the answer was checked by whoever asked.
"""

from __future__ import annotations

from typing import NamedTuple

import orjson

from workbench.events import JSON, Call, Caller, Decision, Tool
from workbench.policy.rego import rego_engine

_MAX_DECLARED = 200


class EngineAnswer(NamedTuple):
    """What caller and tool alone decide."""

    tool: Tool
    """Kept so that the identity in a cache's key cannot be taken over by another object."""
    decision: Decision
    """With `approval` where an allowed call needs one; the arguments are not looked at."""
    max_arguments_bytes: int
    """0 for no limit."""


def verdict(answer: JSON, caller: Caller, tool: Tool, *, revision: str, engine: str) -> EngineAnswer:
    """The decision to give for an answer of `tool_scopes`.

    Args:
        answer: of the agreed form.
        revision: of the rules that gave it.
        engine: the name of the engine that gave it.

    Raises:
        BrokenPolicyError: a part of the answer holds something else than agreed.
    """
    needed = tool.scopes
    missing = tuple(needed[i] for i in answer["missing"] if type(i) is int and i >= 0)
    redact = (*answer["redact"], *_declared(tool)) if answer["redact_declared"] else ()
    if any(type(name) is not str for name in redact) or len(missing) != len(answer["missing"]):
        raise rego_engine.BrokenPolicyError("a list in the decision holds something else than agreed")
    caps = [answer["caps"].get(name) for name in ("arguments_bytes", "result_bytes")]
    if any(type(cap) is not int or cap < 0 for cap in caps):
        raise rego_engine.BrokenPolicyError("the caps of the decision are no numbers of bytes")
    allowed = answer["allow"] is True and not missing
    decision = Decision(
        allow=allowed,
        rule=f"tool_scopes.{answer['rule']}",
        reason=_reason(answer["rule"], caller, tool, missing),
        missing_scopes=missing,
        approval=allowed and answer["approval"] is True,
        redact=tuple(dict.fromkeys(redact)),
        max_result_bytes=caps[1],
        revision=revision,
        engine=engine,
    )
    return EngineAnswer(tool, decision, caps[0] if allowed else 0)


def within_size(found: EngineAnswer, call: Call) -> Decision:
    """The decision on `call`: a denial where its arguments are larger than an allowing `found` permits."""
    if found.max_arguments_bytes:
        size = len(orjson.dumps(call.arguments))
        if size > found.max_arguments_bytes:
            reason = f"The arguments have {size} bytes; {call.tool} takes at most {found.max_arguments_bytes}."
            return Decision(
                allow=False, rule="tool_scopes.arguments_bytes", reason=reason, revision=found.decision.revision
            )
    return found.decision


def approvers_input(caller: Caller, tool: Tool) -> JSON:
    """The closed input of `approvers`."""
    return {"tenant": caller.tenant, "subject": caller.subject, "server": tool.server, "tool": tool.qualified}


def document(caller: Caller, tool: Tool) -> JSON:
    """The closed input of `tool_scopes`: every field present, every type exact."""
    scopes, roles, needed = caller.scopes, caller.roles, tool.scopes
    if type(scopes) is not frozenset or type(roles) is not tuple or type(needed) is not tuple:
        raise rego_engine.BrokenPolicyError("scopes and roles of the caller or scopes of the tool are no sets of names")
    held = sorted(scopes)
    texts = (caller.tenant, caller.subject, caller.method, tool.server, tool.name, *held, *roles, *needed)
    if any(type(text) is not str for text in texts):
        raise rego_engine.BrokenPolicyError("a name of the caller or the tool is no text")
    return {
        "caller": {
            "tenant": caller.tenant,
            "subject": caller.subject,
            "roles": list(roles),
            "scopes": held,
            "method": caller.method,
        },
        "tool": {
            "qualified": tool.qualified,
            "scopes": [{"name": scope, "forms": forms(scope)} for scope in needed],
            "read_only": tool.read_only,
            "destructive": tool.destructive,
            "quarantined": tool.quarantined != "",
        },
    }


def forms(scope: str) -> list[str]:
    """The names under which `scope` may be held: its own, and every wider one up to `*`. What `Caller.has` accepts."""
    parts = scope.split(":")
    return [scope, *(":".join(parts[:n]) + ":*" for n in range(len(parts) - 1, 0, -1)), "*"]


def _declared(tool: Tool) -> tuple[str, ...]:
    """Columns that the server itself says hold personal data (`_meta` key `workbench/pii`)."""
    meta = tool.definition.get("_meta")
    columns = meta.get("workbench/pii") if isinstance(meta, dict) else None
    names = columns if isinstance(columns, dict | list) else ()
    return tuple(name for name in names if isinstance(name, str))[:_MAX_DECLARED]


def _reason(rule: str, caller: Caller, tool: Tool, missing: tuple[str, ...]) -> str:
    who = f"{caller.subject} ({', '.join(caller.roles) or 'no role'})"
    match rule:
        case "allow":
            return ""
        case "missing_scopes":
            return f"{who} lacks {', '.join(missing)} for {tool.qualified}."
        case "quarantined":
            return f"{tool.qualified} is quarantined: {tool.quarantined}"
        case "unlabelled":
            return f"{tool.qualified} names no scope that it needs, so nobody may call it."
        case "no_caller":
            return "The call has no tenant or no subject."
        case _:
            return f"Rule {rule} denies {tool.qualified} to {who}."
