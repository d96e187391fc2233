"""One HTTP request at the MCP endpoint: reading it within bounds, and sending what answers it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from workbench.endpoint.http import jsonrpc
from workbench.endpoint.http.outbox import PORTION, Outbox
from workbench.endpoint.http.responses import JSON_TYPE, EndpointResponse
from workbench.events import Caller
from workbench.gateway.backpressure import UNREAD
from workbench.upstream.jsonrpc_messages import encode

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_TIMEOUT_S: Final = 30.0
"""Seconds in which a body has to arrive."""

WATCH_DELAY_S: Final = 0.1
"""Seconds until we listen for the client going away. Nearly every call is over by then and never pays for it."""

_EVENTS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class ClientGoneError(Exception):
    """The client went away before its request was complete."""


class BodyTooLargeError(Exception):
    """The body has more bytes than allowed."""


class EndpointRequest:
    """An authenticated request to one of the endpoints.

    Args:
        scope: of ASGI.
        receive: of ASGI.
        send: of ASGI.
        headers: names in lower case, values without surrounding blanks.
        view: what the endpoint shows, see `views`.
        resource: URL of the endpoint.
    """

    __slots__ = ("caller", "events_only", "headers", "receive", "resource", "scope", "send", "view")

    caller: Caller

    events_only: bool
    """Whether the client accepts event streams and no JSON; its answers are sent as a stream of one event then."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[bytes, bytes], view: str, resource: str
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.headers = headers
        self.view = view
        self.resource = resource
        self.events_only = False

    def header(self, name: bytes) -> str | None:
        """The value of a header, or None."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def takes_events(self) -> bool:
        """Whether the client reads an event stream as an answer."""
        accept = self.headers.get(b"accept", b"*/*") or b"*/*"
        if b"text/event-stream" in accept:
            return True
        accept = accept.lower()
        return b"*/*" in accept or b"text/*" in accept or b"text/event-stream" in accept

    async def body(self, most: int) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it has more than `most` bytes.
            ProcessGoneError: the client went away.
            TimeoutError: it did not arrive in time.
        """
        declared = self.headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > most:
            raise BodyTooLargeError
        message = await self.receive()
        body: bytes = message.get("body", b"")
        if message["type"] == "http.request" and not message.get("more_body"):
            if len(body) > most:
                raise BodyTooLargeError
            return body
        parts, size = [body], len(body)
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while message.get("more_body"):
                message = await self.receive()
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise BodyTooLargeError
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return b"".join(parts)

    async def reply(self, answer: EndpointResponse) -> None:
        """Send one complete response."""
        body, fields = answer.body, answer.headers
        if self.events_only and answer.status == 200 and JSON_TYPE in fields:
            body, fields = jsonrpc.event(body), [*_EVENTS, *(field for field in fields if field != JSON_TYPE)]
        headers = [*fields, (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if len(body) <= PORTION:
            await self.send({"type": "http.response.body", "body": body})
            return
        # Each portion waits until the client has read most of what came before: we keep the body, and nobody a copy.
        UNREAD.bytes += len(body)
        try:
            for at in range(0, len(body), PORTION):
                part, more = body[at : at + PORTION], at + PORTION < len(body)
                await self.send({"type": "http.response.body", "body": part, "more_body": more})
        finally:
            UNREAD.bytes -= len(body)

    async def begin_events(self) -> None:
        """Start a response that is an event stream."""
        await self.send({"type": "http.response.start", "status": 200, "headers": list(_EVENTS)})

    async def send_event(self, data: bytes, *, last: bool = False) -> None:
        """Send bytes of an event stream as they are."""
        await self.send({"type": "http.response.body", "body": data, "more_body": not last})

    def outbox(self) -> Outbox:
        """What this client is sent as events, within bounds."""
        return Outbox(self.begin_events, self.send_event, _hold)


def _hold(size: int) -> None:
    UNREAD.bytes += size


class EventStream:
    """An event stream that begins with the first notification. Who notifies faster than the client reads, waits."""

    def __init__(self, request: EndpointRequest) -> None:
        self._request = request
        self._outbox: Outbox | None = None

    @property
    def outbox(self) -> Outbox:
        """What is sent; made when it is needed, which for most calls it never is."""
        if self._outbox is None:
            self._outbox = self._request.outbox()
        return self._outbox

    @property
    def started(self) -> bool:
        return self._outbox is not None and self._outbox.started

    async def notify(self, message: Any) -> None:
        """Send one notification."""
        await self.outbox.put(jsonrpc.event(encode({"jsonrpc": "2.0", **message})))

    async def finish(self, body: bytes) -> None:
        """Send what waits, then `body` as the last event."""
        await self.outbox.end(*jsonrpc.event_parts(body))

    def abandon(self) -> None:
        """Stop: nobody reads any more."""
        self.outbox.abandon()


class DisconnectWatcher:
    """Has clients watched whose calls take long, for going away. One timer serves all calls: nearly all are over before
    it comes, and a timer for each would cost more than checking its arguments."""

    def __init__(self) -> None:
        self._due: dict[RunningRequest, float] = {}
        """When each is to be watched, soonest first."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, running: RunningRequest, loop: asyncio.AbstractEventLoop) -> None:
        """Watch from `WATCH_DELAY_S` on, unless it is over before."""
        if loop is not self._loop:
            self._loop, self._timer = loop, None
            self._due.clear()
        self._due[running] = loop.time() + WATCH_DELAY_S
        if self._timer is None:
            self._timer = loop.call_later(WATCH_DELAY_S, self._look, loop)

    def remove(self, running: RunningRequest) -> None:
        """It is over."""
        self._due.pop(running, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        for running in [running for running, due in self._due.items() if due <= now]:
            del self._due[running]
            running.watch()
        soonest = next(iter(self._due.values()), None)
        self._timer = None if soonest is None else loop.call_at(soonest, self._look, loop)


class RunningRequest:
    """A call under way, with the ways in which it can be stopped from outside.

    Use as a context manager around the call, in the task that runs it. `stopped` tells afterwards whether a
    CancelledError came from here; it is to be swallowed then.

    Args:
        receive: of ASGI, when the client's going away shall stop the call; None when it shall not.
        departures: with `receive`, what has the client watched.
    """

    def __init__(self, receive: Receive | None, departures: DisconnectWatcher | None = None) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._receive = receive
        self._departures = departures
        self._watch: asyncio.Task[None] | None = None
        self.stopped = False

    def __enter__(self) -> RunningRequest:
        if self._departures is not None:
            self._departures.add(self, self._task.get_loop())
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        if self._departures is not None:
            self._departures.remove(self)
        if self._watch is not None:
            self._watch.cancel()
        if not self.stopped:
            return False
        self._task.uncancel()
        return kind is asyncio.CancelledError

    def stop(self) -> None:
        """Cancel the call."""
        if not self.stopped:
            self.stopped = True
            self._task.cancel()

    def watch(self) -> None:
        """Stop the call when the client goes away."""
        self._watch = self._task.get_loop().create_task(self._until_gone())

    async def _until_gone(self) -> None:
        assert self._receive is not None
        if (await self._receive())["type"] == "http.disconnect":
            self.stop()
