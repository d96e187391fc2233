"""Name resolution for `aiohttp` that leads only to addresses which may be dialled on behalf of others."""

from __future__ import annotations

import errno
import ipaddress
import socket

from aiohttp.abc import AbstractResolver, ResolveResult

from workbench import address_guard
from workbench.events import UnreachableError


class GuardedResolver(AbstractResolver):
    """Resolves only to addresses that may be dialled on behalf of others (`workbench.address_guard`)."""

    def __init__(self, *, local_allowed: bool) -> None:
        self._local_allowed = local_allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        try:
            found = await address_guard.resolve(host, port, local_allowed=self._local_allowed)
        except UnreachableError as e:
            raise OSError(errno.EACCES, str(e)) from e
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                family=socket.AF_INET6 if ipaddress.ip_address(text).version == 6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for text in found
        ]

    async def close(self) -> None:
        """Nothing is held."""
