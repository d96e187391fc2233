"""Keys that others than the owner of the machine make: within their own tenant and scopes, and on the record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from workbench.access.api_keys import KeyInfo
from workbench.events import Caller, MisuseError

if TYPE_CHECKING:
    from workbench.platform.platform import Platform


async def keys(platform: Platform, caller: Caller) -> list[KeyInfo]:
    """The keys of the caller's tenant, oldest first, ended ones too; never their secrets."""
    found = await asyncio.to_thread(platform.access.keys)
    return [key for key in found if key.tenant == caller.tenant]


async def create(
    platform: Platform,
    caller: Caller,
    subject: str,
    *,
    roles: tuple[str, ...],
    scopes: tuple[str, ...] = (),
    expires_us: int | None = None,
    rate_per_minute: int | None = None,
    note: str = "",
) -> tuple[KeyInfo, str]:
    """Make a key in the caller's tenant; the second value is its token, which is never shown again.

    Args:
        platform: whose key it is.
        caller: who makes it; the key can do nothing that they cannot.
        subject: the person or program that will hold it.
        roles: names in `roles.toml`.
        scopes: narrow what the roles grant.
        expires_us: microseconds since the epoch; None means never.
        rate_per_minute: calls per minute of its holder. Only the tenant that runs the platform may give one.
        note: what it is for.

    Raises:
        MisuseError: what `Access.create_key` refuses, or the key would reach further than its maker. Nothing was
            made then.
        NotRecordedError: the record cannot be written; the key was ended again.
    """
    if rate_per_minute is not None and caller.tenant != platform.settings.tenant:
        raise MisuseError(
            "A rate of its own is given by those who run this platform.", hint="Leave rate_per_minute out."
        )
    beyond = sorted(s for s in platform.access.granted(roles, scopes) if not caller.has(s))
    if beyond:
        raise MisuseError(
            f"The key would hold {', '.join(beyond)}, which you do not.",
            hint="Give other roles, or narrow it by scopes.",
        )

    def made() -> tuple[KeyInfo, str]:
        return platform.access.create_key(
            subject, roles=roles, scopes=scopes, tenant=caller.tenant, expires_us=expires_us, note=note,
            rate_per_minute=rate_per_minute,
        )  # fmt: skip

    info, token = await asyncio.to_thread(made)
    detail = {
        "key": info.id,
        "roles": list(roles),
        "scopes": list(scopes),
        "expires_us": expires_us,
        "by": caller.subject,
    }
    try:
        await platform.record_access(
            "key created", {**detail, "credential": caller.credential}, caller.tenant, info.subject
        )
    except BaseException:
        await asyncio.to_thread(platform.access.revoke, info.id)
        raise
    return info, token


async def revoke(platform: Platform, id: str, caller: Caller) -> bool:
    """End a key of the caller's tenant at once. False when it was ended before.

    Raises:
        MisuseError: there is none of this id in the tenant.
    """
    found = next((key for key in await keys(platform, caller) if key.id == id), None)
    if found is None:
        raise MisuseError(
            f"There is no key {id[:100]!r}.", hint="`workbench access keys`, or GET /api/platform/keys, lists them."
        )
    done = await asyncio.to_thread(platform.access.revoke, id)
    if done:
        detail = {"key": id, "by": caller.subject, "credential": caller.credential}
        await platform.record_access("key revoked", detail, caller.tenant, found.subject)
    return done
