"""Handshakes between workloads: who is let in, who is not, and what happens when certificates are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.authority import Authority, Svid, WorkloadApi
from workbench.access.certificates import tls_identity
from workbench.access.certificates.svid import MissingSvidError, leaf_of, trust_domain_of
from workbench.access.certificates.tls_context import TlsContext, client_tls, server_tls
from workbench.access.certificates.tls_identity import IdentityFiles, TlsMaterial, WorkloadIdentity, jwt_svid
from workbench.events import UnreachableError

pytest.importorskip("spiffe")

CORP = Authority("corp.example")
EVIL = Authority("evil.example")
CRM, GATEWAY = "spiffe://corp.example/crm", "spiffe://corp.example/gateway"


@pytest.fixture(params=["asyncio", "uvloop"])
def anyio_backend(request: Any) -> Any:
    return ("asyncio", {"loop_factory": uvloop.new_event_loop}) if request.param == "uvloop" else "asyncio"


class Fixed:
    """An identity that the test decides."""

    def __init__(self, svid: Svid | None, *authorities: Authority) -> None:
        self.show(svid, *authorities)

    def show(self, svid: Svid | None, *authorities: Authority) -> None:
        found: dict[str, frozenset[str]] = {}
        for each in authorities:
            found[each.trust_domain] = found.get(each.trust_domain, frozenset()) | {each.pem}
        chain, key = (svid.chain, svid.key) if svid is not None else ("", "")
        self.material = TlsMaterial(chain=chain, key=key, authorities=found)

    def open(self) -> None:
        return None

    async def ready(self) -> None:
        return None

    def now(self) -> TlsMaterial:
        return self.material

    def close(self) -> None:
        return None


@contextlib.asynccontextmanager
async def listening(tls: TlsContext) -> AsyncIterator[int]:
    async def serve(reader: Any, writer: Any) -> None:
        certificate = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.write((leaf_of(certificate).spiffe_id if certificate else "nobody").encode() + b"\n")
        with contextlib.suppress(OSError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls.context)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # refused handshakes are reported there
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def greeted(port: int, tls: TlsContext) -> str:
    """As whom the server saw us; empty when there was no connection to speak of."""
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.context, server_hostname="x")
            try:
                return (await reader.readline()).decode().strip()
            finally:
                writer.transport.abort()
    except (OSError, ssl.SSLError, ConnectionError):
        return ""


SERVER = CORP.svid(CRM)
CLIENT = CORP.svid(GATEWAY)


async def test_both_sides_know_whom_they_speak_to() -> None:
    async with listening(server_tls(Fixed(SERVER, CORP), "corp.example")) as port:
        assert await greeted(port, client_tls(Fixed(CLIENT, CORP), CRM)) == GATEWAY


REFUSED: dict[str, tuple[Svid | None, tuple[Authority, ...]]] = {
    "nobody": (None, (CORP,)),
    "expired": (CORP.svid(GATEWAY, seconds=-60), (CORP,)),
    "another trust domain": (EVIL.svid("spiffe://evil.example/gateway"), (CORP,)),
    "another authority for our trust domain": (EVIL.svid(GATEWAY), (CORP,)),
    "an identity of another trust domain by our authority": (CORP.svid("spiffe://evil.example/gateway"), (CORP,)),
    "two identities": (CORP.svid(GATEWAY, CRM), (CORP,)),
    "no identity": (CORP.svid(dns=("gateway",)), (CORP,)),
    "another scheme": (CORP.svid("https://corp.example/gateway"), (CORP,)),
    "the trust domain itself": (CORP.svid("spiffe://corp.example"), (CORP,)),
    "a path that leads up": (CORP.svid("spiffe://corp.example/a/../gateway"), (CORP,)),
    "an authority": (CORP.svid(GATEWAY, ca=True, usages=("digital_signature", "key_cert_sign")), (CORP,)),
    "a key for other uses": (CORP.svid(GATEWAY, usages=("key_agreement",)), (CORP,)),
    "a key without uses": (CORP.svid(GATEWAY, usages=()), (CORP,)),
}


@pytest.mark.parametrize("who", REFUSED)
async def test_a_client_that_is_not_who_it_should_be_is_refused(who: str) -> None:
    svid, authorities = REFUSED[who]
    async with listening(server_tls(Fixed(SERVER, CORP), "corp.example")) as port:
        assert await greeted(port, client_tls(Fixed(svid, *authorities), CRM)) == ""
        assert await greeted(port, client_tls(Fixed(CLIENT, CORP), CRM)) == GATEWAY


@pytest.mark.parametrize("who", [name for name in REFUSED if name != "nobody"])
async def test_a_server_that_is_not_who_it_should_be_is_refused(who: str) -> None:
    svid, _ = REFUSED[who]
    async with listening(server_tls(Fixed(svid, CORP), "corp.example")) as port:
        assert await greeted(port, client_tls(Fixed(CLIENT, CORP, EVIL), GATEWAY)) == ""


async def test_another_workload_of_the_same_trust_domain_is_not_the_server() -> None:
    async with listening(server_tls(Fixed(SERVER, CORP), "corp.example")) as port:
        assert await greeted(port, client_tls(Fixed(CLIENT, CORP), "spiffe://corp.example/payments")) == ""


async def test_who_was_revoked_by_rotation_is_refused_and_who_follows_is_let_in() -> None:
    identity, after = Fixed(SERVER, CORP), Authority("corp.example")
    tls = server_tls(identity, "corp.example")
    async with listening(tls) as port:
        old, new = client_tls(Fixed(CLIENT, CORP), CRM), client_tls(Fixed(after.svid(GATEWAY), CORP, after), CRM)
        assert await greeted(port, old) == GATEWAY
        assert await greeted(port, new) == ""
        identity.show(SERVER, CORP, after)  # the new authority is made known …
        assert await greeted(port, old) == GATEWAY
        assert await greeted(port, new) == GATEWAY
        assert tls.generation == 0
        identity.show(after.svid(CRM), after)  # … and the old one is taken away
        assert await greeted(port, old) == ""
        assert await greeted(port, new) == GATEWAY
        assert tls.generation == 1


async def test_a_session_is_not_taken_up_again_without_its_certificate() -> None:
    tls = server_tls(Fixed(SERVER, CORP), "corp.example")
    assert tls.current().num_tickets == 0
    assert tls.current().options & ssl.OP_NO_TICKET
    assert tls.current().minimum_version == ssl.TLSVersion.TLSv1_2
    assert tls.current().verify_mode == ssl.CERT_REQUIRED


async def test_without_workloads_tls_is_what_it_is_elsewhere(tmp_path: Path) -> None:
    named = CORP.svid(dns=("x",))
    async with listening(server_tls(Fixed(named))) as port:
        (tmp_path / "ca.pem").write_text(CORP.pem)
        assert await greeted(port, client_tls(IdentityFiles(ca=tmp_path / "ca.pem"))) == "nobody"
        (tmp_path / "ca.pem").write_text(EVIL.pem)
        assert await greeted(port, client_tls(IdentityFiles(ca=tmp_path / "ca.pem"))) == ""
        assert await greeted(port, client_tls(Fixed(None))) == ""  # the system does not know this authority
    async with listening(server_tls(Fixed(CORP.svid(dns=("other",))))) as port:
        assert await greeted(port, client_tls(IdentityFiles(ca=tmp_path / "ca.pem"))) == ""


def test_who_is_expected_has_to_be_a_workload() -> None:
    for wrong in ("https://corp.example/crm", "spiffe://corp.example", "spiffe://Corp/x", "spiffe://corp/a//b", "crm"):
        with pytest.raises(MissingSvidError):
            client_tls(Fixed(None, CORP), wrong)
    assert trust_domain_of(CRM) == "corp.example"


# --- files -------------------------------------------------------------------------------------------------------


def test_files_are_read_again_when_they_change(tmp_path: Path, ticks: Any) -> None:
    cert, key = CORP.svid(CRM).write(tmp_path, "crm")
    (tmp_path / "ca.pem").write_text(CORP.pem)
    files = IdentityFiles(ca=tmp_path / "ca.pem", cert=cert, key=key, trust_domain="corp.example", ticks=ticks)
    first = files.now()
    assert first.spiffe_id == CRM
    ticks.passed = 2
    assert files.now() is first
    other = CORP.svid(GATEWAY)
    cert.write_text(other.chain)  # the key follows a moment later
    ticks.passed = 4
    assert files.now() is first
    assert "not that of the certificate" in files.problem
    key.write_text(other.key)
    ticks.passed = 6
    assert (files.now().spiffe_id, files.problem) == (GATEWAY, "")
    cert.write_text("nonsense")
    ticks.passed = 8
    assert files.now().spiffe_id == GATEWAY
    assert files.problem


@pytest.mark.parametrize("what", ["missing", "open key", "no ca", "no key", "encrypted"])
def test_files_that_cannot_be_used_give_no_identity(tmp_path: Path, what: str) -> None:
    cert, key = CORP.svid(CRM).write(tmp_path, "crm")
    ca = tmp_path / "ca.pem"
    ca.write_text("" if what == "no ca" else CORP.pem)
    if what == "missing":
        cert.unlink()
    if what == "open key":
        key.chmod(0o640)
    if what == "encrypted":
        key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\ncanary\n-----END ENCRYPTED PRIVATE KEY-----")
    files = IdentityFiles(ca=ca, cert=cert, key=None if what == "no key" else key, trust_domain="corp.example")
    with pytest.raises(UnreachableError) as refused:
        files.now()
    assert "canary" not in str(refused.value)


# --- the Workload API ----------------------------------------------------------------------------------------------


@pytest.fixture
def workload_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkloadApi]:
    made = WorkloadApi(tmp_path_factory.mktemp("spire") / "agent.sock")
    yield made
    made.stop()


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - the stream arrives in a thread of the library
            await asyncio.sleep(0.01)


async def test_certificates_come_from_the_workload_api_and_are_replaced_on_its_stream(workload_api: Any) -> None:
    workload_api.publish(CRM, CORP.svid(CRM), [CORP], (EVIL,))
    identity = WorkloadIdentity.of(workload_api.address)
    assert WorkloadIdentity.of(workload_api.address) is identity
    identity.open()
    identity.open()
    await identity.ready()
    assert identity.now().spiffe_id == CRM
    assert set(identity.now().authorities) == {"corp.example", "evil.example"}
    tls = server_tls(identity, "corp.example")
    async with listening(tls) as port:
        assert await greeted(port, client_tls(Fixed(CLIENT, CORP), CRM)) == GATEWAY
        # a workload of a federated trust domain is known, and not let in
        assert await greeted(port, client_tls(Fixed(EVIL.svid("spiffe://evil.example/x"), CORP), CRM)) == ""
        after, before = Authority("corp.example"), identity.now()
        workload_api.publish(CRM, after.svid(CRM), [after])
        await until(lambda: identity.now() is not before)
        assert await greeted(port, client_tls(Fixed(CLIENT, CORP), CRM)) == ""
        assert await greeted(port, client_tls(Fixed(after.svid(GATEWAY), after), CRM)) == GATEWAY
    identity.close()
    assert identity.now().spiffe_id == CRM
    identity.close()
    assert identity._material is None  # nobody needs it any more


async def test_a_workload_without_identity_has_none_until_it_is_given_one(
    workload_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workbench.access.certificates.tls_identity.FIRST_TIMEOUT_S", 0.1)
    identity = WorkloadIdentity(workload_api.address)
    await identity.ready()
    with pytest.raises(UnreachableError, match="gives no identity"):
        identity.now()
    workload_api.publish(CRM, CORP.svid(CRM), [CORP])

    def given() -> bool:
        with contextlib.suppress(UnreachableError):
            return identity.now().spiffe_id == CRM
        return False

    await until(given)
    identity.close()


async def test_an_agent_that_is_not_there_gives_no_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_identity, "FIRST_TIMEOUT_S", 0.1)
    identity = WorkloadIdentity(f"unix://{tmp_path}/nobody.sock")
    await identity.ready()
    with pytest.raises(UnreachableError, match="does not exist"):
        identity.now()
    with pytest.raises(UnreachableError, match="gives no JWT-SVID"):
        await jwt_svid(f"unix://{tmp_path}/nobody.sock", "https://idp.example")
    identity.close()


async def test_an_expired_certificate_is_not_shown_though_the_agent_gives_no_other(workload_api: Any) -> None:
    workload_api.publish(CRM, CORP.svid(CRM, seconds=-1), [CORP])
    identity = WorkloadIdentity(workload_api.address)
    await identity.ready()
    with pytest.raises(UnreachableError, match="expired"):
        identity.now()
    identity.close()
