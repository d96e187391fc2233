"""A small OAuth 2.1 authorization server for local use, switched on by the setting `oauth_server`.

Authorization code with PKCE, client credentials, refresh tokens that rotate, introspection, revocation, resource
indicators, client-id metadata documents, and dynamic registration where a setting allows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.access.oauth.clients import ClientStore, RegisteredClient
from workbench.access.oauth.grants import Grant, Grants

if TYPE_CHECKING:
    from workbench.access.oauth.authorization_server import AuthorizationServer

__all__ = ["AuthorizationServer", "ClientStore", "Grant", "Grants", "RegisteredClient"]


def __getattr__(name: str) -> Any:
    if name == "AuthorizationServer":  # needs Starlette; keys and clients are also listed by the command line
        from workbench.access.oauth.authorization_server import AuthorizationServer

        return AuthorizationServer
    raise AttributeError(f"module 'workbench.access.oauth' has no attribute {name!r}")
