"""Connections to servers that want to know who the gateway is, or have to prove who they are themselves."""

from __future__ import annotations

from pathlib import Path

from workbench.access.certificates.svid import trust_domain_of
from workbench.access.certificates.tls_context import TlsContext, client_tls
from workbench.access.certificates.tls_identity import IdentityFiles, TlsIdentity, WorkloadIdentity
from workbench.config import Settings
from workbench.events import Caller
from workbench.registry.connection import Connection, LaunchContext
from workbench.registry.server import ServerSpec
from workbench.registry.server_tls import ServerTls
from workbench.secrets import SecretResolver, is_reference
from workbench.upstream.autodetect import behind_url
from workbench.upstream.credential import CombinedCredential, Credential, SecretHeaders
from workbench.upstream.http.client_pool import HttpClientPool
from workbench.upstream.http.streamable_http import HttpConnection
from workbench.upstream.per_caller import OnBehalf
from workbench.upstream.token_credential import TokenHeaders, oauth_client


def authorised(spec: ServerSpec, launched: LaunchContext, settings: Settings) -> Connection:
    """The connection to a server whose headers name secrets, or for which `auth` or `tls` is configured."""
    plain = {name: value for name, value in launched.headers.items() if not is_reference(value)}
    referred = {name: value for name, value in launched.headers.items() if name not in plain}
    auth, secrets = spec.auth, SecretResolver.of(settings)
    if auth is not None and auth.type == "secret":
        value = auth.secret if auth.secret.startswith("${") else f"${{{auth.secret}}}"
        referred[auth.header] = f"{auth.scheme} {value}".strip()

    tls = None if spec.tls is None else _tls(spec.tls)

    def connection(*credentials: Credential) -> HttpConnection:
        carried = [SecretHeaders(referred, secrets), *credentials] if referred else [*credentials]
        pool = HttpClientPool(credential=CombinedCredential(*carried) if carried else None, tls=tls)
        return behind_url(spec, launched.url, plain, pool)

    if auth is None or auth.type == "secret":
        return connection()
    client = oauth_client(launched.url, auth, settings)
    own = connection(TokenHeaders(client))
    if auth.type == "client_credentials":
        return own

    def of_caller(caller: Caller) -> Connection:
        return connection(TokenHeaders(client, caller))

    return OnBehalf(own, of_caller)


def _tls(about: ServerTls) -> TlsContext:
    """Who the server has to be, and who we are to it."""
    identity: TlsIdentity
    if about.workload_api:
        identity = WorkloadIdentity.of(about.workload_api)
    else:
        ca, cert, key = (Path(name) if name else None for name in (about.ca, about.cert, about.key))
        domain = trust_domain_of(about.spiffe_id) if about.spiffe_id else ""
        identity = IdentityFiles(ca=ca, cert=cert, key=key, trust_domain=domain)
    return client_tls(identity, about.spiffe_id)
