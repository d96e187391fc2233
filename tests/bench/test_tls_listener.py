"""The listener with TLS: workloads come in by their certificates, and nobody else does."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.authority import Authority, Svid, WorkloadApi, built_peer
from workbench.access.certificates import tls_identity
from workbench.access.oauth import ClientStore
from workbench.access.peer_certificates import PeerCertificates
from workbench.api import build_app
from workbench.audit import Reader
from workbench.events import MisuseError, UnauthenticatedError
from workbench.platform.platform import Platform
from workbench.platform.ports import listen
from workbench.serve.serve import _listening
from workbench.serve.tls_front import open_tls

pytest.importorskip("spiffe")

CORP, EVIL = Authority("corp.example"), Authority("evil.example")
GATEWAY, AGENT = "spiffe://corp.example/gateway", "spiffe://corp.example/agent"
LIST = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Any]:
    """Settings of a listener whose clients have to be workloads of corp.example."""
    cert, key = CORP.svid(GATEWAY).write(tmp_path / "tls", "gateway")
    (tmp_path / "tls" / "ca.pem").write_text(CORP.pem)
    return {"tls_cert": cert, "tls_key": key, "tls_client_ca": tmp_path / "tls" / "ca.pem"}


class Door:
    """The listener of one platform, and clients before it."""

    def __init__(self, platform: Platform, url: str, folder: Path) -> None:
        self.platform, self.url, self.folder = platform, url, folder
        self._open: list[httpx2.AsyncClient] = []

    def client(self, svid: Svid | None, **headers: str) -> httpx2.AsyncClient:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=CORP.pem)
        if svid is not None:
            context.load_cert_chain(*svid.write(self.folder, f"client{len(self._open)}"))
        made = httpx2.AsyncClient(base_url=self.url, verify=context, headers=headers, timeout=20)
        self._open.append(made)
        return made

    def workload(self, id: str, **more: Any) -> None:
        clients = ClientStore(self.platform.settings)
        clients.add("Agent", tenant="acme", now_us=1, workload=id, **{"roles": ("viewer",), **more})
        clients.close()

    async def close(self) -> None:
        for each in self._open:
            await each.aclose()


@pytest.fixture
async def open_door(settings: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    ends = []

    async def opened(**more: Any) -> Door:
        bound = listen("127.0.0.1", "auto", "tls")
        port = str(bound.getsockname()[1])
        changed = settings.replace(servers=(), tls_port=port, **more)
        tls = await open_tls(changed)
        platform = await Platform.open(changed)
        listening = _listening(build_app(platform), changed, platform, tls, bound)
        await listening.__aenter__()
        door = Door(platform, f"https://127.0.0.1:{port}", tmp_path / "clients")

        async def end() -> None:
            await door.close()
            await listening.__aexit__(None, None, None)
            tls.identity.close()
            await platform.close()
            platform.access.close()
            platform.policy.close()
            bound.close()

        ends.append(end)
        return door

    yield opened
    for end in ends:
        await end()


async def test_a_workload_is_known_by_its_certificate(open_door: Any, files: Any) -> None:
    door = await open_door(**files)
    client = door.client(CORP.svid(AGENT))
    assert (await client.post("/mcp", json=LIST)).status_code == 401  # nobody has said what it may do
    door.workload(AGENT)
    answer = await client.post("/mcp", json=LIST)
    assert answer.json()["result"]["tools"] == []
    caller = await door.platform.authenticate([door.platform.access.peers.header(leaf(AGENT))])
    assert (caller.tenant, caller.subject, caller.method, caller.roles) == ("acme", AGENT, "workload", ("viewer",))
    assert (await client.get("/api/platform/tools")).status_code == 200
    refused = await client.post("/api/platform/call", json={"tool": "x.y", "arguments": {}})
    assert refused.status_code < 500
    # what it may do ends with the client that was made for it
    clients = ClientStore(door.platform.settings)
    clients.end(AGENT, 2)
    clients.close()
    async with asyncio.timeout(10):
        while (await client.post("/mcp", json=LIST)).status_code != 401:  # noqa: ASYNC110 - it is looked up anew
            await asyncio.sleep(0.05)


def leaf(id: str) -> Any:
    from workbench.access.certificates.svid import leaf_of

    return leaf_of(CORP.svid(id).der)


@pytest.mark.parametrize(
    "svid",
    [
        None,
        EVIL.svid(AGENT),
        EVIL.svid("spiffe://evil.example/agent"),
        CORP.svid(AGENT, seconds=-60),
        CORP.svid(dns=("agent",)),
        CORP.svid("spiffe://evil.example/agent"),
    ],
    ids=["nobody", "another authority", "another trust domain", "expired", "no identity", "foreign identity"],
)
async def test_who_is_no_workload_of_ours_does_not_get_in(open_door: Any, files: Any, svid: Any) -> None:
    door = await open_door(**files)
    door.workload(AGENT)
    with pytest.raises(httpx2.TransportError):
        await door.client(svid, authorization=f"Bearer {door.platform.access.local_key()}").post("/mcp", json=LIST)


async def test_a_credential_counts_more_than_the_connection(open_door: Any, files: Any) -> None:
    door = await open_door(**files)
    door.workload(AGENT)
    token = door.platform.access.create_key("ann", roles=("owner",))[1]
    ann = await door.client(CORP.svid(AGENT), authorization=f"Bearer {token}").get("/api/platform/approvals")
    assert ann.status_code == 200
    nobody = await door.client(CORP.svid(AGENT), authorization="Bearer mk_nobody").post("/mcp", json=LIST)
    assert nobody.status_code == 401


async def test_nobody_claims_to_be_a_workload_without_its_certificate(open_door: Any, files: Any) -> None:
    door = await open_door(**files)
    door.workload(AGENT)
    other = "spiffe://corp.example/other"
    until = leaf(AGENT).until_us
    elsewhere = PeerCertificates(door.platform.settings).header(leaf(AGENT))
    for value in (f"X509-SVID x {until} {AGENT}", f"X509-SVID {AGENT}", "X509-SVID x", elsewhere):
        answer = await door.client(CORP.svid(other), authorization=value).post("/mcp", json=LIST)
        assert answer.status_code == 401, value
        with pytest.raises(UnauthenticatedError):
            await door.platform.authenticate([value])


async def test_an_authority_that_is_taken_away_ends_open_connections_too(open_door: Any, files: Any) -> None:
    door = await open_door(**files)
    door.workload(AGENT)
    old = door.client(CORP.svid(AGENT))
    assert (await old.post("/mcp", json=LIST)).status_code == 200
    after = Authority("corp.example")
    files["tls_client_ca"].write_text(after.pem)
    async with asyncio.timeout(20):
        while True:
            fresh = door.client(after.svid(AGENT))
            try:
                assert (await fresh.post("/mcp", json=LIST)).status_code == 200
                break
            except httpx2.TransportError:
                await asyncio.sleep(0.1)
    with pytest.raises(httpx2.TransportError):
        await old.post("/mcp", json=LIST)
    with pytest.raises(httpx2.TransportError):
        await door.client(CORP.svid(AGENT)).post("/mcp", json=LIST)


async def test_a_workload_gets_tokens_by_its_certificate(open_door: Any, files: Any) -> None:
    door = await open_door(oauth_server=True, port="8800", **files)
    door.workload(AGENT, roles=("employee",))
    client = door.client(CORP.svid(AGENT))
    described = (await client.get("/.well-known/oauth-authorization-server")).json()
    assert "tls_client_auth" in described["token_endpoint_auth_methods_supported"]
    form = {"grant_type": "client_credentials", "client_id": AGENT, "scope": "crm:read"}
    answer = await client.post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    token = answer.json()["access_token"]
    assert (await door.platform.access.authenticate_async(f"Bearer {token}")).subject == AGENT
    other = door.client(CORP.svid("spiffe://corp.example/other"))
    assert (await other.post("/oauth/token", data=form)).status_code == 401
    assert (await other.post("/oauth/token", data={"grant_type": "client_credentials"})).status_code == 401
    with Reader(door.platform.settings.home) as reader:
        issued = reader.sql("select user_id from access_events where event = 'token issued'").to_pylist()
    assert issued == [{"user_id": AGENT}]


async def test_the_workload_api_is_enough_for_a_listener(open_door: Any, tmp_path_factory: Any) -> None:
    api = WorkloadApi(tmp_path_factory.mktemp("spire") / "agent.sock")
    try:
        api.publish(GATEWAY, CORP.svid(GATEWAY), [CORP])
        door = await open_door(spiffe_socket=api.address)
        door.workload(AGENT)
        assert (await door.client(CORP.svid(AGENT)).post("/mcp", json=LIST)).status_code == 200
        with pytest.raises(httpx2.TransportError):
            await door.client(None).post("/mcp", json=LIST)
    finally:
        api.stop()


async def test_plain_tls_asks_for_the_usual_credential(open_door: Any, files: Any) -> None:
    door = await open_door(tls_cert=files["tls_cert"], tls_key=files["tls_key"])
    assert (await door.client(None).post("/mcp", json=LIST)).status_code == 401
    key = door.platform.access.local_key()
    assert (await door.client(None, authorization=f"Bearer {key}").post("/mcp", json=LIST)).status_code == 200


@pytest.mark.parametrize("what", ["nothing", "no key", "ca alone", "no agent", "no trust domain", "broken", "no login"])
async def test_a_listener_that_cannot_be_meant_is_refused(
    settings: Any, files: Any, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_identity, "FIRST_TIMEOUT_S", 0.1)
    plain = CORP.svid(dns=("gateway",)).write(tmp_path / "tls", "plain")
    broken = tmp_path / "broken.pem"
    broken.write_text("nonsense")
    change = {
        "nothing": {},
        "no key": {"tls_cert": files["tls_cert"]},
        "ca alone": {"tls_client_ca": files["tls_client_ca"]},
        "no agent": {"spiffe_socket": f"unix://{tmp_path}/nobody.sock"},
        "no trust domain": {**files, "tls_cert": plain[0], "tls_key": plain[1]},
        "broken": {**files, "tls_cert": broken},
        "no login": {"authentication": False, "tls_host": "0.0.0.0", **files},
    }[what]
    changed = settings.replace(tls_port="8843", **change)

    async def start() -> None:
        changed._check()
        await open_tls(changed)

    with pytest.raises(MisuseError):
        await start()


@pytest.mark.interop
@pytest.mark.timeout(600)
async def test_a_client_with_go_spiffe_comes_in_by_its_identity(open_door: Any, tmp_path_factory: Any) -> None:
    peer = built_peer()
    ours, theirs = (WorkloadApi(tmp_path_factory.mktemp(name) / "agent.sock") for name in ("ours", "theirs"))
    try:
        ours.publish(GATEWAY, CORP.svid(GATEWAY), [CORP])
        theirs.publish(AGENT, CORP.svid(AGENT), [CORP])
        door = await open_door(spiffe_socket=ours.address)
        door.workload(AGENT)

        async def call(server: str) -> tuple[int, str]:
            command = (str(peer), "call", theirs.address, server, f"{door.url}/mcp")
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
            out, _ = await process.communicate(json.dumps(LIST).encode())
            return process.returncode or 0, out.decode()

        code, said = await call(GATEWAY)
        assert (code, said.splitlines()[0]) == (0, "200"), said
        assert '"tools":[]' in said
        code, _ = await call("spiffe://corp.example/other")  # it expects somebody else than us
        assert code == 1
        theirs.publish(AGENT, EVIL.svid(AGENT), [CORP])
        code, _ = await call(GATEWAY)
        assert code == 1
    finally:
        ours.stop()
        theirs.stop()
