"""Access tokens at the endpoint: told where to get them, let in with them, and told what more is needed."""

from __future__ import annotations

from typing import Any

ORIGIN = "http://127.0.0.1:8800"
ADD = {"a": 1, "b": 2}


def token(house: Any, *scopes: str, resource: str = f"{ORIGIN}/mcp") -> str:
    made, _ = house.access.issuer.access_token(
        subject="ann", client="c1", tenant="local", roles=(), scopes=scopes, resources=(resource,), seconds=60
    )
    return str(made)


async def test_the_metadata_name_the_issuers(browse: Any, furnish: Any) -> None:
    house = await furnish(port="8800", oauth_server=True, oauth_issuers=("https://idp.example",))
    anonymous = browse(house, token="")
    assert (await anonymous.modern("tools/list")).status == 401
    for path in ("", "/mcp", "/servers/calc/mcp"):
        response = await anonymous.send(method="GET", path=f"/.well-known/oauth-protected-resource{path}")
        assert response.json["authorization_servers"] == [ORIGIN, "https://idp.example"]
        assert response.json["resource"] == f"{ORIGIN}{path or '/mcp'}"


async def test_without_issuers_the_metadata_name_none(browse: Any, house: Any) -> None:
    response = await browse(house).send(method="GET", path="/.well-known/oauth-protected-resource/mcp")
    assert "authorization_servers" not in response.json


async def test_a_token_calls_tools_at_the_endpoints_it_is_for(browse: Any, furnish: Any) -> None:
    house = await furnish(port="8800", oauth_server=True)
    call = {"name": "calc.add", "arguments": ADD}
    everywhere = token(house, "calc:read")
    assert (await browse(house, token=everywhere).modern("tools/call", call)).status == 200
    alone = {"name": "add", "arguments": ADD}
    assert (await browse(house, "/servers/calc/mcp", token=everywhere).modern("tools/call", alone)).status == 200
    one = token(house, "calc:read", resource=f"{ORIGIN}/servers/calc/mcp")
    assert (await browse(house, "/servers/calc/mcp", token=one).modern("tools/call", alone)).status == 200
    refused = await browse(house, token=one).modern("tools/call", call)
    assert refused.status == 401
    assert 'error="invalid_token"' in refused.headers["www-authenticate"]
    elsewhere = token(house, "calc:read", resource="http://127.0.0.1:9999/mcp")
    spoofed = {"host": "127.0.0.1:9999"}  # the audience is not what the sender says that we are
    assert (await browse(house, token=elsewhere).modern("tools/call", call, headers=spoofed)).status == 401
    await house.audit.close()
    assert {(record["user"], record["outcome"]) for record in house.recorded()} == {("ann", "ok")}


async def test_a_403_names_all_scopes_that_are_missing(browse: Any, furnish: Any) -> None:
    house = await furnish(port="8800", oauth_server=True)
    reader = browse(house, token=token(house, "calc:read"))
    response = await reader.modern("tools/call", {"name": "calc.fail", "arguments": {}})
    assert response.status == 403
    about = f"{ORIGIN}/.well-known/oauth-protected-resource/mcp"
    told = f'Bearer resource_metadata="{about}", error="insufficient_scope", scope="calc:write"'
    assert response.headers["www-authenticate"] == told


async def test_behind_a_proxy_clients_are_told_the_public_url(browse: Any, furnish: Any) -> None:
    house = await furnish(port="8800", public_url="https://tools.example", oauth_server=True)
    anonymous = browse(house, token="")
    response = await anonymous.modern("tools/list", headers={"host": "tools.example"})
    about = "https://tools.example/.well-known/oauth-protected-resource/mcp"
    assert f'resource_metadata="{about}"' in response.headers["www-authenticate"]
    document = await anonymous.send(
        method="GET", path="/.well-known/oauth-protected-resource/mcp", headers={"host": "tools.example"}
    )
    assert document.json["resource"] == "https://tools.example/mcp"
    assert document.json["authorization_servers"] == ["https://tools.example"]
