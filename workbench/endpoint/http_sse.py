"""HTTP+SSE, the transport of 2024-11-05, at the front: a GET opens the one stream on which we speak, POSTs are answered
there ("HTTP with SSE" of that revision).

What is said on it is served by the code that serves the older revisions over Streamable HTTP. A POST that reaches
another process than the stream is handed to that one. Everything ends with the stream.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import Any, Final
from urllib.parse import parse_qs, quote

import msgspec

from workbench import error_codes
from workbench.cluster.message_relay import MessageRelay, ProcessGoneError, Tell
from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.http_request import EndpointRequest, EventStream
from workbench.endpoint.http.responses import JSON_TYPE, EndpointResponse
from workbench.endpoint.legacy import SESSION, LegacyProtocol, announcement
from workbench.endpoint.sessions import Session
from workbench.endpoint.subscriptions import KINDS, Announcements, SubscriptionFilter
from workbench.events import JSON, Caller, UnreachableError

PATH: Final = "/sse"
"""How the path ends at which the stream is opened; messages are sent to the same path."""

MAX_CHANNELS: Final = 1024
MAX_PER_CALLER: Final = 128

MAX_CONCURRENT: Final = 16
"""Requests under way on one stream; further ones wait to be accepted."""

MAX_WAITING: Final = 16
SEND_TIMEOUT_S: Final = 20.0
"""Seconds that a message waits for its turn before it is turned away; clients wait for 30 s and more."""

POSTED: Final = "posted"
CARRIED: Final = ("mcp-protocol-version", "traceparent")
"""Headers of a message that count at the process that has its stream."""

_ACCEPTED: Final = EndpointResponse(202, [(b"content-type", b"text/plain; charset=utf-8")], b"Accepted")
_BUSY: Final = EndpointResponse(503, [(b"retry-after", b"5")], b"")
_NO_STREAM: Final = EndpointResponse(
    404, [JSON_TYPE], jsonrpc.error(None, error_codes.INVALID_REQUEST, "There is no such stream: open one.")
)
_BEFORE_HANDSHAKE: Final = ("initialize", "ping", "server/discover")


async def _nothing(*_: Any) -> Any:
    """Neither receives nor sends: the request is another process's."""
    raise AssertionError("a message from another process has no connection here")


class SseChannel(EventStream):
    """One open stream, and what is under way on it.

    Args:
        request: that opened it.
    """

    def __init__(self, request: EndpointRequest) -> None:
        super().__init__(request)
        self.id = secrets.token_urlsafe(24)
        self.caller = request.caller
        self.view = request.view
        self.session: Session | None = None
        """What the handshake on it has agreed on."""
        self.wanted = SubscriptionFilter(frozenset())
        self.turns = asyncio.Semaphore(MAX_CONCURRENT)
        self.waiting = 0
        self.tasks: set[asyncio.Task[None]] = set()

    def belongs_to(self, request: EndpointRequest) -> bool:
        """Whether a message comes from the principal who opened the stream, at the same endpoint."""
        opened, sent = self.caller, request.caller
        return (opened.tenant, opened.subject, self.view) == (sent.tenant, sent.subject, request.view)

    async def turn(self) -> bool:
        """Wait until the client has read what waits for it and some request has been answered; False when in vain."""
        if self.waiting >= MAX_WAITING:
            return False
        self.waiting += 1
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self.outbox.room()
                await self.turns.acquire()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True


