"""The sockets to upstream servers: one HTTP client per process and event loop, shared by all connections."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver

from workbench.access.certificates.tls_context import TlsContext
from workbench.address_guard import check_url
from workbench.events import MisuseError
from workbench.guarded_resolver import GuardedResolver
from workbench.upstream.credential import Credential, CredentialMiddleware
from workbench.upstream.http.loopback_client import LoopbackAddress, LoopbackClient
from workbench.upstream.http.response import HttpResponse
from workbench.version import __version__


@dataclass(frozen=True)
class AddressGuard:
    """Middleware of the HTTP client that sends nothing to an address which could not be registered.

    It sees every request, so also those that a redirect or an event stream has led elsewhere, and addresses without a
    name, which no resolver is asked for. What a name leads to is the resolver's matter.
    """

    local_allowed: bool
    ports: tuple[range, ...]

    async def __call__(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
        try:
            check_url(str(request.url.origin()), local_allowed=self.local_allowed, ports=self.ports)
        except MisuseError as e:
            raise OSError(errno.EACCES, str(e.args[0]).replace("registered", "called")) from e
        return await handler(request)


class HttpClientPool:
    """A shared `aiohttp` session that lives as long as somebody uses it.

    No cookies, no compression, no limit of its own (the gateway bounds concurrency), no total timeout (streams are
    long; every request has a deadline). Idle sockets are dropped before the usual server does so after 5 s, because a
    request that is sent on a socket being closed cannot be told from one that was executed.

    Args:
        resolver: resolves host names, when the default one is not wanted; then nothing is remembered between dials.
        guard: judges every address to which something is sent.
        credential: carried by every request; such a pool is for one server alone.
        tls: who the server has to be, and who we are; such a pool is for one server alone, too.
    """

    _pools: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[object, HttpClientPool]]] = WeakKeyDictionary()

    def __init__(
        self,
        resolver: AbstractResolver | None = None,
        *,
        guard: AddressGuard | None = None,
        credential: Credential | None = None,
        tls: TlsContext | None = None,
    ) -> None:
        self._resolver = resolver
        self._tls = tls
        presenting = None if credential is None else CredentialMiddleware(credential)
        self._middlewares = tuple(each for each in (guard, presenting) if each is not None)
        self._session: aiohttp.ClientSession | None = None
        self._users = 0
        self._near: dict[str, LoopbackAddress | None] = {}
        self._loopback: LoopbackClient | None = None

    @classmethod
    def shared(cls) -> HttpClientPool:
        """The pool of the running event loop, for servers that were configured on this machine."""
        pools = cls._pools.setdefault(asyncio.get_running_loop(), {})
        return pools.setdefault("any", cls())

    @classmethod
    def guarded(cls, *, local_allowed: bool, ports: tuple[range, ...] = ()) -> HttpClientPool:
        """The pool for addresses that came from an API caller: each is judged again whenever it is dialled."""
        pools = cls._pools.setdefault(asyncio.get_running_loop(), {})
        guard = AddressGuard(local_allowed, ports)
        if guard not in pools:
            pools[guard] = cls(GuardedResolver(local_allowed=local_allowed), guard=guard)
        return pools[guard]

    @property
    def _plain(self) -> bool:
        """Whether a server on this machine can be asked in the short way."""
        return self._resolver is None and self._tls is None and not self._middlewares

    def acquire(self) -> aiohttp.ClientSession:
        """The session; each `acquire` needs one `release`."""
        if self._session is None:
            if self._tls is not None:
                self._tls.identity.open()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0,
                    keepalive_timeout=4,
                    resolver=self._resolver,
                    use_dns_cache=self._resolver is None,
                    ssl=True if self._tls is None else self._tls.context,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": f"mcp-workbench/{__version__}"},
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
                read_bufsize=1 << 18,
                middlewares=self._middlewares,
            )
        self._users += 1
        return self._session

    def post(self, url: str, data: bytes, headers: Mapping[str, str]) -> Awaitable[HttpResponse]:
        """Send a POST, and await its response: its headers are there then. Redirects are not followed.

        Raises:
            OSError, aiohttp.ClientError: there was no response.
        """
        near = self._near.get(url)
        if near is None and url not in self._near:
            near = self._near[url] = LoopbackAddress.of(url) if self._plain else None
        if near is not None:
            if self._loopback is None:
                self._loopback = LoopbackClient.shared()
            return self._loopback.post(near, data, headers)
        return self._post_far(url, data, headers)

    async def _post_far(self, url: str, data: bytes, headers: Mapping[str, str]) -> HttpResponse:
        assert self._session is not None
        if self._tls is None:
            return await self._session.post(url, data=data, headers=headers, allow_redirects=False)
        await self._tls.identity.ready()
        # a connection of before certificates changed is not used any more, for it was made in another context
        tls = self._tls.current()
        return await self._session.post(url, data=data, headers=headers, allow_redirects=False, ssl=tls)

    async def release(self) -> None:
        """Give the session back; the last one closes it."""
        self._users -= 1
        if self._users == 0 and self._session is not None:
            session, self._session = self._session, None
            self._near.clear()
            if self._plain:
                LoopbackClient.shared().close()
            if self._tls is not None:
                self._tls.identity.close()
            await session.close()
            await asyncio.sleep(0)  # an aborted connection is closed in the next turn of the loop
