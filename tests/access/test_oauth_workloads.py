"""A workload shows a JWT-SVID instead of a secret; the keys come from a Workload API over its real wire protocol."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from workbench.events import MisuseError

grpc = pytest.importorskip("grpc")
pytest.importorskip("spiffe")

HOST = "http://127.0.0.1:8800"
ID = "spiffe://corp.example/ns/prod/agent"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class Agent:
    """Serves the JWT bundles of one trust domain on a socket, and signs SVIDs."""

    def __init__(self, socket: Path) -> None:
        from spiffe._proto import workload_pb2, workload_pb2_grpc

        self.socket = f"unix://{socket}"
        self.key = ECKey.generate_key("P-256", {"kid": "k1"}, private=True)
        self.published = [self.key]
        self.asked = 0
        agent = self

        class Api(workload_pb2_grpc.SpiffeWorkloadAPIServicer):  # type: ignore[misc]
            def FetchJWTBundles(self, request: Any, context: Any) -> Any:
                agent.asked += 1
                keys = [{**key.as_dict(private=False), "use": "jwt-svid"} for key in agent.published]
                bundle = json.dumps({"keys": keys}).encode()
                yield workload_pb2.JWTBundlesResponse(bundles={"spiffe://corp.example": bundle})

        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(Api(), self._server)
        self._server.add_insecure_port(self.socket)
        self._server.start()

    def svid(self, *, key: Any = None, header: Any = None, **changes: Any) -> str:
        claims = {"sub": ID, "aud": [HOST], "exp": int(time.time()) + 300, "iat": int(time.time()), **changes}
        claims = {k: v for k, v in claims.items() if v is not None}
        return jwt.encode({"alg": "ES256", "kid": "k1", "typ": "JWT", **(header or {})}, claims, key or self.key)

    def stop(self) -> None:
        self._server.stop(0).wait()


@pytest.fixture
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    started = Agent(tmp_path_factory.mktemp("spire") / "agent.sock")
    yield started
    started.stop()


@pytest.fixture
async def workload_desk(open_desk: Any, agent: Agent) -> Any:
    desk = await open_desk(oauth_spiffe_socket=agent.socket, failed_credentials_per_minute=100)
    desk.server.issuer.clients.add("Agent", tenant="acme", now_us=1, roles=("employee",), workload=ID)
    return desk


async def ask(desk: Any, assertion: str, **more: Any) -> httpx2.Response:
    form = {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": assertion}
    return await desk.http.post("/oauth/token", data={**form, **more})


async def test_a_workload_gets_tokens_by_its_identity(workload_desk: Any, agent: Agent) -> None:
    desk = workload_desk
    for audience in ([HOST], f"{HOST}/oauth/token"):
        response = await ask(desk, agent.svid(aud=audience), scope="crm:read", client_id=ID)
        assert response.status_code == 200, response.text
    caller = await desk.access.authenticate_async(f"Bearer {response.json()['access_token']}")
    assert (caller.subject, caller.tenant, caller.scopes) == (ID, "acme", {"crm:read"})
    assert agent.asked == 1
    metadata = (await desk.http.get("/.well-known/oauth-authorization-server")).json()
    assert "private_key_jwt" in metadata["token_endpoint_auth_methods_supported"]


async def test_an_assertion_that_proves_nothing_gets_nothing(workload_desk: Any, agent: Agent, ticks: Any) -> None:
    desk, other = workload_desk, ECKey.generate_key("P-256", {"kid": "k1"}, private=True)
    wrong = {
        "another audience": agent.svid(aud=["https://elsewhere.example"]),
        "no audience": agent.svid(aud=None),
        "expired": agent.svid(exp=1_000_000_000),
        "no expiry": agent.svid(exp=None),
        "another key": agent.svid(key=other),
        "an unknown key": agent.svid(header={"kid": "k2"}),
        "no key id": agent.svid(header={"kid": ""}),
        "another type": agent.svid(header={"typ": "at+jwt"}),
        "another trust domain": agent.svid(sub="spiffe://evil.example/ns/prod/agent"),
        "a workload that nobody made": agent.svid(sub="spiffe://corp.example/ns/prod/other"),
        "no subject": agent.svid(sub=None),
        "a subject that is none": agent.svid(sub="agent"),
        "a number": agent.svid(sub=7),
        "nonsense": "a.b.c",
        "oversized": agent.svid(x="y" * 9000),
    }
    for name, assertion in wrong.items():
        response = await ask(desk, assertion)
        assert (response.status_code, desk.error(response)) == (401, "invalid_client"), name
    good = agent.svid()
    assert desk.error(await ask(desk, good, client_id="mc_other")) == "invalid_client"
    assert desk.error(await ask(desk, good, client_secret="x")) == "invalid_request"
    assert desk.error(await ask(desk, good, client_assertion_type="urn:other")) == "invalid_request"
    # without an assertion the id alone is nothing
    response = await desk.http.post("/oauth/token", data={"grant_type": "client_credentials", "client_id": ID})
    assert desk.error(response) == "invalid_client"
    assert (await ask(desk, good)).status_code == 200


async def test_keys_of_workloads_rotate_and_expire(workload_desk: Any, agent: Agent, ticks: Any) -> None:
    desk = workload_desk
    assert (await ask(desk, agent.svid())).status_code == 200
    new = ECKey.generate_key("P-256", {"kid": "k9"}, private=True)
    agent.published = [new]
    ticks.passed = 6
    assert (await ask(desk, agent.svid(key=new, header={"kid": "k9"}))).status_code == 200
    assert (await ask(desk, agent.svid())).status_code == 401
    agent.stop()
    ticks.passed = 80  # nobody vouches for the keys any more
    assert (await ask(desk, agent.svid(key=new, header={"kid": "k9"}))).status_code == 401


async def test_without_the_setting_assertions_are_refused(desk: Any, agent: Agent) -> None:
    desk.server.issuer.clients.add("Agent", tenant="acme", now_us=1, roles=("employee",), workload=ID)
    assert desk.error(await ask(desk, agent.svid())) == "invalid_client"


async def test_without_the_package_the_setting_is_refused(open_desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spiffe", None)
    with pytest.raises(MisuseError, match="spiffe is missing"):
        await open_desk(oauth_spiffe_socket="unix:///nowhere.sock")


async def test_an_agent_that_does_not_answer_vouches_for_nobody(open_desk: Any, agent: Agent, tmp_path: Path) -> None:
    desk = await open_desk(oauth_spiffe_socket=f"unix://{tmp_path}/nobody.sock")
    desk.server.issuer.clients.add("Agent", tenant="acme", now_us=1, roles=("employee",), workload=ID)
    assert desk.error(await ask(desk, agent.svid())) == "invalid_client"


async def test_a_workload_is_made_once_and_again_after_its_end(desk: Any) -> None:
    clients = desk.server.issuer.clients
    made, secret = clients.add("Agent", tenant="acme", now_us=1, roles=("employee",), workload=ID)
    assert (made.kind, secret, clients.find(ID)) == ("workload", "", made)
    with pytest.raises(MisuseError, match="already"):
        clients.add("Agent", tenant="acme", now_us=1, roles=("employee",), workload=ID)
    clients.end(ID, 2)
    clients.add("Agent", tenant="acme", now_us=3, roles=("viewer",), workload=ID)
    for wrong in ("corp.example/x", "spiffe://corp.example", "spiffe://corp.example/", "spiffe://Corp/x"):
        with pytest.raises(MisuseError):
            clients.add("Agent", tenant="acme", now_us=1, roles=("employee",), workload=wrong)
