"""The listener with TLS: for clients beyond this machine, and for workloads that show an X.509-SVID."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from workbench.access.certificates.svid import MissingSvidError, leaf_of, trust_domain_of
from workbench.access.certificates.tls_context import TlsContext, server_tls
from workbench.access.certificates.tls_identity import IdentityFiles, TlsIdentity, WorkloadIdentity
from workbench.access.peer_certificates import PeerCertificates
from workbench.config import Settings
from workbench.events import MisuseError, UnreachableError, now_us
from workbench.platform.connection_limits import ConnectionCounts
from workbench.serve.http_front import Front


class TlsFront(Front):
    """One connection. Its peer, where it has to have an identity, stands in for a credential in each request."""

    def __init__(self, *args: Any, tls: TlsContext, peers: PeerCertificates, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tls = tls
        self._peers = peers
        self._presented = b""
        self._until_us = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self.transport.is_closing():
            return  # there are too many
        certificate = transport.get_extra_info("ssl_object").getpeercert(True)
        self._generation = self._tls.generation
        if certificate is not None:
            leaf = leaf_of(certificate)
            self._presented = self._peers.header(leaf).encode()
            self._until_us = leaf.until_us

    def data_received(self, data: bytes) -> None:
        if self._presented and (now_us() >= self._until_us or self._generation != self._tls.generation):
            self.transport.abort()  # who is still good comes again
            return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        if self._presented and not any(name == b"authorization" for name, _ in self.headers):
            self.headers.append((b"authorization", self._presented))
        super().on_headers_complete()


async def open_tls(settings: Settings) -> TlsContext:
    """What the settings say of TLS at the front.

    Raises:
        MisuseError: they do not go together, or there is no certificate that could be used.
    """
    identity, domain = _identity(settings)
    identity.open()
    try:
        await identity.ready()
        if domain == "":
            domain = _own_domain(identity)
        tls = server_tls(identity, domain)
        tls.current()
    except (OSError, UnreachableError) as e:  # of which the errors of TLS are some
        identity.close()
        raise MisuseError(f"The listener with TLS cannot be opened: {e}", hint="See docs/access.md, TLS.") from e
    except BaseException:
        identity.close()
        raise
    return tls


def protocol(
    tls: TlsContext, peers: PeerCertificates, counts: ConnectionCounts | None = None
) -> Callable[..., TlsFront]:
    """Makes the connections of one listener."""
    return lambda *args, **kwargs: TlsFront(*args, tls=tls, peers=peers, counts=counts, **kwargs)


def _identity(settings: Settings) -> tuple[TlsIdentity, str | None]:
    """Where certificates come from, and whose workloads may come: None for anybody, empty for our own trust domain."""
    files = (settings.tls_cert, settings.tls_key)
    if settings.tls_client_ca is not None and not all(files):
        raise MisuseError("Setting tls_client_ca needs tls_cert and tls_key.", hint="Name all three files.")
    if any(files):
        if not all(files):
            raise MisuseError("Settings tls_cert and tls_key belong together.", hint="Name both files.")
        domain = None if settings.tls_client_ca is None else settings.tls_trust_domain
        found = IdentityFiles(
            ca=settings.tls_client_ca,
            cert=settings.tls_cert,
            key=settings.tls_key,
            trust_domain=domain or _of(settings),
        )
        return found, domain
    if not settings.spiffe_socket:
        raise MisuseError("Setting tls_port needs a certificate.", hint="Set tls_cert and tls_key, or spiffe_socket.")
    return WorkloadIdentity.of(settings.spiffe_socket), settings.tls_trust_domain


def _of(settings: Settings) -> str:
    """The trust domain of the certificate in `tls_cert`; empty when it is no SVID."""
    if settings.tls_client_ca is None:
        return ""
    own = IdentityFiles(ca=None, cert=settings.tls_cert, key=settings.tls_key)
    try:
        return _own_domain(own)
    except UnreachableError:
        return ""


def _own_domain(identity: TlsIdentity) -> str:
    try:
        return trust_domain_of(identity.now().spiffe_id)
    except MissingSvidError as e:
        hint = "Set tls_trust_domain to the trust domain whose workloads may come."
        raise MisuseError(
            "Our own certificate is no X.509-SVID, so whose workloads may come is not known.", hint=hint
        ) from e
