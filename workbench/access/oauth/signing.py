"""The signing key of the authorization server, and the tokens that it makes (RFC 9068)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection
from typing import Any

from workbench.access.access_tokens import signed_claims
from workbench.access.api_keys import ApiKeys
from workbench.access.oauth.clients import ClientStore
from workbench.access.oauth.grants import Grants
from workbench.access.outbound.signing_keys import made, other_keys, private_key, published
from workbench.config import Settings
from workbench.control import ControlStoreError
from workbench.control.factory import share_key
from workbench.events import JSON, UnauthenticatedError, new_id

ALGORITHM = "ES256"


class LocalIssuer:
    """Signs access tokens, and tells the gateway with which key; nothing of it travels over the network.

    Args:
        settings: the key lies in the file `oauth.key` of the state folder, which only its owner may read; gateways with
            a control store in common have it in common.
        url: our identifier, as it stands in `iss`.
        keys: the keys of people, whose database is shared.
        clock: microseconds since the epoch.

    Raises:
        MisuseError: the file holds something else.
    """

    def __init__(self, settings: Settings, url: str, keys: ApiKeys, clock: Callable[[], int]) -> None:
        self.url = url
        self.clients = ClientStore(settings)
        self.grants = Grants(settings)
        self._clock = clock
        path = settings.home / "oauth.key"
        with keys.exclusively():  # two processes starting together make one key
            share_key(keys.store, path, made)
            self._key = private_key(path)
            others = other_keys(path)
        self.kid = str(self._key.thumbprint())
        self._keys = {str(key.thumbprint()): key for key in (self._key, *others)}
        """By their ids: the one that signs, the next one, and those whose tokens may still be about."""

    async def key(self, kid: str | None, algorithm: str) -> Any:
        """The key of ours that is meant."""
        found = self._keys.get(kid or "") if algorithm == ALGORITHM else None
        if found is None:
            raise UnauthenticatedError("The token is signed with a key that is not ours.")
        return found

    async def claims(self, token: str) -> JSON:
        """The claims of a token, if a key of ours signed it; their times are not looked at.

        Raises:
            UnauthenticatedError: none did.
        """
        for key in self._keys.values():
            with contextlib.suppress(UnauthenticatedError):
                return signed_claims(token, key, ALGORITHM)
        raise UnauthenticatedError("The token is signed with a key that is not ours.")

    async def live(self, claims: JSON) -> bool:
        """Whether neither token, grant, client nor the person's key was taken back, as far as can be told."""
        try:
            return await self.grants.store.aside(self.grants.live, claims, self._clock())
        except ControlStoreError:
            return False

    def key_set(self) -> JSON:
        """The public keys, as published: that of tokens to come, and of those that may still be about."""
        return published(self._keys.values(), ALGORITHM)

    def access_token(
        self,
        *,
        subject: str,
        client: str,
        tenant: str,
        roles: Collection[str],
        scopes: Collection[str] | None,
        resources: Collection[str],
        seconds: int,
        grant: str | None = None,
    ) -> tuple[str, JSON]:
        """A signed access token and its claims.

        Args:
            scopes: None leaves the claim out, for a client that has all that its roles grant.
            grant: id of what a person granted; None for a client's own token.
        """
        from joserfc import jwt

        now = int(self._clock() // 1_000_000)
        audience = sorted(resources)
        claims: JSON = {
            "iss": self.url, "sub": subject, "aud": audience[0] if len(audience) == 1 else audience,
            "client_id": client, "iat": now, "exp": now + seconds, "jti": new_id(), "tenant": tenant,
        }  # fmt: skip
        claims |= {"roles": list(roles)} if roles else {}
        claims |= {"scope": " ".join(sorted(scopes))} if scopes is not None else {}
        claims |= {"grant": grant} if grant is not None else {}
        header = {"alg": ALGORITHM, "typ": "at+jwt", "kid": self.kid}
        return jwt.encode(header, claims, self._key, algorithms=[ALGORITHM]), claims

    def close(self) -> None:
        """Let go of the store."""
        self.clients.close()
        self.grants.close()
