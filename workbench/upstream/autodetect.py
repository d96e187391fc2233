"""A server behind a URL that says nothing of the transport: Streamable HTTP, or HTTP+SSE, which came before it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from workbench.events import JSON, UnreachableError
from workbench.registry.server import ServerSpec
from workbench.upstream.client_responder import ClientResponder
from workbench.upstream.http.client_pool import HttpClientPool
from workbench.upstream.http.sse_connection import EventStreamConnection
from workbench.upstream.http.streamable_http import HttpConnection
from workbench.upstream.jsonrpc_messages import Notify
from workbench.upstream.negotiation import NotMcpError

_NO_SUCH_TRANSPORT: Final = frozenset(range(400, 500)) - {401, 402, 403, 407, 408, 413, 425, 429}


def behind_url(spec: ServerSpec, url: str, headers: Mapping[str, str], pool: HttpClientPool) -> HttpConnection:
    """The connection to a server behind `url`; what is launched here speaks Streamable HTTP."""
    if spec.kind != "url":
        return HttpConnection(url, headers, name=spec.id, pool=pool, is_modern=spec.trust == "bundled")
    return UrlConnection(url, headers, name=spec.id, pool=pool, stream_first=spec.sse)


class UrlConnection(HttpConnection):
    """Finds out which transport is spoken (streamable-http, "Backwards Compatibility" of 2025-11-25): a server that
    answers the POST of a handshake with 4xx is asked for an event stream.

    Args:
        url: the endpoint.
        headers: sent with every request.
        name: how to call the server in messages.
        pool: where sockets come from.
        stream_first: the configuration says HTTP+SSE, so the stream is tried first.
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        *,
        name: str = "",
        pool: HttpClientPool | None = None,
        stream_first: bool = False,
    ) -> None:
        super().__init__(url, headers, name=name, pool=pool)
        self._stream_first = stream_first
        self._stream_connection: EventStreamConnection | None = None

    @property
    def transport(self) -> str:
        """`http` or `sse`."""
        return super().transport if self._stream_connection is None else self._stream_connection.transport

    @property
    def notices(self) -> tuple[str, ...]:
        """What is odd about the server and is put up with."""
        return super().notices if self._stream_connection is None else self._stream_connection.notices

    @property
    def alive(self) -> bool:
        return super().alive if self._stream_connection is None else self._stream_connection.alive

    async def open(self) -> None:
        """Find out transport and era. Safe to call again after `close`.

        Raises:
            UnreachableError: nothing answers at the URL, or nothing that speaks MCP.
        """
        first, second = (self._open_stream, super().open) if self._stream_first else (super().open, self._open_stream)
        try:
            await first()
        except NotMcpError as e:
            if e.status not in _NO_SUCH_TRANSPORT:
                raise
            try:
                await second()
            except UnreachableError as other:
                raise UnreachableError(f"{e} Neither Streamable HTTP nor HTTP+SSE is spoken there: {other}") from e

    async def close(self) -> None:
        """End streams and sessions, and give the sockets back."""
        stream, self._stream_connection = self._stream_connection, None
        if stream is not None:
            await stream.close()
        await super().close()

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
        request = super().request if self._stream_connection is None else self._stream_connection.request
        return await request(
            method, params, timeout=timeout, notify=notify, meta=meta, respondent=respondent, longest=longest
        )

    async def notify(self, method: str, params: JSON, *, timeout: float | None, meta: JSON | None = None) -> None:
        """See `registry.Connection.notify`."""
        notify = super().notify if self._stream_connection is None else self._stream_connection.notify
        await notify(method, params, timeout=timeout, meta=meta)

    async def _open_stream(self) -> None:
        stream = EventStreamConnection(self.url, self._configured, name=self.name, pool=self._pool)
        stream.on_notification = self._told
        await stream.open()
        self._stream_connection = stream
        self.era, self.instructions = stream.era, stream.instructions
        self.server_info, self.capabilities = stream.server_info, stream.capabilities

    def _told(self, message: JSON) -> None:
        if self.on_notification is not None:
            self.on_notification(message)
