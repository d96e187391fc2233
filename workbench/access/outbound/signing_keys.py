"""Private keys for signatures: kept in files of the state folder, and used to prove who this gateway is."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workbench.access.local_user import read_private
from workbench.config import Settings
from workbench.control import open_store
from workbench.control.factory import share_key
from workbench.control.key_files import write
from workbench.events import JSON, Caller, MisuseError, new_id, now_us
from workbench.secrets.keyring import KeyRing, ring_path

ASSERTION_LIFETIME_S = 60
"""Lifetime of what is signed here: it is used at once, and once."""

ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "Ed25519"}


class SigningKey:
    """A private key for assertions. Made by `gateway_key` or `imported`.

    Args:
        key: signs.
        others: are published as well: those that sign next, and that signed lately.
    """

    def __init__(self, key: Any, others: Iterable[Any] = ()) -> None:
        self._key = key
        self._others = list(others)
        curve = str(getattr(key, "curve_name", ""))
        self.algorithm = ALGORITHMS.get(curve, "RS256")
        self.kid = str(key.thumbprint())

    def key_set(self) -> JSON:
        """The public key, to be registered with an identity provider (RFC 7517)."""
        return published([self._key, *self._others], self.algorithm)

    def proof(self, client: str, audience: str) -> str:
        """A client assertion (RFC 7523 §2.2): `client` itself says that it is `client`."""
        return self._signed({"iss": client, "sub": client, "aud": audience})

    def identity(self, client: str, audience: str, caller: Caller) -> str:
        """What the gateway asserts of a caller, as subject token of an exchange (RFC 8693 §2.1).

        It has the caller's tenant and subject as the gateway established them, never what the caller presented.
        """
        about = {"sub": caller.subject, "tenant": caller.tenant, "amr": [caller.method]}
        return self._signed({"iss": client, "aud": audience, **about})

    def _signed(self, claims: JSON) -> str:
        from joserfc import jwt

        now = now_us() // 1_000_000
        header = {"alg": self.algorithm, "typ": "JWT", "kid": self.kid}
        full = {**claims, "iat": now, "exp": now + ASSERTION_LIFETIME_S, "jti": new_id()}
        return jwt.encode(header, full, self._key, algorithms=[self.algorithm])


def published(keys: Iterable[Any], algorithm: str) -> JSON:
    """The public keys of private ones as a key set (RFC 7517 §5)."""
    about = {"use": "sig", "alg": algorithm}
    return {"keys": [{**key.as_dict(private=False), "kid": str(key.thumbprint()), **about} for key in keys]}


def gateway_key(settings: Settings) -> SigningKey:
    """The gateway's own key, on P-256, made once; gateways with a control store in common have it in common.

    Raises:
        MisuseError: the file `gateway.key` of the state folder holds something else.
    """
    path = settings.home / "gateway.key"
    store = open_store(settings)
    try:
        with store.exclusively("gateway.key"):  # two processes starting together make one key
            share_key(store, path, made)
            return SigningKey(private_key(path), other_keys(path))
    finally:
        store.close()


def made() -> bytes:
    """A new private key on P-256, as PEM."""
    from joserfc.jwk import ECKey

    return ECKey.generate_key("P-256", private=True).as_pem(private=True)


def private_key(path: Path) -> Any:
    """The private key on P-256 in a file that only its owner may read; made where there is none.

    Raises:
        MisuseError: the file holds something else.
    """
    text = read_private(path)
    if not text and not path.exists():
        write(path, made())
        text = read_private(path)
    try:
        return _on_p256(text)
    except ValueError:
        raise MisuseError(
            f"{path} is no private key on P-256.", hint="Move it away; another one is made at the next start."
        ) from None


def other_keys(path: Path) -> list[Any]:
    """The key that follows the one in a file, and those that it replaced and that may still be in use.

    Raises:
        MisuseError: the ring of the key holds something else.
    """
    try:
        return [_on_p256(other.key.decode()) for other in KeyRing.beside(path).accepted()]
    except ValueError as e:
        raise MisuseError(
            f"{ring_path(path)} holds what is no private key on P-256.", hint="Move it away: old keys end then."
        ) from e


def _on_p256(pem: str) -> Any:
    """The private key in a PEM text. Raises ValueError when it is none on P-256."""
    from joserfc.errors import JoseError
    from joserfc.jwk import ECKey

    try:
        found = ECKey.import_key(pem)
    except (JoseError, TypeError) as e:
        raise ValueError("no key") from e
    if not found.is_private or found.curve_name != "P-256":
        raise ValueError("not a private key on P-256")
    return found


def imported(pem: str) -> SigningKey:
    """The private key in a PEM or JWK text: EC, Ed25519, or RSA of at least 2048 bits.

    Raises:
        MisuseError: it is none. What was given is not repeated.
    """
    import orjson
    from joserfc.errors import JoseError, SecurityWarning
    from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

    def of_jwk(text: str) -> Any:
        found = orjson.loads(text)
        if found["kty"] not in ("EC", "RSA", "OKP"):
            raise ValueError
        return JWKRegistry.import_key(found)

    for read in (ECKey.import_key, RSAKey.import_key, OKPKey.import_key, of_jwk):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", SecurityWarning)  # it is too short, then
                found: Any = read(pem)
            if not found.is_private or (found.key_type == "RSA" and found.raw_value.key_size < 2048):
                break
            return SigningKey(found)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError, SecurityWarning):
            continue
    raise MisuseError(
        "The secret is no private key that can sign.", hint="Expected PEM: EC, Ed25519, or RSA from 2048 bits."
    )
