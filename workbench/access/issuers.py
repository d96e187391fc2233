"""Issuers of access tokens, and the keys with which they sign: found by discovery, followed when they rotate.

Sources: RFC 8414 (metadata), OpenID Connect Discovery 1.0, RFC 7517 (key sets), RFC 8725 §3.1 (algorithms).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Any, Protocol
from urllib.parse import urlsplit

from workbench.access.outbound.fetch import JsonFetcher
from workbench.events import JSON, MisuseError, UnauthenticatedError, UnreachableError

FRESH_S = 300.0
"""Seconds after which keys are fetched anew; a key that was taken back is good no longer than that."""
MAX_STALE_S = 3600.0
"""Seconds that keys stay good while the issuer does not answer."""
UNKNOWN_KEY_PAUSE_S = 60.0
"""Least seconds between two fetches that unknown key ids give rise to."""
FAILURE_PAUSE_S = 5.0
"""Least seconds between two attempts while the issuer does not answer."""
MAX_KEYS = 100

SHAPES: dict[str, tuple[str, str]] = {
    "RS256": ("RSA", ""), "RS384": ("RSA", ""), "RS512": ("RSA", ""),
    "PS256": ("RSA", ""), "PS384": ("RSA", ""), "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"), "ES384": ("EC", "P-384"), "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"), "Ed25519": ("OKP", "Ed25519"),
}  # fmt: skip
"""What a key must be for each algorithm. Algorithms with shared secrets, and `none`, are not among them."""


class Issuer(Protocol):
    """Where the keys of one issuer come from."""

    url: str

    async def key(self, kid: str | None, algorithm: str) -> Any:
        """The public key of this id for this algorithm. Raises Unauthenticated when there is none."""
        ...

    async def live(self, claims: JSON) -> bool:
        """Whether a token with these claims has not been taken back."""
        ...


class RemoteIssuer:
    """An issuer that is reached over HTTP.

    Args:
        url: its identifier, exactly as it stands in `iss`.
        fetcher: gets its documents.
        ticks: seconds that only grow.

    Raises:
        MisuseError: `url` is no https URL, nor an http URL of this machine.
    """

    def __init__(self, url: str, fetcher: JsonFetcher, *, ticks: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
        if not (parts.scheme == "https" or local) or not parts.hostname or parts.query or parts.fragment:
            raise MisuseError(
                f"Issuer {url!r} cannot be used.", hint="Expected https://…, or http://localhost… to try it out."
            )
        self.url = url
        self._fetcher = fetcher
        self._ticks = ticks
        self._keys: list[JSON] = []
        self._imported: dict[tuple[str, str], Any] = {}
        self._fetched = self._attempted = -MAX_STALE_S
        self._fetching: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the keys could not be fetched the last time; empty when they were."""

    async def live(self, claims: JSON) -> bool:
        """Always: such an issuer takes tokens back by letting them expire."""
        return True

    async def key(self, kid: str | None, algorithm: str) -> Any:
        """The public key of this id for this algorithm.

        Raises:
            UnauthenticatedError: there is none, or the issuer's keys cannot be had.
        """
        age = self._ticks() - self._fetched
        if age >= FRESH_S:
            await self._refresh(FAILURE_PAUSE_S)
            if self._ticks() - self._fetched >= MAX_STALE_S:
                raise UnauthenticatedError(f"The keys of {self.url} cannot be had. {self.problem}".strip())
        found = self._find(kid, algorithm)
        if found is None:
            await self._refresh(UNKNOWN_KEY_PAUSE_S)
            found = self._find(kid, algorithm)
        if found is None:
            raise UnauthenticatedError(f"The token is signed with a key that {self.url} does not publish.")
        return found

    async def _refresh(self, pause: float) -> None:
        """Fetch the keys, together with whoever else waits for them, and no sooner than `pause` after the last time."""
        if self._fetching is None:
            if self._ticks() - self._attempted < pause:
                return
            self._attempted = self._ticks()
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            metadata = await issuer_metadata(self.url, self._fetcher)
            document = await self._fetcher.get(str(metadata.get("jwks_uri")))
            keys = document.get("keys")
            if not isinstance(keys, list):
                raise UnreachableError(f"The key set of {self.url} has no list of keys.")
        except UnreachableError as e:
            self.problem = str(e)
        else:
            self._keys = [key for key in keys[:MAX_KEYS] if isinstance(key, dict)]
            self._imported.clear()
            self._fetched = self._ticks()
            self.problem = ""
        finally:
            self._fetching = None

    def _find(self, kid: str | None, algorithm: str) -> Any:
        fitting = [key for key in self._keys if fits(key, algorithm) and (kid is None or key.get("kid") == kid)]
        if len(fitting) != 1:  # without an id, or with one that stands twice, there must be nothing to choose from
            return None
        mark = (str(fitting[0].get("kid")), algorithm)
        if mark not in self._imported:
            self._imported[mark] = import_key(fitting[0])
        return self._imported[mark]


async def issuer_metadata(issuer: str, fetcher: JsonFetcher) -> JSON:
    """The metadata of an issuer, under the first well-known address where they lie.

    Raises:
        UnreachableError: there are none, or they are another issuer's.
    """
    problem = UnreachableError(f"{issuer} publishes no metadata.")
    for url in metadata_urls(issuer):
        try:
            found = await fetcher.get(url)
        except UnreachableError as e:
            problem = e
            continue
        if found.get("issuer") != issuer:  # RFC 8414 §3.3: the same text, or it is somebody else's
            raise UnreachableError(f"The metadata at {url} names another issuer.")
        return found
    raise problem


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where the metadata of an issuer may lie (RFC 8414 §3.1 and §5)."""
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = (
        f"{base}/.well-known/oauth-authorization-server{path}",
        f"{base}/.well-known/openid-configuration{path}",
        f"{base}{path}/.well-known/openid-configuration",
    )
    return tuple(dict.fromkeys(urls))


def fits(key: JSON, algorithm: str) -> bool:
    """Whether a published key is one for signatures of this algorithm."""
    kind, curve = SHAPES[algorithm]
    operations = key.get("key_ops")
    return (
        key.get("kty") == kind
        and (not curve or key.get("crv") == curve)
        and key.get("use", "sig") == "sig"
        and (not isinstance(operations, list) or "verify" in operations)
        and key.get("alg", algorithm) == algorithm
    )


def import_key(key: JSON) -> Any:
    """A published key, its public part only; None when it is malformed or too short (RSA below 2048 bits)."""
    from joserfc.errors import JoseError
    from joserfc.jwk import JWKRegistry

    public = {name: key[name] for name in ("kty", "crv", "x", "y", "n", "e") if isinstance(key.get(name), str)}
    if key.get("kty") == "RSA" and len(public.get("n", "")) * 6 < 2048:
        return None
    try:
        return JWKRegistry.import_key(dict(public))
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def check_algorithms(names: Collection[str]) -> frozenset[str]:
    """The allowed algorithms. Raises Misuse for one with a shared secret, for `none`, and for an unknown one."""
    for name in names:
        if name not in SHAPES:
            raise MisuseError(
                f"Setting oauth_algorithms names {name!r}.", hint=f"Expected some of {', '.join(SHAPES)}."
            )
    return frozenset(names)
