"""From the claims of a token to what is known of its bearer. Whatever is missing or malformed is a refusal."""

from __future__ import annotations

import re
from typing import Any, Literal

from workbench.access.audiences import ProtectedResources
from workbench.access.roles import SCOPE
from workbench.config import Settings
from workbench.events import JSON, Record, UnauthenticatedError
from workbench.lookalikes import subject_objection

MAX_SKEW_US = 30_000_000
"""How far the clocks of issuer and gateway may be apart."""
_MAX_NAMES = 200
_ID = re.compile(r"[A-Za-z0-9._~:-]{1,64}")


class VerifiedClaims(Record, frozen=True, kw_only=True):
    """What a token says, once it is known to be good."""

    tenant: str
    subject: str
    roles: tuple[str, ...]
    scopes: frozenset[str] | None
    """None when the token has no such claim; it then carries all that its roles grant."""
    reach: frozenset[str]
    until_us: int
    """The token is not to be believed longer than that without looking again."""
    credential: str
    method: Literal["jwt", "introspection"]


class ClaimNames(Record, frozen=True, kw_only=True):
    """The names of the claims that matter."""

    subject: str = "sub"
    tenant: str = ""
    """Empty: tokens are of the tenant of the settings."""
    roles: str = "roles"
    scopes: str = "scope"
    actors: tuple[str, ...] = ()
    """Who may act for somebody else; empty: anybody."""
    max_lifetime_us: int = 0
    """Longest time from `iat` to `exp`; 0: any."""


def mapping(settings: Settings) -> ClaimNames:
    """As the settings name them."""
    return ClaimNames(
        subject=settings.oauth_subject_claim,
        tenant=settings.oauth_tenant_claim,
        roles=settings.oauth_roles_claim,
        scopes=settings.oauth_scopes_claim,
        actors=settings.oauth_actors,
        max_lifetime_us=int(settings.oauth_max_lifetime * 1_000_000),
    )


def verified(
    claims: JSON,
    names: ClaimNames,
    resources: ProtectedResources,
    *,
    now_us: int,
    at_most_us: int,
    tenant: str,
    fallback_id: str,
    method: Literal["jwt", "introspection"],
    own: bool = False,
) -> VerifiedClaims:
    """Check times and audience (RFC 9068 §4, RFC 7662 §2.2) and read who the bearer is.

    Args:
        claims: of a token whose signature was checked, or as introspection gave them.
        at_most_us: how long the answer may be remembered.
        tenant: where no claim says it.
        fallback_id: names the credential when it has no usable id.
        own: whether our own authorization server issued it.

    Raises:
        UnauthenticatedError: expired, not valid yet, good for too long, for another audience, bound to a key, used
            by an
            actor who may not, or without a proper subject.
    """
    expires = _time(claims, "exp")
    if expires is None and method == "jwt":
        raise UnauthenticatedError("The token says nothing of when it expires.")
    if expires is not None and now_us >= expires + MAX_SKEW_US:
        raise UnauthenticatedError("The token has expired.")
    for claim in ("nbf", "iat"):
        begins = _time(claims, claim)
        if begins is not None and now_us < begins - MAX_SKEW_US:
            raise UnauthenticatedError("The token is not valid yet.")
    if names.max_lifetime_us:
        issued = _time(claims, "iat")
        if expires is None or issued is None or expires - issued > names.max_lifetime_us:
            raise UnauthenticatedError("The token is good for longer than is accepted here.")
    if names.actors and "act" in claims:
        actor = claims["act"].get("sub") if isinstance(claims["act"], dict) else None
        if actor not in names.actors:
            raise UnauthenticatedError("The token is used by an actor who may not act for others here.")
    if "cnf" in claims:
        raise UnauthenticatedError("The token is bound to a key, and cannot be presented as a bearer token.")
    reach = resources.reach(_texts(claims.get("aud"), split=False), own=own)
    if not reach:
        raise UnauthenticatedError("The token is for another audience.")
    scopes = _claim(claims, names.scopes)
    id = claims.get("jti") if method == "jwt" else None
    return VerifiedClaims(
        tenant=_name(_claim(claims, names.tenant), "tenant") if names.tenant else tenant,
        subject=_name(_claim(claims, names.subject), "subject"),
        roles=_texts(_claim(claims, names.roles), split=True),
        # What is no scope of ours, and the scope of everything, is nobody's by a word in a token: roles grant that.
        scopes=None
        if scopes is None
        else frozenset(s for s in _texts(scopes, split=True) if s != "*" and SCOPE.fullmatch(s)),
        reach=reach,
        until_us=min(now_us + at_most_us, 1 << 62 if expires is None else expires + MAX_SKEW_US),
        credential=id if isinstance(id, str) and _ID.fullmatch(id) else fallback_id,
        method=method,
    )


def _claim(claims: JSON, name: str) -> Any:
    """The claim of this very name, else where the dots of the name lead."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _time(claims: JSON, name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e11:
        raise UnauthenticatedError(f"The claim {name} of the token is no time.")
    return int(value * 1_000_000)


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise UnauthenticatedError(f"The token names no proper {what}.")
    if why := subject_objection(value):
        raise UnauthenticatedError(f"The token names no proper {what}: {why}.")
    return value


def _texts(value: Any, *, split: bool) -> tuple[str, ...]:
    """Texts of a claim that is a text or a list of them; anything else is as if it were not there."""
    if isinstance(value, str):
        value = value.split() if split else [value]
    if not isinstance(value, list) or len(value) > _MAX_NAMES:
        return ()
    return tuple(v for v in value if isinstance(v, str) and 0 < len(v) <= 2048)
