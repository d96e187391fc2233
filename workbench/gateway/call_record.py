"""A call as it may be kept on the record: redacted, bounded, and never left out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from workbench.audit.format import records
from workbench.events import JSON, Call, Outcome, Tool
from workbench.json_values import left_out
from workbench.policy.approvals.bound_params import bound_params, kept_params
from workbench.policy.redaction.walker import WITHHELD
from workbench.scanning import PostponedError
from workbench.upstream.jsonrpc_messages import encode

if TYPE_CHECKING:
    from workbench.policy import Policy

LARGE: Final = 64 << 10
"""Bytes of a result from which on it is redacted in a thread, so that the event loop never pauses for long. A smaller
one is, too, when there is much in it to look at closely."""

_log = logging.getLogger(__name__)


class CallRecorder:
    """Makes records of calls.

    Args:
        policy: has the redactor.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    def keep(self, call: Call, tool: Tool | None, outcome: Outcome, *, inline: bool = False) -> JSON:
        """The outcome as it may be recorded; what cannot be redacted is left out, but the call never is.

        Raises:
            PostponedError: with `inline`, when there is too much to read.
        """
        try:
            return self._redacted(call, tool, outcome, inline)
        except PostponedError:
            raise
        except Exception:  # noqa: BLE001 - whatever it is, the call has to be on the record
            _log.exception("call %s could not be redacted", call.id)
            call, bare = _unnamed(call, tool), msgspec.structs.replace(outcome, message="", details={})
            omitted = {"omitted": True, "why": "It could not be redacted."}
            return records.call(call, tool, bare, args_redacted=omitted, response_redacted=omitted)

    def keep_short(self, call: Call, tool: Tool | None, outcome: Outcome) -> JSON:
        """As `keep`, at once: of a refusal with much to read, size and hash of the arguments are kept."""
        try:
            return self.keep(call, tool, outcome, inline=True)
        except PostponedError:
            call, bare = _unnamed(call, tool), msgspec.structs.replace(outcome, message="")
            return records.call(call, tool, bare, args_redacted=left_out(call.arguments), response_redacted=None)

    def _redacted(self, call: Call, tool: Tool | None, outcome: Outcome, inline: bool) -> JSON:
        tenant, redact = call.caller.tenant, self._policy.redactor.record
        kept = outcome
        if tool is None:  # the name is whatever the caller sent
            call = msgspec.structs.replace(call, tool=str(redact(call.tool, tenant, inline=inline)))
        if outcome.message:
            kept = msgspec.structs.replace(outcome, message=str(redact(outcome.message, tenant, inline=inline)))
        if signals := outcome.details.get("signals"):
            found = redact(signals, tenant, inline=inline)
            kept = msgspec.structs.replace(kept, details={**outcome.details, "signals": found})
        carried = bound_params(call)
        params = kept_params(carried) if carried else None
        arguments, result = call.arguments, outcome.result
        if result is None and records.is_refused(outcome):
            # nothing was done with what a refused call brought, so much of it is not worth a look
            arguments = left_out(arguments) if _large(arguments) else arguments
            params = left_out(params) if params and _large(params) else params
        return records.call(
            call,
            tool,
            kept,
            args_redacted=redact(arguments, tenant, inline=inline),
            params_redacted=redact(params, tenant, inline=inline) if params else None,
            response_redacted=None if result is None else redact(result, tenant, inline=inline),
        )


def _unnamed(call: Call, tool: Tool | None) -> Call:
    """A call whose name was not looked at; that of a tool which there is needs no look."""
    return call if tool is not None else msgspec.structs.replace(call, tool=WITHHELD)


def _large(value: JSON) -> bool:
    return bool(value) and len(encode(value)) > LARGE
