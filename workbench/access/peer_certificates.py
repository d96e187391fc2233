"""Workloads that are known by the certificate of their connection.

The TLS front puts what it verified into the place where other clients put a credential: a value of `Authorization` that
only this process can make. So every door asks the same question, and nobody can claim to be a workload without TLS.
"""

from __future__ import annotations

import hmac
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from workbench.access.certificates.svid import MissingSvidError, SvidCertificate, trust_domain_of
from workbench.config import Settings
from workbench.events import UnauthenticatedError

if TYPE_CHECKING:
    from workbench.access.oauth.clients import ClientStore, RegisteredClient

SCHEME = "X509-SVID "
WORKLOAD_US = 1_000_000
"""How long a workload is believed to have a client, in microseconds."""


def mutual(settings: Settings) -> bool:
    """Whether clients of the listener with TLS have to show who they are."""
    return settings.tls_client_ca is not None or (settings.tls_cert is None and bool(settings.spiffe_socket))


class PeerCertificates:
    """Makes and reads the values of one process.

    Args:
        settings: where the clients are that were made for workloads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secret = token_urlsafe(32)
        self._clients: ClientStore | None = None

    def header(self, leaf: SvidCertificate) -> str:
        """The value of `Authorization` for requests on a connection with this peer. Never to be sent anywhere."""
        return f"{SCHEME}{self._secret} {leaf.until_us} {leaf.spiffe_id}"

    def read(self, authorization: str) -> SvidCertificate:
        """The peer that a value stands for.

        Raises:
            UnauthenticatedError: this process has not made it.
        """
        secret, _, rest = authorization.removeprefix(SCHEME).partition(" ")
        until, _, spiffe_id = rest.partition(" ")
        if not authorization.startswith(SCHEME) or not hmac.compare_digest(secret.encode(), self._secret.encode()):
            raise UnauthenticatedError("The Authorization header is not of the Bearer scheme.")
        try:
            return SvidCertificate(spiffe_id=spiffe_id, trust_domain=trust_domain_of(spiffe_id), until_us=int(until))
        except MissingSvidError as e:
            raise UnauthenticatedError(str(e)) from e

    async def client(self, authorization: str) -> tuple[RegisteredClient, int]:
        """The client that is made for the peer, as for one that shows a JWT-SVID, and how long the peer is good.

        Raises:
            UnauthenticatedError: this process has not made the value, or nobody has made such a client.
        """
        peer = self.read(authorization)
        if self._clients is None:
            from workbench.access.oauth.clients import ClientStore

            self._clients = ClientStore(self._settings)
        found = await self._clients.store.aside(self._clients.find, peer.spiffe_id)
        if found is None or found.kind != "workload":
            hint = "`workbench access clients create NAME --workload ID --role ROLE` makes one."
            raise UnauthenticatedError(f"No client is made for {peer.spiffe_id}.", hint=hint)
        return found, peer.until_us

    def close(self) -> None:
        """Let go of the store."""
        if self._clients is not None:
            self._clients.close()
