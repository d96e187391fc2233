"""The gateway as a client of identity providers: tokens of its own for servers, and tokens for those it acts for.

What a caller presents to us is never passed on. A server gets a token that was issued to the gateway, for that server:
by client credentials (RFC 6749 §4.4), or in exchange for what the gateway asserts of the caller (RFC 8693).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal
from urllib.parse import quote_plus

from workbench.access.outbound.discovery import TokenEndpoint, token_endpoint
from workbench.access.outbound.fetch import ErrorStatusError, JsonFetcher
from workbench.access.outbound.signing_keys import SigningKey, imported
from workbench.bounded_dict import BoundedDict
from workbench.events import JSON, Caller, Record, UnreachableError
from workbench.secrets import SecretResolver, remember

MAX_SKEW_S: Final = 30.0
"""Seconds before its end from which on a token is not used any more; a quarter of the lifetime of short ones."""
DEFAULT_LIFETIME_S: Final = 300.0
"""Lifetime in seconds of a token of which the issuer does not say it."""
RENEWAL_PAUSE_S: Final = 10.0
"""Least seconds between two tokens that are got because a server refused the one before."""
FAILURE_PAUSE_S: Final = 5.0
"""Seconds for which a failure is the answer for everybody who asks for the same token."""
ENDPOINT_LIFETIME_S: Final = 3600.0
MAX_CALLERS: Final = 1024

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TOKEN: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"
ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SPIFFE_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"

_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{1,16384}=*")


class TokenUnavailableError(UnreachableError):
    """The identity provider gives no token, or cannot be asked."""

    error_kind = "NoToken"


class ClientRegistration(Record, frozen=True, kw_only=True):
    """How an identity provider knows this gateway, and what its tokens are to be for."""

    server: str
    """URL of the server."""
    client_id: str
    method: Literal["client_secret_basic", "private_key_jwt", "jwt_svid"]
    secret: str = ""
    """Reference to the secret, or to the private key; empty takes the gateway's own key."""
    issuer: str = ""
    """Empty: the server is asked for its own."""
    resource: str = ""
    """Empty: the URL of the server, or what its metadata say."""
    audience: str = ""
    scope: str = ""


class _Token(Record, frozen=True, kw_only=True):
    value: str
    until: float
    """By the clock that only grows."""


