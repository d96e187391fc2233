"""Servers that take only tokens of a provider: the gateway comes with its own, or with one for each caller."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.provider import Guarded, Provider
from workbench.access.outbound.signing_keys import gateway_key
from workbench.events import Call, Caller
from workbench.gateway import Gateway
from workbench.registry import Registry, read_mcp_json
from workbench.testing import GatewayHarness


@dataclasses.dataclass
class Town:
    """A provider, a server that trusts it alone, and a gateway whose `mcp.json` names both."""

    provider: Provider
    guarded: Guarded
    gateway: Gateway
    registry: Registry
    home: Path

    async def add(self, caller: Caller, a: int = 1) -> Any:
        return await self.gateway.call(Call(tool="desk.add", arguments={"a": a, "b": 2}, caller=caller, source="mcp"))


@pytest.fixture
async def town(settings: Any, serve: Any, calc: Any, tmp_path: Path, request: Any) -> AsyncIterator[Town]:
    provider = Provider()
    provider.url = await serve(provider.app())
    provider.client_keys = gateway_key(settings).key_set()
    guarded = Guarded(calc.mcp.streamable_http_app(**request.param.pop("server", {})), provider, "")
    url = await serve(guarded)
    guarded.resource = f"{url}/mcp"
    (settings.home / "secrets").mkdir()
    (settings.home / "secrets" / "client").write_text(provider.secret)
    (settings.home / "secrets" / "client").chmod(0o600)
    auth = {"client_id": "gateway", "issuer": provider.url, **request.param}
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": {"desk": {"url": f"{url}/mcp", "auth": auth}}}))
    async with GatewayHarness({spec.id: spec for spec in read_mcp_json(config)}, base=settings) as harness:
        yield Town(provider, guarded, harness.gateway, harness.registry, settings.home)


def caller(subject: str, tenant: str = "local") -> Caller:
    return Caller(tenant=tenant, subject=subject, scopes=frozenset({"*"}), roles=("owner",), method="key")


OWN = {"type": "client_credentials", "client_secret": "secret:client"}
KEY = {"type": "client_credentials", "method": "private_key_jwt"}
EXCHANGE = {"type": "token_exchange", "client_secret": "secret:client"}


@pytest.mark.parametrize("town", [OWN, KEY], indirect=True, ids=["secret", "key"])
async def test_the_gateway_comes_with_a_token_of_its_own(town: Town) -> None:
    assert town.registry.state("desk").status == "ready", town.registry.state("desk").last_error
    outcomes = [await town.add(caller(name)) for name in ("ann", "bob")]
    assert [o.kind for o in outcomes] == ["ok", "ok"], outcomes
    assert set(town.guarded.seen) == {"gateway"}
    assert town.guarded.refused == 0
    assert len(town.provider.asked) == 1


@pytest.mark.parametrize("town", [OWN], indirect=True)
async def test_a_token_that_the_server_refuses_is_replaced_once(town: Town) -> None:
    assert (await town.add(caller("ann"))).ok
    town.guarded.revoked = set(town.provider.issued)
    assert (await town.add(caller("ann"), a=2)).ok
    assert len(town.provider.asked) == 2
    town.guarded.revoked = set(town.provider.issued)
    refused = await town.add(caller("ann"), a=3)
    assert (refused.kind, refused.ok) == ("unavailable", False)
    assert len(town.provider.asked) == 2  # not again within ten seconds


@pytest.mark.parametrize("town", [OWN], indirect=True)
async def test_what_callers_present_never_reaches_a_server(town: Town, browse: Any) -> None:
    house = dataclasses.make_dataclass("House", ["access", "endpoint"])
    from workbench.endpoint import McpEndpoint

    access = town.gateway.access
    token = access.create_key("ann", roles=("owner",))[1]
    browser = browse(house(access, McpEndpoint(town.gateway)), token=token)
    headers = {"cookie": f"session={token}", "x-api-key": token, "proxy-authorization": f"Bearer {token}"}
    answer = await browser.modern("tools/call", {"name": "desk.add", "arguments": {"a": 20, "b": 22}}, headers=headers)
    assert answer.json["result"]["structuredContent"] == {"total": 42}
    assert town.guarded.headers
    assert token not in json.dumps(town.guarded.headers)


@pytest.mark.parametrize("town", [EXCHANGE], indirect=True)
async def test_each_caller_comes_as_themselves(town: Town) -> None:
    assert set(town.guarded.seen) == {"gateway"}  # lists tools and looks whether the server is well
    crowd = [caller("ann"), caller("bob"), caller("ann", "globex")]
    outcomes = await asyncio.gather(*(town.add(who, a=n) for who in crowd for n in range(5)))
    assert all(o.ok for o in outcomes), outcomes
    assert set(town.guarded.seen) == {"gateway", "local/ann", "local/bob", "globex/ann"}
    assert len(town.provider.asked) == 4


@pytest.mark.parametrize(
    "town", [{**EXCHANGE, "server": {"stateless_http": False, "json_response": True}}], indirect=True
)
async def test_an_exchange_that_is_denied_is_the_caller_s_matter_alone(town: Town) -> None:
    town.provider.denied = {"local/eve"}
    for n in range(20):  # more than opens a breaker
        refused = await town.add(caller("eve"), a=n)
        assert (refused.ok, refused.kind) == (False, "failed")
        assert "invalid_grant" in refused.message
    assert (await town.add(caller("ann"))).ok
    assert town.registry.state("desk").breaker == "closed"
    assert "local/eve" not in town.guarded.seen


@pytest.mark.parametrize("town", [EXCHANGE], indirect=True)
async def test_a_token_of_one_caller_that_the_server_refuses_is_replaced_for_them_alone(town: Town) -> None:
    assert (await town.add(caller("ann"))).ok
    assert (await town.add(caller("bob"))).ok
    town.guarded.revoked = {town.provider.issued[1]}
    assert (await town.add(caller("ann"), a=2)).ok
    assert len(town.provider.asked) == 4
    town.guarded.revoked = {town.provider.issued[1], town.provider.issued[3]}
    refused = await town.add(caller("ann"), a=3)
    assert (refused.kind, refused.ok) == ("failed", False)
    assert (await town.add(caller("bob"), a=3)).ok


@pytest.mark.parametrize("town", [{**OWN, "issuer": "https://nowhere.invalid"}], indirect=True)
async def test_without_a_token_the_server_is_not_reached_and_why_is_said(town: Town) -> None:
    state = town.registry.state("desk")
    assert state.status in ("failed", "down")
    assert "nowhere.invalid" in state.last_error
    assert town.guarded.headers == []
