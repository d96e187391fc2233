"""Tokens of the gateway's own as the credential of a connection."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Final

from workbench.access.certificates.tls_identity import jwt_svid
from workbench.access.outbound.fetch import JsonFetcher
from workbench.access.outbound.oauth_client import ClientRegistration, OAuthClient
from workbench.access.outbound.signing_keys import gateway_key
from workbench.config import Settings
from workbench.events import Caller
from workbench.registry.server_auth import ServerAuth
from workbench.secrets import SecretResolver

_NAME: Final = "Authorization"


class TokenHeaders:
    """The header with a token that was issued to the gateway: in its own name, or in the stead of one caller.

    Args:
        client: gets the tokens.
        caller: None for the gateway itself.
    """

    def __init__(self, client: OAuthClient, caller: Caller | None = None) -> None:
        self._client = client
        self._caller = caller

    async def headers(self) -> Mapping[str, str]:
        return {_NAME: f"Bearer {await self._client.token(self._caller)}"}

    async def renew(self, refused: Mapping[str, str]) -> bool:
        return await self._client.renew(refused[_NAME].removeprefix("Bearer "), self._caller)


def oauth_client(server: str, auth: ServerAuth, settings: Settings) -> OAuthClient:
    """The gateway as a client of whoever issues tokens for the server at this URL."""
    about = ClientRegistration(
        server=server, client_id=auth.client_id, method=auth.proof, secret=auth.client_secret or auth.private_key,
        issuer=auth.issuer, resource=auth.resource, audience=auth.audience, scope=auth.scope,
    )  # fmt: skip
    # both addresses stand in a file on disk, so they may be anywhere; what they lead to may not
    fetcher = JsonFetcher([server, auth.issuer])
    socket = settings.spiffe_socket
    svid = partial(jwt_svid, socket) if socket else None
    return OAuthClient(about, SecretResolver.of(settings), lambda: gateway_key(settings), fetcher, svid=svid)
