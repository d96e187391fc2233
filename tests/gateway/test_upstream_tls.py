"""Servers that are reached with mutual TLS, by SPIFFE ID: from files, from the Workload API, and one that Go wrote."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.asgi import listening
from tests.authority import Authority, WorkloadApi, built_peer
from workbench.events import UnreachableError
from workbench.registry import read_mcp_json
from workbench.registry.connection import LaunchContext
from workbench.upstream import upstream_connection

pytest.importorskip("spiffe")

CORP, EVIL = Authority("corp.example"), Authority("evil.example")
GATEWAY, CRM = "spiffe://corp.example/gateway", "spiffe://corp.example/crm"


@asynccontextmanager
async def secured(app: Any, context: ssl.SSLContext) -> AsyncIterator[str]:
    """`app` behind a real server with TLS."""
    tls = {"ssl_context_factory": lambda config, default: context}
    async with listening(app, log_level="critical", lifespan="auto", **tls) as server:
        yield f"https://127.0.0.1:{server.port}/mcp"


def demanding(folder: Path, *authorities: Authority, id: str = CRM, by: Authority = CORP) -> ssl.SSLContext:
    """A server of this identity that lets in who these authorities certify."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*by.svid(id).write(folder, "server"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata="\n".join(a.pem for a in authorities))
    return context


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """`tls` of a server in an `mcp.json`, with the gateway's certificate."""
    folder = tmp_path / "certs"
    CORP.svid(GATEWAY).write(folder, "gateway")
    (folder / "ca.pem").write_text(CORP.pem)
    return {"spiffe_id": CRM, "ca": "certs/ca.pem", "cert": "certs/gateway.pem", "key": "certs/gateway.key"}


@pytest.fixture
def connect(settings: Any, tmp_path: Path) -> Callable[..., Any]:
    def make(url: str, tls: dict[str, str]) -> Any:
        config = tmp_path / "mcp.json"
        config.write_text(json.dumps({"mcpServers": {"desk": {"url": url, "tls": tls}}}))
        (spec,) = read_mcp_json(config)
        return upstream_connection(spec, LaunchContext(url=url, headers=spec.headers), settings)

    return make


@pytest.fixture
async def serve_tls(calc: Any) -> AsyncIterator[Callable[..., Any]]:
    async with AsyncExitStack() as stack:

        async def start(context: ssl.SSLContext) -> str:
            app = calc.mcp.streamable_http_app(stateless_http=True, json_response=True)
            return await stack.enter_async_context(secured(app, context))

        yield start


async def total(connection: Any) -> Any:
    asked = {"name": "add", "arguments": {"a": 1, "b": 2}}
    return (await connection.request("tools/call", asked, timeout=10))["structuredContent"]["total"]


async def test_gateway_and_server_know_each_other(serve_tls: Any, connect: Any, files: Any, tmp_path: Path) -> None:
    connection = connect(await serve_tls(demanding(tmp_path, CORP)), files)
    await connection.open()
    assert await total(connection) == 3
    await connection.close()


@pytest.mark.parametrize("what", ["another workload", "another authority", "expired", "no certificate", "not believed"])
async def test_a_server_or_a_gateway_that_is_not_who_it_should_be_is_refused(
    serve_tls: Any, connect: Any, files: Any, tmp_path: Path, what: str
) -> None:
    context = demanding(tmp_path, CORP)
    if what == "another workload":
        context = demanding(tmp_path, CORP, id="spiffe://corp.example/other")
    if what == "another authority":
        context = demanding(tmp_path, CORP, by=EVIL)
    if what == "expired":
        context.load_cert_chain(*CORP.svid(CRM, seconds=-60).write(tmp_path, "late"))
    if what == "no certificate":
        files = {"spiffe_id": CRM, "ca": files["ca"]}
    if what == "not believed":
        context = demanding(tmp_path, EVIL)
    connection = connect(await serve_tls(context), files)
    with pytest.raises(UnreachableError, match="cannot be reached"):
        await connection.open()


async def test_a_certificate_that_was_replaced_is_shown_from_then_on(
    serve_tls: Any, connect: Any, files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.access.certificates.tls_identity.CHECK_INTERVAL_S", 0.0)
    connection = connect(await serve_tls(demanding(tmp_path, CORP)), files)
    await connection.open()
    assert await total(connection) == 3
    EVIL.svid(GATEWAY).write(tmp_path / "certs", "gateway")  # nobody believes this one, which shows that it is used
    with pytest.raises(UnreachableError):
        await total(connection)
    CORP.svid(GATEWAY).write(tmp_path / "certs", "gateway")
    assert await total(connection) == 3
    (tmp_path / "certs" / "ca.pem").write_text(EVIL.pem)  # and now the server's authority is not believed any more
    with pytest.raises(UnreachableError):
        await total(connection)
    await connection.close()


@pytest.fixture
def workload_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkloadApi]:
    made = WorkloadApi(tmp_path_factory.mktemp("spire") / "agent.sock")
    yield made
    made.stop()


async def test_the_workload_api_gives_the_gateway_its_identity(
    serve_tls: Any, connect: Any, workload_api: WorkloadApi, tmp_path: Path
) -> None:
    workload_api.publish(GATEWAY, CORP.svid(GATEWAY), [CORP], (EVIL,))
    tls = {"spiffe_id": CRM, "workload_api": workload_api.address}
    connection = connect(await serve_tls(demanding(tmp_path, CORP)), tls)
    await connection.open()
    assert await total(connection) == 3
    await connection.close()
    # a server of a federated trust domain, by the bundle of that domain and of no other
    abroad = "spiffe://evil.example/crm"
    url = await serve_tls(demanding(tmp_path, CORP, id=abroad, by=EVIL))
    connection = connect(url, {**tls, "spiffe_id": abroad})
    await connection.open()
    await connection.close()
    with pytest.raises(UnreachableError):
        await connect(
            await serve_tls(demanding(tmp_path, CORP, id=abroad, by=CORP)), {**tls, "spiffe_id": abroad}
        ).open()


@pytest.fixture(scope="module")
def go_peer() -> Path:
    return built_peer()


# --- a peer that nobody here wrote ---------------------------------------------------------------------------------


@pytest.mark.interop
@pytest.mark.timeout(600)
async def test_a_server_with_go_spiffe_lets_the_gateway_in_and_nobody_else(
    go_peer: Path, connect: Any, workload_api: WorkloadApi, tmp_path_factory: pytest.TempPathFactory
) -> None:
    theirs = WorkloadApi(tmp_path_factory.mktemp("peer") / "agent.sock")
    theirs.publish(CRM, CORP.svid(CRM), [CORP])
    workload_api.publish(GATEWAY, CORP.svid(GATEWAY), [CORP])
    command = (str(go_peer), "serve", theirs.address, GATEWAY)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = f"https://{(await process.stdout.readline()).decode().strip()}/mcp"
        tls = {"spiffe_id": CRM, "workload_api": workload_api.address}
        connection = connect(url, tls)
        await connection.open()
        said = await connection.request("tools/call", {"name": "whoami", "arguments": {}}, timeout=10)
        assert said["content"][0]["text"] == GATEWAY
        await connection.close()
        with pytest.raises(UnreachableError):
            await connect(url, {**tls, "spiffe_id": "spiffe://corp.example/other"}).open()
        other = "spiffe://corp.example/other"
        workload_api.publish(other, CORP.svid(other), [CORP])
        with pytest.raises(UnreachableError):
            await connect(url, tls).open()
    finally:
        process.kill()
        await process.wait()
        theirs.stop()
