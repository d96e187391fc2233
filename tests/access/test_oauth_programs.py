"""Tokens of programs, questions about tokens, and taking them back; what is published and what is kept."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waiting import until
from workbench.access import UnauthenticatedError
from workbench.access.oauth import AuthorizationServer
from workbench.events import MisuseError, NotRecordedError

pytestmark = pytest.mark.stores("sqlite", "postgres")

HOST = "http://127.0.0.1:8800"
MCP = f"{HOST}/mcp"
BACK = "http://127.0.0.1:5000/callback"


async def test_a_client_with_a_secret_has_tokens_of_its_own(desk: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",), redirect_uris=())
    found = (await desk.own_token(client, secret, scope="crm:read payments:write", resource=MCP)).json()
    assert found["scope"] == "crm:read"
    assert "refresh_token" not in found
    caller = await desk.access.authenticate_async(f"Bearer {found['access_token']}")
    assert (caller.subject, caller.scopes) == (client.id, {"crm:read"})
    whole = (await desk.own_token(client, secret)).json()["access_token"]
    assert (await desk.access.authenticate_async(f"Bearer {whole}")).has("tickets:write")
    narrow, secret = desk.client(confidential=True, roles=("employee",), scopes=("crm:*",), redirect_uris=())
    assert (await desk.own_token(narrow, secret)).json()["scope"] == "crm:read"
    assert desk.error(await desk.own_token(narrow, secret, scope="tickets:read")) == "invalid_scope"


async def test_a_client_without_roles_or_secret_has_none(desk: Any) -> None:
    client, secret = desk.client(confidential=True)
    assert desk.error(await desk.own_token(client, secret)) == "unauthorized_client"
    public, _ = desk.client()
    form = {"grant_type": "client_credentials", "client_id": public.id}
    assert desk.error(await desk.http.post("/oauth/token", data=form)) == "unauthorized_client"


async def test_a_client_that_cannot_prove_who_it_is_gets_nothing(desk: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))
    post = desk.http.post
    form = {"grant_type": "client_credentials"}
    for request in (
        post("/oauth/token", data={**form, "client_id": client.id}),
        post("/oauth/token", data={**form, "client_id": client.id, "client_secret": "wrong"}),
        post("/oauth/token", data=form, auth=(client.id, secret + "x")),
        post("/oauth/token", data=form, auth=("mc_nobody", secret)),
        post("/oauth/token", data=form, headers={"authorization": f"Bearer {secret}"}),
        post("/oauth/token", data=form, headers={"authorization": "Basic ???"}),
        post("/oauth/token", data=form),
    ):
        response = await request
        assert (response.status_code, desk.error(response)) == (401, "invalid_client")
        assert response.headers["www-authenticate"].startswith("Basic")
    two_ways = {**form, "client_id": client.id, "client_secret": secret}
    assert desk.error(await post("/oauth/token", data=two_ways, auth=(client.id, secret))) == "invalid_request"
    desk.server.issuer.clients.end(client.id, desk.server.clock())
    assert desk.error(await desk.own_token(client, secret)) == "invalid_client"


async def test_an_ended_client_loses_its_tokens(desk: Any, ticks: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",), redirect_uris=())
    token = (await desk.own_token(client, secret)).json()["access_token"]
    assert await desk.holds(token)
    assert desk.server.issuer.clients.end(client.id, desk.server.clock())
    ticks.passed += 1

    async def lost() -> bool:
        return not await desk.holds(token)

    await until(lost)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"grant_type=client_credentials&grant_type=password", "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
        (b"grant_type=%FF%FE", "application/x-www-form-urlencoded"),
        (b'{"grant_type":"client_credentials"}', "application/json"),
        (b"a=" + b"x" * 70_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"p%d=1" % i for i in range(200)), "application/x-www-form-urlencoded"),
    ],
)
async def test_a_malformed_request_for_a_token_is_refused(desk: Any, body: bytes, kind: str) -> None:
    response = await desk.http.post("/oauth/token", content=body, headers={"content-type": kind})
    assert desk.error(response) in ("invalid_request", "invalid_client")


async def test_other_grant_types_do_not_exist(desk: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))
    for kind in ("password", "implicit", "urn:ietf:params:oauth:grant-type:token-exchange"):
        response = await desk.own_token(client, secret, grant_type=kind)
        assert desk.error(response) == "unsupported_grant_type"


async def test_too_many_requests_are_held_off(desk: Any, ticks: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))
    statuses = [(await desk.own_token(client, secret)).status_code for _ in range(125)]
    assert statuses.count(429) == 5
    ticks.passed += 61
    assert (await desk.own_token(client, secret)).status_code == 200


async def test_what_cannot_be_recorded_is_not_issued(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))

    async def fails(*_: Any) -> None:
        raise NotRecordedError("The disk is full.")

    monkeypatch.setattr(desk.server, "_record", fails)
    response = await desk.own_token(client, secret)
    assert response.status_code == 503
    assert "access_token" not in response.text


# --- asking about tokens, taking them back ------------------------------


async def ask_about(desk: Any, token: str, client: Any, secret: str) -> Any:
    return (await desk.http.post("/oauth/introspect", data={"token": token}, auth=(client.id, secret))).json()


async def test_introspection_tells_clients_with_a_secret(desk: Any, ticks: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))
    token = (await desk.own_token(client, secret, scope="crm:read")).json()["access_token"]
    found = await ask_about(desk, token, client, secret)
    assert (found["active"], found["sub"], found["scope"], found["aud"]) == (True, client.id, "crm:read", MCP)
    person = (await desk.redeem(client, await desk.code(client), client_secret=secret)).json()
    assert (await ask_about(desk, person["refresh_token"], client, secret))["sub"] == "ann"
    stranger, its_secret = desk.client(confidential=True, roles=("employee",))
    assert await ask_about(desk, person["refresh_token"], stranger, its_secret) == {"active": False}
    for wrong in ("x", token[:-4], token + "A", desk.key):
        assert await ask_about(desk, wrong, client, secret) == {"active": False}
    elsewhere, its_secret = desk.server.issuer.clients.add("App", tenant="acme", now_us=1, roles=("employee",))
    assert await ask_about(desk, token, elsewhere, its_secret) == {"active": False}
    public, _ = desk.client()
    form = {"token": token, "client_id": public.id}
    assert desk.error(await desk.http.post("/oauth/introspect", data=form)) == "unauthorized_client"
    ticks.passed += 301
    assert await ask_about(desk, token, client, secret) == {"active": False}


async def test_a_revoked_token_is_over_at_once(desk: Any) -> None:
    client, _ = desk.client()
    found = (await desk.redeem(client, await desk.code(client))).json()
    other, _ = desk.client()
    for who, token in ((other, found["access_token"]), (other, found["refresh_token"]), (client, "unknown")):
        response = await desk.http.post("/oauth/revoke", data={"client_id": who.id, "token": token})
        assert response.status_code == 200
    assert await desk.holds(found["access_token"])
    await desk.http.post("/oauth/revoke", data={"client_id": client.id, "token": found["access_token"]})
    assert not await desk.holds(found["access_token"])
    found = (await desk.refresh(client, found["refresh_token"])).json()
    assert await desk.holds(found["access_token"])
    await desk.http.post("/oauth/revoke", data={"client_id": client.id, "token": found["refresh_token"]})
    assert not await desk.holds(found["access_token"])
    assert [event for event, *_ in desk.recorded][-1] == "grant revoked"


async def test_the_metadata_names_what_there_is(desk: Any) -> None:
    found = (await desk.http.get("/.well-known/oauth-authorization-server")).json()
    assert found["issuer"] == HOST
    assert found["code_challenge_methods_supported"] == ["S256"]
    assert found["authorization_response_iss_parameter_supported"] is True
    assert found["scopes_supported"] == ["crm:read", "tickets:read"]
    [key] = (await desk.http.get("/oauth/jwks")).json()["keys"]
    assert (key["alg"], key["use"]) == ("ES256", "sig")
    assert "d" not in key


@pytest.mark.stores("sqlite")
async def test_tokens_outlive_a_restart_and_other_keys_do_not(desk: Any, open_access: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))
    token = (await desk.own_token(client, secret)).json()["access_token"]
    again = open_access(oauth_server=True)
    assert (await again.authenticate_async(f"Bearer {token}")).subject == client.id
    (desk.access.settings.home / "oauth.key").unlink()
    another = open_access(oauth_server=True)
    with pytest.raises(UnauthenticatedError):
        await another.authenticate_async(f"Bearer {token}")
    (desk.access.settings.home / "oauth.key").write_text("nonsense")
    with pytest.raises(MisuseError, match=r"oauth\.key"):
        open_access(oauth_server=True)


async def test_a_database_that_fails_lets_no_token_pass(desk: Any, ticks: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))
    token = (await desk.own_token(client, secret)).json()["access_token"]
    assert await desk.holds(token)
    desk.server.issuer.grants.close()
    ticks.passed += 61
    assert not await desk.holds(token)


async def test_switched_off_there_is_no_server_and_no_token(desk: Any, open_access: Any) -> None:
    client, secret = desk.client(confidential=True, roles=("employee",))
    token = (await desk.own_token(client, secret)).json()["access_token"]
    without = open_access()
    assert without.issuer is None
    with pytest.raises(UnauthenticatedError):
        await without.authenticate_async(f"Bearer {token}")
    with pytest.raises(MisuseError, match="oauth_server"):
        AuthorizationServer(without, scopes=list, record=desk.server._record)
