"""A person lets a client in: what they see, what counts as an answer, and what the client gets."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.waiting import until

pytestmark = pytest.mark.stores("sqlite", "postgres")

HOST = "http://127.0.0.1:8800"
MCP = f"{HOST}/mcp"
BACK = "http://127.0.0.1:5000/callback"


async def lost(desk: Any, token: str) -> bool:
    return not await desk.holds(token)


async def test_a_person_lets_a_client_in_and_the_token_is_theirs_as_far_as_they_chose(desk: Any) -> None:
    client, _ = desk.client()
    page = await desk.ask(client, scope="crm:read tickets:write payments:write", resource=MCP)
    assert page.headers["content-security-policy"].count("frame-ancestors 'none'") == 1
    assert "127.0.0.1:5000" in page.headers["content-security-policy"]
    assert "httponly" in page.headers["set-cookie"].lower()
    response = await desk.decide(page, **{"scope:tickets:write": None})
    answer = parse_qs(urlsplit(response.headers["location"]).query)
    assert (answer["state"], answer["iss"]) == (["s1"], [HOST])
    found = (await desk.redeem(client, answer["code"][0])).json()
    assert (found["token_type"], found["scope"], found["expires_in"]) == ("Bearer", "crm:read", 300)
    caller = await desk.access.authenticate_async(f"Bearer {found['access_token']}", "crm")
    assert (caller.subject, caller.tenant, caller.roles, caller.method) == ("ann", "local", ("employee",), "jwt")
    assert caller.scopes == {"crm:read"}
    assert [event for event, *_ in desk.recorded] == ["consent given", "token issued"]
    assert found["access_token"] not in repr(desk.recorded)
    assert answer["code"][0] not in repr(desk.recorded)


async def test_nothing_secret_lies_in_the_state_folder_and_the_signing_key_is_private(desk: Any) -> None:
    client, secret = desk.client(confidential=True)
    code = await desk.code(client)
    found = (await desk.redeem(client, code, client_secret=secret)).json()
    home = desk.access.settings.home
    assert (home / "oauth.key").stat().st_mode & 0o777 == 0o600
    kept = b"".join(p.read_bytes() for p in home.iterdir() if p.name.startswith("control.db"))
    for each in (secret, code, found["refresh_token"], found["access_token"]):
        assert each.encode() not in kept


async def test_a_request_of_an_unknown_client_or_for_another_uri_sends_nobody_anywhere(desk: Any) -> None:
    client, _ = desk.client()
    for changes in (
        {"client_id": "mc_nobody"}, {"client_id": None}, {"redirect_uri": "https://evil.example/"},
        {"redirect_uri": BACK + "/x"}, {"redirect_uri": BACK + "?x=1"}, {"redirect_uri": "http://localhost:5000/callback"},
        {"redirect_uri": "http://127.0.0.1:5000@evil.example/callback"}, {"redirect_uri": "javascript:alert(1)"},
        {"redirect_uri": "http://127.0.0.1:5000/callback#x"}, {"redirect_uri": "//evil.example/callback"},
    ):  # fmt: skip
        response = await desk.ask(client, **changes)
        assert response.status_code == 400, changes
        assert "location" not in response.headers
        assert "form method" not in response.text


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"resource": "https://evil.example/mcp"}, "invalid_target"),
        ({"resource": f"{HOST}/health"}, "invalid_target"),
        ({"scope": "*"}, "invalid_scope"),
        ({"scope": "crm:read <script>"}, "invalid_scope"),
        ({"request_uri": "https://evil.example"}, "request_not_supported"),
    ],
)
async def test_a_wrong_request_is_told_to_the_client_that_was_made_here(
    desk: Any, changes: dict[str, Any], error: str
) -> None:
    client, _ = desk.client()
    response = await desk.ask(client, **changes)
    assert response.status_code == 302
    answer = parse_qs(urlsplit(response.headers["location"]).query)
    assert (answer["error"], answer["iss"], answer["state"]) == ([error], [HOST], ["s1"])


async def test_a_client_that_anybody_can_be_is_no_open_redirector(desk: Any) -> None:
    client, _ = desk.client(kind="registered", redirect_uris=("https://evil.example/",))
    response = await desk.ask(client, redirect_uri="https://evil.example/", scope="*")
    assert response.status_code == 400
    assert "location" not in response.headers


async def test_the_port_of_a_program_on_this_computer_may_change(desk: Any) -> None:
    client, _ = desk.client()
    uri = "http://127.0.0.1:61234/callback"
    code = await desk.code(client, redirect_uri=uri)
    assert desk.error(await desk.redeem(client, code)) == "invalid_grant"  # but at the token endpoint it is that one
    code = await desk.code(client, redirect_uri=uri)
    assert (await desk.redeem(client, code, redirect_uri=uri)).status_code == 200


async def test_consent_needs_a_key_the_page_and_the_browser_it_was_shown_in(desk: Any) -> None:
    client, _ = desk.client()
    page = await desk.ask(client)
    for changes in ({"key": None}, {"key": "mk_nonsense"}, {"key": "x" * 9000}):
        response = await desk.decide(page, **changes)
        assert response.status_code == 403
        assert "location" not in response.headers
    assert (await desk.decide(page, request="other")).status_code == 400
    for origin in ("https://evil.example", "null", "http://127.0.0.1:6666"):
        assert (await desk.decide(page, headers={"origin": origin})).status_code == 403
    jar = dict(desk.http.cookies)
    desk.http.cookies.clear()
    assert (await desk.decide(page)).status_code == 400
    desk.http.cookies.update(jar)
    assert (await desk.decide(page)).status_code == 303
    assert (await desk.decide(page)).status_code == 400  # once


async def test_keys_cannot_be_guessed_on_the_page(desk: Any) -> None:
    client, _ = desk.client()
    page = await desk.ask(client)
    for _ in range(5):
        response = await desk.decide(page, key="mk_wrong")
    assert "Start again" in response.text
    assert (await desk.decide(page)).status_code == 400
    page = await desk.ask(client)
    answers = [(await desk.decide(await desk.ask(client), key="mk_wrong")).status_code for _ in range(8)]
    assert 429 in answers


async def test_denying_needs_no_key_and_is_told_to_the_client(desk: Any) -> None:
    client, _ = desk.client()
    response = await desk.decide(await desk.ask(client), decision="deny", key=None)
    assert parse_qs(urlsplit(response.headers["location"]).query)["error"] == ["access_denied"]
    assert desk.recorded[-1][0] == "consent denied"


async def test_nobody_gives_what_they_do_not_have(desk: Any) -> None:
    client, _ = desk.client()
    response = await desk.decide(await desk.ask(client, scope="payments:write keys:manage"))
    assert response.status_code == 403
    assert "none of what is chosen" in response.text
    owner = desk.access.local_key()
    code = parse_qs(urlsplit((await desk.decide(await desk.ask(client), key=owner)).headers["location"]).query)["code"]
    token = (await desk.redeem(client, code[0])).json()["access_token"]
    assert (await desk.access.authenticate_async(f"Bearer {token}")).scopes == {"crm:read"}


async def test_a_token_is_no_key_to_agree_with(desk: Any) -> None:
    client, _ = desk.client()
    token = (await desk.redeem(client, await desk.code(client))).json()["access_token"]
    assert await desk.holds(token)
    assert (await desk.decide(await desk.ask(client), key=token)).status_code == 403


async def test_a_code_is_good_once_for_its_client_with_its_verifier_for_a_minute(desk: Any, ticks: Any) -> None:
    client, _ = desk.client()
    other, _ = desk.client()
    for changes in ({"code_verifier": "x" * 50}, {"redirect_uri": None}, {"redirect_uri": BACK + "x"}):
        code = await desk.code(client)
        assert desk.error(await desk.redeem(client, code, **changes)) == "invalid_grant"
        assert desk.error(await desk.redeem(client, code)) == "invalid_grant"
    code = await desk.code(client)
    assert desk.error(await desk.redeem(other, code)) == "invalid_grant"
    assert desk.error(await desk.redeem(client, code, resource="https://evil.example")) == "invalid_target"
    code = await desk.code(client)
    ticks.passed += 61
    assert desk.error(await desk.redeem(client, code)) == "invalid_grant"


async def test_a_code_that_comes_twice_ends_what_the_first_one_got(desk: Any) -> None:
    client, _ = desk.client()
    code = await desk.code(client)
    token = (await desk.redeem(client, code)).json()["access_token"]
    assert await desk.holds(token)
    assert desk.error(await desk.redeem(client, code)) == "invalid_grant"
    assert not await desk.holds(token)


async def test_refresh_tokens_rotate_and_a_stolen_one_ends_all(desk: Any) -> None:
    client, _ = desk.client()
    first = (await desk.redeem(client, await desk.code(client, scope="crm:read tickets:read"))).json()
    second = (await desk.refresh(client, first["refresh_token"], scope="crm:read")).json()
    assert second["scope"] == "crm:read"
    third = (await desk.refresh(client, second["refresh_token"])).json()
    assert third["scope"] == "crm:read tickets:read"
    assert await desk.holds(third["access_token"])
    other, _ = desk.client()
    assert desk.error(await desk.refresh(other, third["refresh_token"])) == "invalid_grant"
    assert desk.error(await desk.refresh(client, first["refresh_token"])) == "invalid_grant"
    assert not await desk.holds(third["access_token"])
    assert desk.error(await desk.refresh(client, third["refresh_token"])) == "invalid_grant"


async def test_refreshing_does_not_widen(desk: Any, ticks: Any) -> None:
    client, _ = desk.client()
    found = (await desk.redeem(client, await desk.code(client))).json()
    assert desk.error(await desk.refresh(client, found["refresh_token"], scope="payments:read")) == "invalid_scope"
    found = (await desk.redeem(client, await desk.code(client))).json()
    assert (
        desk.error(await desk.refresh(client, found["refresh_token"], resource=f"{HOST}/servers/x/mcp"))
        == "invalid_target"
    )
    found = (await desk.redeem(client, await desk.code(client))).json()
    ticks.passed += 15 * 86_400
    assert desk.error(await desk.refresh(client, found["refresh_token"])) == "invalid_grant"


async def test_what_was_granted_ends_with_the_key_with_which_it_was_granted(desk: Any) -> None:
    client, _ = desk.client()
    found = (await desk.redeem(client, await desk.code(client))).json()
    assert await desk.holds(found["access_token"])
    desk.access.revoke(desk.key.split("_")[1])
    assert not await desk.holds(found["access_token"])
    assert desk.error(await desk.refresh(client, found["refresh_token"])) == "invalid_grant"


async def test_a_grant_that_was_ended_elsewhere_ends_its_tokens_here(desk: Any, ticks: Any) -> None:
    client, _ = desk.client()
    found = (await desk.redeem(client, await desk.code(client))).json()
    assert await desk.holds(found["access_token"])
    [grant] = desk.server.issuer.grants.all()
    assert desk.server.issuer.grants.end(grant.id, desk.server.clock())
    ticks.passed += 1
    await until(lambda: lost(desk, found["access_token"]))


async def test_tokens_are_for_the_endpoint_that_was_asked_for(desk: Any) -> None:
    client, _ = desk.client()
    one = f"{HOST}/servers/crm/mcp"
    token = (await desk.redeem(client, await desk.code(client, resource=one))).json()["access_token"]
    assert await desk.holds(token, "crm")
    assert not await desk.holds(token, "tickets")
    assert not await desk.holds(token)
