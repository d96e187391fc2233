"""A whole workbench whose calls, lists and approvals a real OPA decides."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

import workbench
from tests.policy.conftest import opa_binary
from tests.policy.test_policy_opa import free_port, running
from workbench.api import build_app
from workbench.client import Workbench
from workbench.client.embedded import EmbeddedBackend
from workbench.policy.engines.opa_engine import OpaEngine
from workbench.policy.rego import rego_engine

__all__ = ["opa_binary"]

MODERN = "2026-07-28"
DATA = {
    "approvals": {"servers": {"payments": {"approvers": 2}}, "tools": {"crm.delete": {"roles": ["manager"]}}},
    "budgets": {
        "default": {"tokens_per_day": 7},
        "tenants": {"acme": {"cents_per_day": 5}},
        "people": {"acme": {"bob": {"tokens_per_run": 3}}},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "rules"
    made.mkdir()
    for name, content in rego_engine.PolicyFiles(None).read().items():
        (made / name).write_bytes(content)
    shipped = msgspec.json.decode((made / "data.json").read_bytes())
    shipped["workbench"] |= DATA
    (made / "data.json").write_bytes(msgspec.json.encode(shipped))
    return made


def listed(wb: Workbench, method: str, token: str) -> Any:
    assert isinstance(wb._backend, EmbeddedBackend)
    app = build_app(wb._backend.platform)
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    headers = {"authorization": f"Bearer {token}", "mcp-protocol-version": MODERN, "mcp-method": method,
               "accept": "application/json, text/event-stream"}  # fmt: skip
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": meta}}

    async def send() -> Any:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8800") as client:
            return (await client.post("/mcp", headers=headers, json=body)).json()["result"]

    return wb._loop.portal.call(send)


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
def test_a_real_opa_decides_calls_lists_and_whose_yes_is_needed(
    opa_binary: str,
    folder: Path,
    tmp_path: Path,
) -> None:
    port = free_port()
    with (
        running(opa_binary, folder, port),
        workbench.open(
            home=tmp_path / "home", servers=("crm", "payments"), attach=False, opa_url=f"http://127.0.0.1:{port}"
        ) as wb,
    ):
        assert isinstance(wb._backend, EmbeddedBackend)
        platform = wb._backend.platform
        assert isinstance(platform.policy.engine, OpaEngine)
        platform.policy.engine.client._timeout = 5.0  # on a machine that may be busy
        assert wb.call("crm.search_customers", query="smith").ok
        everything = {tool["name"] for tool in listed(wb, "tools/list", platform.access.local_key())["tools"]}
        assert {name.replace("__", ".", 1) for name in everything} == {tool.qualified for tool in wb.tools()}
        assert "resources" in listed(wb, "server/discover", platform.access.local_key())["capabilities"]
        _, viewer = platform.access.create_key("max", roles=["employee"])
        assert {name.partition("__")[0] for name in everything} == {"crm", "payments"}
        seen = {tool["name"] for tool in listed(wb, "tools/list", viewer)["tools"]}
        assert "crm__search_customers" in seen
        assert "payments__refund_payment" not in seen
        refund: dict[str, Any] = {"payment_id": "Y-000001", "reason": "wrong"}
        assert wb.call("payments.refund_payment", **refund).kind == "approval_required"
        (waiting,) = wb.approvals()
        assert waiting.approvers == 2, "the data of the rules that OPA has, not of those here"
        for name in ("ann", "bob"):
            caller = platform.access.authenticate("Bearer " + platform.access.create_key(name, roles=["manager"])[1])
            wb._loop.portal.call(lambda who=caller: platform.decide(waiting.id, True, who, via="cli"))
        assert wb.call("payments.refund_payment", **refund).ok


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.timeout(1200)
async def test_a_real_opa_and_the_embedded_engine_agree_on_approvers_and_budgets(
    opa_binary: str,
    folder: Path,
) -> None:
    from workbench.policy.rego.opa_client import OpaClient

    rng, port = random.Random(8), free_port()
    here = rego_engine.RegoPolicy(rego_engine.PolicyFiles(folder).read(), str(folder))
    with running(opa_binary, folder, port):
        opa = OpaClient(f"http://127.0.0.1:{port}", timeout=5.0)
        answers = set()
        for _ in range(300):
            server, tool = rng.choice(["crm", "payments", 'qu"ote']), rng.choice(["delete", "find", "ü"])
            who = {"tenant": rng.choice(["acme", "globex", ""]), "subject": rng.choice(["ann", "bob", "a\\b"])}
            for entrypoint, document in (
                (rego_engine.APPROVERS, {**who, "server": server, "tool": f"{server}.{tool}"}),
                (rego_engine.BUDGETS, {**who, "roles": ["a"] * rng.randint(0, 2)}),
            ):
                theirs, _ = await opa.ask(entrypoint, document)
                assert theirs == here.ask(entrypoint, document), document
                answers.add(str(theirs))
        assert len(answers) >= 6
        await opa.close()
