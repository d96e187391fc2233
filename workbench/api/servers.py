"""Routes over the registry: which servers there are, and looking after them."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from workbench.api.error_responses import NotFoundError
from workbench.api.request_bodies import Acceptance, Registration
from workbench.api.route_helpers import answer, needs
from workbench.events import Caller
from workbench.platform import changed_definitions
from workbench.platform.platform import Platform


def server_routes(platform: Platform) -> APIRouter:
    """Routes for servers."""
    router = APIRouter(tags=["registry"])
    sees, manages = needs(platform, "servers:read"), needs(platform, "servers:manage")

    def check(server: str, caller: Caller) -> None:
        if not platform.registry.exists(server, caller.tenant):
            close = platform.registry.suggest_server(server, tenant=caller.tenant)
            hint = (
                f"Did you mean {' or '.join(close)}?" if close else "`workbench servers`, or GET /servers, lists them."
            )
            raise NotFoundError(f"There is no server {server[:200]!r}.", hint=hint)

    @router.get("/servers")
    @router.get("/api/platform/servers")
    def servers(caller: Caller = sees) -> Response:
        """All servers that your tenant can use, with their health.

        For the tenant that runs the platform also problems of the configuration files, and keys that are not used.
        """
        return answer({"servers": platform.servers(caller), **platform.configuration(caller).to_dict()})

    @router.post("/servers", status_code=201)
    async def register(server: Registration, caller: Caller = manages) -> Response:
        """Register a server that is reached over HTTP. It exists for your tenant alone."""
        return answer(await platform.register(server.model_dump(), caller), 201)

    @router.delete("/servers/{server}")
    async def remove(server: str, caller: Caller = manages) -> Response:
        """Remove a registered server."""
        check(server, caller)
        await platform.unregister(server, caller)
        return answer({"removed": server})

    @router.post("/api/platform/servers/{server}/restart")
    async def restart(server: str, caller: Caller = manages) -> Response:
        """Restart a server. The field `server` of the answer says whether it is ready now, or why it failed again."""
        check(server, caller)
        return answer({"restarted": server, "server": await platform.restart(server, caller)})

    @router.post("/api/platform/servers/reload")
    async def reload(caller: Caller = manages) -> Response:
        """Read the configuration files again: start new servers, end removed ones, restart changed ones."""
        return answer(await platform.reload(caller))

    @router.get("/api/platform/definitions")
    async def changed(caller: Caller = sees) -> Response:
        """Quarantined tools: those whose definition changed, with the differences and the hash to accept."""
        return answer({"changed": await changed_definitions.changed(platform, caller)})

    @router.post("/api/platform/definitions/{tool}")
    async def accept(tool: str, body: Acceptance, caller: Caller = manages) -> Response:
        """Accept the changed definition of a tool, so that it can be called again."""
        await changed_definitions.accept(platform, tool, body.hash, caller, varying=body.varying)
        return answer({"accepted": tool})

    @router.get("/api/platform/varying-definitions")
    async def varying(caller: Caller = sees) -> Response:
        """Definitions that were accepted together with what varies in them."""
        return answer({"varying_definitions": await changed_definitions.varying(platform, caller)})

    @router.delete("/api/platform/varying-definitions/{tool}")
    async def revoke_varying(tool: str, caller: Caller = manages) -> Response:
        """Revoke such an acceptance. The tool is quarantined unless its definition is the one accepted last."""
        await changed_definitions.revoke_varying(platform, tool, caller)
        return answer({"revoked": tool})

    return router
