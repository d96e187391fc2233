"""Secrets in the headers of a server: read when they are needed, read anew when the server refuses them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from workbench.config import Settings
from workbench.events import MisuseError
from workbench.registry.connection import LaunchContext
from workbench.registry.server import ServerSpec
from workbench.registry.server_auth import ServerAuth
from workbench.secrets import SecretNotFoundError, SecretResolver
from workbench.upstream import upstream_connection
from workbench.upstream.negotiation import NotMcpError


class Keeper:
    """An upstream that is there only for who shows the key of the moment; counts what it let in."""

    def __init__(self, app: Any, key: str) -> None:
        self.app, self.key = app, key
        self.seen: list[str] = []
        self.refused = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        shown = dict(scope["headers"]).get(b"x-api-key", b"").decode()
        if shown != self.key:
            self.refused += 1
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        self.seen.append(shown)
        await self.app(scope, receive, send)


class Vault:
    name = "env"

    def __init__(self) -> None:
        self.value, self.next = "key-number-1", ""

    def read(self, name: str) -> tuple[str, str] | None:
        return (self.value, "") if self.value and name == "CRM" else None

    def pending(self, name: str) -> str | None:
        return self.next or None


SPEC = ServerSpec(id="crm", kind="url", headers={"X-API-Key": "${secret:CRM}", "X-Plain": "yes"})


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
async def keeper(calc: Any) -> Keeper:
    return Keeper(calc.mcp.streamable_http_app(stateless_http=True), "key-number-1")


@pytest.fixture
def connect(settings: Settings, vault: Vault) -> Any:
    secrets = SecretResolver.of(settings)
    secrets._sources["env"], secrets._ticks = vault, lambda: 0.0
    return lambda url, spec=SPEC: upstream_connection(
        spec, LaunchContext(url=f"{url}/mcp", headers=spec.headers), settings
    )


async def opened(connection: Any, keeper: Keeper) -> Any:
    """The connection, once its stream of announcements is there too."""
    await connection.open()
    async with asyncio.timeout(10):
        while len(keeper.seen) < 2:  # noqa: ASYNC110 - the server is a plain ASGI application
            await asyncio.sleep(0.005)
    return connection


ADD = {"name": "add", "arguments": {"a": 1, "b": 2}}


async def added(connection: Any) -> Any:
    found = await connection.request("tools/call", ADD, timeout=10)
    return found["structuredContent"]["total"]


async def test_a_rotated_secret_is_read_anew_after_one_401(serve: Any, keeper: Any, connect: Any, vault: Any) -> None:
    connection = await opened(connect(await serve(keeper)), keeper)
    assert await added(connection) == 3
    vault.value = keeper.key = "key-number-2"
    assert await added(connection) == 3
    assert await added(connection) == 3
    assert keeper.refused == 1
    assert set(keeper.seen) == {"key-number-1", "key-number-2"}
    await connection.close()


async def test_between_the_two_steps_of_a_rotation_the_pending_secret_is_shown(
    serve: Any, keeper: Any, connect: Any, vault: Any
) -> None:
    connection = await opened(connect(await serve(keeper)), keeper)
    vault.next = keeper.key = "key-number-2"  # the service knows the new one, and the store still says the old one
    assert await added(connection) == 3
    assert keeper.refused == 1
    await connection.close()


async def test_a_kept_secret_is_all_that_auth_needs(serve: Any, keeper: Any, connect: Any, vault: Any) -> None:
    auth = ServerAuth(type="secret", secret="secret:CRM", header="X-API-Key", scheme="")
    connection = await opened(connect(await serve(keeper), ServerSpec(id="crm", kind="url", auth=auth)), keeper)
    assert await added(connection) == 3
    vault.value = keeper.key = "key-number-2"
    assert await added(connection) == 3
    await connection.close()


async def test_a_secret_that_stays_wrong_is_not_tried_again_and_again(
    serve: Any, keeper: Any, connect: Any, vault: Any
) -> None:
    connection = await opened(connect(await serve(keeper)), keeper)
    keeper.key = "key-of-nobody"
    for _ in range(3):
        with pytest.raises(NotMcpError, match="refused our credentials"):
            await connection.request("tools/call", ADD, timeout=10)
    assert keeper.refused == 3
    await connection.close()


async def test_without_the_secret_nothing_is_sent(serve: Any, keeper: Any, connect: Any, vault: Any) -> None:
    vault.value = ""
    connection = connect(await serve(keeper))
    with pytest.raises(SecretNotFoundError, match="secret:CRM"):
        await connection.open()
    assert (keeper.seen, keeper.refused) == ([], 0)


async def test_a_secret_that_no_header_can_hold_is_not_sent_and_not_shown(
    serve: Any, keeper: Any, connect: Any, vault: Any
) -> None:
    vault.value = "canary\r\nX-Evil: 1"
    connection = connect(await serve(keeper))
    with pytest.raises(SecretNotFoundError) as refused:
        await connection.open()
    assert "canary" not in str(refused.value)
    assert (keeper.seen, keeper.refused) == ([], 0)


async def test_a_server_that_needs_secrets_is_not_reached_without_a_provider() -> None:
    with pytest.raises(MisuseError, match="needs secrets"):
        upstream_connection(SPEC, LaunchContext(url="http://127.0.0.1:1/mcp", headers=SPEC.headers))
