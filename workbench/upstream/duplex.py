"""One two-way channel that carries many requests at once: what stdio, HTTP+SSE and memory have in common."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from workbench.background_tasks import BackgroundTasks
from workbench.events import JSON, UnreachableError
from workbench.registry.connection import RpcError
from workbench.upstream import negotiation
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.deadline import Renew, renewal
from workbench.upstream.jsonrpc_messages import Notify, of_request, request_id, result_of, with_own_token
from workbench.upstream.negotiation import MODERN, IncompleteAnswerError, NotMcpError, PeerInfo
from workbench.upstream.notification_relay import NotificationRelay
from workbench.upstream.notification_stream import CHANGES, KINDS, WATCHED, NotificationStream, declared
from workbench.upstream.request_attribution import CARRIED, CallsInFlight, UnderWay

HANDSHAKE_TIMEOUT_S: Final = 30.0
"""Seconds for the handshake; a first start may have to compile or download."""

PROBE_TIMEOUT_S: Final = 5.0
"""Seconds for the question whether the server is modern; old ones may never answer it. One that is still loading then
answers both questions later."""

OURS: Final = ("initialize", "server/", "tools/", "prompts/", "resources/", "completion/", "logging/", "subscriptions/")
"""How the methods begin that only clients send."""


class _PendingRequest:
    """A request that is under way."""

    __slots__ = ("call", "future", "method", "received", "relay", "renew")

    def __init__(
        self,
        method: str,
        future: asyncio.Future[Any],
        relay: NotificationRelay | None,
        call: UnderWay | None,
        renew: Renew | None,
    ) -> None:
        self.method = method
        self.future = future
        self.relay = relay
        self.call = call
        self.renew = renew
        self.received = False


class DuplexConnection:
    """Implements `registry.Connection` over `transport`, `_connect`, `_send` and `_disconnect` of a subclass.

    Ids are our own, because those of callers collide ("1" and 1 are different ids to JSON-RPC and equal to many
    programs). Cancelling sends `notifications/cancelled` in either era (basic/patterns/cancellation).

    Args:
        name: how to call the server in messages.
        capabilities: to declare in the handshake of an older server; by default what some client may be able to do.
        older: whether the server is known to be older, so that there is no need to ask.
        handshake_timeout: seconds for the handshake; infinite where whoever opens it has a bound of its own.
    """

    def __init__(
        self,
        name: str,
        *,
        capabilities: JSON | None = None,
        older: bool = False,
        handshake_timeout: float | None = None,
    ) -> None:
        self.name = name
        self.era = ""
        self.server_info: JSON = {}
        self.capabilities: JSON = {}
        self.instructions = ""
        self.on_notification: Callable[[JSON], None] | None = None
        self._declared = CARRIED if capabilities is None else capabilities
        self._older = older
        self._callers = CallsInFlight()
        self._peer = PeerInfo("")
        self._waiting: dict[int, _PendingRequest] = {}
        self._ids = itertools.count(1)
        self._tasks = BackgroundTasks(f"server {name!r}")
        self._lost = f"The connection to server {name!r} is not open."
        self._why_closed = f"The connection to server {name!r} was closed."
        self._watching = NotificationStream(self._listen, self._tasks.start)
        self._handshake_timeout = handshake_timeout
        self.heard_at = 0.0
        """When a message of the server was last received, by the clock of the event loop."""
        self.probed = False
        """Whether the server was asked something before `initialize`, which not every server survives."""
        self.ignores_probe = False
        """Whether it was silent about that, and answered `initialize`."""
        self._handshaken = False
        self._probe_id = 0
        """Id of the first `server/discover`; 0 before it."""
        self._late_answer: JSON | None = None
        """The answer to it that came when nobody waited any more."""

    @property
    def transport(self) -> str:
        """See `registry.Connection.transport`."""
        raise NotImplementedError

    @property
    def alive(self) -> bool:
        return not self._lost

    @property
    def notices(self) -> tuple[str, ...]:
        """What is odd about the server and is put up with."""
        return replace(self._peer, unasked="").notices  # `ignores_probe` says that, and the registry remembers it

    async def open(self) -> None:
        """Connect and find out the era.

        Raises:
            UnreachableError: the server ends, does not answer, or speaks no revision of ours.
        """
        self._lost = ""
        self._handshaken, self._probe_id, self._late_answer = False, 0, None
        try:
            await self._connect()
            discover = None if self._older else self._discover
            self._adopt(await negotiation.negotiate(self.name, discover, self._initialize))
            self.ignores_probe = self.ignores_probe and not self._peer.modern
            if not self._peer.modern:
                await self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        except BaseException:
            await self.close()
            raise
        if self._peer.modern and any(self._peer.announces(kind) for kind in KINDS):
            self._tasks.start(self._listen(CHANGES))

    async def close(self) -> None:
        """Let go of the channel; requests under way end as unreachable."""
        self._end(self._why_closed)
        await self._tasks.close()
        await self._disconnect()

    async def request(
        self,
        method: str,
        params: JSON,
        *,
        timeout: float | None,
        notify: Notify | None = None,
        meta: JSON | None = None,
        respondent: ClientResponder | None = None,
        longest: float | None = None,
    ) -> JSON:
        """See `registry.Connection.request`."""
        if not self._peer.revision:
            raise UnreachableError(self._lost)
        if self._peer.modern and method in WATCHED:
            return self._watching.take(method, params)
        async with asyncio.timeout(timeout) as deadline:
            renew = renewal(deadline, timeout, longest)
            if respondent is None:
                return await self._exchange(method, params, notify, meta, renew=renew)
            call = await self._callers.enter(respondent.unhurried(deadline))
            call.renew = renew
            try:
                return await self._exchange(method, params, notify, meta, call, renew)
            finally:
                self._callers.leave(call, answered=False)

    async def notify(self, method: str, params: JSON, *, timeout: float | None, meta: JSON | None = None) -> None:
        """See `registry.Connection.notify`."""
        if self._lost:
            raise UnreachableError(self._lost)
        async with asyncio.timeout(timeout):
            await self._send({"jsonrpc": "2.0", "method": method, "params": self._body(params, meta)})

    # --- what a transport provides

    async def _connect(self) -> None:
        raise NotImplementedError

    async def _send(self, message: JSON) -> None:
        """Write one message; raises Unreachable when the channel is gone."""
        raise NotImplementedError

    async def _disconnect(self) -> None:
        raise NotImplementedError

    # --- requests

    def _adopt(self, peer: PeerInfo) -> None:
        self._peer = peer
        self.era, self.instructions = peer.revision, peer.instructions
        self.server_info, self.capabilities = peer.info, peer.capabilities

    async def _discover(self) -> JSON:
        """Ask for the revisions; after the handshake only a server that has answered the first question meanwhile.

        One that has answered `initialize`, and not what was asked before that, does not know the question, and need not
        be waited for again.
        """
        if self._handshaken:
            if self._late_answer is None:
                raise TimeoutError
            self.ignores_probe = False
            if "error" in self._late_answer:
                return result_of(self._late_answer, self._probe_id, self.name, "server/discover")
        self._peer = PeerInfo(MODERN)
        self.probed = True
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return await self._exchange("server/discover", {}, None, None)
        except TimeoutError:
            self.ignores_probe = not self._handshaken
            raise

    async def _initialize(self) -> JSON:
        self._peer = PeerInfo(negotiation.LEGACY[0])
        longest = HANDSHAKE_TIMEOUT_S if self._handshake_timeout is None else self._handshake_timeout
        async with asyncio.timeout(longest if longest < float("inf") else None):
            found = await self._exchange("initialize", negotiation.initialize_params(self._declared), None, None)
        self._handshaken = True
        return found

    async def _exchange(
        self,
        method: str,
        params: JSON,
        notify: Notify | None,
        meta: JSON | None,
        call: UnderWay | None = None,
        renew: Renew | None = None,
    ) -> JSON:
        if self._lost:
            raise UnreachableError(self._lost)
        id = next(self._ids)
        if method == "server/discover" and not self._probe_id:
            self._probe_id = id
        meta, notify = with_own_token(meta, notify, id)
        body = self._body(params, meta)
        relay = NotificationRelay(notify) if notify is not None else None
        waiting = _PendingRequest(method, asyncio.get_running_loop().create_future(), relay, call, renew)
        if call is not None:
            call.relay = relay
        self._waiting[id] = waiting
        try:
            await self._send({"jsonrpc": "2.0", "id": id, "method": method, "params": body})
            answer = await waiting.future
            if relay is not None:
                await relay.drained()
            return result_of(answer, id, self.name, method)
        except asyncio.CancelledError:
            if not self._lost and method not in ("initialize", "server/discover"):
                told = {"requestId": id, "reason": "cancelled"}
                self._tasks.start(
                    self._send_unwatched({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": told})
                )
            raise
        finally:
            del self._waiting[id]
            if relay is not None:
                relay.close()

    def _body(self, params: JSON, meta: JSON | None) -> JSON:
        found = negotiation.modern_meta(meta) if self._peer.modern else negotiation.legacy_meta(meta)
        return {**params, "_meta": found} if found else params

    async def _listen(self, wanted: JSON) -> None:
        """Ask a modern server to announce changes; it stays silent about them otherwise."""
        try:
            await self._exchange("subscriptions/listen", {"notifications": wanted}, None, declared(wanted))
        except (RpcError, UnreachableError):
            return  # no such method, or no server any more: the registry polls

    async def _send_unwatched(self, message: JSON) -> None:
        try:
            await self._send(message)
        except UnreachableError:
            return  # whoever reads the channel has noticed it, too

    # --- what comes in

    async def _received(self, message: Any) -> None:
        """Deal with one message from the server."""
        if not isinstance(message, dict):
            return
        self.heard_at = asyncio.get_running_loop().time()
        method = message.get("method")
        if not isinstance(method, str):
            self._answered(message)
        elif "id" not in message or message["id"] is None:
            self._notified(method, message)
        elif not method.startswith(OURS):  # else it sends back what it was sent, as a terminal does
            self._tasks.start(self._asked(message))

    def _answered(self, message: JSON) -> None:
        given = message.get("id")
        id = given if type(given) is int else request_id(message)
        if id is None and message.get("error") is not None and len(self._waiting) == 1:
            id = next(iter(self._waiting))  # it could not read which request it was, but there is only one
        waiting = self._waiting.get(id) if id is not None else None
        if waiting is None and id == self._probe_id:
            self._late_answer = {**message, "id": id}
        if waiting is None or waiting.future.done() or not ("result" in message or "error" in message):
            return
        waiting.future.set_result(message if given == id else {**message, "id": id})
        if waiting.call is not None:  # at once: what comes next is not about it
            self._callers.leave(waiting.call, answered=True)

    def _unreadable(self, id: int | None, why: str) -> None:
        """The server has written a message that cannot be read: whoever waits for it is told."""
        if id is None and len(self._waiting) == 1:
            id = next(iter(self._waiting))
        waiting = self._waiting.get(id) if id is not None else None
        if waiting is not None and not waiting.future.done():
            error = NotMcpError(f"Server {self.name!r} answered with broken JSON: {why.rstrip('.')}.", 200)
            waiting.future.set_exception(error)

    async def _asked(self, message: JSON) -> None:
        await self._send_unwatched({"jsonrpc": "2.0", **await self._callers.answer(message)})

    def _notified(self, method: str, message: JSON) -> None:
        params = message.get("params")
        token = params.get("progressToken") if isinstance(params, dict) else None
        waiting = self._waiting.get(token) if isinstance(token, int) else None
        if method == "notifications/progress":
            if waiting is not None and waiting.renew is not None:
                waiting.renew()
            if waiting is not None and waiting.relay is not None:
                waiting.received = True
                waiting.relay.add(message)
        elif of_request(method) and self._callers.log(message):
            return
        elif self.on_notification is not None:
            self.on_notification(message)

    def _end(self, why: str) -> None:
        """The channel is gone: whoever waits is told, and so is everybody who asks later."""
        if self._lost:
            return
        self._lost = why
        for waiting in self._waiting.values():
            if not waiting.future.done():
                waiting.future.set_exception(IncompleteAnswerError(why) if waiting.received else UnreachableError(why))
                waiting.future.exception()  # whoever stopped waiting must not leave an unread error behind
