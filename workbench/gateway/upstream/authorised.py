"""Connections to servers that want to know who the gateway is: which credential each gets."""

from __future__ import annotations

from workbench.config import Settings
from workbench.events import Caller
from workbench.gateway.upstream.credential import Credential, SecretHeaders, Several
from workbench.gateway.upstream.http import HttpConnection
from workbench.gateway.upstream.on_behalf import OnBehalf
from workbench.gateway.upstream.pool import Pool
from workbench.gateway.upstream.tokens import TokenHeaders, oauth_client
from workbench.gateway.upstream.url import behind_url
from workbench.registry.connection import Connection, Launched
from workbench.registry.server import ServerSpec
from workbench.secrets import Secrets, is_reference


def authorised(spec: ServerSpec, launched: Launched, settings: Settings) -> Connection:
    """The connection to a server whose headers name secrets, or for which `auth` is configured."""
    plain = {name: value for name, value in launched.headers.items() if not is_reference(value)}
    referred = {name: value for name, value in launched.headers.items() if name not in plain}
    auth, secrets = spec.auth, Secrets.of(settings)
    if auth is not None and auth.type == "secret":
        value = auth.secret if auth.secret.startswith("${") else f"${{{auth.secret}}}"
        referred[auth.header] = f"{auth.scheme} {value}".strip()

    def connection(credential: Credential) -> HttpConnection:
        carried = Several(SecretHeaders(referred, secrets), credential) if referred else credential
        return behind_url(spec, launched.url, plain, Pool(credential=carried))

    if auth is None or auth.type == "secret":
        pool = Pool(credential=SecretHeaders(referred, secrets))
        return behind_url(spec, launched.url, plain, pool)
    client = oauth_client(launched.url, auth, settings)
    own = connection(TokenHeaders(client))
    if auth.type == "client_credentials":
        return own

    def of_caller(caller: Caller) -> Connection:
        return connection(TokenHeaders(client, caller))

    return OnBehalf(own, of_caller)
