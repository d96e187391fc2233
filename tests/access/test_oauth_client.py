"""The gateway gets its own tokens: how it proves who it is, how long it keeps them, and where its proof may go."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.authority import Authority, WorkloadApi
from tests.provider import EXCHANGE, Provider
from workbench.access.certificates.tls_identity import jwt_svid
from workbench.access.outbound.discovery import token_endpoint
from workbench.access.outbound.fetch import JsonFetcher
from workbench.access.outbound.oauth_client import ClientRegistration, OAuthClient, TokenUnavailableError
from workbench.access.outbound.signing_keys import gateway_key, imported
from workbench.config import Settings
from workbench.events import Caller, MisuseError, UnreachableError
from workbench.secrets import SecretResolver

SERVER = "https://crm.example/mcp"
ANN = Caller(tenant="acme", subject="ann", method="key")
BOB = Caller(tenant="acme", subject="bob", method="jwt")


@pytest.fixture
async def provider(serve: Any) -> AsyncIterator[Provider]:
    made = Provider()
    async with serve(made.app()) as url:
        made.url = url
        yield made


@pytest.fixture
def vault() -> dict[str, str]:
    return {"CLIENT": "first-secret-of-the-gateway"}


Make = Callable[..., OAuthClient]


@pytest.fixture
def client_of(settings: Settings, provider: Provider, vault: dict[str, str], ticks: Any) -> Make:
    def make(**changes: Any) -> OAuthClient:
        about = {
            "server": SERVER, "client_id": "gateway", "method": "client_secret_basic", "secret": "secret:CLIENT",
            "issuer": provider.url, **changes,
        }  # fmt: skip
        secrets = SecretResolver(settings.replace(secrets=("env",)), env=vault, ticks=ticks)
        fetcher = JsonFetcher([about["server"], about["issuer"]])
        return OAuthClient(ClientRegistration(**about), secrets, lambda: gateway_key(settings), fetcher, ticks=ticks)

    return make


async def test_client_credentials_name_the_resource_and_are_kept(client_of: Make, provider: Any, ticks: Any) -> None:
    client = client_of(scope="crm:read")
    first = await client.token()
    assert provider.asked == [{"grant_type": "client_credentials", "resource": SERVER, "scope": "crm:read"}]
    ticks.passed = 269
    assert await client.token() == first
    ticks.passed = 271  # shortly before its end
    assert await client.token() != first
    assert len(provider.asked) == 2


async def test_many_who_want_a_token_at_once_get_the_same(client_of: Make, provider: Any) -> None:
    provider.gate = asyncio.Event()
    client = client_of()
    wanting = [asyncio.create_task(client.token()) for _ in range(20)]
    gone = asyncio.create_task(client.token())
    while not provider.asked:  # noqa: ASYNC110 - the provider is a plain application
        await asyncio.sleep(0.005)
    gone.cancel()  # does not take it away from the others
    provider.gate.set()
    assert len(set(await asyncio.gather(*wanting))) == 1
    assert len(provider.asked) == 1


async def test_a_secret_that_was_rotated_is_read_anew_once(client_of: Make, provider: Any, vault: Any) -> None:
    client = client_of()
    await client.token()
    vault["CLIENT"] = provider.secret = "second-secret-of-the-gateway"
    client._kept.clear()
    assert await client.token()
    provider.secret = "third-secret"
    client._kept.clear()
    with pytest.raises(TokenUnavailableError, match=r"status 401 \(invalid_client\)") as refused:
        await client.token()
    told = str(refused.value)
    assert "second-secret" not in told
    assert "Basic" not in told


@pytest.mark.parametrize("kind", ["own", "EC", "RSA", "Ed25519", "JWK"])
async def test_a_client_proves_itself_with_a_key(
    client_of: Make, provider: Any, vault: Any, settings: Settings, kind: str
) -> None:
    made: dict[str, Any] = {
        "EC": lambda: ec.generate_private_key(ec.SECP256R1()),
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "Ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    if kind == "own":
        key, secret = gateway_key(settings), ""
        assert (settings.home / "gateway.key").stat().st_mode & 0o777 == 0o600
    else:
        secret = "secret:KEY"
        if kind == "JWK":
            vault["KEY"] = json.dumps(ECKey.generate_key("P-256", private=True).as_dict(private=True))
        else:
            pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            vault["KEY"] = made[kind]().private_bytes(*pem).decode()
        key = imported(vault["KEY"])
    provider.client_keys = key.key_set()
    assert not {"d", "p", "q"} & set(provider.client_keys["keys"][0])
    assert await client_of(method="private_key_jwt", secret=secret).token()
    provider.client_keys = imported(ECKey.generate_key("P-256", private=True).as_pem(private=True).decode()).key_set()
    provider.down = True
    with pytest.raises(TokenUnavailableError):
        await client_of(method="private_key_jwt", secret=secret).token()


def test_what_is_no_private_key_is_refused_and_not_shown() -> None:
    short = rsa.generate_private_key(65537, 1024)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = ECKey.generate_key("P-256", private=True).as_pem(private=False).decode()
    for text in ("canary", "{}", '{"kty": "oct", "k": "Y2FuYXJ5"}', public, short.private_bytes(*pem).decode()):
        with pytest.raises(MisuseError, match="no private key") as refused:
            imported(text)
        assert "canary" not in str(refused.value)


async def test_each_caller_gets_a_token_in_exchange_for_what_the_gateway_asserts(
    client_of: Make, provider: Any, settings: Settings
) -> None:
    provider.client_keys = gateway_key(settings).key_set()
    client = client_of(audience="crm")
    tokens = [await client.token(caller) for caller in (ANN, BOB, ANN, None)]
    assert tokens[0] == tokens[2]
    assert len(set(tokens)) == 3
    grants = [form["grant_type"] for form in provider.asked]
    assert grants == [EXCHANGE, EXCHANGE, "client_credentials"]
    assert {form["resource"] for form in provider.asked} == {SERVER}
    assert provider.asked[0]["audience"] == "crm"
    other = await client.token(Caller(tenant="globex", subject="ann"))  # of the same name, in another tenant
    assert other not in tokens


async def test_who_is_denied_is_told_and_asked_for_again_only_after_a_pause(
    client_of: Make, provider: Any, settings: Settings, ticks: Any
) -> None:
    provider.client_keys = gateway_key(settings).key_set()
    provider.denied = {"acme/bob"}
    client = client_of()
    for _ in range(3):
        with pytest.raises(TokenUnavailableError, match="invalid_grant"):
            await client.token(BOB)
    assert await client.token(ANN)
    assert len(provider.asked) == 2
    ticks.passed, provider.denied = 6, set()
    assert await client.token(BOB)


async def test_a_refused_token_is_replaced_but_not_again_and_again(client_of: Make, provider: Any, ticks: Any) -> None:
    client = client_of()
    first = await client.token()
    assert await client.renew(first)
    second = await client.token()
    assert second != first
    assert await client.renew(first)  # refused before: there is another one already
    assert await client.token() == second
    assert not await client.renew(second)
    assert await client.token() == second
    ticks.passed = 10
    assert await client.renew(second)
    assert len(provider.asked) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "DPoP"}, "not Bearer"),
        ({"lifetime": 0}, "lifetime"),
        ({"lifetime": "300"}, "lifetime"),
        ({"lifetime": True}, "lifetime"),
        ({"down": True}, "status 404"),
    ],
)
async def test_answers_that_cannot_be_used_give_no_token(
    client_of: Make, provider: Any, change: dict[str, Any], why: str
) -> None:
    for name, value in change.items():
        setattr(provider, name, value)
    with pytest.raises(TokenUnavailableError, match=why):
        await client_of().token()


async def test_a_token_of_unsaid_lifetime_is_kept_five_minutes(client_of: Make, provider: Any, ticks: Any) -> None:
    provider.lifetime = None
    client = client_of()
    await client.token()
    ticks.passed = 269
    await client.token()
    ticks.passed = 271
    await client.token()
    assert len(provider.asked) == 2


def resource_server(about: dict[str, Any]) -> Starlette:
    async def metadata(request: Any) -> JSONResponse:
        return JSONResponse(about)

    return Starlette(routes=[Route("/.well-known/oauth-protected-resource/mcp", metadata)])


async def test_a_server_of_the_issuer_s_own_origin_is_believed(serve: Any) -> None:
    about: dict[str, Any] = {}
    provider = Provider()
    app = resource_server(about)
    app.routes.extend(provider.app().routes)
    async with serve(app) as url:
        provider.url = url
        about.update(resource=f"{url}/mcp", authorization_servers=["https://elsewhere.example", url])
        found = await token_endpoint(f"{url}/mcp", JsonFetcher([url]))
        assert (found.issuer, found.url, found.resource) == (url, f"{url}/token", f"{url}/mcp")


@pytest.mark.parametrize(
    ("about", "why"),
    [
        ({"authorization_servers": ["https://thief.example"]}, "nobody here has confirmed"),
        ({"authorization_servers": []}, "name no issuer"),
        ({"authorization_servers": [7]}, "name no issuer"),
        ({}, "name no issuer"),
        ({"resource": "https://other.example/mcp", "authorization_servers": ["https://x.example"]}, "another resource"),
    ],
)
async def test_a_server_cannot_send_our_proof_somewhere_else(serve: Any, about: dict[str, Any], why: str) -> None:
    told: dict[str, Any] = {}
    async with serve(resource_server(told)) as url:
        told.update({"resource": f"{url}/mcp", **about})
        with pytest.raises(UnreachableError, match=why):
            await token_endpoint(f"{url}/mcp", JsonFetcher([url]))


async def test_a_server_without_metadata_needs_an_issuer(serve: Any) -> None:
    async with serve(Starlette()) as url:
        with pytest.raises(UnreachableError) as refused:
            await token_endpoint(f"{url}/mcp", JsonFetcher([url]))
    assert "auth" in refused.value.hint


async def test_an_issuer_s_metadata_do_not_lead_into_our_network(serve: Any, provider: Any) -> None:
    async def metadata(request: Any) -> JSONResponse:
        return JSONResponse({"issuer": base, "token_endpoint": "http://169.254.169.254/latest/meta-data"})

    async with serve(Starlette(routes=[Route("/.well-known/oauth-authorization-server", metadata)])) as base:
        secrets = SecretResolver(Settings(), env={"CLIENT": "x-secret"})
        about = ClientRegistration(
            server=SERVER, client_id="gateway", method="client_secret_basic", secret="secret:CLIENT", issuer=base
        )
        client = OAuthClient(about, secrets, lambda: pytest.fail("no key is needed"), JsonFetcher([base]))
        with pytest.raises(TokenUnavailableError, match="must not be dialled"):
            await client.token()


async def test_a_gateway_with_an_identity_of_spiffe_needs_no_secret(
    open_desk: Any, serve: Any, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("spiffe")
    id = "spiffe://corp.example/gateway"
    api = WorkloadApi(tmp_path_factory.mktemp("spire") / "agent.sock")
    bound = socket.create_server(("127.0.0.1", 0))
    try:
        corp = Authority("corp.example")
        api.publish(id, corp.svid(id), [corp])
        desk = await open_desk(port=str(bound.getsockname()[1]), oauth_spiffe_socket=api.address)
        desk.server.issuer.clients.add("Gateway", tenant="acme", now_us=1, roles=("viewer",), workload=id)
        async with serve(desk.server, bound) as url:
            about = ClientRegistration(server=f"{url}/mcp", client_id=id, method="jwt_svid", issuer=url)
            secrets, fetcher = SecretResolver(settings), JsonFetcher([url])
            never: Any = pytest.fail
            client = OAuthClient(about, secrets, never, fetcher, svid=partial(jwt_svid, api.address))
            assert (await desk.access.authenticate_async(f"Bearer {await client.token()}")).subject == id
            client = OAuthClient(about, secrets, never, fetcher)
            with pytest.raises(TokenUnavailableError, match="No Workload API is configured"):
                await client.token()
    finally:
        api.stop()
