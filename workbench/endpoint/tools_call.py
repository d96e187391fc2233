"""`tools/call` over HTTP, whatever the era: from `params` to a `Call`, and from its outcome to an answer."""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, Final

import msgspec

from workbench import error_codes
from workbench.endpoint.elicitation import say_approval
from workbench.endpoint.endpoint_scope import profile_of, server_of
from workbench.endpoint.http.http_request import EndpointRequest, EventStream, RunningRequest
from workbench.endpoint.http.responses import (
    ACCEPTED,
    EndpointResponse,
    say_error,
    say_not_recorded,
    say_of_method,
    say_outcome,
)
from workbench.events import JSON, Call, NotRecordedError, Outcome, OutcomeKind, new_trace_id
from workbench.gateway.call import Gateway
from workbench.gateway.method_tools import is_method, split
from workbench.gateway.refusals import unknown
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.jsonrpc_messages import Notify
from workbench.upstream.negotiation import CAPABILITIES_KEY, VERSION_KEY

CANCELLED: Final = -32000
LOG_LEVEL: Final = "io.modelcontextprotocol/logLevel"
LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""As in RFC 5424 §6.2.1, the least severe first."""


_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")
_NOT_CARRIED: Final = frozenset({"name", "arguments", "_meta"})


class MalformedCallError(Exception):
    """The params of a call cannot be read; it is recorded as refused."""


class ToolCalls:
    """Runs calls that came over HTTP.

    Args:
        gateway: what runs them.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.outbound = gateway.outbound
        self._names = gateway.wire_names

    def read(self, request: EndpointRequest, params: JSON, protocol: str, *, session: str = "") -> tuple[Call, str]:
        """The call that `params` describe, and what is wrong with them, if anything.

        Siblings of `name` and `arguments` and further keys of `_meta` are kept for the server as they are.
        """
        problem = ""
        meta = params.get("_meta")
        if not isinstance(meta, dict):
            problem, meta = "_meta is no object" if meta is not None else "", {}
        name = params.get("name")
        if not isinstance(name, str):
            problem, name = "name is no text", ""
        arguments = params.get("arguments")
        if not isinstance(arguments, dict):
            problem, arguments = "arguments are no object" if arguments is not None else problem, {}
        tool = self._names.meant(name, server_of(request.view), request.caller.tenant)
        trace_id, parent = _trace(meta.get("traceparent") or request.header(b"traceparent"))
        carried: JSON = {"_meta": _carried(meta)}
        if len(params) > 3 or not params.keys() <= _NOT_CARRIED:
            carried |= {key: value for key, value in params.items() if key not in _NOT_CARRIED}
        call = Call(
            caller=request.caller,
            tool=tool,
            named=name if name != tool else "",
            arguments=arguments,
            source="mcp",
            protocol=protocol,
            session=session,
            profile=profile_of(request.view),
            trace_id=trace_id,
            parent_span_id=parent,
            meta=carried,
        )
        return call, problem

    def of_method(
        self, request: EndpointRequest, tool: str, params: JSON, protocol: str, *, session: str = ""
    ) -> tuple[Call, str]:
        """Like `read`, of a method other than `tools/call`; `tool` is its qualified name, e.g. `crm.resources/read`."""
        meta = params.get("_meta")
        problem = "" if meta is None or isinstance(meta, dict) else "_meta is no object"
        meta = meta if isinstance(meta, dict) else {}
        trace_id, parent = _trace(meta.get("traceparent") or request.header(b"traceparent"))
        arguments, others = split(params, tool.partition(".")[2])
        call = Call(
            caller=request.caller,
            tool=tool,
            arguments=arguments,
            source="mcp",
            protocol=protocol,
            session=session,
            profile=profile_of(request.view),
            trace_id=trace_id,
            parent_span_id=parent,
            meta={**others, "_meta": _carried(meta)},
        )
        return call, problem

    async def run(
        self,
        request: EndpointRequest,
        id: Any,
        call: Call,
        running: RunningRequest,
        stream: EventStream | None,
        respondent: ClientResponder | None = None,
    ) -> EndpointResponse:
        """Run the call and give its answer; in a stream only the body counts.

        Args:
            id: of the request.
            running: how the call can be stopped from outside; then the answer says that it was cancelled.
            stream: where notifications go; None when the client wants none.
            respondent: an older client that the server can ask something while it works.
        """
        modern = request_is_modern(call.protocol)
        try:
            with running:
                notify = leveled(stream.notify, call) if stream is not None else None
                outcome = await self._gateway.call(call, notify=notify, respondent=respondent)
        except NotRecordedError as e:
            return say_not_recorded(id, e)
        if running.stopped:
            return say_error(id, CANCELLED, "The request was cancelled.", modern=modern)
        if outcome.kind == "approval_required":
            page = say_approval(id, outcome, call, request.resource, respondent, modern=modern)
            if page is not None:
                return page
        if outcome.result is None:
            server = server_of(request.view)
            outcome = _as_named_there(outcome, server) if server else self._names.worded(outcome, call)
        say = say_of_method if is_method(call.tool) else say_outcome
        return say(id, outcome, modern=modern, resource=request.resource)

    async def tell(self, request: EndpointRequest, call: Call, problem: str) -> EndpointResponse:
        """Pass a notification on, and say whether that was allowed and done."""
        try:
            if problem:
                outcome = await self._gateway.refuse(
                    call, "invalid", problem, code=error_codes.INVALID_PARAMS, malformed=True
                )
            else:
                outcome = await self._gateway.call(msgspec.structs.replace(call, oneway=True))
        except NotRecordedError as e:
            return say_not_recorded(None, e)
        return ACCEPTED if outcome.ok else say_of_method(None, outcome, modern=True, resource=request.resource)

    async def refuse(
        self,
        request: EndpointRequest,
        id: Any,
        call: Call,
        code: int,
        problem: str,
        data: Any = None,
        *,
        kind: OutcomeKind = "invalid",
    ) -> EndpointResponse:
        """The answer to a call that cannot be understood, or must not be; it is recorded like any other."""
        try:
            await self._gateway.refuse(call, kind, problem, code=code)
        except NotRecordedError as e:
            return say_not_recorded(id, e)
        return say_error(id, code, problem, data, modern=request_is_modern(call.protocol))

    def answer(
        self,
        request: EndpointRequest,
        id: Any,
        call: Call,
        problem: str,
        running: RunningRequest,
        stream: EventStream | None,
        respondent: ClientResponder | None = None,
    ) -> Awaitable[EndpointResponse]:
        """`run`, or `refuse` where `read` found a problem; to be awaited, without a frame of its own."""
        if problem:
            method = call.tool.partition(".")[2] if is_method(call.tool) else "tools/call"
            return self.refuse(request, id, call, error_codes.INVALID_PARAMS, f"The params of {method}: {problem}.")
        return self.run(request, id, call, running, stream, respondent)