class OAuthClient:
    """Gets tokens for one server and keeps them until shortly before they end.

    Args:
        registration: who we are there.
        secrets: resolves our secret.
        key: the gateway's own key, made when it is first needed.
        fetcher: reaches the identity provider.
        svid: gets a JWT-SVID for an audience, where that is our proof.
        ticks: seconds that only grow.
    """

    def __init__(
        self,
        registration: ClientRegistration,
        secrets: SecretResolver,
        key: Callable[[], SigningKey],
        fetcher: JsonFetcher,
        *,
        svid: Callable[[str], Awaitable[str]] | None = None,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._about = registration
        self._secrets = secrets
        self._key = key
        self._fetcher = fetcher
        self._svid = svid
        self._ticks = ticks
        self._endpoint: tuple[TokenEndpoint, float] | None = None
        self._kept: BoundedDict[tuple[str, str], _Token] = BoundedDict(MAX_CALLERS)
        self._getting: dict[tuple[str, str], asyncio.Task[_Token]] = {}
        self._failed: BoundedDict[tuple[str, str], tuple[TokenUnavailableError, float]] = BoundedDict(MAX_CALLERS)
        self._renewed: BoundedDict[tuple[str, str], float] = BoundedDict(MAX_CALLERS)

    async def token(self, caller: Caller | None = None) -> str:
        """A token that is good now: for the gateway itself, or for it in the caller's stead.

        Raises:
            TokenUnavailableError: there is none to be had.
        """
        whose = ("", "") if caller is None else (caller.tenant, caller.subject)
        kept = self._kept.get(whose)
        if kept is not None and self._ticks() < kept.until:
            self._kept.use(whose)
            return kept.value
        failed = self._failed.get(whose)
        if failed is not None and self._ticks() < failed[1]:
            raise TokenUnavailableError(str(failed[0].args[0]), hint=failed[0].hint)
        getting = self._getting.get(whose)
        if getting is None:
            getting = asyncio.get_running_loop().create_task(self._get(whose, caller))
            self._getting[whose] = getting
            getting.add_done_callback(lambda _: self._getting.pop(whose, None))
        return (await asyncio.shield(getting)).value

    async def renew(self, refused: str, caller: Caller | None = None) -> bool:
        """A server refused this token. Whether there may be another now: not more often than every ten seconds."""
        whose = ("", "") if caller is None else (caller.tenant, caller.subject)
        kept = self._kept.get(whose)
        if kept is None or kept.value != refused:
            return True
        if self._ticks() - self._renewed.get(whose, float("-inf")) < RENEWAL_PAUSE_S:
            return False
        self._renewed[whose] = self._ticks()
        self._kept.pop(whose, None)
        return True

    # --- asking for one

    async def _get(self, whose: tuple[str, str], caller: Caller | None) -> _Token:
        try:
            token = await self._ask(caller)
        except UnreachableError as e:
            error = TokenUnavailableError(f"No token for {self._about.server}: {e.args[0]}", hint=e.hint)
            self._failed[whose] = (error, self._ticks() + FAILURE_PAUSE_S)
            if not isinstance(e, ErrorStatusError):
                self._endpoint = None  # it may have moved
            raise error from None
        self._failed.pop(whose, None)
        self._kept[whose] = token
        if caller is None:
            remember(token.value)
        return token

    async def _ask(self, caller: Caller | None) -> _Token:
        endpoint = await self._where()
        form: JSON = {"grant_type": "client_credentials", "resource": endpoint.resource}
        if caller is not None:
            key = await self._signing_key()
            form |= {
                "grant_type": EXCHANGE, "subject_token_type": JWT_TOKEN, "requested_token_type": ACCESS_TOKEN,
                "subject_token": key.identity(self._about.client_id, endpoint.issuer, caller),
            }  # fmt: skip
        form |= {name: value for name in ("scope", "audience") if (value := getattr(self._about, name))}
        asked = self._ticks()
        answer = await self._proven(endpoint, form)
        return _token(answer, asked)

    async def _proven(self, endpoint: TokenEndpoint, form: JSON) -> JSON:
        """Send the form with the proof that we are the client; a secret that was rotated is read anew once."""
        about = self._about
        if about.method == "client_secret_basic":
            secret = await self._secrets.fetch(about.secret)
            try:
                return await self._fetcher.post(endpoint.url, form, basic=_basic(about.client_id, secret))
            except ErrorStatusError as e:
                if e.status != 401 and e.error != "invalid_client":
                    raise
                other = await self._secrets.renew(about.secret, secret)
                if other is None:
                    raise
            return await self._fetcher.post(endpoint.url, form, basic=_basic(about.client_id, other))
        if about.method == "jwt_svid":
            if self._svid is None:
                raise UnreachableError("No Workload API is configured.", hint="Set spiffe_socket.")
            proof = {"client_assertion_type": SPIFFE_ASSERTION, "client_assertion": await self._svid(endpoint.issuer)}
        else:
            signed = (await self._signing_key()).proof(about.client_id, endpoint.issuer)
            proof = {"client_assertion_type": ASSERTION, "client_assertion": signed}
        return await self._fetcher.post(endpoint.url, {**form, **proof, "client_id": about.client_id})

    async def _signing_key(self) -> SigningKey:
        if self._about.method == "private_key_jwt" and self._about.secret:
            return imported(await self._secrets.fetch(self._about.secret))
        return await asyncio.to_thread(self._key)

    async def _where(self) -> TokenEndpoint:
        if self._endpoint is None or self._ticks() >= self._endpoint[1]:
            about = self._about
            found = await token_endpoint(about.server, self._fetcher, issuer=about.issuer, resource=about.resource)
            self._endpoint = (found, self._ticks() + ENDPOINT_LIFETIME_S)
        return self._endpoint[0]


def _basic(client: str, secret: str) -> tuple[str, str]:
    return quote_plus(client), quote_plus(secret)


def _token(answer: JSON, asked: float) -> _Token:
    """The token in the answer of a token endpoint (RFC 6749 §5.1)."""
    value, kind, seconds = (
        answer.get("access_token"),
        answer.get("token_type"),
        answer.get("expires_in", DEFAULT_LIFETIME_S),
    )
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise UnreachableError("The identity provider answered without an access token.")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise UnreachableError("The identity provider issued a token of a kind that is not Bearer.")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 1e9:
        raise UnreachableError("The identity provider issued a token without a proper lifetime.")
    return _Token(value=value, until=asked + seconds - min(MAX_SKEW_S, seconds / 4))
