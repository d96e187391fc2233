"""A server that only speaks HTTP+SSE, the transport of 2024-11-05: one stream on which it speaks, and POSTs to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Final

import aiohttp
from yarl import URL

from workbench.events import JSON, UnreachableError
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.deadline import renewal, renewing
from workbench.upstream.duplex import DuplexConnection
from workbench.upstream.http.body import EVENTS_TYPE, media_type, messages_of
from workbench.upstream.http.client_pool import HttpClientPool
from workbench.upstream.http.content_coding import decoded
from workbench.upstream.http.failure import refusal, unreachable
from workbench.upstream.http.redirects import MAX_REDIRECTS, is_redirect, redirected
from workbench.upstream.http.response import drain
from workbench.upstream.http.sse_parser import SseEvent, events
from workbench.upstream.jsonrpc_messages import MAX_MESSAGE, Notify, encode
from workbench.upstream.negotiation import NotMcpError
from workbench.upstream.session_pool import SessionPool

OPEN_TIMEOUT_S: Final = 10.0
"""Seconds in which the stream has to begin and to name the address for messages."""

POST_TIMEOUT_S: Final = 30.0
"""Seconds in which the server has to accept a message; its answer comes on the stream."""


class EventStreamConnection(DuplexConnection):
    """Talks to a server over one event stream; implements `registry.Connection`.

    What a server asks in a call whose client can answer comes on a further stream, which serves only that call.

    Args:
        url: where the stream is opened.
        headers: sent with every request.
        name: how to call the server in messages.
        pool: where sockets come from.
        max_bytes: largest message accepted from the server.
        capabilities: to declare in the handshake; then `respondent` answers what the server asks. None declares
            nothing.
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
    ) -> None:
        super().__init__(name or url, capabilities=capabilities or {}, older=True)
        self.url = url
        self.respondent: ClientResponder | None = None
        self._url = url
        self._configured = dict(headers or {})
        self._pool = pool or HttpClientPool.shared()
        self._max_bytes = max_bytes
        self._http: aiohttp.ClientSession | None = None
        self._stream: aiohttp.ClientResponse | None = None
        self._address = URL()
        self._leases = SessionPool(self._sibling) if capabilities is None else None

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
        if self._leases is not None and respondent is not None and respondent.capabilities and self.alive:
            async with asyncio.timeout(timeout) as deadline:
                patient = respondent.unhurried(deadline)
                notify = renewing(notify, renewal(deadline, timeout, longest))
                return await self._leases.request(method, params, patient, timeout=None, notify=notify, meta=meta)
        whose = respondent or self.respondent
        return await super().request(
            method, params, timeout=timeout, notify=notify, meta=meta, respondent=whose, longest=longest
        )

    # --- the transport

    @property
    def transport(self) -> str:
        return "sse"

    async def _connect(self) -> None:
        self._http = self._pool.acquire()
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                self._stream = await self._get(self._http)
                if self._stream.status != 200:
                    raise await refusal(self._stream, self.name)
                if (kind := media_type(self._stream.headers.get("Content-Type", ""))) != EVENTS_TYPE:
                    words = f"Server {self.name!r} answered with {kind or 'no content type'} and no MCP message."
                    raise NotMcpError(words, 200, hint="Expected an event stream.")
                stream = events(decoded(self._stream, self.name), max_bytes=self._max_bytes)
                self._address = await self._announced(stream)
        except (aiohttp.ClientError, OSError) as e:  # a timeout is one of these
            raise unreachable(self.name, self.url, e, silent="it did not name an address for messages in time") from e
        self._tasks.start(self._read(stream))

    async def _get(self, http: aiohttp.ClientSession) -> aiohttp.ClientResponse:
        """The answer to the request for the stream, after redirects within its origin."""
        headers = {**self._configured, "Accept": EVENTS_TYPE, "Cache-Control": "no-store"}
        self._url = self.url
        for _ in range(MAX_REDIRECTS):
            response = await http.get(self._url, headers=headers, allow_redirects=False)
            if not is_redirect(response.status):
                return response
            with contextlib.closing(response):
                self._url = redirected(response, self._url, self.name, repeated=True)
        return await http.get(self._url, headers=headers, allow_redirects=False)

    async def _announced(self, stream: AsyncIterator[SseEvent]) -> URL:
        """The address for messages, which the server names first. Nothing is sent to another origin."""
        async for event in stream:
            if event.name != "endpoint":
                continue
            address = URL(self._url).join(URL(event.data.decode("utf-8", "replace").strip()))
            if address.origin() != URL(self._url).origin():
                raise NotMcpError(f"Server {self.name!r} wants messages to be sent to {str(address)[:200]!r}.", 200)
            return address
        raise NotMcpError(f"Server {self.name!r} ended its stream without an address for messages.", 200)

    async def _disconnect(self) -> None:
        if self._leases is not None:
            await self._leases.close()
        if self._stream is not None:
            self._stream.close()
        http, self._http = self._http, None
        if http is not None:
            await self._pool.release()

    async def _send(self, message: JSON) -> None:
        if self._lost or self._http is None:
            raise UnreachableError(self._lost)
        headers = {**self._configured, "Content-Type": "application/json"}
        if self.era >= "2025-06-18":  # empty before the handshake
            headers["MCP-Protocol-Version"] = self.era
        try:
            async with asyncio.timeout(POST_TIMEOUT_S):
                data = encode(message)
                response = await self._http.post(self._address, data=data, headers=headers, allow_redirects=False)
        except (aiohttp.ClientError, OSError) as e:
            silent = f"it did not accept a message within {POST_TIMEOUT_S:g} s"
            raise unreachable(self.name, self.url, e, silent=silent) from e
        try:
            if response.status in (404, 410):
                self._end(f"Server {self.name!r} has forgotten our stream (HTTP {response.status}).")
                raise UnreachableError(self._lost)
            if response.status >= 300:
                raise await refusal(response, self.name)
        finally:
            await drain(response)

    async def _read(self, stream: AsyncIterator[SseEvent]) -> None:
        why = "ended the stream"
        try:
            async for event in stream:
                if event.name == "message":
                    for message in await messages_of(event, self.name):
                        await self._received(message)
        except (aiohttp.ClientError, OSError, UnreachableError) as e:
            why = f"broke off the stream: {e or type(e).__name__}"
        self._end(f"Server {self.name!r} {why}.")

    def _sibling(self, capabilities: JSON) -> EventStreamConnection:
        """A further stream from the same server."""
        return EventStreamConnection(
            self.url,
            self._configured,
            name=self.name,
            pool=self._pool,
            max_bytes=self._max_bytes,
            capabilities=capabilities,
        )
