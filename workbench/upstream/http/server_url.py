"""The address of a server behind HTTP, as far as it leads: requests to it, and redirects within its origin."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Final

import aiohttp

from workbench.upstream.http.body import EVENTS_TYPE
from workbench.upstream.http.client_pool import HttpClientPool
from workbench.upstream.http.redirects import MAX_REDIRECTS, is_redirect, redirected
from workbench.upstream.http.response import HttpResponse
from workbench.upstream.negotiation import NotMcpError

NOTIFICATION_TIMEOUT_S: Final = 5.0
END_TIMEOUT_S: Final = 1.0


class HttpEndpoint:
    """Sends requests to one server.

    Args:
        url: the configured address.
        server: how to call the server in messages.
        pool: where sockets come from.
    """

    def __init__(self, url: str, server: str, pool: HttpClientPool) -> None:
        self.url = url
        self._configured = url
        self._server = server
        self._pool = pool
        self._http: aiohttp.ClientSession | None = None
        self.is_open = False
        """Whether requests can be sent."""

    def open(self) -> None:
        """Take sockets from the pool; redirects of before are forgotten."""
        self.url = self._configured
        if self._http is None:
            self._http = self._pool.acquire()
            self.is_open = True

    def end(self) -> aiohttp.ClientSession | None:
        """Send nothing more; what `release` takes to give the sockets back, None when that was done."""
        http, self._http = self._http, None
        self.is_open = False
        return http

    async def release(self, http: aiohttp.ClientSession, session: Mapping[str, str] | None) -> None:
        """Give the sockets back, after the server was told with these headers that a session has ended."""
        if session is not None:
            await self._delete(http, session)
        await self._pool.release()

    async def end_session(self, headers: Mapping[str, str]) -> None:
        """Tell the server that the session in these headers has ended; the sockets stay."""
        if self._http is not None:
            await self._delete(self._http, headers)

    async def _delete(self, http: aiohttp.ClientSession, headers: Mapping[str, str]) -> None:
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(END_TIMEOUT_S):
                (await http.delete(self.url, headers=headers, allow_redirects=False)).close()

    async def post(self, data: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """Send a POST and return its response, once the headers are there.

        Raises:
            ApprovalRefusedError: it is redirected to where it must not be sent.
            OSError, aiohttp.ClientError: there was no response.
        """
        response = await self._pool.post(self.url, data, headers)
        return await self.followed(response, data, headers) if is_redirect(response.status) else response

    async def followed(self, response: HttpResponse, data: bytes, headers: Mapping[str, str]) -> HttpResponse:
        """The response at the end of redirects; later requests go there at once."""
        for _ in range(MAX_REDIRECTS):
            try:
                target = redirected(response, self.url, self._server)
            finally:
                response.close()
            self.url = target
            response = await self._pool.post(self.url, data, headers)
            if not is_redirect(response.status):
                return response
        response.close()
        self.url = self._configured
        words = f"Server {self._server!r} redirects more than {MAX_REDIRECTS} times."
        raise NotMcpError(words, response.status, hint="Configure the final address.")

    async def stream(self, headers: Mapping[str, str]) -> aiohttp.ClientResponse | None:
        """The answer to a GET for an event stream; None when the server has none to give."""
        if self._http is None:
            return None
        wanted = {**headers, "Accept": EVENTS_TYPE}
        response = await self._http.get(self.url, headers=wanted, allow_redirects=False)
        if response.status == 200 and response.content_type == EVENTS_TYPE:
            return response
        response.close()
        return None

    async def tell(self, data: bytes, headers: Mapping[str, str]) -> None:
        """POST what nobody waits for the outcome of; a lost one is no error."""
        if self._http is None:
            return
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async with (
                asyncio.timeout(NOTIFICATION_TIMEOUT_S),
                self._http.post(self.url, data=data, headers=headers, allow_redirects=False) as response,
            ):
                await response.release()
