"""Tokens that say nothing themselves: their issuer is asked what they stand for (RFC 7662)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from urllib.parse import quote_plus

from workbench.access.outbound.fetch import JsonFetcher
from workbench.config import Settings
from workbench.events import JSON, MisuseError, UnauthenticatedError, UnreachableError
from workbench.secrets import SecretResolver

CACHE_US = 30_000_000
"""How long an answer is believed; a token that was revoked is good no longer than that."""
MAX_CONCURRENT = 32
"""Questions on their way at once; beyond that the bearer is refused, for anybody can send tokens that nobody knows."""
REFUSED_LIFETIME_S = 10.0
MAX_REFUSED = 4096


class Introspection:
    """Asks one endpoint about tokens.

    Args:
        settings: `oauth_introspection_*`.
        fetcher: reaches it.
        ticks: seconds that only grow.
    """

    def __init__(
        self, settings: Settings, fetcher: JsonFetcher, *, ticks: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = settings.oauth_introspection_url
        self._issuers = frozenset(settings.oauth_issuers)
        self._fetcher = fetcher
        self._ticks = ticks
        self._client = settings.oauth_introspection_client
        self._variable = settings.oauth_introspection_secret_env
        secret = SecretResolver.of(settings).environment().get(self._variable, "")
        self._basic = (quote_plus(self._client), quote_plus(secret)) if self._client and secret else None
        self._asking: dict[bytes, asyncio.Task[JSON]] = {}
        self._refused: dict[bytes, float] = {}

    def check(self) -> None:
        """Raises Misuse when a client is named but its secret is not in the environment."""
        if self._client and self._basic is None:
            raise MisuseError(
                f"Client {self._client!r} has no secret for introspection.",
                hint=f"Put it into the environment as {self._variable}.",
            )

    async def claims(self, token: str, mark: bytes) -> JSON:
        """What the issuer says of an active token.

        Args:
            mark: the token's hash; nothing is kept under the token itself.

        Raises:
            UnauthenticatedError: not active, of an issuer that is not accepted, or nobody can say.
        """
        if self._refused.get(mark, 0.0) > self._ticks() or (self._client and self._basic is None):
            raise UnauthenticatedError("The token is not active.")
        asking = self._asking.get(mark)
        if asking is None:
            if len(self._asking) >= MAX_CONCURRENT:
                raise UnauthenticatedError("Too many tokens are being checked.", hint="Try again in a second.")
            asking = asyncio.get_running_loop().create_task(self._ask(token))
            self._asking[mark] = asking
            asking.add_done_callback(lambda _: self._asking.pop(mark, None))
        try:
            found = await asyncio.shield(asking)
        except UnreachableError as e:
            raise UnauthenticatedError(f"The token cannot be checked: {e}", hint="Try again later.") from e
        if found.get("active") is not True:
            if len(self._refused) >= MAX_REFUSED:
                self._refused.clear()
            self._refused[mark] = self._ticks() + REFUSED_LIFETIME_S
            raise UnauthenticatedError("The token is not active.")
        kind = found.get("token_type")
        if kind is not None and str(kind).lower() not in ("bearer", "access_token"):
            raise UnauthenticatedError("The token is no bearer token.")
        if "iss" in found and self._issuers and found["iss"] not in self._issuers:
            raise UnauthenticatedError("The token is of an issuer that is not accepted.")
        return found

    async def _ask(self, token: str) -> JSON:
        form = {"token": token, "token_type_hint": "access_token"}
        return await self._fetcher.post(self._url, form, basic=self._basic)
