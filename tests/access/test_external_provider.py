"""An identity provider that nobody here wrote: oidc-provider (npm), over the wire, with the official SDK's client."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken

from workbench.access import UnauthenticatedError
from workbench.access.outbound.signing_keys import gateway_key
from workbench.api import build_app
from workbench.events import Call, Caller
from workbench.platform.platform import Platform

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

COMMENT = {"ticket_id": "T-00001", "body": "The printer works again."}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("npm is not installed")
    home = tmp_path_factory.mktemp("provider")
    (home / "package.json").write_text('{"type": "module"}')
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "oidc-provider@9.13.3"]
    subprocess.run(install, cwd=home, check=True)
    shutil.copy(Path(__file__).with_name("identity_provider.mjs"), home)
    return home


@contextmanager
def provider(home: Path, resource: str, format: str, **more: str) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    issuer = f"http://127.0.0.1:{port}"
    env = {"ISSUER": issuer, "PORT": str(port), "RESOURCE": resource, "FORMAT": format, "PATH": "/usr/bin:/bin", **more}
    node = shutil.which("node")
    assert node is not None
    process = subprocess.Popen(
        [node, "identity_provider.mjs"], cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield issuer
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@asynccontextmanager
async def platform(settings: Any, serve: Any, bound: socket.socket, **more: Any) -> AsyncIterator[tuple[Platform, str]]:
    opened = await Platform.open(settings.replace(port=str(bound.getsockname()[1]), servers=("tickets",), **more))
    try:
        async with serve(build_app(opened), bound) as url:
            yield opened, url
    finally:
        await opened.close()
        opened.access.close()
        opened.policy.close()


class Storage:
    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.scopes: list[str] = []

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.scopes.append(tokens.scope or "")

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        raise AssertionError("nothing is registered")


async def test_the_sdk_is_challenged_finds_the_provider_and_steps_up(
    settings: Any, serve: Any, installed: Path
) -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    resource = f"http://127.0.0.1:{bound.getsockname()[1]}/mcp"
    seen: list[tuple[int, str]] = []

    async def note(response: httpx2.Response) -> None:
        seen.append((response.status_code, response.request.url.path))

    with provider(installed, resource, "jwt") as issuer:
        async with platform(settings, serve, bound, oauth_issuers=(issuer,)) as (opened, url):
            storage = Storage()
            auth = ClientCredentialsOAuthProvider(f"{url}/mcp", storage, "robot", "robot-secret", issuer=issuer)
            hooks = {"response": [note]}
            async with (
                httpx2.AsyncClient(auth=auth, timeout=30, event_hooks=hooks) as http,
                Client(streamable_http_client(f"{url}/mcp", http_client=http)) as mcp,
            ):
                assert (await mcp.list_tools()).tools
                assert storage.scopes == ["tickets:read"]
                made = await mcp.call_tool("tickets.add_comment", COMMENT)
                assert not made.is_error
            assert storage.scopes == ["tickets:read", "tickets:read tickets:write"]
            assert storage.tokens is not None
            caller = await opened.access.authenticate_async(f"Bearer {storage.tokens.access_token}")
            assert (caller.subject, caller.method) == ("robot", "jwt")
            async with httpx2.AsyncClient() as other:  # the provider also issues for others; those tokens are not ours
                form = {"grant_type": "client_credentials", "resource": "https://elsewhere.example/mcp"}
                answer = await other.post(f"{issuer}/token", data=form, auth=("robot", "robot-secret"))
            with pytest.raises(UnauthenticatedError, match="audience"):
                await opened.access.authenticate_async(f"Bearer {answer.json()['access_token']}")
    statuses = [status for status, path in seen if path == "/mcp"]
    assert statuses[0] == 401
    assert 403 in statuses
    assert statuses[-1] in (200, 202)


async def test_opaque_tokens_are_asked_about_and_revoked_ones_refused(
    settings: Any, serve: Any, installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKBENCH_OAUTH_INTROSPECTION_SECRET", "gateway-secret")
    bound = socket.create_server(("127.0.0.1", 0))
    resource = f"http://127.0.0.1:{bound.getsockname()[1]}/mcp"
    with provider(installed, resource, "opaque") as issuer:
        more = {
            "oauth_introspection_url": f"{issuer}/token/introspection",
            "oauth_introspection_client": "gateway",
            "oauth_subject_claim": "client_id",
        }
        async with platform(settings, serve, bound, **more) as (opened, url), httpx2.AsyncClient() as http:
            tokens = []
            for _ in range(2):
                form = {"grant_type": "client_credentials", "scope": "tickets:read", "resource": resource}
                answer = await http.post(f"{issuer}/token", data=form, auth=("robot", "robot-secret"))
                tokens.append(answer.json()["access_token"])
            headers = {"Authorization": f"Bearer {tokens[0]}"}
            call = {"tool": "tickets.search_tickets", "arguments": {}}
            response = await http.post(f"{url}/api/platform/call", json=call, headers=headers)
            assert response.json()["kind"] in ("ok", "invalid"), response.text  # allowed, whatever it needs
            assert (await opened.access.authenticate_async(f"Bearer {tokens[0]}")).method == "introspection"
            revoked = {"token": tokens[1]}
            await http.post(f"{issuer}/token/revocation", data=revoked, auth=("robot", "robot-secret"))
            with pytest.raises(UnauthenticatedError, match="not active"):
                await opened.access.authenticate_async(f"Bearer {tokens[1]}")


class AudienceVerifier:
    """What a careful server does with tokens: the issuer's keys, its own URL as audience, then the SDK's checks."""

    def __init__(self, issuer: str, resource: str) -> None:
        self.issuer, self.resource = issuer, resource
        self.subjects: list[str] = []

    async def verify_token(self, token: str) -> AccessToken | None:
        async with httpx2.AsyncClient() as http:
            keys = KeySet.import_key_set((await http.get(f"{self.issuer}/jwks")).json())
        claims = jwt.decode(token, keys, algorithms=["ES256"]).claims
        if claims["iss"] != self.issuer:
            return None  # the audience is looked at by the SDK
        self.subjects.append(claims["sub"])
        return AccessToken(
            token=token, client_id=claims["client_id"], scopes=claims["scope"].split(), resource=claims["aud"]
        )


async def test_the_gateway_gets_tokens_for_itself_and_for_its_callers(
    settings: Any, serve: Any, installed: Path, tmp_path: Path
) -> None:
    bound = socket.create_server(("127.0.0.1", 0))
    resource = f"http://127.0.0.1:{bound.getsockname()[1]}/mcp"
    keys = json.dumps(gateway_key(settings).key_set())
    with provider(installed, resource, "jwt", DESK_KEYS=keys) as issuer:
        verifier = AudienceVerifier(issuer, resource)
        about = AuthSettings(
            issuer_url=issuer, resource_server_url=resource, required_scopes=["tickets:read"],
            validate_token_resource=True,
        )  # fmt: skip
        server = MCPServer("desk", auth=about, token_verifier=verifier)

        @server.tool()
        def whoami() -> str:
            """Says as whom the caller came."""
            return verifier.subjects[-1]

        app = server.streamable_http_app(stateless_http=True, json_response=True)
        auth = {"type": "token_exchange", "client_id": "desk", "issuer": issuer, "scope": "tickets:read"}
        config = tmp_path / "mcp.json"
        config.write_text(json.dumps({"mcpServers": {"desk": {"url": resource, "auth": auth}}}))
        async with serve(app, bound, lifespan=True):
            opened = await Platform.open(settings.replace(servers=(), mcp_config=config))
            try:
                state = opened.registry.state("desk")
                assert state is not None
                assert state.status == "ready", state.last_error
                assert set(verifier.subjects) == {"desk"}
                said = {}
                for subject in ("ann", "bob", "mallory"):
                    who = Caller(tenant="acme", subject=subject, scopes=frozenset({"*"}), method="key")
                    said[subject] = await opened.call(Call(tool="desk.whoami", arguments={}, caller=who, source="mcp"))
            finally:
                await opened.close()
                opened.access.close()
                opened.policy.close()
    assert said["ann"].result["content"][0]["text"] == "acme/ann"
    assert said["bob"].result["content"][0]["text"] == "acme/bob"
    assert (said["mallory"].ok, "invalid_grant" in said["mallory"].message) == (False, True)
