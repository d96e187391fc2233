"""From the outcome of a call to what an MCP client gets: a tool result, a JSON-RPC error, an HTTP status."""

from __future__ import annotations

from typing import Final, NamedTuple

from workbench import error_codes
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.auth_challenge import challenge
from workbench.events import JSON, NotRecordedError, Outcome
from workbench.gateway.extensions import is_extension
from workbench.gateway.refusals import rate_headers

Headers = list[tuple[bytes, bytes]]

JSON_TYPE: Final = (b"content-type", b"application/json")
SOURCE: Final = "workbench/source"
"""Key in `_meta` of a tool's result: the server and the call it is from, and what was redacted or noticed in it."""

_STATUS: Final = {
    "denied": error_codes.DENIED,
    "approval_required": error_codes.DENIED,
    "unavailable": 503,
    "timeout": 504,
}


SHED: Final = ("busy", "breaker")
"""Rules under which a call is turned away at once, to come again: the client has to act on that, not the model."""


class EndpointResponse(NamedTuple):
    """One HTTP response. In a stream or a batch only the body counts."""

    status: int
    headers: Headers
    body: bytes


ACCEPTED: Final = EndpointResponse(202, [], b"")
"""To a notification or a response."""


def say_outcome(id: object, outcome: Outcome, *, modern: bool, resource: str = "") -> EndpointResponse:
    """The answer to `tools/call`.

    What the model can act on (a failed tool, wrong arguments, a needed approval, a timeout) is a tool result with
    `isError`, as the specification asks (server/tools, "Error Handling"). What the client has to act on (missing
    scopes, a used-up rate, an unknown tool) is an HTTP status and a JSON-RPC error.

    Args:
        id: of the request.
        outcome: how the call ended.
        modern: whether the client speaks 2026-07-28, where errors have statuses of their own.
        resource: URL of the endpoint, for the challenge.
    """
    if outcome.kind in ("ok", "tool_error") and outcome.result is not None:
        return _tool_result(id, _labelled(outcome, outcome.result), modern=modern)
    refused = _refusal(id, outcome, modern=modern, resource=resource)
    if refused is not None:
        return refused
    told: JSON = {
        "content": [{"type": "text", "text": outcome.message}],
        "isError": True,
        "_meta": {"workbench/outcome": summary(outcome)},
    }
    return _tool_result(id, told, modern=modern)


def say_of_method(id: object, outcome: Outcome, *, modern: bool, resource: str = "") -> EndpointResponse:
    """The answer to a method other than `tools/call`: its result, or else an error, for it has no `isError`."""
    if outcome.kind in ("ok", "tool_error") and outcome.result is not None:
        if is_extension(outcome.tool.partition(".")[2]) and not modern:
            return EndpointResponse(
                200, [JSON_TYPE], jsonrpc.result(id, outcome.result)
            )  # what its results mean is its own matter
        return _tool_result(id, outcome.result, modern=modern)
    refused = _refusal(id, outcome, modern=modern, resource=resource)
    if refused is not None:
        return refused
    status = _STATUS.get(outcome.kind, 502)
    if outcome.kind == "invalid":
        status, code = (
            error_codes.HTTP_STATUS[error_codes.INVALID_PARAMS] if modern else 200,
            error_codes.INVALID_PARAMS,
        )
    else:
        code = status
    return _error(status if modern else 200, [], id, code, outcome)


def _refusal(id: object, outcome: Outcome, *, modern: bool, resource: str) -> EndpointResponse | None:
    """The answer to what a client has to act on, and to errors of the server; None for the rest."""
    details = outcome.details
    if missing := details.get("missing_scopes"):
        scope = " ".join(missing)
        headers = [(b"www-authenticate", challenge(scope=scope, resource=resource).encode("latin-1"))]
        return _error(403, headers, id, error_codes.DENIED, outcome)
    if outcome.kind == "throttled":
        retry = [(name.lower().encode(), value.encode()) for name, value in rate_headers(details).items()]
        return _error(429, retry, id, error_codes.THROTTLED, outcome)
    if details.get("rule") in SHED:
        retry = [(b"retry-after", str(details["retry_after"]).encode())]
        return _error(503, retry, id, error_codes.OVERLOADED, outcome)
    if outcome.kind == "not_found" or details.get("malformed"):
        code = details.get("code", error_codes.INVALID_PARAMS)
        return _error(error_codes.HTTP_STATUS[code] if modern else 200, [], id, code, outcome)
    if upstream := details.get("rpc_error"):
        body = jsonrpc.error(id, upstream["code"], upstream["message"], upstream["data"], cleared=True)
        status = error_codes.HTTP_STATUS.get(upstream["code"], 200) if modern else 200
        return EndpointResponse(status, [JSON_TYPE], body)
    return None


def say_not_recorded(id: object, error: NotRecordedError) -> EndpointResponse:
    """The answer when nothing may be answered."""
    body = jsonrpc.error(id, error_codes.NOT_RECORDED, str(error), {"workbench/outcome": {"kind": "not_recorded"}})
    return EndpointResponse(503, [JSON_TYPE, (b"retry-after", b"1")], body)


def say_error(id: object, code: int, message: str, data: object = None, *, modern: bool = True) -> EndpointResponse:
    """A JSON-RPC error with the HTTP status that belongs to it."""
    status = error_codes.HTTP_STATUS.get(code, 200) if modern else 200
    return EndpointResponse(status, [JSON_TYPE], jsonrpc.error(id, code, message, data))


def summary(outcome: Outcome) -> JSON:
    """What a program wants to know of a refused call: kind, rule, call id, and the details."""
    decision = outcome.decision
    found: JSON = {"kind": outcome.kind, "call": outcome.call, **outcome.details}
    if decision is not None:
        found.setdefault("rule", decision.rule)
    return found


def _labelled(outcome: Outcome, result: JSON) -> JSON:
    """A result with where it is from; what the server itself says under that name does not count."""
    source: JSON = {"server": outcome.server, "call": outcome.call}
    if outcome.redactions:
        source["redactions"] = outcome.redactions
    if signals := outcome.details.get("signals"):
        source["signals"] = sorted({signal["kind"] for signal in signals})
    meta = result.get("_meta")
    return {**result, "_meta": {**meta, SOURCE: source} if isinstance(meta, dict) else {SOURCE: source}}


def _tool_result(id: object, value: JSON, *, modern: bool) -> EndpointResponse:
    kind = value.get("resultType")
    if modern and kind is None:
        value = {**value, "resultType": "complete"}  # required since 2026-07-28; older servers do not send it
    elif not modern and kind not in (None, "complete"):
        text = f"The server answered with {kind!r}, which needs a client of protocol revision 2026-07-28."
        value = {"content": [{"type": "text", "text": text}], "isError": True}
    return EndpointResponse(200, [JSON_TYPE], jsonrpc.result(id, value))


def _error(status: int, headers: Headers, id: object, code: int, outcome: Outcome) -> EndpointResponse:
    data = {"workbench/outcome": summary(outcome), **_hoisted(outcome)}
    return EndpointResponse(status, [JSON_TYPE, *headers], jsonrpc.error(id, code, outcome.message, data, cleared=True))


def _hoisted(outcome: Outcome) -> JSON:
    """Details that clients of other gateways look for at the top of `data`."""
    names = ("rule", "missing_scopes", "suggestions", "retry_after")
    return {name: outcome.details[name] for name in names if name in outcome.details}
