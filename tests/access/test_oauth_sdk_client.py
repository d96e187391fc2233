"""The official SDK's client against a whole platform: it is challenged, finds us, gets tokens, and steps up."""

from __future__ import annotations

import html
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from workbench.api import build_app
from workbench.platform.platform import Platform

pytestmark = pytest.mark.slow

BACK = "http://127.0.0.1:5000/callback"
COMMENT = {"ticket_id": "T-00001", "body": "The printer works again."}


@dataclass
class Storage:
    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None
    scopes: list[str] = field(default_factory=list)

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens
        self.scopes.append(tokens.scope or "")

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


@pytest.fixture
async def platform(settings: Any, serve: Any) -> AsyncIterator[tuple[Platform, str]]:
    bound = socket.create_server(("127.0.0.1", 0))
    changed = settings.replace(
        port=str(bound.getsockname()[1]), servers=("tickets",), oauth_server=True, oauth_registration=True
    )
    opened = await Platform.open(changed)
    try:
        async with serve(build_app(opened), bound) as url:
            yield opened, url
    finally:
        await opened.close()
        opened.access.close()
        opened.policy.close()


@asynccontextmanager
async def connect(url: str, auth: Any) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(auth=auth, timeout=30) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        yield client


async def events(platform: Platform) -> list[str]:
    table = await platform.sql.query("select event from access_events order by ts", None, tenant="local", max_rows=100)
    return [row["event"] for row in table.to_pylist()]


async def test_a_program_gets_tokens_by_itself_and_steps_up(platform: Any) -> None:
    opened, url = platform
    client, secret = opened.access.issuer.clients.add("Robot", tenant="local", now_us=1, roles=("employee",))
    storage = Storage()
    auth = ClientCredentialsOAuthProvider(f"{url}/mcp", storage, client.id, secret, issuer=url)
    async with connect(f"{url}/mcp", auth) as mcp:
        listed = await mcp.list_tools()
        assert any(tool.name.startswith("tickets__") for tool in listed.tools)
        assert storage.scopes == ["tickets:read"]
        made = await mcp.call_tool("tickets__add_comment", COMMENT)
        assert not made.is_error
    assert storage.scopes == ["tickets:read", "tickets:read tickets:write"]
    assert await events(opened) == ["token issued", "token issued"]


class Person:
    """Opens the page, gives a key, and follows the answer."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._answer: dict[str, list[str]] = {}
        self.pages: list[str] = []

    async def go(self, url: str) -> None:
        async with httpx2.AsyncClient() as browser:
            page = (await browser.get(url)).raise_for_status().text
            self.pages.append(page)
            [request] = re.findall(r'name="request" value="([^"]+)"', page)
            boxes = {html.unescape(name): "1" for name in re.findall(r'name="(scope:[^"]+)"', page)}
            form = {"request": request, "key": self._key, "decision": "approve", **boxes}
            parts = urlsplit(url)
            origin = f"{parts.scheme}://{parts.netloc}"
            response = await browser.post(f"{origin}/oauth/authorize", data=form, headers={"origin": origin})
        assert response.status_code == 303, response.text
        self._answer = parse_qs(urlsplit(response.headers["location"]).query)

    async def answered(self) -> AuthorizationCodeResult:
        found = {name: values[0] for name, values in self._answer.items()}
        return AuthorizationCodeResult(code=found["code"], state=found["state"], iss=found["iss"])


async def test_a_person_lets_a_client_in_and_again_for_more(platform: Any) -> None:
    opened, url = platform
    person, storage = Person(opened.access.create_key("ann", roles=("employee",))[1]), Storage()
    about = OAuthClientMetadata(
        client_name="SDK",
        redirect_uris=[BACK],
        grant_types=["authorization_code", "refresh_token"],
        token_endpoint_auth_method="none",
    )
    endpoint = f"{url}/servers/tickets/mcp"
    auth = OAuthClientProvider(endpoint, about, storage, person.go, person.answered)
    async with connect(endpoint, auth) as mcp:
        assert (await mcp.list_tools()).tools
        assert storage.scopes == ["tickets:read"]
        await mcp.call_tool("add_comment", COMMENT)
        assert storage.scopes[1:] == ["tickets:read tickets:write"]
        assert storage.tokens is not None
        assert storage.tokens.refresh_token
        token = storage.tokens.access_token
    assert "SDK" in person.pages[0]
    # the token is for that server alone
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers) as http:
        assert (await http.get(f"{url}/servers")).status_code == 401
        response = await http.post(f"{url}/mcp", json={"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
        assert response.status_code == 401
    found = await events(opened)
    assert found == ["client registered", *["consent given", "token issued"] * 2]


async def test_tokens_work_at_the_management_api_too(platform: Any) -> None:
    opened, url = platform
    client, secret = opened.access.issuer.clients.add("Robot", tenant="local", now_us=1, roles=("viewer",))
    async with httpx2.AsyncClient() as http:
        response = await http.get(f"{url}/servers")
        assert (
            f'resource_metadata="{url}/.well-known/oauth-protected-resource/mcp"'
            in response.headers["www-authenticate"]
        )
        about = (await http.get(f"{url}/.well-known/oauth-protected-resource/mcp")).json()
        assert about["authorization_servers"] == [url]
        form = {"grant_type": "client_credentials"}
        token = (await http.post(f"{url}/oauth/token", data=form, auth=(client.id, secret))).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert (await http.get(f"{url}/servers", headers=headers)).status_code == 200
        response = await http.get(f"{url}/metrics", headers=headers)
        assert response.status_code == 403
        assert 'scope="metrics:read"' in response.headers["www-authenticate"]
        refused = await http.post(f"{url}/oauth/token", data=form, headers={"host": "evil.example"})
        assert refused.status_code == 421
