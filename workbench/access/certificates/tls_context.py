"""TLS with certificates that change: each handshake takes what is in force at its moment."""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from workbench.access.certificates.svid import MissingSvidError, leaf_of, trust_domain_of
from workbench.access.certificates.tls_identity import TlsIdentity, TlsMaterial
from workbench.events import UnreachableError

Judge = Callable[[bytes | None], None]
"""Called with the certificate of the peer, in DER, once its chain was verified; refuses it by `MissingSvidError`."""


class RotatingTlsContext(ssl.SSLContext):
    """A context that hands every handshake to the one of the moment. Made by `client_tls` and `server_tls`."""

    _current: Callable[[], ssl.SSLContext]

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        return self._current().wrap_bio(*args, **kwargs)

    def wrap_socket(self, *args: Any, **kwargs: Any) -> ssl.SSLSocket:
        raise NotImplementedError("Connections here are of the event loop.")


class TlsContext:
    """One side of TLS connections.

    Args:
        identity: certificates.
        make: a context of some material.
        protocol: of the ssl module, for client or server.
    """

    def __init__(self, identity: TlsIdentity, make: Callable[[TlsMaterial], ssl.SSLContext], protocol: int) -> None:
        self.identity = identity
        self.generation = 0
        """Grows when somebody is believed no longer, so that connections of before are not either."""
        self._make = make
        self._material: TlsMaterial | None = None
        self._made: ssl.SSLContext | None = None
        self.context = RotatingTlsContext(protocol)
        """For whoever opens connections or listens."""
        self.context._current = self.current

    def current(self) -> ssl.SSLContext:
        """The context of this moment; the same object until certificates change.

        Raises:
            ssl.SSLError: there is no material that could be used.
        """
        try:
            material = self.identity.now()
        except UnreachableError as e:
            raise ssl.SSLError(str(e)) from e
        if self._made is None or material is not self._material:
            made = self._make(material)
            if self._material is not None:
                before = self._material.authorities
                if any(before[domain] - material.authorities.get(domain, frozenset()) for domain in before):
                    self.generation += 1
            self._material, self._made = material, made
        return self._made


def client_tls(identity: TlsIdentity, expected: str = "") -> TlsContext:
    """TLS towards a server.

    Args:
        identity: ours, if we have one, and the authorities that are believed.
        expected: the SPIFFE ID of the server; empty goes by the name of its host, as usual.

    Raises:
        NoSvid: `expected` is no SPIFFE ID.
    """
    domain = trust_domain_of(expected) if expected else ""

    def judge(certificate: bytes | None) -> None:
        found = leaf_of(certificate).spiffe_id
        if found != expected:
            raise MissingSvidError(f"The server is {found}, and not {expected}.")

    def make(material: TlsMaterial) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if expected:
            context.check_hostname = False
            context.sslobject_class = _judged(judge)
        elif not material.authorities:
            context.load_default_certs()
            return _furnished(context, material, None)
        return _furnished(context, material, domain)

    return TlsContext(identity, make, ssl.PROTOCOL_TLS_CLIENT)


def server_tls(identity: TlsIdentity, trust_domain: str | None = None) -> TlsContext:
    """TLS of a listener.

    Args:
        identity: ours, and the authorities that may certify clients.
        trust_domain: whose workloads may come; every client then needs an X.509-SVID of it. None asks for none.
    """

    def judge(certificate: bytes | None) -> None:
        found = leaf_of(certificate)
        if found.trust_domain != trust_domain:
            raise MissingSvidError(f"The client {found.spiffe_id} is of another trust domain.")

    def make(material: TlsMaterial) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # A session that is taken up again would not be asked for its certificate.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.set_alpn_protocols(["http/1.1"])
        if trust_domain is None:
            return _furnished(context, material, None)
        context.sslobject_class = _judged(judge)
        context.verify_mode = ssl.CERT_REQUIRED
        return _furnished(context, material, trust_domain)

    return TlsContext(identity, make, ssl.PROTOCOL_TLS_SERVER)


def _furnished(context: ssl.SSLContext, material: TlsMaterial, trust_domain: str | None) -> ssl.SSLContext:
    """The context with our certificate, and with the authorities of one trust domain (None: of nobody)."""
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if trust_domain is not None:
        authorities = material.authorities.get(trust_domain, frozenset())
        if not authorities:
            raise ssl.SSLError(f"Nobody is known who may certify workloads of {trust_domain or 'others'}.")
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a bundle may hold an authority below its root
        context.load_verify_locations(cadata="\n".join(sorted(authorities)))
    if material.chain:
        with _file(material.chain + "\n" + material.key) as path:
            context.load_cert_chain(path)
    return context


def _judged(judge: Judge) -> type[ssl.SSLObject]:
    """Connections whose peer is judged before anything is said."""

    class Judged(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            try:
                judge(self.getpeercert(True))
            except MissingSvidError as e:
                raise ssl.SSLCertVerificationError(1, str(e)) from e

    return Judged


@contextmanager
def _file(text: str) -> Iterator[str]:
    """`text` as a file, for OpenSSL takes keys from nothing else; in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, text.encode("ascii"))
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
        return
    with tempfile.TemporaryDirectory() as folder:  # readable by us alone
        path = os.path.join(folder, "tls.pem")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(text)
        yield path
