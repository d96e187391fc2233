"""Access tokens of OAuth: JWTs by the keys of their issuer (RFC 9068), others by introspection (RFC 7662)."""

from __future__ import annotations

import base64
import binascii
import contextlib
import importlib
import re
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from workbench.access.api_keys import fingerprint
from workbench.access.audiences import ProtectedResources
from workbench.access.claims import ClaimNames, VerifiedClaims, mapping, verified
from workbench.access.introspection import CACHE_US, Introspection
from workbench.access.issuers import Issuer, RemoteIssuer, check_algorithms
from workbench.access.outbound.fetch import JsonFetcher
from workbench.config import Settings
from workbench.events import JSON, UnauthenticatedError, now_us

MAX_TOKEN_LENGTH = 8192
JWT_CACHE_US = 60_000_000
"""How long a verified JWT is believed before its signature and its issuer's keys are looked at again."""
MAX_CACHED = 4096

_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_OPAQUE = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""b64token of RFC 6750 §2.1."""


class AccessTokenVerifier:
    """Verifies access tokens; what was verified is remembered by the token's hash.

    Args:
        settings: `oauth_*`.
        resources: our own URLs, for the audience.
        own: our own authorization server, when it is switched on.
        clock: microseconds since the epoch.
        ticks: seconds that only grow.
        fetcher: reaches issuers.

    Raises:
        MisuseError: an issuer or algorithm of the settings cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        resources: ProtectedResources,
        *,
        own: Issuer | None = None,
        clock: Callable[[], int] = now_us,
        ticks: Callable[[], float] = time.monotonic,
        fetcher: JsonFetcher | None = None,
    ) -> None:
        self._settings = settings
        self._resources = resources
        self._clock = clock
        self._own = own
        self._algorithms = check_algorithms(settings.oauth_algorithms)
        self._types = frozenset(each.lower().removeprefix("application/") for each in settings.oauth_token_types)
        named = [*settings.oauth_issuers, settings.oauth_introspection_url]
        fetcher = fetcher or JsonFetcher([url for url in named if url])
        self._issuers: dict[str, Issuer] = {
            url: RemoteIssuer(url, fetcher, ticks=ticks) for url in settings.oauth_issuers
        }
        if own is not None:
            self._issuers[own.url] = own
        asked = settings.oauth_introspection_url
        self._introspection = Introspection(settings, fetcher, ticks=ticks) if asked else None
        self._names = mapping(settings)
        self._remembered: dict[bytes, tuple[VerifiedClaims, Issuer | None, JSON]] = {}

    @property
    def accepted(self) -> bool:
        """Whether any token can be accepted at all."""
        return bool(self._issuers) or self._introspection is not None

    @property
    def issuers(self) -> Sequence[str]:
        """Where clients get tokens, our own server first."""
        own = [self._own.url] if self._own is not None else []
        return list(dict.fromkeys([*own, *self._issuers]))

    def check(self) -> None:
        """Make ready to verify; raises Misuse when something is missing for that.

        Whoever only lists keys need not have it, so this is not done when the room is opened.
        """
        if self.accepted:
            importlib.import_module("joserfc.jws")  # takes a while: at the first token everybody would wait
        if self._introspection is not None:
            self._introspection.check()

    async def verify(self, token: str) -> VerifiedClaims:
        """What a token stands for.

        Raises:
            UnauthenticatedError: it is not good, for whatever reason; nothing of it is repeated.
        """
        if len(token) > MAX_TOKEN_LENGTH or not self.accepted:
            raise UnauthenticatedError("The Bearer token is not one that is accepted here.")
        mark = fingerprint(token)
        found = self._remembered.get(mark)
        if found is None or self._clock() >= found[0].until_us:
            found = await self._look(token, mark)
            if len(self._remembered) >= MAX_CACHED:
                self._remembered.clear()
            self._remembered[mark] = found
        facts, issuer, claims = found
        if issuer is not None and not await issuer.live(claims):
            raise UnauthenticatedError("The token was revoked.")
        return facts

    async def _look(self, token: str, mark: bytes) -> tuple[VerifiedClaims, Issuer | None, JSON]:
        if _JWT.fullmatch(token):
            return await self._jwt(token, mark)
        if self._introspection is None or not _OPAQUE.fullmatch(token):
            raise UnauthenticatedError("The Bearer token is not one that is accepted here.")
        claims = await self._introspection.claims(token, mark)
        facts = verified(
            claims,
            self._names,
            self._resources,
            now_us=self._clock(),
            at_most_us=CACHE_US,
            tenant=self._settings.tenant,
            fallback_id=mark.hex()[:16],
            method="introspection",
        )
        return facts, None, {}

    async def _jwt(self, token: str, mark: bytes) -> tuple[VerifiedClaims, Issuer, JSON]:
        header, unverified = (_part(part) for part in token.split(".")[:2])
        issuer = self._issuers.get(unverified.get("iss") or "") if isinstance(unverified.get("iss"), str) else None
        if issuer is None:
            raise UnauthenticatedError("The token is of an issuer that is not accepted.")
        own = issuer is self._own
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in ({"ES256"} if own else self._algorithms):
            raise UnauthenticatedError("The token is signed with an algorithm that is not accepted.")
        kind = str(header.get("typ", "")).lower().removeprefix("application/")
        if kind != "at+jwt" if own else kind not in self._types:
            raise UnauthenticatedError("The token is of a type that is no access token.")
        if "crit" in header or not (kid is None or isinstance(kid, str)):
            raise UnauthenticatedError("The header of the token asks for what is not understood.")
        claims = signed_claims(token, await issuer.key(kid, algorithm), algorithm)
        if claims.get("iss") != issuer.url:
            raise UnauthenticatedError("The token is of an issuer that is not accepted.")
        facts = verified(
            claims,
            ClaimNames(tenant="tenant") if own else self._names,
            self._resources,
            now_us=self._clock(),
            at_most_us=JWT_CACHE_US,
            tenant=self._settings.tenant,
            fallback_id=mark.hex()[:16],
            method="jwt",
            own=own,
        )
        return facts, issuer, claims


def signed_claims(token: str, key: Any, algorithm: str) -> JSON:
    """The claims of a JWT, as its signature covers them.

    Raises:
        UnauthenticatedError: the signature is not by this key.
    """
    from joserfc import jws
    from joserfc.errors import JoseError

    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    try:
        with warnings.catch_warnings() if algorithm == "EdDSA" else contextlib.nullcontext():
            # RFC 9864 renamed it to Ed25519; issuers go on to use the old name, and that is no news to anybody here
            if algorithm == "EdDSA":
                warnings.simplefilter("ignore")
            payload = jws.deserialize_compact(token, key, registry=registry).payload
    except (JoseError, ValueError, TypeError) as e:
        raise UnauthenticatedError("The signature of the token is not valid.") from e
    return _object(payload)


def unverified_claims(token: str) -> JSON:
    """What a JWT claims, without any proof: for finding out with which key it is to be checked.

    Raises:
        UnauthenticatedError: it is no JWT.
    """
    if not _JWT.fullmatch(token):
        raise UnauthenticatedError("The token is malformed.")
    return _part(token.split(".")[1])


def _part(text: str) -> JSON:
    try:
        return _object(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except binascii.Error as e:
        raise UnauthenticatedError("The Bearer token is malformed.") from e


def _object(data: bytes | None) -> JSON:
    try:
        found = orjson.loads(data or b"")
    except orjson.JSONDecodeError as e:
        raise UnauthenticatedError("The Bearer token is malformed.") from e
    if not isinstance(found, dict):
        raise UnauthenticatedError("The Bearer token is malformed.")
    return found
