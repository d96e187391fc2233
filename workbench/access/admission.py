"""Who comes from where: credentials as callers present them at a door, and what becomes of wrong ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from workbench.access.client_address import ClientAddresses
from workbench.access.failed_credentials import CredentialFailures, TooManyFailuresError, is_own_key
from workbench.events import Caller, UnauthenticatedError

if TYPE_CHECKING:
    from workbench.access.callers import Access


class Authenticator:
    """Checks credentials for the doors.

    Args:
        access: knows callers.
    """

    def __init__(self, access: Access) -> None:
        self._access = access
        self.addresses = ClientAddresses(access.settings.trusted_proxies)
        self.failures = CredentialFailures(access.settings.failed_credentials_per_minute)
        """Of this process alone, until a platform puts one in its place that gateways share."""

    async def authenticate(
        self, scope: Mapping[str, Any], authorization: str | None, view: str = "", *, door: str
    ) -> Caller:
        """As `Access.authenticate_async`, for a request from somewhere.

        Whoever was known lately stays known, and a key of ours is looked at however many wrong credentials came from
        the same address: a good one never waits. Everything else that comes from an address which has to wait is
        refused without a look.

        Args:
            scope: of ASGI.
            authorization: value of the `Authorization` header.
            view: what the endpoint shows.
            door: for the record and the counters.

        Raises:
            TooManyFailuresError: how long to wait.
            UnauthenticatedError: as for `Access.authenticate_async`.
            UnreachableError: as for `Access.authenticate_async`, or the wrong credentials of this address cannot be
                counted.
        """
        if authorization is None:
            try:
                return await self._access.authenticate_async(None, view)
            except UnauthenticatedError:
                self.failures.missing(door)
                raise
        known = self._access.remembered(authorization, view)
        if known is not None:
            return known
        address = self.addresses.of(scope)
        if not is_own_key(authorization) and await self.failures.wait_shared(address, authorization):
            await self.failed(scope, authorization, door, "not looked at")
        try:
            return await self._access.authenticate_async(authorization, view)
        except UnauthenticatedError as e:
            await self.failed(scope, authorization, door, str(e.args[0]))
            raise

    async def failed(self, scope: Mapping[str, Any], authorization: str, door: str, reason: str) -> None:
        """Count a credential that was refused.

        Raises:
            TooManyFailuresError: it is one too many.
        """
        wait = await self.failures.add_shared(self.addresses.of(scope), authorization, door, reason)
        if wait:
            raise TooManyFailuresError(wait)
