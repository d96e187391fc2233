"""What reaches a tool beside its arguments, and which of it a human's yes is bound to.

A client's `params` may hold more than `name` and `arguments`: keys of `_meta`, parameters of a task, answers to a
server's questions, or anything an extension adds. A tool can act on all of it, so an approval covers all of it; what
changes from one request to the next, or from one client of the caller to another, cannot be covered and is not passed
on with an approved call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from workbench.events import JSON, Call, canonical, digest
from workbench.json_values import portable

_CLIENT_INFO: Final = "io.modelcontextprotocol/clientInfo"
_CAPABILITIES: Final = "io.modelcontextprotocol/clientCapabilities"
_LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"

UNBOUND_META: Final = frozenset(
    {
        *("progressToken", "traceparent", "tracestate", "baggage"),  # differ between a request and the same one again
        *(_CLIENT_INFO, _CAPABILITIES, "io.modelcontextprotocol/protocolVersion"),  # and from client to client
        _LOG_LEVEL,
        "workbench/approval",  # names the approval itself
    }
)
"""Keys of `_meta` that no approval is bound to."""

_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")

MAX_BOUND_BYTES: Final = 64 << 10
"""Most that a call may carry beside its arguments and still be approved."""
MAX_KEPT_BYTES: Final = 8 << 10
"""Most of it that is shown and recorded; of more, size and hash are."""


class UnbindableError(ValueError):
    """What a call carries beside its arguments cannot be bound to an approval."""


def bound_params(call: Call) -> JSON:
    """Everything beside the arguments that reaches the tool, except for `UNBOUND_META`; empty when there is nothing."""
    found = {key: value for key, value in call.meta.items() if key != "_meta"}
    meta = call.meta.get("_meta")
    if isinstance(meta, dict) and (kept := {key: value for key, value in meta.items() if key not in UNBOUND_META}):
        found["_meta"] = kept
    return found


def params_hash(params: JSON) -> str:
    """Hash of what `bound_params` gives; empty for nothing, so that approvals of calls without any stay as they were.

    Raises:
        UnbindableError: it is no plain JSON, or larger than `MAX_BOUND_BYTES`.
    """
    if not params:
        return ""
    try:
        size = len(canonical(portable(params)))
    except (TypeError, ValueError) as e:
        raise UnbindableError(f"what it carries beside its arguments is no plain JSON: {e}") from e
    if size > MAX_BOUND_BYTES:
        raise UnbindableError(
            f"it carries {size:,} bytes beside its arguments, and at most {MAX_BOUND_BYTES:,} are approved"
        )
    return digest(params)


def passed_on(call: Call, plain: Callable[[object], JSON]) -> Call:
    """The call as it may run with an approval: with what was bound, and of the rest what no tool can act on.

    The progress token is replaced on the way to the server, and the log level is one of eight words (RFC 5424).

    Args:
        call: as its client sent it.
        plain: of declared capabilities those of MCP itself without their settings, so that a server can still ask.
    """
    meta = call.meta.get("_meta")
    if not isinstance(meta, dict):
        return call
    kept = {key: value for key, value in meta.items() if key not in UNBOUND_META or key == "progressToken"}
    if meta.get(_LOG_LEVEL) in _LEVELS:
        kept[_LOG_LEVEL] = meta[_LOG_LEVEL]
    if _CAPABILITIES in meta:
        kept[_CAPABILITIES] = plain(meta[_CAPABILITIES])
    return msgspec.structs.replace(call, meta={**call.meta, "_meta": kept})


def kept_params(params: JSON) -> JSON:
    """`bound_params` as they are shown and recorded, before redaction: a sealed state is named by its hash, and what is
    larger than `MAX_KEPT_BYTES` by its size and hash.

    Args:
        params: as `bound_params` gives them.
    """
    kept: dict[str, Any] = dict(params)
    if isinstance(state := kept.get("requestState"), str):
        kept["requestState"] = f"sha256:{digest(state)}"
    try:
        size = len(canonical(kept))
    except (TypeError, ValueError):
        return {"omitted": True, "why": "It is no plain JSON."}
    return kept if size <= MAX_KEPT_BYTES else {"omitted": True, "bytes": size, "sha256": digest(kept)}
