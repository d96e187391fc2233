"""From the answer of the rules to the decisions that the gateway gives, and from caller and tool to their input.

The input is closed and the same for every engine; the answer was checked by whoever asked.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from workbench.events import JSON, Caller, Decision, Tool
from workbench.policy.rego import rego_engine

_MAX_DECLARED = 200


class Verdict(NamedTuple):
    """What caller and tool alone decide."""

    tool: Tool
    """Kept so that the identity in a cache's key cannot be taken over by another object."""
    decision: Decision
    """When a needed approval is there, or none is needed."""
    unapproved: Decision
    """When a needed approval is missing; the same as `decision` where none is needed."""
    max_arguments_bytes: int


def verdict(answer: JSON, caller: Caller, tool: Tool, *, revision: str, by: str) -> Verdict:
    """The decisions to give for an answer of `tool_scopes`.

    Args:
        answer: of the agreed form.
        revision: of the rules that gave it.
        by: the engine that gave it.

    Raises:
        Broken: a part of the answer holds something else than agreed.
    """
    needed = tool.scopes
    missing = tuple(needed[i] for i in answer["missing"] if type(i) is int and i >= 0)
    redact = (*answer["redact"], *_declared(tool)) if answer["redact_declared"] else ()
    if any(type(name) is not str for name in redact) or len(missing) != len(answer["missing"]):
        raise rego_engine.BrokenPolicyError("a list in the decision holds something else than agreed")
    caps = [answer["caps"].get(name) for name in ("arguments_bytes", "result_bytes")]
    if any(type(cap) is not int or cap < 0 for cap in caps):
        raise rego_engine.BrokenPolicyError("the caps of the decision are no numbers of bytes")
    qualified = tool.qualified
    base = Decision(
        allow=False,
        rule=f"tool_scopes.{answer['rule']}",
        reason=_reason(answer["rule"], caller, tool, missing),
        missing_scopes=missing,
        redact=tuple(dict.fromkeys(redact)),
        max_result_bytes=caps[1],
        revision=revision,
        engine=by,
    )
    if answer["allow"] is not True or missing:
        return Verdict(tool, base, base, 0)
    approval = answer["approval"] is True
    decision = msgspec.structs.replace(base, allow=True, approval=approval)
    unapproved = decision
    if approval:
        unapproved = msgspec.structs.replace(
            base,
            rule="tool_scopes.approval",
            approval=True,
            reason=f"{qualified} may destroy something; a human has to approve this very call first.",
        )
    return Verdict(tool, decision, unapproved, caps[0])


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


def denied(revision: str, rule: str, reason: str, by: str = rego_engine.NAME) -> Decision:
    """A denial by something else than a rule for caller and tool."""
    return Decision(allow=False, rule=rule, reason=reason, revision=revision, engine=by)


def plain(error: Exception) -> str:
    """The error without values of the call in it: our own sentences, else only its type."""
    return str(error) if isinstance(error, rego_engine.BrokenPolicyError) else type(error).__name__