def _as_named_there(outcome: Outcome, server: str) -> Outcome:
    """An unknown tool at the endpoint of one server, where tools go by their own names."""
    close = outcome.details.get("suggestions")
    if close is None or outcome.kind != "not_found":
        return outcome
    own = [name.removeprefix(f"{server}.") for name in close if name.startswith(f"{server}.")]
    said = unknown(outcome.tool.removeprefix(f"{server}."), own)
    return msgspec.structs.replace(outcome, message=str(said), details={**outcome.details, "suggestions": own})


def leveled(notify: Notify, call: Call) -> Notify:
    """`notify` without log messages below the level that the client asked for; where it asked for none, without any."""
    wanted = (call.meta.get("_meta") or {}).get(LOG_LEVEL)
    least = LEVELS.index(wanted) if wanted in LEVELS else len(LEVELS)

    async def passed(message: JSON) -> None:
        if message.get("method") == "notifications/message":
            params = message.get("params")
            level = params.get("level") if isinstance(params, dict) else None
            if level not in LEVELS or LEVELS.index(level) < least:
                return
        await notify(message)

    return passed


def request_is_modern(protocol: str) -> bool:
    """Whether a revision has statuses for errors and no sessions."""
    return protocol >= "2026"


def wants_notifications(call: Call) -> bool:
    """Whether the client asked for progress or log messages of this call, or has extensions that may notify it."""
    meta = call.meta["_meta"]
    if "progressToken" in meta or LOG_LEVEL in meta:
        return True
    capabilities = meta.get(CAPABILITIES_KEY)
    return isinstance(capabilities, dict) and bool(capabilities.get("extensions"))


def _carried(meta: JSON) -> JSON:
    """The client's `_meta` as it may reach the server: without the revision, which is the connection's own matter.

    Capabilities travel on, so that the server knows what the client can do.
    """
    return {key: value for key, value in meta.items() if key != VERSION_KEY}


def _trace(traceparent: Any) -> tuple[str, str]:
    """Trace id and parent span (W3C Trace Context §3.2); a new trace when there is none, or a malformed one."""
    found = _TRACEPARENT.fullmatch(traceparent) if isinstance(traceparent, str) else None
    return (found[1], found[2]) if found else (new_trace_id(), "")
