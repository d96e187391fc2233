"""`workbench up` with a listener for workloads, as it is started from a terminal."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from tests.authority import Authority
from tests.platforms import up

AGENT = "spiffe://corp.example/agent"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_workload_calls_a_tool_with_nothing_but_its_certificate(tmp_path: Path) -> None:
    corp, home = Authority("corp.example"), tmp_path / "home"
    cert, key = corp.svid("spiffe://corp.example/gateway").write(tmp_path / "tls", "gateway")
    (tmp_path / "tls" / "ca.pem").write_text(corp.pem)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = (
        "--servers", "products", "--tls-port", str(port), "--tls-cert", str(cert), "--tls-key", str(key),
        "--client-ca", str(tmp_path / "tls" / "ca.pem"),
    )  # fmt: skip
    with up(home, *options):
        made = [sys.executable, "-m", "workbench", "--home", str(home), "access", "clients", "create", "Agent"]
        subprocess.run([*made, "--role", "employee", "--workload", AGENT], check=True, capture_output=True, timeout=60)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=corp.pem)
        context.load_cert_chain(*corp.svid(AGENT).write(tmp_path / "tls", "agent"))
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=30)
        call = {"tool": "products.search_products", "arguments": {"query": "a"}}
        connection.request("POST", "/api/platform/call", json.dumps(call), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        assert response.status == 200, answer
        words = ["sql", "select distinct user_id, outcome from tool_calls", "--json"]
        sql = [sys.executable, "-m", "workbench", "--home", str(home), *words]
        rows = subprocess.run(sql, check=True, capture_output=True, text=True, timeout=60).stdout
        assert AGENT in rows
        assert answer["kind"] in ("ok", "invalid"), answer
        assert f"https://127.0.0.1:{port}/mcp" in (tmp_path / "up.log").read_text()
