"""The harness is a real gateway: its rules, its record, its approvals; and it leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

from workbench.config import Settings
from workbench.events import MisuseError, RunDone
from workbench.registry import RpcError, ServerSpec
from workbench.testing import GatewayHarness, InMemoryServer, ScriptedProvider
from workbench.testing.fixtures import MakeGatewayHarness


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def make_shop() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("shop")
    erased: list[str] = []

    @server.tool(annotations=ToolAnnotations(destructive_hint=True))
    def erase(order: str) -> list[str]:
        """Erase an order."""
        erased.append(order)
        return erased

    @server.tool(annotations=ToolAnnotations(read_only_hint=True), meta={"workbench/scopes": ["shop:read"]})
    def look(order: str) -> str:
        """Look at an order."""
        return f"{order} of jane.roe@example.com"

    return server


async def test_a_call_is_decided_made_and_recorded() -> None:
    async with GatewayHarness({"calc": [add]}) as gateway:
        assert (await gateway.call("calc.add", {"a": 1, "b": 2})).data == {"result": 3}
        assert (await gateway.call("calc.add", {"a": 1, "b": "two"})).kind == "invalid"
        assert (await gateway.call("calc.ad", {})).kind == "not_found"
        assert gateway.outcomes() == ["ok", "invalid", "not_found"]
        record = gateway.recorded()[0]
        assert (record["server"], record["tool"]) == ("calc", "calc.add")


def test_the_same_without_coroutines() -> None:
    with GatewayHarness({"calc": [add], "shop": make_shop()}) as gateway:
        assert gateway.call("calc.add", {"a": 1, "b": 2}).data == {"result": 3}
        waiting = gateway.call("shop.erase", {"order": "7"}).details["approval"]
        assert gateway.approve(waiting).status == "approved"
        assert gateway.call("shop.erase", {"order": "7"}).data == {"result": ["7"]}
        other = gateway.call("shop.erase", {"order": "8"}).details["approval"]
        assert gateway.deny(other, note="keep it").status == "denied"
        assert gateway.outcomes() == ["ok", "approval_required", "ok", "approval_required"]
        assert gateway.workbench.sql("select count(*) as n from tool_calls")["n"].tolist() == [4]
        assert gateway.owner == gateway.harness.owner


def test_a_question_without_coroutines() -> None:
    with GatewayHarness({"calc": [add]}, provider=ScriptedProvider("Three.")) as gateway:
        assert gateway.ask("What is one and two?").answer == "Three."
        assert [record["data"]["question"] for record in gateway.recorded("run")] == ["What is one and two?"]


async def test_callers_may_do_what_their_keys_say() -> None:
    async with GatewayHarness({"shop": InMemoryServer(make_shop(), trust="bundled")}) as gateway:
        guest = gateway.caller(scopes=["crm:read"], subject="bob")
        denied = await gateway.call("shop.look", {"order": "7"}, caller=guest)
        assert (denied.kind, denied.details["missing_scopes"]) == ("denied", ["shop:read"])
        clerk = gateway.caller(scopes=["shop:read"])
        seen = await gateway.call("shop.look", {"order": "7"}, caller=clerk)
        assert seen.ok
        assert "jane.roe" not in str(seen.data), "personal data is withheld"
        assert [record["user"] for record in gateway.recorded()] == ["bob", "ann"]


async def test_a_server_of_one_tenant_is_not_there_for_another() -> None:
    async with GatewayHarness({"calc": InMemoryServer([add], tenant="acme")}) as gateway:
        theirs = gateway.caller("owner", tenant="acme")
        assert (await gateway.call("calc.add", {"a": 1, "b": 2}, caller=theirs)).data == {"result": 3}
        assert (await gateway.call("calc.add", {"a": 1, "b": 2})).kind == "not_found"


async def test_the_planner_answers_where_no_provider_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-machine")
    monkeypatch.setenv("WORKBENCH_PROVIDER", "openai")
    async with GatewayHarness({"calc": [add]}) as gateway:
        run = await gateway.ask("What is the weather?")
        assert run.started is not None
        assert run.started.provider == "planner"


async def test_another_provider_than_the_scripted_one_is_used_when_it_is_named() -> None:
    async with GatewayHarness(provider=ScriptedProvider(require_all=False)) as gateway:
        run = await gateway.ask("What is the weather?", provider="planner")
        assert isinstance(run.events[-1], RunDone)
        with pytest.raises(MisuseError, match="no provider 'planer'"):
            await gateway.ask("What is the weather?", provider="planer")


async def test_http_clients_are_served_without_a_port() -> None:
    async with GatewayHarness({"calc": [add]}) as gateway:
        transport = httpx2.ASGITransport(app=gateway.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8800") as client:
            headers = {"Authorization": f"Bearer {gateway.key('owner')}"}
            found = await client.get("/api/platform/tools", headers=headers)
            assert [tool["name"] for tool in found.json()["tools"]] == ["add"]
            assert (await client.get("/api/platform/tools")).status_code == 401


def processes_and_ports() -> tuple[set[int], set[Any]]:
    """The children of this process, and where it listens."""
    this = psutil.Process()
    listening = {found.laddr for found in this.net_connections("inet") if found.status == psutil.CONN_LISTEN}
    return {child.pid for child in this.children(recursive=True)}, listening


async def test_no_process_is_started_and_no_port_is_opened() -> None:
    before = processes_and_ports()
    async with GatewayHarness({"calc": [add]}) as gateway:
        await gateway.call("calc.add", {"a": 1, "b": 2})
        assert processes_and_ports() == before


async def test_a_temporary_state_folder_goes_and_one_that_was_given_stays(tmp_path: Path) -> None:
    async with GatewayHarness() as gateway:
        temporary = gateway.settings.home
        assert temporary.is_dir()
    assert not temporary.exists()
    async with GatewayHarness({"calc": [add]}, home=tmp_path / "kept") as gateway:
        await gateway.call("calc.add", {"a": 1, "b": 2})
    assert (tmp_path / "kept" / "audit").is_dir()


async def test_settings_are_the_defaults_with_what_is_given(settings: Settings) -> None:
    async with GatewayHarness(rate_per_minute=7) as gateway:
        assert gateway.settings.rate_per_minute == 7
    async with GatewayHarness(base=settings, rate_per_minute=7) as gateway:
        assert (gateway.settings.home, gateway.settings.rate_per_minute) == (settings.home, 7)
    with pytest.raises(MisuseError, match="rate_per_minute"):
        await GatewayHarness(rate_per_minute=-7).__aenter__()


async def test_a_harness_that_is_not_open_or_was_opened_before_says_so() -> None:
    harness = GatewayHarness()
    with pytest.raises(MisuseError, match="not open"):
        await harness.call("calc.add", {})
    async with harness:
        pass
    with pytest.raises(MisuseError, match="opened before"), harness:
        pass


async def test_an_in_memory_server_speaks_the_protocol_of_connections() -> None:
    connection = InMemoryServer([add]).connect("calc")
    await connection.open()
    try:
        listed = await connection.request("tools/list", {}, timeout=5)
        assert [tool["name"] for tool in listed["tools"]] == ["add"]
        with pytest.raises(RpcError):
            await connection.request("tools/none", {}, timeout=5)
    finally:
        await connection.close()


def test_what_is_no_server_is_refused() -> None:
    with pytest.raises(MisuseError, match="list of functions"):
        InMemoryServer(3).connect("calc")  # type: ignore[arg-type]


async def test_connections_and_functions_that_make_them_stand_for_servers() -> None:
    made: list[str] = []

    def connect() -> Any:
        made.append("connection")
        return InMemoryServer([add]).connect("calc")

    async with GatewayHarness({"one": connect, "two": InMemoryServer([add]).connect("two")}) as gateway:
        assert (await gateway.call("one.add", {"a": 1, "b": 2})).ok
        assert (await gateway.call("two.add", {"a": 1, "b": 2})).ok
    assert made == ["connection"]


async def test_a_server_that_is_specified_under_another_id_is_refused() -> None:
    program = "import sys; print(sys.stdin.readline())"
    spec = ServerSpec(id="odd", kind="command", stdio=True, command=(sys.executable, "-c", program))
    with pytest.raises(MisuseError, match="'other' is specified as 'odd'"):
        await GatewayHarness({"other": spec}).__aenter__()


async def test_the_fixture_makes_gateways_over_one_state_folder(
    gateway_harness: MakeGatewayHarness, tmp_path: Path
) -> None:
    async with gateway_harness({"calc": [add]}) as gateway:
        key = gateway.key("owner", subject="zoe")
        assert gateway.settings.home.is_relative_to(tmp_path)
    async with gateway_harness({"calc": [add]}) as gateway:
        assert gateway.access.authenticate(f"Bearer {key}").subject == "zoe"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_project_of_its_own_uses_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["workbench.testing.fixtures"]\n')
    (tmp_path / "test_add.py").write_text(
        "def add(a: int, b: int) -> int:\n    return a + b\n\n"
        "def test_add(gateway_harness):\n    with gateway_harness({'calc': [add]}) as gateway:\n"
        "        assert gateway.call('calc.add', {'a': 1, 'b': 2}).data == {'result': 3}\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_neither_the_package_nor_the_kit_needs_pytest() -> None:
    code = "import sys, workbench, workbench.testing; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
