"""Authorities that certify workloads, and a Workload API that hands their certificates out, for tests of TLS.

The Workload API speaks the protocol of SPIFFE as its official description says (the stubs of the package `spiffe`);
what it issues is made here.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import time
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mcp-workbench-tests"
USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def usage(*given: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{name: name in given for name in USAGES})


class Svid:
    """A certificate and its key, as PEM and DER."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.chain = certificate.public_bytes(Encoding.PEM).decode()
        self.der = certificate.public_bytes(Encoding.DER)
        self.key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        self.key_der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Put it into two files, the key readable by its owner alone."""
        folder.mkdir(exist_ok=True)
        cert, key = folder / f"{name}.pem", folder / f"{name}.key"
        for path, text in ((key, self.key), (cert, self.chain)):
            path.touch(0o600)
            path.write_text(text)
        return cert, key


class Authority:
    """Certifies the workloads of one trust domain."""

    def __init__(self, trust_domain: str) -> None:
        self.trust_domain = trust_domain
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{trust_domain} {id(self)}")])
        made = self._builder(self._name, self._key, 3600).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        made = made.add_extension(usage("key_cert_sign", "crl_sign"), critical=True)
        self.certificate = made.sign(self._key, hashes.SHA256())
        self.pem = self.certificate.public_bytes(Encoding.PEM).decode()
        self.der = self.certificate.public_bytes(Encoding.DER)

    def svid(
        self,
        *uris: str,
        seconds: float = 600,
        ca: bool = False,
        usages: tuple[str, ...] = ("digital_signature",),
        dns: tuple[str, ...] = (),
    ) -> Svid:
        """The certificate of a workload; odd ones on request."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._builder(x509.Name([]), key, seconds)
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if usages:
            made = made.add_extension(usage(*usages), critical=True)
        names = [*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns)]
        if names:
            made = made.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return Svid(made.sign(self._key, hashes.SHA256()), key)

    def _builder(self, subject: x509.Name, key: Any, seconds: float) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(seconds=seconds))
        )


class WorkloadApi:
    """Gives one workload its X.509-SVID and JWT-SVIDs, and sends new ones on the open streams.

    Args:
        socket: path of its unix socket.
    """

    def __init__(self, socket: Path) -> None:
        import grpc
        from spiffe._proto import workload_pb2, workload_pb2_grpc

        self.path = socket
        self.address = f"unix://{socket}"
        self.jwt_key = ECKey.generate_key("P-256", {"kid": "k1"}, private=True)
        self._messages: Any = workload_pb2
        self._answer: Any = None
        self._id = ""
        self._domain = ""
        self._streams: list[queue.SimpleQueue[Any]] = []
        api = self

        class Api(workload_pb2_grpc.SpiffeWorkloadAPIServicer):  # type: ignore[misc]
            def FetchX509SVID(self, request: Any, context: Any) -> Any:
                assert ("workload.spiffe.io", "true") in context.invocation_metadata()
                if api._answer is None:
                    context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
                updates: queue.SimpleQueue[Any] = queue.SimpleQueue()
                api._streams.append(updates)
                context.add_callback(lambda: updates.put(None))
                yield api._answer
                while (update := updates.get()) is not None:
                    yield update

            def FetchJWTSVID(self, request: Any, context: Any) -> Any:
                claims = {"sub": api._id, "aud": list(request.audience), "exp": int(time.time()) + 60}
                token = jwt.encode({"alg": "ES256", "kid": "k1", "typ": "JWT"}, claims, api.jwt_key)
                svid = workload_pb2.JWTSVID(spiffe_id=api._id, svid=token)
                return workload_pb2.JWTSVIDResponse(svids=[svid])

            def FetchJWTBundles(self, request: Any, context: Any) -> Any:
                keys = [{**api.jwt_key.as_dict(private=False), "use": "jwt-svid"}]
                bundle = json.dumps({"keys": keys}).encode()
                yield workload_pb2.JWTBundlesResponse(bundles={f"spiffe://{api._domain}": bundle})

        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(Api(), self._server)
        self._server.add_insecure_port(self.address)
        self._server.start()

    def publish(self, id: str, svid: Svid, authorities: list[Authority], federated: tuple[Authority, ...] = ()) -> None:
        """What the workload has from now on."""
        self._id, self._domain = id, id.split("/")[2]
        mine = self._messages.X509SVID(
            spiffe_id=id, x509_svid=svid.der, x509_svid_key=svid.key_der, bundle=b"".join(a.der for a in authorities)
        )
        others = {f"spiffe://{a.trust_domain}": a.der for a in federated}
        self._answer = self._messages.X509SVIDResponse(svids=[mine], federated_bundles=others)
        for stream in self._streams:
            stream.put(self._answer)

    def stop(self) -> None:
        for stream in self._streams:
            stream.put(None)
        self._server.stop(0).wait()


def built_peer() -> Path:
    """A program whose identity and TLS are go-spiffe's, see `gateway/spiffe_peer/main.go`; built once."""
    source, home = Path(__file__).parent / "gateway" / "spiffe_peer" / "main.go", CACHE / "spiffe-peer"
    program, go = home / "peer", shutil.which("go")
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    if go is None:
        pytest.skip("go is needed to build a peer with go-spiffe")
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, home)
    (home / "go.mod").write_text("module peer\n\ngo 1.24\n\nrequire github.com/spiffe/go-spiffe/v2 v2.9.0\n")
    for step in (["mod", "tidy"], ["build", "-p", "1", "-o", "peer", "."]):
        subprocess.run(["nice", "-n", "10", go, *step], cwd=home, check=True, capture_output=True)
    return program
