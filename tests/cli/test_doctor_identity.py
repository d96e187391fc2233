"""What `workbench doctor` says of certificates, tokens and secrets: where they come from, never what they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Authority
from workbench.cli.doctor import examine
from workbench.cli.security import examine_security
from workbench.policy import Policy
from workbench.policy.engines.opa_engine import OpaEngine

CORP = Authority("corp.example")
CRM, GATEWAY = "spiffe://corp.example/crm", "spiffe://corp.example/gateway"


def found(settings: Any, name: str) -> list[Any]:
    return [check for check in examine_security(settings) if check.name == name]


def test_the_listener_and_whom_it_lets_in_are_named(settings: Any, tmp_path: Path) -> None:
    assert found(settings, "TLS") == []
    cert, key = CORP.svid(GATEWAY).write(tmp_path / "tls", "gateway")
    (tmp_path / "ca.pem").write_text(CORP.pem)
    plain = settings.replace(tls_port="8843", tls_cert=cert, tls_key=key)
    (check,) = found(plain, "TLS")
    assert (check.verdict, GATEWAY in check.finding, "a key or a token" in check.finding) == ("ok", True, True)
    (check,) = found(plain.replace(tls_client_ca=tmp_path / "ca.pem"), "TLS")
    assert "clients need an X.509-SVID" in check.finding
    key.chmod(0o644)
    checks = [check for check in examine_security(plain) if check.verdict == "problem"]
    assert any("Others may read" in check.finding for check in checks)


def test_what_each_server_gets_to_see_is_named(settings: Any, tmp_path: Path) -> None:
    url = "https://10.0.0.7:8443/mcp"
    servers = {
        "plain": {"url": url},
        "header": {"url": url, "headers": {"X-Key": "${secret:env:DESK}"}},
        "own": {"url": url, "auth": {"type": "client_credentials", "client_id": "gw", "issuer": "https://idp.example"}},
        "each": {"url": url, "auth": {"type": "token_exchange", "client_id": "gw"}},
        "mutual": {"url": url, "tls": {"spiffe_id": CRM, "workload_api": "unix:///run/agent.sock"}},
    }
    config = tmp_path / "mcp.json"
    config.write_text(json.dumps({"mcpServers": servers}))
    said = {c.finding.split()[0]: c.finding for c in found(settings.replace(mcp_config=config), "foreign server")}
    assert "no credential" in said["plain"]
    assert "it is sent X-Key" in said["header"]
    assert "a token of the gateway's own from https://idp.example (client gw, private_key_jwt)" in said["own"]
    assert "a token for each caller from the issuer that it names" in said["each"]
    assert f"it has to be {CRM} and sees our X.509-SVID" in said["mutual"]


def test_a_secret_that_cannot_be_had_is_a_problem(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret:nowhere")
    (check,) = [c for c in examine(settings) if c.name == "secrets"]
    assert (check.verdict, "secret:nowhere" in check.finding) == ("problem", True)
    monkeypatch.setenv("SOME_TOKEN", "secret:env:OTHER_TOKEN")
    monkeypatch.setenv("OTHER_TOKEN", "canary-canary")
    later = settings.replace(secrets_ttl=200.0)  # other settings, so nothing is remembered
    (check,) = [c for c in examine(later) if c.name == "secrets"]
    assert (check.verdict, check.finding) == ("ok", "secret:env:OTHER_TOKEN from env")
    assert "canary" not in repr([*examine(settings), *examine_security(settings)])


def test_settings_may_name_their_secrets(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_WORD", "canary-redis")
    monkeypatch.setenv("OPA_WORD", "canary-opa")
    monkeypatch.setenv("WORKBENCH_OPA_TOKEN", "secret:OPA_WORD")
    named = settings.replace(redis_url="redis://:${secret:REDIS_WORD}@cache:6379/0", opa_url="http://127.0.0.1:1")
    policy = Policy(named)
    try:
        client: Any = policy.limits
        assert "canary-redis" in repr(client.script.client.connection_pool.connection_kwargs)
        assert isinstance(policy.engine, OpaEngine)
        assert "canary-opa" in repr(vars(policy.engine.client))
    finally:
        policy.close()
    assert "canary" not in repr(named)
