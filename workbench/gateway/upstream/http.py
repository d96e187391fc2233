"""A server behind Streamable HTTP, in both eras (basic/transports/streamable-http)."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final

import aiohttp

from workbench.events import JSON, Unreachable
from workbench.gateway.upstream import revision
from workbench.gateway.upstream.headers import Headers
from workbench.gateway.upstream.lease import Leases
from workbench.gateway.upstream.listening import CHANGES, WATCHED, Watching, declared, keep_listening
from workbench.gateway.upstream.messages import (
    MAX_MESSAGE,
    Notify,
    answer_to_server,
    decode,
    encode,
    of_request,
    result_of,
    rpc_error,
    with_own_token,
)
from workbench.gateway.upstream.pool import Pool
from workbench.gateway.upstream.respondent import Respondent
from workbench.gateway.upstream.response import HttpResponse, drain, read_body, refusal
from workbench.gateway.upstream.revision import MODERN, Answered, Peer, Refused
from workbench.gateway.upstream.sse import events
from workbench.registry.connection import RpcError

JSON_HEADERS: Final = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}

HANDSHAKE_TIMEOUT: Final = 10.0
RESUMPTIONS: Final = 8
"""How often one answer's stream is taken up again after the server hung up."""


class SessionGone(Unreachable):
    """HTTP 404 for our session id: the server has forgotten it, and has not looked at the request."""


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
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        name: str = "",
        pool: Pool | None = None,
        max_bytes: int = MAX_MESSAGE,
        capabilities: JSON | None = None,
    ) -> None:
        self.url = url
        self.name = name or url
        self.era = ""
        self.server_info: JSON = {}
        self.capabilities: JSON = {}
        self.instructions = ""
        self.on_notification: Callable[[JSON], None] | None = None
        self.respondent: Respondent | None = None
        self._declared = capabilities
        self._configured = dict(headers or {})
        self._base: dict[str, str] = {}
        self._pool = pool or Pool.shared()
        self._max_bytes = max_bytes
        self._http: aiohttp.ClientSession | None = None
        self._peer = Peer("")
        self._session_id = ""
        self._offered_session = ""
        self._headers = Headers({})
        self._leases = Leases(self._sibling)
        self._watching = Watching(self._listen, self._spawn)
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._handshake = asyncio.Lock()
        self._reachable = False

    @property
    def alive(self) -> bool:
        return self._http is not None and self._reachable

    # --- opening and closing

    async def open(self) -> None:
        """Find out the era. Safe to call again after `close`.

        Raises:
            Unreachable: nothing answers at the URL, or nothing that speaks MCP.
        """
        if self._http is None:
            self._http = self._pool.acquire()
        try:
            self._adopt(
                await revision.negotiate(
                    self.name, self._discover if self._declared is None else None, self._initialize
                )
            )
        except BaseException:
            await self.close()
            raise
        self._set_base_headers()
        if not self._peer.modern:
            await self._notify_server({"method": "notifications/initialized"})
        self._reachable = True
        if self._declared is not None or self._peer.speaks_up:
            self._spawn(self._listen(CHANGES))

    async def close(self) -> None:
        """End streams and the session, and give the sockets back."""
        http, self._http = self._http, None
        if http is None:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leases.close()
        if self._session_id:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                async with asyncio.timeout(1), http.delete(self.url, headers=self._base, allow_redirects=False):
                    pass
        self._peer, self._session_id = Peer(""), ""
        await self._pool.release()

    def _adopt(self, peer: Peer) -> None:
        self._peer = peer
        self.era, self.instructions = peer.revision, peer.instructions
        self.server_info, self.capabilities = peer.info, peer.capabilities

    async def _discover(self) -> JSON:
        self._peer = Peer(MODERN)
        self._set_base_headers()
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            return await self._exchange("server/discover", {}, None, None)

    async def _initialize(self) -> JSON:
        # Requests that run meanwhile keep the old session: they are told 404, and wait for this one to be ready.
        id = next(self._ids)
        message = encode(
            {"jsonrpc": "2.0", "id": id, "method": "initialize", "params": revision.initialize_params(self._declared)}
        )
        async with asyncio.timeout(HANDSHAKE_TIMEOUT):
            result = await self._post(id, "initialize", message, {**self._configured, **JSON_HEADERS}, None)
        self._peer = Peer(str(result.get("protocolVersion")), self._peer.info, self._peer.capabilities)
        self._session_id = self._offered_session
        self._set_base_headers()
        return result

    async def _renew_session(self, lost: str) -> None:
        """Shake hands again, once for all requests that found the same session gone."""
        async with self._handshake:
            if self._session_id != lost:
                return
            before = self._peer
            await self._initialize()
            self._peer = replace(before, revision=self._peer.revision)
            await self._notify_server({"method": "notifications/initialized"})

    def _set_base_headers(self) -> None:
        self._base = {**self._configured, **JSON_HEADERS, "MCP-Protocol-Version": self._peer.revision}
        if self._session_id:
            self._base["Mcp-Session-Id"] = self._session_id
        self._headers.rebase(self._base)

    # --- requests

    async def request(
        self,
        method: str,
        params: JSON,
        *,
        timeout: float | None,
        notify: Notify | None = None,
        meta: JSON | None = None,
        respondent: Respondent | None = None,
    ) -> JSON:
        """See `registry.Connection.request`.

        Raises:
            Answered: the connection broke after a part of the answer had arrived.
        """
        if self._http is None or not self._peer.revision:
            raise Unreachable(f"The connection to server {self.name!r} is not open.")
        if self._peer.modern and method in WATCHED:
            return self._watching.take(method, params)
        async with asyncio.timeout(timeout) as deadline:
            if respondent is not None and respondent.capabilities and not self._peer.modern:
                patient = respondent.unhurried(deadline)
                return await self._leases.request(method, params, patient, timeout=None, notify=notify, meta=meta)
            session = self._session_id
            try:
                return await self._exchange(method, params, notify, meta)
            except SessionGone:
                try:
                    await self._renew_session(session)
                    return await self._exchange(method, params, notify, meta)
                except (SessionGone, RpcError) as e:
                    raise Unreachable(f"Server {self.name!r} forgot our session and gives no new one.") from e

    async def notify(self, method: str, params: JSON, *, timeout: float | None, meta: JSON | None = None) -> None:
        """See `registry.Connection.notify`."""
        if self._http is None or not self._peer.revision:
            raise Unreachable(f"The connection to server {self.name!r} is not open.")
        headers, body = self._addressed(method, params, meta)
        message = encode({"jsonrpc": "2.0", "method": method, "params": body})
        async with asyncio.timeout(timeout):
            try:
                with contextlib.closing(await self._pool.post(self.url, message, headers)) as response:
                    if response.status >= 300:
                        await self._answer(0, method, response, None)  # says what is wrong
            except (aiohttp.ClientError, OSError) as e:
                raise Unreachable(f"Server {self.name!r} cannot be reached: {str(e) or type(e).__name__}.") from e

    def _addressed(self, method: str, params: JSON, meta: JSON | None) -> tuple[Mapping[str, str], JSON]:
        """Headers and `params` of a message, as the revision demands."""
        if self._peer.modern:
            return self._headers.of(method, params), {**params, "_meta": revision.modern_meta(meta)}
        found = revision.legacy_meta(meta)
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
                self._spawn(self._notify_server(told))
            raise

    async def _post(
        self, id: int, method: str, message: bytes, headers: Mapping[str, str], notify: Notify | None
    ) -> JSON:
        assert self._http is not None
        answered = False
        try:
            response = await self._pool.post(self.url, message, headers)
            answered = True
            try:
                result = await self._answer(id, method, response, notify)
            except BaseException:
                response.close()
                raise
            if not response.content.at_eof():
                self._spawn(drain(response))
        except (aiohttp.ClientError, OSError) as e:
            self._reachable = answered
            why = str(e) or type(e).__name__
            if answered:
                raise Answered(f"Server {self.name!r} broke off its answer: {why}.") from e
            raise Unreachable(f"Server {self.name!r} cannot be reached: {why}.") from e
        self._reachable = True
        if method == "tools/list" and self._peer.modern:
            self._headers.learn(result)
        return result

    async def _answer(self, id: int, method: str, response: HttpResponse, notify: Notify | None) -> JSON:
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if response.status == 200:
            if method == "initialize":
                self._offered_session = response.headers.get("Mcp-Session-Id", "")
            if kind == "application/json":
                body = await read_body(response, self.name, self._max_bytes)
                return result_of(decode(body, self.name), id, self.name)
            if kind == "text/event-stream":
                return await self._stream(id, response, notify)
            raise Refused(f"Server {self.name!r} answered with {kind or 'no content type'}, not with JSON.", 200)
        if response.status == 404 and self._session_id and method != "initialize":
            raise SessionGone(f"Server {self.name!r} has forgotten our session.")
        if kind == "application/json":
            answer = decode(await read_body(response, self.name, self._max_bytes), self.name)
            if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
                raise rpc_error(answer["error"])
        raise refusal(response, self.name)

    # --- streams

    async def _stream(self, id: int, response: HttpResponse, notify: Notify | None) -> JSON:
        """The response out of an event stream; taken up again with `Last-Event-ID` where the server allows that."""
        assert self._http is not None
        first, last_id, pause_ms = response, "", 1000
        try:
            for _ in range(RESUMPTIONS):
                async for event in events(response.content, max_bytes=self._max_bytes):
                    last_id, pause_ms = event.id or last_id, pause_ms if event.retry_ms is None else event.retry_ms
                    if event.data and (found := await self._streamed(id, event.data, notify)) is not None:
                        return found
                if not last_id or self._peer.modern:
                    break
                await asyncio.sleep(min(pause_ms, 30_000) / 1000)
                headers = {**self._base, "Accept": "text/event-stream", "Last-Event-ID": last_id}
                response = await self._http.get(self.url, headers=headers, allow_redirects=False)
                if response.status != 200:
                    break
        finally:
            if response is not first:
                response.close()
        raise Answered(f"Server {self.name!r} ended the stream without an answer.")

    async def _streamed(self, id: int, data: bytes, notify: Notify | None) -> JSON | None:
        """Deal with one message of a stream; the result if it is the response to `id`."""
        message = decode(data, self.name)
        if not isinstance(message, dict):
            return None
        if "method" not in message:
            return result_of(message, id, self.name) if message.get("id") == id else None
        if "id" in message:
            self._spawn(self._asked(message))
        elif notify is not None and of_request(message["method"]):
            await notify(message)
        else:
            self._announced(message)
        return None

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

    async def _listen(self, wanted: JSON) -> None:
        """Keep a stream open on which the server announces what is `wanted`."""

        async def stream() -> bool:
            assert self._http is not None
            if self._peer.modern:
                await self._exchange("subscriptions/listen", {"notifications": wanted}, None, declared(wanted))
                return True
            return await self._read_announcements(self._http)

        await keep_listening(stream, self._announced, lambda: self._http is not None)

    def _announced(self, message: JSON) -> None:
        if self.on_notification is not None:
            self.on_notification(message)

    async def _read_announcements(self, http: aiohttp.ClientSession) -> bool:
        """The GET stream of an older server; False when it has none."""
        headers = {**self._base, "Accept": "text/event-stream"}
        async with http.get(self.url, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                return False
            async for event in events(response.content, max_bytes=self._max_bytes):
                if event.data:
                    await self._streamed(0, event.data, None)
        return True

    async def _notify_server(self, message: JSON) -> None:
        """POST a notification or a response; nobody waits for the outcome, so a lost one is no error."""
        http = self._http
        if http is None:
            return
        data = encode({"jsonrpc": "2.0", **message})
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with (
                asyncio.timeout(5),
                http.post(self.url, data=data, headers=self._base, allow_redirects=False) as r,
            ):
                await r.release()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
