"""Everything that is served on the gateway's port, put together from its doors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi_swagger import patch_fastapi
from starlette.datastructures import Headers

import workbench
from workbench.api.approval_page import approval_page
from workbench.api.body_reader import BodyReader
from workbench.api.error_responses import ASGI, error
from workbench.api.exception_handlers import handle_errors
from workbench.api.keys import key_routes
from workbench.api.probes import probes
from workbench.api.questions import question_routes
from workbench.api.record import record_routes
from workbench.api.servers import server_routes
from workbench.api.slack import slack_routes
from workbench.api.tools import tool_routes
from workbench.endpoint import McpEndpoint
from workbench.endpoint.http.cors import CrossOrigin
from workbench.endpoint.http.origin_check import OriginCheck
from workbench.endpoint.http.single_headers import doubled
from workbench.endpoint.websocket import WebSocketDoor
from workbench.platform.platform import Platform

if TYPE_CHECKING:
    from workbench.access.oauth import AuthorizationServer

_MCP_PATHS = re.compile(r"(?:/(?:servers|profiles)/[^/]+)?/(?:mcp|sse)/?|/\.well-known/oauth-protected-resource(/.*)?")


def build_app(platform: Platform) -> ASGI:
    """Everything that is served on the gateway's port, as one ASGI application.

    MCP is dispatched before any framework router: it is the hot path. All other paths are the management API, behind
    the same checks of Host and Origin.
    """
    senders = OriginCheck(platform.settings)
    endpoint, api = McpEndpoint(platform.gateway, senders), BodyReader(platform, build_api(platform))
    issuing = _authorization_server(platform)

    sockets = WebSocketDoor(endpoint, platform.registry)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await sockets(scope, receive, send)
            return
        path = scope["path"]
        if path == "/mcp" or _MCP_PATHS.fullmatch(path):
            await endpoint.answer(scope, receive, send)
        else:
            await others(scope, receive, send)

    async def managed(scope: Any, receive: Any, send: Any) -> None:
        if name := doubled(scope["headers"]):
            await error("Misuse", f"The header {name} stands twice.", "Send it once.", 400)(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refused = senders.refusal(headers.get("host"), headers.get("origin"))
        if refused is None and issuing is not None and issuing.answers(scope["path"]):
            await issuing(scope, receive, send)
        elif refused is None:
            await api(scope, receive, send)
        else:
            await error("Misuse", refused[1], "", refused[0])(scope, receive, send)

    others = CrossOrigin(managed, senders)
    return app


def _authorization_server(platform: Platform) -> AuthorizationServer | None:
    """The OAuth server of this gateway, where the setting `oauth_server` asks for one and our URL is known."""
    if platform.access.issuer is None:
        return None
    from workbench.access.oauth import AuthorizationServer

    return AuthorizationServer(platform.access, scopes=platform.scopes, record=platform.record_access)


def build_api(platform: Platform) -> FastAPI:
    """The management API over one platform, as an ASGI application."""
    api = FastAPI(
        title="MCP Workbench",
        version=workbench.__version__,
        description="Servers, tools, questions and the record. Authenticate with `Authorization: Bearer <token>`.",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    handle_errors(api, platform)
    patch_fastapi(api, redirect_from_root_to_docs=False)  # Swagger UI from the wheel, not from a network
    for routes in (probes, server_routes, tool_routes, question_routes, record_routes, key_routes):
        api.include_router(routes(platform))
    slack_routes(api, platform)
    approval_page(api, platform)
    return api
