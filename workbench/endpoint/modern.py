"""2026-07-28 at the front: no sessions, every request describes itself, disconnecting cancels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from mcp.shared.inbound import (
    InboundLadderRejection,
    classify_inbound_request,
    decode_header_value,
    find_invalid_x_mcp_header,
    unsupported_protocol_version_rejection,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from workbench import error_codes
from workbench.endpoint.endpoint_scope import profile_of, server_of
from workbench.endpoint.features import EndpointContext, UnroutableRequestError
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.http_request import DisconnectWatcher, EndpointRequest, EventStream, RunningRequest
from workbench.endpoint.http.responses import ACCEPTED, JSON_TYPE, EndpointResponse, say_error, say_not_recorded
from workbench.endpoint.subscriptions import KINDS, SubscriptionFilter
from workbench.endpoint.task_subscriptions import FollowedTasks
from workbench.endpoint.tools_call import wants_notifications
from workbench.events import JSON, Call, NotRecordedError
from workbench.gateway.extensions import is_extension
from workbench.gateway.task_ids import METHODS, NO_TASK, TASKS
from workbench.upstream.jsonrpc_messages import encode
from workbench.upstream.negotiation import CAPABILITIES_KEY, LEGACY, META, MISSING_CAPABILITY, MODERN, VERSION_KEY

_ROUTING: Final = (b"mcp-protocol-version", b"mcp-method", b"mcp-name")

_MODERN: Final = MODERN.encode()

MAX_IN_LISTEN: Final = 100
"""Resources that one stream announces."""


class ModernProtocol:
    """Answers requests of 2026-07-28 on behalf of one endpoint."""

    def __init__(self, context: EndpointContext) -> None:
        self._gateway = context.gateway
        self._lists = context.lists
        self._calls = context.calls
        self._reading = context.features
        self._announcements = context.announcements
        self._watches = context.subscriptions
        self._departures = DisconnectWatcher()
        self._mirrored: dict[str, JSON] = {}
        self._mirrored_version = -1

    async def answer(self, request: EndpointRequest, message: Any) -> None:
        """Answer one POST whose body was `message`."""
        try:
            message = jsonrpc.check_envelope(message)
            if "method" not in message:
                raise jsonrpc.BadMessageError(
                    error_codes.INVALID_REQUEST, "A client of this revision does not send responses."
                )
            if "id" not in message:
                await request.reply(await self._notified(request, message["method"], message.get("params") or {}))
                return
            id = jsonrpc.request_id(message)
        except jsonrpc.BadMessageError as e:
            await request.reply(say_error(None, e.code, str(e), e.data))
            return
        method, params = message["method"], message.get("params") or {}
        rejected = None if _repeats(request, method, params) else _judged(request, message)
        if method == "tools/call":
            await self._call(request, id, params, rejected)
        elif rejected is not None:
            await request.reply(say_error(id, rejected.code, rejected.message, rejected.data))
        elif method == "subscriptions/listen":
            await self._listen(request, id, params)
        elif self._reading.serves(method):
            await self._read(request, id, method, params)
        elif method in METHODS:
            await self._task(request, id, method, params)
        else:
            await request.reply(await self._answer(request, id, method, params))

    async def _notified(self, request: EndpointRequest, method: str, params: JSON) -> EndpointResponse:
        """Those of extensions are passed on. Others have no effect: at this revision a client cancels by leaving."""
        unsupported = unsupported_protocol_version_rejection(request.header(b"mcp-protocol-version") or "")
        if unsupported is not None:
            return say_error(None, unsupported.code, unsupported.message, unsupported.data)
        return await self._reading.told(request, method, params, MODERN) if is_extension(method) else ACCEPTED

    async def _answer(self, request: EndpointRequest, id: Any, method: str, params: JSON) -> EndpointResponse:
        if method == "server/discover":
            return EndpointResponse(
                200, [JSON_TYPE], jsonrpc.result(id, self._lists.discovered(request.caller, request.view))
            )
        if method == "tools/list":
            if params.get("cursor") is not None:
                return say_error(id, error_codes.INVALID_PARAMS, "There is no such cursor: all tools are on one page.")
            listed = await self._lists.tools(request.caller, request.view, modern=True)
            return EndpointResponse(200, [JSON_TYPE], jsonrpc.encoded_result(id, listed))
        return say_error(id, error_codes.METHOD_NOT_FOUND, f"There is no method {method[:100]!r} here.")

    # --- calls

    async def _call(
        self, request: EndpointRequest, id: Any, params: JSON, rejected: InboundLadderRejection | None
    ) -> None:
        call, problem = self._calls.read(request, params, MODERN)
        rejected = rejected or self._mismatch(request, call)
        if rejected is not None:
            await request.reply(
                await self._calls.refuse(request, id, call, rejected.code, rejected.message, rejected.data)
            )
            return
        stream = EventStream(request) if request.takes_events and wants_notifications(call) else None
        running = RunningRequest(request.receive, self._departures)
        await self._send(
            request, await self._calls.answer(request, id, call, problem, running, stream), running, stream
        )

    async def _read(self, request: EndpointRequest, id: Any, method: str, params: JSON) -> None:
        running = RunningRequest(request.receive, self._departures)
        stream = EventStream(request) if request.takes_events and is_extension(method) else None
        answer = await self._reading.answer(request, id, method, params, MODERN, running, stream)
        await self._send(request, answer, running, stream)

    async def _task(self, request: EndpointRequest, id: Any, method: str, params: JSON) -> None:
        """A request about a task, to the server that has it."""
        named, mirrored = params.get("taskId"), request.header(b"mcp-name")
        if mirrored is None or decode_header_value(mirrored) != named:
            await request.reply(
                say_error(id, error_codes.HEADER_MISMATCH, "Mcp-Name and params.taskId have to be the same.")
            )
            return
        if not _knows_tasks(params):
            await request.reply(_undeclared(id, method))
            return
        task = self._gateway.dispatch.tasks.read(named)
        if task is None or server_of(request.view) not in ("", task.server):
            await request.reply(say_error(id, error_codes.INVALID_PARAMS, NO_TASK))
            return
        call, problem = self._calls.of_method(request, f"{task.server}.{method}", params, MODERN)
        if not task.belongs_to(request.caller):  # on the record, and answered like one that there is not
            refused = self._calls.refuse(request, id, call, error_codes.INVALID_PARAMS, NO_TASK, kind="not_found")
            await request.reply(await refused)
            return
        running = RunningRequest(request.receive, self._departures)
        await self._send(request, await self._calls.answer(request, id, call, problem, running, None), running, None)

    async def _send(
        self, request: EndpointRequest, answer: EndpointResponse, running: RunningRequest, stream: EventStream | None
    ) -> None:
        """Send the answer where somebody still waits for it."""
        if stream is None or not stream.started:
            if not running.stopped:
                await request.reply(answer)
        elif running.stopped:
            stream.abandon()
        else:
            await stream.finish(answer.body)

    def _mismatch(self, request: EndpointRequest, call: Call) -> InboundLadderRejection | None:
        """Whether arguments and their mirrors in `Mcp-Param-*` headers disagree (streamable-http, "Custom headers")."""
        registry = self._gateway.registry
        if self._mirrored_version != registry.version:
            self._mirrored = {
                tool.qualified: tool.input_schema
                for tool in registry.tools()
                if find_invalid_x_mcp_header(tool.input_schema) is None and x_mcp_header_map(tool.input_schema)
            }
            self._mirrored_version = registry.version
        schema = self._mirrored.get(call.tool)
        if schema is None or not registry.exists(call.tool.partition(".")[0], call.caller.tenant):
            return None
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in request.headers.items()
            if name.startswith(b"mcp-param-")
        }
        return validate_mcp_param_headers(schema, call.arguments, headers)

    # --- announcements

    async def _listen(self, request: EndpointRequest, id: Any, params: JSON) -> None:
        """A stream that announces changes of lists and resources (basic/patterns/subscriptions)."""
        wanted = params.get("notifications")
        if not isinstance(wanted, dict):
            await request.reply(
                say_error(id, error_codes.INVALID_PARAMS, "params.notifications has to say what to announce.")
            )
            return
        if not request.takes_events:
            await request.reply(EndpointResponse(406, [], b""))
            return
        if self._announcements.full:
            await request.reply(EndpointResponse(503, [(b"retry-after", b"30")], b""))
            return
        if wanted.get("taskIds") and not _knows_tasks(params):
            await request.reply(_undeclared(id, "notifications.taskIds"))
            return
        kinds = frozenset(kind for kind in KINDS if wanted.get(f"{kind}ListChanged") is True)
        try:
            watched = await self._watched(request, wanted.get("resourceSubscriptions"))
        except NotRecordedError as e:
            await request.reply(say_not_recorded(id, e))
            return
        honoured: JSON = {f"{kind}ListChanged": True for kind in KINDS if kind in kinds}
        if watched:
            honoured["resourceSubscriptions"] = list(watched.values())
        try:
            followed = await self._followed(request, wanted.get("taskIds"))
        except BaseException:  # the client went away meanwhile
            self._watches.remove(watched)
            raise
        if followed.ids:
            honoured["taskIds"] = list(followed.ids.values())
        meta = {META + "subscriptionId": id}

        def frame(method: str, params: JSON) -> bytes:
            return jsonrpc.event(encode({"jsonrpc": "2.0", "method": method, "params": {**params, "_meta": meta}}))

        first = frame("notifications/subscriptions/acknowledged", {"notifications": honoured})
        try:
            await self._announcements.keep(request, first, frame, SubscriptionFilter(kinds, watched, followed))
        finally:
            self._watches.remove(watched)
            self._announcements.following.remove(followed.ids)

    async def _followed(self, request: EndpointRequest, ids: Any) -> FollowedTasks:
        """Of the tasks that a client wants to hear of, its own whose servers agree to tell."""
        following, known = self._announcements.following, {}
        for id in ids[:MAX_IN_LISTEN] if isinstance(ids, list) and not following.full else ():
            task = self._gateway.dispatch.tasks.read(id)
            here = task is not None and server_of(request.view) in ("", task.server)
            if task is not None and here and task.belongs_to(request.caller):
                known[task.server, task.id] = (task, id)
        agreed = await following.add([task for task, _ in known.values()]) if known else set()
        profile = profile_of(request.view)
        return FollowedTasks(
            self._gateway, request.caller, profile, {key: known[key][1] for key in known if key in agreed}
        )

    async def _watched(self, request: EndpointRequest, uris: Any) -> dict[tuple[str, str], str]:
        """Of the addresses that a client wants to hear of, those that there are and that it may read."""
        watched: dict[tuple[str, str], str] = {}
        for uri in uris[:MAX_IN_LISTEN] if isinstance(uris, list) else ():
            try:
                found = await self._reading.owner(request, uri)
            except UnroutableRequestError:
                continue
            if found not in watched and not self._watches.full:
                profile = profile_of(request.view)
                outcome = await self._watches.add(request.caller, *found, protocol=MODERN, profile=profile)
                if outcome.ok:
                    watched[found] = uri
        return watched


def _knows_tasks(params: JSON) -> bool:
    capabilities = params["_meta"].get(CAPABILITIES_KEY)
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    return isinstance(extensions, dict) and TASKS in extensions


def _undeclared(id: Any, what: str) -> EndpointResponse:
    needed: JSON = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    return say_error(id, MISSING_CAPABILITY, f"{what} needs a client that declares the extension {TASKS}.", needed)


def _repeats(request: EndpointRequest, method: str, params: JSON) -> bool:
    """Whether the headers of a `tools/call` plainly repeat what its body says, as those of nearly every one do."""
    headers, meta, name = request.headers, params.get("_meta"), params.get("name")
    return (
        method == "tools/call"
        and isinstance(meta, dict)
        and meta.get(VERSION_KEY) == MODERN
        and CAPABILITIES_KEY in meta
        and headers.get(b"mcp-protocol-version") == _MODERN
        and headers.get(b"mcp-method") == b"tools/call"
        and isinstance(name, str)
        and name.isascii()
        and not name.startswith("=?")  # that is how a header begins whose value is encoded
        and headers.get(b"mcp-name") == name.encode()
    )


def _judged(request: EndpointRequest, message: JSON) -> InboundLadderRejection | None:
    """What is wrong with the metadata of a request, in body or headers; None when nothing is."""
    headers = {name.decode(): value for name in _ROUTING if (value := request.header(name)) is not None}
    if not _describes_itself(message) and (unknown := _unknown_revision(headers["mcp-protocol-version"])):
        return unknown
    verdict = classify_inbound_request(message, headers=headers)
    return verdict if isinstance(verdict, InboundLadderRejection) else None


def _describes_itself(message: JSON) -> bool:
    """Whether the request states its revision in the body, as those of the stateless revisions do."""
    params = message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    return isinstance(meta, dict) and VERSION_KEY in meta


def _unknown_revision(named: str) -> InboundLadderRejection | None:
    """The refusal of a revision that nobody speaks here, with all that can be spoken.

    A client of an older revision is told of the header, not of metadata that its revision does not have.
    """
    refused = unsupported_protocol_version_rejection(named)
    if refused is None:
        return None
    known = [MODERN, *LEGACY]
    message = (
        f"Unsupported protocol version in the header MCP-Protocol-Version (supported versions: {', '.join(known)})"
    )
    return replace(refused, message=message, data={"supported": known, "requested": named})
