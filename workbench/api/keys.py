"""Routes over API keys: made, listed and ended by those who hold `keys:manage`."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from workbench.api.error_responses import NotFoundError
from workbench.api.request_bodies import NewKey
from workbench.api.route_helpers import answer, needs
from workbench.events import Caller
from workbench.platform import key_management
from workbench.platform.platform import Platform


def key_routes(platform: Platform) -> APIRouter:
    """Routes for API keys."""
    router = APIRouter(prefix="/api/platform/keys", tags=["access"])
    manages = needs(platform, "keys:manage")

    @router.get("")
    async def listed(caller: Caller = manages) -> Response:
        """The keys of your tenant, revoked ones included; never their secrets."""
        return answer({"keys": await key_management.keys(platform, caller)})

    @router.post("", status_code=201)
    async def create(body: NewKey, caller: Caller = manages) -> Response:
        """Create a key in your tenant, with no more scopes than you have. Only this answer holds its secret."""
        info, secret = await key_management.create(
            platform, caller, body.subject, roles=tuple(body.roles), scopes=tuple(body.scopes),
            expires_us=body.expires_us, rate_per_minute=body.rate_per_minute, note=body.note,
        )  # fmt: skip
        return answer({"key": info, "secret": secret}, 201, {"cache-control": "no-store"})

    @router.delete("/{key}")
    async def revoke(key: str, caller: Caller = manages) -> Response:
        """Revoke a key. It stops working at once."""
        if all(each.id != key for each in await key_management.keys(platform, caller)):
            raise NotFoundError(
                f"There is no key {key[:100]!r}.",
                hint="`workbench access keys`, or GET /api/platform/keys, lists them.",
            )
        return answer({"revoked": key, "before": not await key_management.revoke(platform, key, caller)})

    return router
