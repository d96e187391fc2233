"""2024-11-05 to 2025-11-25 at the front: a handshake, sessions, batches; disconnecting does not cancel."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec

from workbench import error_codes
from workbench.cluster.message_relay import Tell
from workbench.endpoint.client_requests import ClientRequests
from workbench.endpoint.features import EndpointContext
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.http_request import EndpointRequest, EventStream, RunningRequest
from workbench.endpoint.http.responses import JSON_TYPE, EndpointResponse, say_error
from workbench.endpoint.session_preferences import DEFAULT_LEVEL, WISHES, SessionPreferences, with_level
from workbench.endpoint.sessions import Session, Sessions
from workbench.endpoint.subscriptions import SubscriptionFilter
from workbench.events import JSON, Caller
from workbench.gateway.extensions import is_extension
from workbench.upstream.jsonrpc_messages import encode
from workbench.upstream.negotiation import LEGACY

SESSION: Final = b"mcp-session-id"
BATCHES: Final = "2025-03-26"
"""The one revision that has batches, and the one that is assumed where nothing is said."""

MAX_IN_BATCH: Final = 100

CANCELLED: Final = "cancelled"
ENDED: Final = "ended"

_ACCEPTED: Final = EndpointResponse(202, [], b"")
_TEXT: Final = (b"content-type", b"text/plain; charset=utf-8")
_NOBODY_ASKED: Final = EndpointResponse(
    400,
    [JSON_TYPE],
    jsonrpc.error(
        None,
        error_codes.INVALID_REQUEST,
        "Nobody waits for this answer: it came too late, or the gateway process that asked has ended.",
    ),
)


class LegacyProtocol:
    """Answers requests of the older revisions on behalf of one endpoint.

    A session carries nothing but what was agreed on, so requests without one are served as well, and any replica can
    serve any session.
    """

    def __init__(self, context: EndpointContext) -> None:
        gateway = context.gateway
        self._lists = context.lists
        self._calls = context.calls
        self._reading = context.features
        self._announcements = context.announcements
        self._wishes = SessionPreferences(context.features, context.subscriptions, gateway.relay)
        self._sessions = Sessions(gateway.settings.home)
        self._questions = ClientRequests(gateway.relay)
        self._under_way: dict[tuple[Any, ...], RunningRequest] = {}
        self._relay = gateway.relay
        if gateway.relay is not None:
            gateway.relay.handlers |= {CANCELLED: self._cancelled_elsewhere, ENDED: self._ended_elsewhere}

    async def answer(self, request: EndpointRequest, message: Any) -> None:
        """Answer one POST whose body was `message`."""
        session = self._session(request)
        if session is None and SESSION in request.headers:
            await request.reply(_no_session())
        elif isinstance(message, list):
            await request.reply(await self.batch(request, session, message))
        else:
            stream = EventStream(request) if request.takes_events else None
            answer = await self.one(request, session, message, stream)
            if stream is not None and stream.started:
                await stream.finish(answer.body)
            else:
                await request.reply(answer)

    async def listen(self, request: EndpointRequest) -> None:
        """Answer a GET: the stream on which changes are announced."""
        session = self._session(request)
        if session is None:
            missing = say_error(None, error_codes.INVALID_REQUEST, "A stream needs the Mcp-Session-Id of a session.")
            await request.reply(_no_session() if SESSION in request.headers else missing)
        elif not request.takes_events:
            await request.reply(EndpointResponse(406, [_TEXT], b"Accept has to list text/event-stream."))
        elif self._announcements.full:
            await request.reply(EndpointResponse(503, [(b"retry-after", b"30")], b""))
        else:
            wish = await self._wishes.told_here(request, session)
            await self._announcements.keep(request, b": listening\n\n", announcement, wish.wanted)

    async def end(self, request: EndpointRequest) -> None:
        """Answer a DELETE: the session is over."""
        session = self._session(request)
        if session is None:
            await request.reply(_no_session())
            return
        self.over(session)
        await request.reply(EndpointResponse(204, [], b""))

    def begun(self, token: str, request: EndpointRequest, wanted: SubscriptionFilter) -> Session | None:
        """The session of that id, on a stream of its own that announces what is `wanted`."""
        session = self._sessions.find(token, request.caller, request.view)
        if session is not None:
            self._wishes.keep(session).wanted = wanted
        return session

    def over(self, session: Session) -> None:
        """Nobody uses the session any more."""
        self._sessions.end(session)
        self._wishes.forget(session)
        if self._relay is not None:
            self._relay.tell(ENDED, session.to_dict())

    async def _ended_elsewhere(self, body: JSON, _: Tell) -> JSON:
        session = msgspec.convert(body, Session)
        self._sessions.end(session)
        self._wishes.forget(session)
        return {}

    async def _cancelled_elsewhere(self, body: JSON, _: Tell) -> JSON:
        if (running := self._under_way.get(tuple(body["key"]))) is not None:
            running.stop()
        return {}

    def _session(self, request: EndpointRequest) -> Session | None:
        token = request.header(SESSION)
        return None if token is None else self._sessions.find(token, request.caller, request.view)

    # --- messages

    async def batch(self, request: EndpointRequest, session: Session | None, messages: list[Any]) -> EndpointResponse:
        """Several messages at once (2025-03-26, basic/index "Batching"); the answers come in the same order."""
        revision = session.revision if session else request.header(b"mcp-protocol-version") or BATCHES
        if revision != BATCHES or not 0 < len(messages) <= MAX_IN_BATCH:
            told = f"A batch has 1 to {MAX_IN_BATCH} messages and exists only at revision {BATCHES}."
            return say_error(None, error_codes.INVALID_REQUEST, told)
        # tasks of their own, so that cancelling one does not cancel all
        answers = await asyncio.gather(*(self.one(request, session, one, None, batched=True) for one in messages))
        bodies = [answer.body for answer in answers if answer.body]
        if any(answer.status == 503 for answer in answers):
            return next(answer for answer in answers if answer.status == 503)
        return EndpointResponse(200, [JSON_TYPE], b"[" + b",".join(bodies) + b"]") if bodies else _ACCEPTED

    async def one(
        self,
        request: EndpointRequest,
        session: Session | None,
        message: Any,
        stream: EventStream | None,
        *,
        batched: bool = False,
    ) -> EndpointResponse:
        """The answer to one message; of a notification or a response, that it was accepted.

        Args:
            request: that brought it.
            session: as part of which it came.
            message: as it was parsed.
            stream: where notifications and questions of servers go meanwhile; None when there is no place for them.
            batched: whether others came with it.
        """
        try:
            message = jsonrpc.check_envelope(message)
            if "method" not in message:
                taken = await self._questions.answered(request.caller, session, message)
                return _ACCEPTED if taken else _NOBODY_ASKED
            method, params = message["method"], message.get("params") or {}
            if "id" not in message:
                if is_extension(method):
                    revision = session.revision if session else request.header(b"mcp-protocol-version") or BATCHES
                    id = session.id if session else ""
                    return await self._reading.told(request, method, params, revision, session=id)
                self._notified(request.caller, session, method, params)
                return _ACCEPTED
            id = jsonrpc.request_id(message)
        except jsonrpc.BadMessageError as e:
            return say_error(None, e.code, str(e), e.data, modern=not batched)
        if method == "tools/call" or self._reading.serves(method):
            return await self._call(request, session, id, method, params, stream)
        if method == "initialize":
            if batched:
                return say_error(
                    id, error_codes.INVALID_REQUEST, "initialize must not be part of a batch.", modern=False
                )
            return self._initialize(request, id, params)
        if method == "ping":
            return EndpointResponse(200, [JSON_TYPE], jsonrpc.result(id, {}))
        if method == "tools/list":
            if params.get("cursor") is not None:
                told = "There is no such cursor: all tools are on one page."
                return say_error(id, error_codes.INVALID_PARAMS, told, modern=False)
            listed = await self._lists.tools(request.caller, request.view, modern=False)
            return EndpointResponse(200, [JSON_TYPE], jsonrpc.encoded_result(id, listed))
        if method in WISHES and session is not None:
            return await self._wishes.answer(request, session, id, method, params)
        return say_error(id, error_codes.METHOD_NOT_FOUND, f"There is no method {method[:100]!r} here.", modern=False)

    def _initialize(self, request: EndpointRequest, id: Any, params: JSON) -> EndpointResponse:
        asked = params.get("protocolVersion")
        if not isinstance(asked, str):
            return say_error(id, error_codes.INVALID_PARAMS, "initialize needs a protocolVersion.", modern=False)
        revision = asked if asked in LEGACY else LEGACY[0]
        capabilities, client = params.get("capabilities"), params.get("clientInfo")
        token = self._sessions.begin(
            request.caller,
            request.view,
            revision,
            capabilities if isinstance(capabilities, dict) else {},
            client if isinstance(client, dict) else {},
        )
        value = {
            "protocolVersion": revision,
            "capabilities": self._lists.offers.capabilities(request.caller, request.view),
            "serverInfo": self._lists.server_info(request.caller, request.view),
            "instructions": self._lists.instructions(request.caller, request.view),
        }
        return EndpointResponse(200, [JSON_TYPE, (SESSION, token.encode())], jsonrpc.result(id, value))

    async def _call(
        self,
        request: EndpointRequest,
        session: Session | None,
        id: Any,
        method: str,
        params: JSON,
        stream: EventStream | None,
    ) -> EndpointResponse:
        revision = session.revision if session else request.header(b"mcp-protocol-version") or BATCHES
        session_id = session.id if session else ""
        running = RunningRequest(None)
        key = _key(request.caller, session, id)
        self._under_way[key] = running
        respondent = self._questions.respondent(request.caller, session, stream)
        try:
            if method != "tools/call":
                return await self._reading.answer(
                    request, id, method, params, revision, running, stream, session=session_id, respondent=respondent
                )
            level = (await self._wishes.known(session)).level if session is not None else DEFAULT_LEVEL
            call, problem = self._calls.read(request, with_level(params, level), revision, session=session_id)
            return await self._calls.answer(request, id, call, problem, running, stream, respondent)
        finally:
            if self._under_way.get(key) is running:
                del self._under_way[key]

    def _notified(self, caller: Caller, session: Session | None, method: str, params: JSON) -> None:
        """Only cancellation has an effect, and only on requests of the same caller in the same session."""
        if method == "notifications/cancelled":
            key = _key(caller, session, params.get("requestId"))
            running = self._under_way.get(key)
            if running is not None:
                running.stop()
            elif self._relay is not None and session is not None:
                self._relay.tell(CANCELLED, {"key": key})


def _key(caller: Caller, session: Session | None, id: Any) -> tuple[Any, ...]:
    # 1 and "1" are different ids, and so are 1 and True, which are equal in Python
    shown = id if isinstance(id, (str, int)) else None
    return (caller.tenant, caller.subject, session.id if session else "", type(id).__name__, shown)


def announcement(method: str, params: JSON) -> bytes:
    """The event that announces something to an older client."""
    return jsonrpc.event(encode({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})}))


def _no_session() -> EndpointResponse:
    return EndpointResponse(
        404, [JSON_TYPE], jsonrpc.error(None, error_codes.INVALID_REQUEST, "There is no such session: initialize.")
    )
