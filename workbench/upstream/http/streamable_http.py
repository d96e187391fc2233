"""A server behind Streamable HTTP, in both eras (basic/transports/streamable-http)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import aiohttp

from workbench.background_tasks import BackgroundTasks
from workbench.events import JSON, UnreachableError
from workbench.registry.connection import RpcError
from workbench.upstream import negotiation
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.deadline import renewal, renewing
from workbench.upstream.http.body import EVENTS_TYPE, JSON_TYPE
from workbench.upstream.http.client_pool import HttpClientPool
from workbench.upstream.http.cold_start import when_awake
from workbench.upstream.http.failure import failure, unreachable
from workbench.upstream.http.post_answer import AnswerReader
from workbench.upstream.http.redirects import is_redirect
from workbench.upstream.http.response import HttpResponse, drain
from workbench.upstream.http.server_url import HttpEndpoint
from workbench.upstream.http.session_loss import (
    RevisionRefusedError,
    SessionLostError,
    is_session_error,
    says_session_unknown,
    shared_revision,
)
from workbench.upstream.jsonrpc_messages import (
    MAX_MESSAGE,
    Notify,
    answer_to_server,
    encode,
    of_request,
    with_own_token,
)
from workbench.upstream.negotiation import METHOD_NOT_FOUND, MODERN, IncompleteAnswerError, NotMcpError, PeerInfo
from workbench.upstream.notification_stream import CHANGES, WATCHED, NotificationStream, declared, keep_listening
from workbench.upstream.request_headers import RequestHeaders
from workbench.upstream.session_pool import SessionPool

JSON_HEADERS: Final = {"Accept": f"{JSON_TYPE}, {EVENTS_TYPE}", "Content-Type": JSON_TYPE}

HANDSHAKE_TIMEOUT_S: Final = 10.0
"""Seconds for the question whether a server is modern; an older one may not answer it."""

WAKE_TIMEOUT_S: Final = 90.0
"""Seconds for a server that is started by the first request to it."""


class HttpConnection:
    """One server behind a URL; implements `registry.Connection`.

    Every request is a POST of its own from the process-wide pool. Cancelling closes the response at 2026-07-28, and
    sends `notifications/cancelled` before.

    Args:
        url: the endpoint.
        headers: sent with every request, for instance the server's own credential.
        name: how to call the server in messages.
        pool: where sockets come from.
        max_bytes: largest message accepted from the server.
        capabilities: to declare in the handshake of an older server; then no other is tried, and `respondent` answers
            what the server asks. None declares nothing and finds out what the server speaks.
        is_modern: whether the server is known to speak 2026-07-28, as those of this project do: then it is waited for
            until it says so, and one that is silent counts as unreachable and not as older.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        name: str = "",
        pool: HttpClientPool | None = None,
        max_bytes: int = MAX_MESSAGE,
        capabilities: JSON | None = None,
        is_modern: bool = False,
    ) -> None:
        self.url = url
        self.name = name or url
        self.era = ""
        self.server_info: JSON = {}
        self.capabilities: JSON = {}
        self.instructions = ""
        self.on_notification: Callable[[JSON], None] | None = None
        self.on_waiting: Callable[[str], None] | None = None
        """Called with the reason when a server that is being opened is waited for."""
        self.respondent: ClientResponder | None = None
        self._declared = capabilities
        self._is_modern = is_modern
        self._configured = dict(headers or {})
        self._base: dict[str, str] = {}
        self._pool = pool or HttpClientPool.shared()
        self._max_bytes = max_bytes
        self._endpoint = HttpEndpoint(url, self.name, self._pool)
        self._answers = AnswerReader(self._endpoint, self.name, max_bytes, self._said)
        self._peer = PeerInfo("")
        self._session_id = ""
        self._offered_session = ""
        self._headers = RequestHeaders({})
        self._leases = SessionPool(self._sibling)
        self._tasks = BackgroundTasks(f"server {self.name!r}")
        self._watching = NotificationStream(self._listen, self._tasks.start)
        self._ids = itertools.count(1)
        self._renewing = asyncio.Lock()
        self._changes: asyncio.Task[None] | None = None
        self._reachable = False

    @property
    def notices(self) -> tuple[str, ...]:
        """What is odd about the server and is put up with."""
        return self._peer.notices

    @property
    def transport(self) -> str:
        return "http"

    @property
    def alive(self) -> bool:
        return self._endpoint.is_open and self._reachable

    # --- opening and closing

    async def open(self) -> None:
        """Find out the era. Safe to call again after `close`.

        Raises:
            UnreachableError: nothing answers at the URL, or nothing that speaks MCP.
        """
        self._endpoint.open()
        discover = self._discover if self._declared is None else None
        try:
            self._adopt(
                await when_awake(
                    lambda: negotiation.negotiate(self.name, discover, self._initialize, is_modern=self._is_modern),
                    lambda why: self.on_waiting and self.on_waiting(why),
                    WAKE_TIMEOUT_S,
                )
            )
        except BaseException:
            await self.close()
            raise
        if self._peer.modern and self._session_id:
            await self._end_session()
        self._set_base_headers()
        if not self._peer.modern:
            await self._notify_server({"method": "notifications/initialized"})
        self._reachable = True
        self._listen_for_changes()

    async def close(self) -> None:
        """End streams and the session, and give the sockets back."""
        if (http := self._endpoint.end()) is None:
            return
        await self._tasks.close()
        await self._leases.close()
        await self._endpoint.release(http, self._base if self._session_id else None)
        self._peer, self._session_id = PeerInfo(""), ""

    async def _end_session(self) -> None:
        """End the session of a handshake that a modern server answered before it said that it is one."""
        headers = {
            **self._configured,
            "MCP-Protocol-Version": negotiation.LEGACY[0],
            "Mcp-Session-Id": self._session_id,
        }
        self._session_id = ""
        await self._endpoint.end_session(headers)

    def _adopt(self, peer: PeerInfo) -> None:
        self._peer = peer
        self.era, self.instructions = peer.revision, peer.instructions
        self.server_info, self.capabilities = peer.info, peer.capabilities

    async def _discover(self) -> JSON:
        session, self._session_id = self._session_id, ""  # of a handshake that came before; not of this question
        self._peer = PeerInfo(MODERN)
        self._set_base_headers()
        try:
            async with asyncio.timeout(WAKE_TIMEOUT_S if self._is_modern else HANDSHAKE_TIMEOUT_S):
                return await self._exchange("server/discover", {}, None, None)
        except NotMcpError as e:
            if says_session_unknown(e.status, str(e)):  # with 401 as well: it only wants the handshake first
                raise RpcError(METHOD_NOT_FOUND, str(e)) from e
            raise
        finally:
            self._session_id = session

    async def _initialize(self) -> JSON:
        # Requests that run meanwhile keep the old session: they are told that it is gone, and wait for this one.
        asked = negotiation.LEGACY[0]
        async with asyncio.timeout(WAKE_TIMEOUT_S):
            try:
                result = await self._handshaken(asked)
            except (RpcError, NotMcpError) as e:
                other = shared_revision(str(e.args[0]), getattr(e, "data", None), asked)
                if not other:
                    raise
                result = await self._handshaken(other)
        self._peer = PeerInfo(str(result.get("protocolVersion")), self._peer.info, self._peer.capabilities)
        self._session_id = self._offered_session
        self._set_base_headers()
        return result

    async def _handshaken(self, asked: str) -> JSON:
        id = next(self._ids)
        params = negotiation.initialize_params(self._declared, asked)
        message = encode({"jsonrpc": "2.0", "id": id, "method": "initialize", "params": params})
        return await self._post(id, "initialize", message, {**self._configured, **JSON_HEADERS}, None)

    async def _renew_session(self, lost: str) -> None:
        """Shake hands again, once for all requests that found the same session gone."""
        async with self._renewing:
            if self._session_id != lost:
                return
            before = self._peer
            await self._initialize()
            self._peer = replace(before, revision=self._peer.revision)
            await self._notify_server({"method": "notifications/initialized"})
            self._listen_for_changes()

    def _set_base_headers(self) -> None:
        self._base = {**self._configured, **JSON_HEADERS, "MCP-Protocol-Version": self._peer.revision}
        if self._session_id:
            self._base["Mcp-Session-Id"] = self._session_id
        self._headers.rebase(self._base)

    def _lower_revision(self, to: str) -> None:
        """Send another revision from now on, or none where the server named none that is spoken here."""
        if to:
            self._peer = replace(self._peer, revision=to)
            self.era = to
        self._set_base_headers()
        if not to:
            del self._base["MCP-Protocol-Version"]

    # --- requests

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
        """See `registry.Connection.request`.

        Raises:
            IncompleteAnswerError: the connection broke after a part of the answer had arrived.
        """
        if not self._endpoint.is_open or not self._peer.revision:
            raise UnreachableError(f"The connection to server {self.name!r} is not open.")
        if self._peer.modern and method in WATCHED:
            return self._watching.take(method, params)
        async with asyncio.timeout(timeout) as deadline:
            if notify is not None:
                notify = renewing(notify, renewal(deadline, timeout, longest))
            if respondent is not None and respondent.capabilities and not self._peer.modern:
                patient = respondent.unhurried(deadline)
                return await self._leases.request(method, params, patient, timeout=None, notify=notify, meta=meta)
            session = self._session_id
            try:
                return await self._exchange(method, params, notify, meta)
            except (SessionLostError, RevisionRefusedError) as e:
                await self._mend(e, session)
            try:
                return await self._exchange(method, params, notify, meta)
            except (SessionLostError, RevisionRefusedError) as e:
                raise self._not_mended(e) from e

    async def _mend(self, error: SessionLostError | RevisionRefusedError, session: str) -> None:
        """Get what a request needs that the server has refused without looking at it, so that it can be sent again."""
        if isinstance(error, RevisionRefusedError):
            self._lower_revision(error.supported)
            return
        try:
            await self._renew_session(session)
        except (SessionLostError, RpcError) as e:
            raise self._not_mended(e) from e

    def _not_mended(self, error: Exception) -> UnreachableError:
        return UnreachableError(
            f"Server {self.name!r} forgot our session and gives no new one that it knows: {error}",
            hint="Several processes behind one address have to share their sessions, or do without.",
        )

    async def notify(self, method: str, params: JSON, *, timeout: float | None, meta: JSON | None = None) -> None:
        """See `registry.Connection.notify`."""
        if not self._endpoint.is_open or not self._peer.revision:
            raise UnreachableError(f"The connection to server {self.name!r} is not open.")
        async with asyncio.timeout(timeout):
            session = self._session_id
            try:
                await self._send_notification(method, params, meta)
            except (SessionLostError, RevisionRefusedError) as e:
                await self._mend(e, session)
                await self._send_notification(method, params, meta)

    async def _send_notification(self, method: str, params: JSON, meta: JSON | None) -> None:
        headers, body = self._addressed(method, params, meta)
        message = encode({"jsonrpc": "2.0", "method": method, "params": body})
        try:
            with contextlib.closing(await self._endpoint.post(message, headers)) as response:
                if response.status >= 300:
                    raise await self._failure(0, method, response)
        except (aiohttp.ClientError, OSError) as e:
            raise self._unreachable(e) from e

    def _addressed(self, method: str, params: JSON, meta: JSON | None) -> tuple[Mapping[str, str], JSON]:
        """Headers and `params` of a message, as the revision demands."""
        if self._peer.modern:
            return self._headers.of(method, params), {**params, "_meta": negotiation.modern_meta(meta)}
        found = negotiation.legacy_meta(meta)
        return self._base, {**params, "_meta": found} if found else params

    async def _exchange(self, method: str, params: JSON, notify: Notify | None, meta: JSON | None) -> JSON:
        id = next(self._ids)
        meta, notify = with_own_token(meta, notify, id)
        headers, body = self._addressed(method, params, meta)
        message = encode({"jsonrpc": "2.0", "id": id, "method": method, "params": body})
        try:
            return await self._post(id, method, message, headers, notify)
        except asyncio.CancelledError:
            if not self._peer.modern and method != "initialize":
                told = {"method": "notifications/cancelled", "params": {"requestId": id, "reason": "cancelled"}}
                self._tasks.start(self._notify_server(told))
            raise

    async def _post(
        self, id: int, method: str, message: bytes, headers: Mapping[str, str], notify: Notify | None
    ) -> JSON:
        answered = False
        try:
            response = await self._pool.post(self._endpoint.url, message, headers)
            if response.status >= 300 and is_redirect(response.status):
                response = await self._endpoint.followed(response, message, headers)
            answered = True
            try:
                result = await self._answer(id, method, response, notify)
            except BaseException:
                response.close()
                raise
            if not response.content.at_eof():
                self._tasks.start(drain(response))
        except (aiohttp.ClientError, OSError) as e:
            self._reachable = answered
            if answered:
                raise IncompleteAnswerError(
                    f"Server {self.name!r} broke off its answer: {str(e) or type(e).__name__}."
                ) from e
            raise self._unreachable(e) from e
        self._reachable = True
        if method == "tools/list" and self._peer.modern:
            self._headers.learn(result)
        return result

    async def _answer(self, id: int, method: str, response: HttpResponse, notify: Notify | None) -> JSON:
        if not 200 <= response.status < 300:
            raise await self._failure(id, method, response)
        if method == "initialize":
            self._offered_session = response.headers.get("Mcp-Session-Id", "")
        try:
            return await self._answers.result(response, id, method, notify, None if self._peer.modern else self._base)
        except RpcError as e:
            if self._peer.modern or method == "initialize" or not is_session_error(e):
                raise
            raise SessionLostError(f"Server {self.name!r} has forgotten our session ({e}).") from e

    def _unreachable(self, error: Exception) -> UnreachableError:
        return unreachable(self.name, self._endpoint.url, error, configured=not self._is_modern)

    async def _failure(self, id: int, method: str, response: HttpResponse) -> Exception:
        return await failure(
            response, self.name, id=id, method=method, session=self._session_id, revision=self._peer.revision
        )

    # --- what the server says by itself

    async def _said(self, message: JSON, notify: Notify | None) -> None:
        """Deal with a request or a notification of the server."""
        if "id" in message:
            self._tasks.start(self._asked(message))
        elif notify is not None and of_request(message["method"]):
            await notify(message)
        else:
            self._announced(message)

    async def _asked(self, message: JSON) -> None:
        """Answer a request of the server."""
        respondent = self.respondent
        await self._notify_server(
            answer_to_server(message) if respondent is None else await respondent.respond(message)
        )

    def _sibling(self, capabilities: JSON) -> HttpConnection:
        """A further session with the same server."""
        return HttpConnection(
            self.url,
            self._configured,
            name=self.name,
            pool=self._pool,
            max_bytes=self._max_bytes,
            capabilities=capabilities,
        )

    def _listen_for_changes(self) -> None:
        """Keep listening, where the server says anything by itself; a new session has a new stream."""
        if self._declared is not None or self._peer.speaks_up:
            if self._changes is not None:
                self._changes.cancel()
            self._changes = self._tasks.start(self._listen(CHANGES))

    async def _listen(self, wanted: JSON) -> None:
        """Keep a stream open on which the server announces what is `wanted`."""

        async def stream() -> bool:
            if self._peer.modern:
                await self._exchange("subscriptions/listen", {"notifications": wanted}, None, declared(wanted))
                return True
            return await self._read_announcements()

        await keep_listening(stream, self._announced, lambda: self._endpoint.is_open)

    def _announced(self, message: JSON) -> None:
        if self.on_notification is not None:
            self.on_notification(message)

    async def _read_announcements(self) -> bool:
        """The GET stream of an older server; False when it has none."""
        response = await self._endpoint.stream(self._base)
        if response is None:
            return False
        with contextlib.closing(response):
            await self._answers.announcements(response)
        return True

    async def _notify_server(self, message: JSON) -> None:
        """POST a notification or a response; nobody waits for the outcome, so a lost one is no error."""
        await self._endpoint.tell(encode({"jsonrpc": "2.0", **message}), self._base)
