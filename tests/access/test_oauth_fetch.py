"""Documents of OAuth are fetched within bounds, over TLS that is checked, and from nowhere they should not lie."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from workbench.access.outbound import fetch
from workbench.access.outbound.fetch import JsonFetcher
from workbench.events import UnreachableError

BACK = "http://127.0.0.1:5000/callback"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 and its key; nobody but the tests trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
async def origin(serve: Any, certificate: tuple[Path, Path]) -> AsyncIterator[str]:
    async def document(request: Request) -> Response:
        url = str(request.url)
        return JSONResponse({"client_id": url, "client_name": "Desk", "redirect_uris": [BACK]})

    async def other(request: Request) -> Response:
        kind = request.path_params["kind"]
        return {
            "redirect": RedirectResponse("/client.json"),
            "large": Response(b'{"a":"' + b"x" * 300_000 + b'"}', media_type="application/json"),
            "text": Response(b"hello"),
            "list": Response(b"[1]"),
            "missing": Response(status_code=404),
        }[kind]

    app = Starlette(routes=[Route("/client.json", document), Route("/{kind}", other)])
    cert, key = certificate
    async with serve(app, ssl_certfile=str(cert), ssl_keyfile=str(key)) as url:
        yield url


def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


async def test_a_client_described_at_an_https_url_is_known(
    origin: str, certificate: tuple[Path, Path], open_desk: Any
) -> None:
    desk = await open_desk(fetcher=JsonFetcher([origin], tls=trusting(certificate)))
    client = await desk.server.client(f"{origin}/client.json")
    assert client is not None
    assert (client.name, client.kind, client.redirect_uris) == ("Desk", "document", (BACK,))
    token = (await desk.redeem(client, await desk.code(client))).json()["access_token"]
    assert await desk.holds(token)
    assert await desk.server.client(f"{origin}/redirect") is None


@pytest.mark.parametrize(
    ("kind", "why"),
    [("redirect", "307"), ("large", "more than"), ("text", "no JSON"), ("list", "no object"), ("missing", "404")],
)
async def test_what_is_no_small_object_is_not_read(
    origin: str, certificate: tuple[Path, Path], kind: str, why: str
) -> None:
    with pytest.raises(UnreachableError, match=why):
        await JsonFetcher([origin], tls=trusting(certificate)).get(f"{origin}/{kind}")


async def test_a_certificate_that_nobody_trusts_is_refused(origin: str) -> None:
    with pytest.raises(UnreachableError, match="does not answer"):
        await JsonFetcher([origin]).get(f"{origin}/client.json")


async def test_only_what_was_named_may_be_near(origin: str, certificate: tuple[Path, Path]) -> None:
    fetcher = JsonFetcher([origin], tls=trusting(certificate))
    port = origin.rpartition(":")[2]
    for url in (f"https://localhost:{port}/client.json", f"https://127.0.0.1:{int(port) + 1}/", "http://example.com/",
                f"https://x@127.0.0.1:{port}/client.json", "https://[::1]/",
                "file:///etc/passwd", "https://[::/"):  # fmt: skip
        with pytest.raises(UnreachableError, match="must not be dialled"):
            await fetcher.get(url)


async def test_a_name_that_leads_home_is_not_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    async def lead_home(*_: Any, **__: Any) -> Any:
        return [(2, 1, 6, "", ("127.0.0.1", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lead_home, raising=False)
    with pytest.raises(UnreachableError, match="forbidden address"):
        await JsonFetcher().get("https://rebinding.example/client.json")


async def test_who_does_not_answer_is_given_up(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    never = asyncio.Event()

    async def hang(request: Request) -> Response:
        await never.wait()
        return Response()

    monkeypatch.setattr(fetch, "TIMEOUT_S", 0.05)
    async with serve(Starlette(routes=[Route("/", hang)])) as url:
        with pytest.raises(UnreachableError, match="TimeoutError"):
            await JsonFetcher([url]).get(f"{url}/")
        never.set()
