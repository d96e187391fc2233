"""How a call ends without the tool's answer, and the sentences that say so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.events import JSON, Call, Decision, Outcome, OutcomeKind, Tool

_MAX_LENGTH = 2000


class CallRefusedError(Exception):
    """Ends a call before or instead of an answer; becomes its outcome.

    Args:
        kind: how it ended.
        message: what was given, what was expected, what to do next.
        decision: what policy said, where it was asked.
        details: the same for a program.
    """

    def __init__(self, kind: OutcomeKind, message: str, /, *, decision: Decision | None = None, **details: Any) -> None:
        super().__init__(message)
        self.kind = kind
        self.decision = decision
        self.details = details


class CallState:
    """What is known of a call so far, for the outcome that ends it wherever it ends."""

    __slots__ = ("approval", "arguments_bytes", "counted", "decision", "details", "tool", "upstream_us")

    def __init__(self, arguments_bytes: int = 0) -> None:
        self.arguments_bytes = arguments_bytes
        """Bytes of the arguments as JSON."""
        self.tool: Tool | None = None
        self.decision: Decision | None = None
        self.details: JSON = {}
        self.upstream_us = 0
        self.counted = False
        """Whether the call was counted against rate and quota."""
        self.approval = ""
        """Id of the approval that this call has used up."""

    def refused(self, call: Call, refusal: CallRefusedError) -> Outcome:
        """The outcome of a call that ended with `refusal`."""
        return Outcome(
            kind=refusal.kind,
            call=call.id,
            tool=call.tool,
            message=str(refusal),
            details={**refusal.details, "approval_id": self.approval} if self.approval else refusal.details,
            decision=refusal.decision or self.decision,
            upstream_us=self.upstream_us,
            server=self.tool.server if self.tool else "",
        )


def denied(decision: Decision) -> CallRefusedError:
    """Names the rule, and every scope that is missing."""
    missing = list(decision.missing_scopes)
    reason = decision.reason or "The policy does not allow this call."
    hint = f" Ask for a key with {', '.join(missing)}." if missing else ""
    more = {"missing_scopes": missing} if missing else {}
    return CallRefusedError(
        "denied", f"{reason}{hint} (rule {decision.rule})", decision=decision, rule=decision.rule, **more
    )


def unknown(name: str, suggestions: Sequence[str]) -> CallRefusedError:
    """Names what the tool was probably meant to be."""
    hint = f"Did you mean {' or '.join(suggestions)}?" if suggestions else "List the tools to see which there are."
    return CallRefusedError("not_found", f"There is no tool {name[:200]!r}. {hint}", suggestions=list(suggestions))


def say(tool: Tool, problem: JSON) -> str:
    """One problem of the arguments as a sentence."""
    where = f"Argument {problem['path']!r}" if problem["path"] else "The arguments"
    return f"{where} of {tool.qualified}: given {problem['given']}, expected {problem['expected']}. {problem['hint']}"


def text_of(result: JSON) -> str:
    """The words in which a tool says that it failed."""
    blocks = result.get("content")
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and isinstance(text := block.get("text"), str):
            return text[:_MAX_LENGTH]
    return "The tool failed without saying why."


def rate_headers(details: JSON) -> dict[str, str]:
    """Headers of a 429: when to come back, and the limit that is used up.

    `Retry-After` is RFC 9110 §10.2.3; the others are those of draft-ietf-httpapi-ratelimit-headers-03, which clients
    read most.
    """
    headers = {"Retry-After": str(details.get("retry_after", 1))}
    rate = details.get("rate")
    if isinstance(rate, dict):
        headers["RateLimit-Limit"] = str(rate["limit"])
        headers["RateLimit-Remaining"] = str(rate["remaining"])
        headers["RateLimit-Reset"] = str(rate["reset_s"])
    return headers
