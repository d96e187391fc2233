"""What `auth` and `tls` of a server may say, and what is refused with the place where it stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workbench.events import MisuseError
from workbench.registry import Configuration, ServerSpec, read_configuration
from workbench.registry.registration import check_registration
from workbench.registry.server_auth import ServerAuth
from workbench.registry.server_tls import ServerTls

URL = "https://desk.example/mcp"


def read(folder: Path, auth: Any, **more: Any) -> ServerSpec:
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": {"desk": {"url": URL, "auth": auth, **more}}}))
    return only(read_configuration(folder / "mcp.json", env={"IDP": "https://idp.example"}))


def only(found: Configuration) -> ServerSpec:
    """The one server; that it was left out is raised with the reason."""
    if found.excluded:
        raise MisuseError(found.excluded[0].reason)
    return found.servers[0]


def test_what_is_left_out_is_what_is_usual(tmp_path: Path) -> None:
    auth = {"type": "client_credentials", "client_id": "gw", "client_secret": "secret:gw", "issuer": "${IDP}"}
    found = read(tmp_path, auth).auth
    assert found == ServerAuth(
        type="client_credentials", client_id="gw", client_secret="secret:gw", issuer="https://idp.example"
    )
    assert (found.proof, found.secrets()) == ("client_secret_basic", ("secret:gw",))
    found = read(tmp_path, {"type": "token_exchange", "client_id": "gw"}).auth
    assert found is not None
    assert (found.proof, found.secrets()) == ("private_key_jwt", ())
    found = read(tmp_path, {"type": "secret", "secret": "secret:x"}).auth
    assert found is not None
    assert (found.header, found.scheme) == ("Authorization", "Bearer")
    assert read(tmp_path, None).auth is None


OAUTH = {"type": "client_credentials", "client_id": "gw"}


@pytest.mark.parametrize(
    ("auth", "why"),
    [
        ({"type": "secret"}, "lacks 'secret'"),
        ({"type": "client_credentials"}, "lacks 'client_id'"),
        ({**OAUTH, "client_secret": "canary-value"}, "'client_secret' is not the name of a secret"),
        ({**OAUTH, "private_key": "-----BEGIN canary"}, "'private_key' is not the name of a secret"),
        ({**OAUTH, "secret": "secret:x"}, "'secret' beside type"),
        ({**OAUTH, "method": "none"}, "'method' is 'none'"),
        ({**OAUTH, "method": "client_secret_basic"}, "without 'client_secret'"),
        ({**OAUTH, "method": "private_key_jwt", "client_secret": "secret:x"}, "do not go together"),
        ({**OAUTH, "private_key": "secret:x", "client_secret": "secret:x"}, "do not go together"),
        ({**OAUTH, "client_id": 7}, "'client_id' is a number"),
        ({"type": "secret", "secret": "secret:x", "header": "Mcp-Session-Id"}, "set by the gateway itself"),
        ({"type": "secret", "secret": "secret:x", "scheme": "a\nb"}, "line breaks"),
    ],
)
def test_what_cannot_be_meant_is_refused_where_it_stands(tmp_path: Path, auth: Any, why: str) -> None:
    with pytest.raises(MisuseError, match=r"line 1, key mcpServers\.desk\.auth") as refused:
        read(tmp_path, auth)
    assert why in str(refused.value)
    assert "canary" not in str(refused.value)


def test_a_header_is_not_set_twice(tmp_path: Path) -> None:
    with pytest.raises(MisuseError, match="'auth' and a header"):
        read(tmp_path, {"type": "secret", "secret": "secret:x"}, headers={"authorization": "Bearer x"})


def test_a_program_has_no_auth(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"desk": {"command": "x", "auth": {"type": "secret"}}}}')
    assert only(read_configuration(tmp_path / "mcp.json")).notices == ("Not used here: auth.",)


@pytest.mark.parametrize("auth", [{"type": "basic"}, {"type": "oauth", "scopes": []}, "oauth", {"CLIENT_ID": "x"}])
def test_the_auth_of_other_clients_is_not_taken_for_ours(tmp_path: Path, auth: Any) -> None:
    spec = read(tmp_path, auth)
    assert spec.auth is None
    assert "'auth' needs a browser" in spec.notices[0]


def test_who_registers_a_server_gets_no_token_of_ours() -> None:
    spec = ServerSpec(id="thief", kind="url", url=URL, auth=ServerAuth(type="token_exchange", client_id="gw"))
    with pytest.raises(MisuseError, match="asks for tokens"):
        check_registration(spec, local_allowed=True)
    spec = ServerSpec(id="thief", kind="url", url=URL, tls=ServerTls(cert="a", key="b"))
    with pytest.raises(MisuseError, match="or certificates"):
        check_registration(spec, local_allowed=True)


CRM = "spiffe://corp.example/crm"


def test_files_of_tls_are_beside_the_configuration(tmp_path: Path) -> None:
    found = read(
        tmp_path, None, tls={"spiffe_id": CRM, "ca": "ca.pem", "cert": "/run/svid.pem", "key": "~/svid.key"}
    ).tls
    assert found == ServerTls(
        spiffe_id=CRM, ca=str(tmp_path / "ca.pem"), cert="/run/svid.pem", key=str(Path("~/svid.key").expanduser())
    )
    found = read(tmp_path, None, tls={"spiffe_id": CRM, "workload_api": "unix:///run/agent.sock"}).tls
    assert found == ServerTls(spiffe_id=CRM, workload_api="unix:///run/agent.sock")


@pytest.mark.parametrize(
    ("tls", "why"),
    [
        ({"spiffe": CRM}, "unknown key 'spiffe'"),
        ({"spiffe_id": "https://crm"}, "'spiffe_id' is 'https://crm'"),
        ({"spiffe_id": CRM}, "without 'ca'"),
        ({"cert": "a.pem"}, "'cert' without 'key'"),
        ({"workload_api": "unix:///x"}, "without 'spiffe_id'"),
        ({"spiffe_id": CRM, "workload_api": "tcp://x"}, "no unix socket"),
        ({"spiffe_id": CRM, "workload_api": "unix:///x", "ca": "a"}, "beside files"),
        ({"ca": "secret:ca"}, "a secret is named here"),
        (7, "'tls' is a number"),
    ],
)
def test_tls_that_cannot_be_meant_is_refused_where_it_stands(tmp_path: Path, tls: Any, why: str) -> None:
    with pytest.raises(MisuseError, match=r"line 1, key mcpServers\.desk\.tls") as refused:
        read(tmp_path, None, tls=tls)
    assert why in str(refused.value)


def test_tls_needs_an_address_with_tls(tmp_path: Path) -> None:
    (tmp_path / "mcp.json").write_text('{"mcpServers": {"desk": {"url": "http://x.example/mcp", "tls": {"ca": "a"}}}}')
    with pytest.raises(MisuseError, match="address without TLS"):
        only(read_configuration(tmp_path / "mcp.json"))