class SseChannels:
    """All open streams of this transport.

    Args:
        legacy: answers what is said on them.
        announcements: keeps streams open, and announces changes on them.
        relay: reaches the streams of other processes; None where there is no way to them.
    """

    def __init__(self, legacy: LegacyProtocol, announcements: Announcements, relay: MessageRelay | None = None) -> None:
        self._legacy = legacy
        self._announcements = announcements
        self._relay = relay
        if relay is not None:
            relay.handlers[POSTED] = self._posted_elsewhere
        self._open: dict[str, SseChannel] = {}
        self._callers: Counter[tuple[str, str]] = Counter()

    async def open(self, request: EndpointRequest) -> None:
        """Answer a GET: the stream, which begins with the address for messages."""
        whose = (request.caller.tenant, request.caller.subject)
        if not request.takes_events:
            await request.reply(EndpointResponse(406, [], b""))
            return
        if len(self._open) >= MAX_CHANNELS or self._callers[whose] >= MAX_PER_CALLER or self._announcements.full:
            await request.reply(EndpointResponse(503, [(b"retry-after", b"30")], b"Too many streams are open."))
            return
        channel = SseChannel(request)
        if self._relay is not None:
            channel.id = f"{self._relay.id}-{channel.id}"
        self._open[channel.id] = channel
        self._callers[whose] += 1
        first = f"event: endpoint\ndata: {quote(request.scope['path'])}?session={channel.id}\n\n"
        try:
            await self._announcements.keep(request, first.encode(), announcement, channel.wanted, outbox=channel.outbox)
        finally:
            del self._open[channel.id]
            self._callers -= Counter([whose])
            await self._close(channel)

    async def take(self, request: EndpointRequest, message: Any) -> None:
        """Answer a POST: whatever there is to say to it is said on the stream."""
        named = parse_qs(request.scope.get("query_string", b"").decode("latin-1")).get("session", [""])[0]
        holder, dash, _ = named.partition("-")
        if self._relay is not None and dash and holder != self._relay.id:
            await request.reply(await self._handed_on(self._relay, holder, named, request, message))
        else:
            await request.reply(await self._taken(named, request, message))

    async def _handed_on(
        self, relay: MessageRelay, holder: str, named: str, request: EndpointRequest, message: Any
    ) -> EndpointResponse:
        """Hand a message to the process that has its stream; what that one replies."""
        body = {
            "channel": named,
            "caller": request.caller.to_dict(),
            "view": request.view,
            "resource": request.resource,
            "headers": {name: value for name in CARRIED if (value := request.header(name.encode())) is not None},
            "message": message,
        }
        try:
            answer = await relay.ask(holder, POSTED, body)
        except ProcessGoneError:
            return _NO_STREAM
        except UnreachableError:
            return EndpointResponse(503, [(b"retry-after", b"1")], b"")
        headers = [(name.encode(), value.encode()) for name, value in answer["headers"]]
        return EndpointResponse(answer["status"], headers, answer["body"].encode())

    async def _posted_elsewhere(self, body: JSON, _: Tell) -> JSON:
        """Take a message that reached another process, which has found out who sent it."""
        headers = {name.encode(): value.encode() for name, value in body["headers"].items()}
        request = EndpointRequest({"path": PATH}, _nothing, _nothing, headers, body["view"], body["resource"])
        request.caller = msgspec.convert(body["caller"], Caller)
        answer = await self._taken(body["channel"], request, body["message"])
        told = [[name.decode(), value.decode()] for name, value in answer.headers]
        return {"status": answer.status, "headers": told, "body": answer.body.decode()}

    async def _taken(self, named: str, request: EndpointRequest, message: Any) -> EndpointResponse:
        """Take a message to a stream of this process; the reply to its POST."""
        channel = self._open.get(named)
        if channel is None or not channel.belongs_to(request):
            return _NO_STREAM
        method = message.get("method") if isinstance(message, dict) else None
        if isinstance(message, dict) and (method is None or "id" not in message):
            # never kept waiting: what waits may wait for just this
            answer = await self._legacy.one(request, channel.session, message, channel)
            return _ACCEPTED if answer.status == 202 else answer
        if not await channel.turn():
            return _BUSY
        if self._open.get(named) is not channel:  # it ended while the message waited for its turn
            return _NO_STREAM
        task = asyncio.get_running_loop().create_task(self._answer(channel, request, message))
        channel.tasks.add(task)
        task.add_done_callback(channel.tasks.discard)
        task.add_done_callback(lambda _: channel.turns.release())
        return _ACCEPTED

    async def _answer(self, channel: SseChannel, request: EndpointRequest, message: Any) -> None:
        answer = await self._said(channel, request, message)
        if answer.body:
            await channel.outbox.put(*jsonrpc.event_parts(answer.body))

    async def _said(self, channel: SseChannel, request: EndpointRequest, message: Any) -> EndpointResponse:
        if isinstance(message, list):
            return await self._legacy.batch(request, channel.session, message)
        if channel.session is None and isinstance(message, dict) and message.get("method") not in _BEFORE_HANDSHAKE:
            told = "initialize has to come first."
            return EndpointResponse(200, [], jsonrpc.error(message.get("id"), error_codes.INVALID_REQUEST, told))
        answer = await self._legacy.one(request, channel.session, message, channel)
        token = next((value for name, value in answer.headers if name == SESSION), None)
        if token is not None and channel.session is None:
            channel.session = self._legacy.begun(token.decode(), request, channel.wanted)
            channel.wanted.kinds = frozenset(KINDS)
        return answer

    async def _close(self, channel: SseChannel) -> None:
        """The client is gone, and what is under way for it ends."""
        for task in channel.tasks:
            task.cancel()
        await asyncio.gather(*channel.tasks, return_exceptions=True)
        if channel.session is not None:
            self._legacy.over(channel.session)
