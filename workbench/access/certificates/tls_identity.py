"""Who this process is on TLS connections, and whom it believes: certificates that are replaced while it runs.

They lie in files that something rotates, or come from the SPIFFE Workload API of this machine as a stream.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

from workbench.access.certificates.svid import MissingSvidError, leaf_of
from workbench.events import MissingPackageError, Record, UnreachableError, now_us

CHECK_INTERVAL_S: Final = 1.0
"""How often files are looked at for changes."""
START_PAUSE_S: Final = 2.0
"""Least seconds between two attempts at a Workload API that does not answer."""
FIRST_TIMEOUT_S: Final = 5.0
"""Longest time that somebody waits for the first certificate."""

_PEM: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class TlsMaterial(Record, frozen=True, kw_only=True):
    """Certificates and key of one moment."""

    chain: str = ""
    """PEM, leaf first; empty when we have no identity of our own."""
    key: str = ""
    """PEM."""
    authorities: Mapping[str, frozenset[str]]
    """PEM of those who may certify others, by trust domain; under the empty name where none is told apart."""

    def __repr__(self) -> str:
        return f"Material({', '.join(sorted(self.authorities))})"

    @property
    def spiffe_id(self) -> str:
        """Our own identity; empty when the certificate is no SVID, or there is none."""
        try:
            return leaf_of(_der(self.chain)).spiffe_id
        except MissingSvidError:
            return ""


class TlsIdentity(Protocol):
    """Where the material comes from."""

    def open(self) -> None:
        """Somebody uses it from now on; each `open` needs one `close`."""

    async def ready(self) -> None:
        """Wait for the first material, a few seconds at most."""

    def now(self) -> TlsMaterial:
        """The material of this moment; the same object until it changes.

        Raises:
            UnreachableError: there is none that is good.
        """

    def close(self) -> None:
        """Let go of it."""


class IdentityFiles:
    """Certificates in files, read again when one of them changes.

    A set of files that does not fit together, as in the midst of a rotation, leaves the one before in force.

    Args:
        ca: PEM of the authorities; None where nobody else is to be believed.
        cert: PEM of our certificate and those between it and its authority.
        key: PEM of its key, readable by its owner alone.
        trust_domain: of the authorities; empty where they are not those of a trust domain.
        ticks: seconds that only grow.
    """

    def __init__(
        self,
        *,
        ca: Path | None,
        cert: Path | None = None,
        key: Path | None = None,
        trust_domain: str = "",
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = {"ca": ca, "cert": cert, "key": key}
        self._domain = trust_domain
        self._ticks = ticks
        self._seen: list[Any] = []
        self._looked = float("-inf")
        self._material: TlsMaterial | None = None
        self.problem = ""
        """Why the files as they are now are not in force; empty when they are."""

    def open(self) -> None:
        return None

    async def ready(self) -> None:
        return None

    def now(self) -> TlsMaterial:
        if self._ticks() - self._looked >= CHECK_INTERVAL_S:
            self._looked = self._ticks()
            self._look()
        if self._material is None:
            raise UnreachableError(self.problem)
        return self._material

    def close(self) -> None:
        return None

    def _look(self) -> None:
        try:
            seen = [_stamp(path) for path in self._paths.values()]
            if seen == self._seen and self._material is not None:
                return
            material = self._read()
            checked(material)
        except (OSError, ValueError, UnreachableError) as e:
            self.problem = f"The certificates cannot be used: {e}"
            return
        self._seen, self._material, self.problem = seen, material, ""

    def _read(self) -> TlsMaterial:
        text = {name: path.read_text("ascii") if path is not None else "" for name, path in self._paths.items()}
        key = self._paths["key"]
        if key is not None and key.stat().st_mode & 0o077:
            raise UnreachableError(f"Others may read {key}.", hint=f"chmod 600 {key}")
        found = frozenset(_PEM.findall(text["ca"]))
        if self._paths["ca"] is not None and not found:
            raise UnreachableError(f"{self._paths['ca']} holds no certificate.")
        authorities = {self._domain: found} if found else {}
        return TlsMaterial(chain=text["cert"], key=text["key"], authorities=authorities)


class WorkloadIdentity:
    """X.509-SVID and bundles from the Workload API, which sends new ones before the old end.

    Args:
        socket: such as `unix:///run/spire/agent.sock`.

    Raises:
        MisuseError: the package `spiffe` is not installed.
    """

    _shared: ClassVar[dict[str, WorkloadIdentity]] = {}

    def __init__(self, socket: str, *, ticks: Callable[[], float] = time.monotonic) -> None:
        try:
            importlib.import_module("spiffe")
        except ImportError as e:
            raise MissingPackageError("spiffe", "spiffe") from e
        self.socket = socket
        self._ticks = ticks
        self._users = 0
        self._material: TlsMaterial | None = None
        self._client: Any = None
        self._stream: Any = None
        self._started = float("-inf")
        self._first = threading.Event()
        self.problem = ""
        """Why the stream broke off the last time; empty while it runs."""

    @classmethod
    def of(cls, socket: str) -> WorkloadIdentity:
        """The one of this process for a socket."""
        if socket not in cls._shared:
            cls._shared[socket] = cls(socket)
        return cls._shared[socket]

    def open(self) -> None:
        self._users += 1

    async def ready(self) -> None:
        self._start()
        if self._material is None:
            await asyncio.to_thread(self._first.wait, FIRST_TIMEOUT_S)

    def now(self) -> TlsMaterial:
        self._start()
        material = self._material
        if material is None:
            why = self.problem or "It has given no certificate yet."
            raise UnreachableError(f"The Workload API at {self.socket} gives no identity: {why}")
        if leaf_of(_der(material.chain)).until_us <= now_us():
            raise UnreachableError(
                f"Our certificate has expired, and {self.socket} gives no other. {self.problem}".strip()
            )
        return material

    def close(self) -> None:
        self._users -= 1
        if self._users <= 0:
            self._stop()

    def _start(self) -> None:
        """Begin to listen, or begin again where the stream broke off."""
        if self._stream is not None or self._ticks() - self._started < START_PAUSE_S:
            return
        from spiffe import WorkloadApiClient
        from spiffe.errors import PySpiffeError

        self._started = self._ticks()
        self._first.clear()
        try:
            self._client = WorkloadApiClient(self.socket)
            self._stream = self._client.stream_x509_contexts(self._received, self._broke_off)
        except PySpiffeError as e:
            self.problem = str(e)

    def _stop(self) -> None:
        stream, client, self._stream, self._client = self._stream, self._client, None, None
        self._material, self._started = None, float("-inf")
        if stream is not None:
            stream.cancel()
        if client is not None:
            client.close()

    def _received(self, context: Any) -> None:
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

        svid = context.default_svid
        chain = "".join(cert.public_bytes(Encoding.PEM).decode() for cert in svid.cert_chain)
        key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        authorities = {
            bundle.trust_domain.name: frozenset(
                each.public_bytes(Encoding.PEM).decode().strip() for each in bundle.x509_authorities
            )
            for bundle in context.x509_bundle_set.bundles
        }
        self._material, self.problem = TlsMaterial(chain=chain, key=key, authorities=authorities), ""
        self._first.set()

    def _broke_off(self, error: Exception) -> None:
        self.problem = str(error)
        self._stream = None
        self._first.set()


async def jwt_svid(socket: str, audience: str) -> str:
    """A JWT-SVID of ours for one audience, from the Workload API; it is short-lived and got anew each time.

    Raises:
        UnreachableError: it gives none.
    """
    from spiffe import WorkloadApiClient
    from spiffe.errors import PySpiffeError

    def fetch() -> str:
        with WorkloadApiClient(socket) as client:
            return str(client.fetch_jwt_svid({audience}, timeout=FIRST_TIMEOUT_S).token)

    try:
        return await asyncio.to_thread(fetch)
    except PySpiffeError as e:
        raise UnreachableError(f"The Workload API at {socket} gives no JWT-SVID: {e}") from e


def checked(material: TlsMaterial) -> None:
    """Raises Unreachable when certificate and key do not belong together, or one of them cannot be read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    for authority in (each for domain in material.authorities.values() for each in domain):
        x509.load_pem_x509_certificate(authority.encode())
    if bool(material.chain) != bool(material.key):
        raise UnreachableError("A certificate needs its key, and a key its certificate.")
    if material.chain:
        certificate = x509.load_pem_x509_certificate(material.chain.encode())
        try:
            key = load_pem_private_key(material.key.encode(), None)
        except (ValueError, TypeError):
            raise UnreachableError("The key cannot be read.") from None
        if key.public_key() != certificate.public_key():
            raise UnreachableError("The key is not that of the certificate.")


def _der(chain: str) -> bytes | None:
    import ssl

    found = _PEM.search(chain)
    return ssl.PEM_cert_to_DER_cert(found[0]) if found else None


def _stamp(path: Path | None) -> Any:
    if path is None:
        return None
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
