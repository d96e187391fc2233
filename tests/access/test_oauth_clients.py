"""Clients of our authorization server: how they come to be known, and where answers may be sent."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from workbench.access.oauth import clients as clients_module
from workbench.access.oauth.clients import document_client, is_document_url
from workbench.access.oauth.redirect_uris import objection, registered
from workbench.events import MisuseError

HOST = "http://127.0.0.1:8800"
MCP = f"{HOST}/mcp"
BACK = "http://127.0.0.1:5000/callback"


async def test_clients_register_themselves_only_where_that_is_allowed(open_desk: Any, ticks: Any, desk: Any) -> None:
    body = {"client_name": "Probe", "redirect_uris": [BACK], "token_endpoint_auth_method": "none"}
    assert (await desk.http.post("/oauth/register", json=body)).status_code == 404
    assert "registration_endpoint" not in (await desk.http.get("/.well-known/oauth-authorization-server")).json()
    allowed = await open_desk(oauth_registration=True)
    response = await allowed.http.post("/oauth/register", json={**body, "grant_types": ["authorization_code"]})
    assert response.status_code == 201
    found = response.json()
    assert "client_secret" not in found
    client = allowed.server.issuer.clients.find(found["client_id"])
    token = (await allowed.redeem(client, await allowed.code(client))).json()
    assert "refresh_token" not in token
    assert await allowed.holds(token["access_token"])
    for wrong in (
        {"redirect_uris": []}, {"redirect_uris": ["http://evil.example/"]}, {"redirect_uris": ["javascript:x"]},
        {"grant_types": ["client_credentials"]}, {"token_endpoint_auth_method": "private_key_jwt"},
        {"client_name": "\x00"},
    ):  # fmt: skip
        ticks.passed += 61
        assert (await allowed.http.post("/oauth/register", json={**body, **wrong})).status_code == 400, wrong
    statuses = [(await allowed.http.post("/oauth/register", json=body)).status_code for _ in range(6)]
    assert statuses[-1] == 429


async def test_no_more_clients_than_a_bound_register_themselves(
    open_desk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients_module, "MAX_REGISTERED", 1)
    desk = await open_desk(oauth_registration=True)
    body = {"redirect_uris": [BACK]}
    assert (await desk.http.post("/oauth/register", json=body)).status_code == 201
    assert (await desk.http.post("/oauth/register", json=body)).status_code == 400


URL = "https://app.example/client.json"


class Shelf:
    """Hands out documents instead of the network."""

    def __init__(self, **documents: Any) -> None:
        self.documents = documents
        self.asked: list[str] = []

    async def get(self, url: str, *, most: int) -> Any:
        self.asked.append(url)
        return self.documents[urlsplit(url).path.removeprefix("/").partition(".")[0]]


async def test_a_client_is_known_by_the_document_at_its_url(open_desk: Any) -> None:
    shelf = Shelf(client={"client_id": URL, "client_name": "<b>Desk</b>", "redirect_uris": [BACK],
                          "grant_types": ["authorization_code", "refresh_token"]})  # fmt: skip
    desk = await open_desk(fetcher=shelf)
    client = await desk.server.client(URL)
    assert client is not None
    page = await desk.ask(client)
    assert "&lt;b&gt;Desk&lt;/b&gt;" in page.text
    assert URL in page.text
    token = (await desk.redeem(client, await desk.code(client))).json()
    assert await desk.holds(token["access_token"])
    assert "refresh_token" in token
    assert len(shelf.asked) == 1
    assert desk.error(await desk.redeem(client, await desk.code(client), client_secret="x")) == "invalid_client"


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"client_id": URL + "x", "redirect_uris": [BACK]},
        {"client_id": URL, "redirect_uris": []},
        {"client_id": URL, "redirect_uris": "x"},
        {"client_id": URL, "redirect_uris": ["http://evil.example/"]},
        {"client_id": URL, "redirect_uris": [BACK], "client_secret": "x"},
        {"client_id": URL, "redirect_uris": [BACK], "token_endpoint_auth_method": "client_secret_post"},
    ],
)
def test_a_document_that_is_not_about_the_client_is_none(document: dict[str, Any]) -> None:
    with pytest.raises(MisuseError):
        document_client(URL, document)


@pytest.mark.parametrize(
    "id",
    ["http://app.example/c", "https://app.example", "https://app.example/", "https://app.example/a/../b", "https://u@app.example/c",
     "https://app.example/c#x", "https:///c", "ftp://x/c", "https://[::/c", "https://app.example/" + "c" * 600],
)  # fmt: skip
def test_what_is_no_url_of_a_document_is_not_fetched(id: str) -> None:
    assert not is_document_url(id)


async def test_documents_come_from_public_addresses_only(desk: Any) -> None:
    for url in ("https://127.0.0.1:9/c", "https://localhost/c", "https://169.254.169.254/c", "https://[::1]/c"):
        assert await desk.server.client(url) is None


@pytest.mark.parametrize(
    "uri",
    ["", "x", "//x", "http://evil.example/", "javascript:alert(1)", "data:text/html,x", "file:///etc", "https://",
     "https://x/#f",
     "https://u:p@x/", "https://*.example/", "http://127.0.0.1:x/", "https://x/\\y", "https://x/ y", "https://x/\n",
     "app:/cb",
     "com.example.app://host/cb", 7, None, "https://x/" + "a" * 2050],
)  # fmt: skip
def test_redirect_uris_that_are_not_acceptable(uri: Any) -> None:
    assert objection(uri)


def test_redirect_uris_match_exactly_but_for_a_local_port() -> None:
    among = ("https://app.example/cb", "http://localhost/cb?x=1", "com.example.app:/cb", "http://[::1]:5/cb")
    good = (*among, "http://localhost:7/cb?x=1", "http://[::1]:6/cb")
    bad = ("https://app.example:444/cb", "https://app.example/cb/", "http://localhost:7/cb", "http://127.0.0.1/cb?x=1")
    assert all(registered(uri, among) for uri in good)
    assert not any(registered(uri, among) for uri in bad)


@pytest.mark.parametrize(
    "changes",
    [{"redirect_uris": ()}, {"name": ""}, {"name": "a\u202eb"}, {"scopes": ("*",)}, {"redirect_uris": (BACK,) * 11},
     {"redirect_uris": ("http://evil.example",)}],
)  # fmt: skip
async def test_a_client_that_cannot_be_meant_is_not_made(desk: Any, changes: dict[str, Any]) -> None:
    given = {"name": "App", "redirect_uris": (BACK,), "confidential": False, **changes}
    with pytest.raises(MisuseError):
        desk.server.issuer.clients.add(given.pop("name"), tenant="local", now_us=1, **given)
