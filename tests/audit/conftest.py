"""What the tests of the record share: records to write, logs to write them to, readers to find them with."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from workbench.audit import AuditLog, Reader
from workbench.audit.format import records
from workbench.config import Settings
from workbench.events import Call, Caller, Decision, Outcome, Tool

Record = dict[str, Any]
MakeCall = Callable[..., Record]
OpenLog = Callable[..., AbstractAsyncContextManager[AuditLog]]
OpenReader = Callable[..., Reader]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mcp-workbench-tests"


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An object store of its own process: moto's server, in an environment of its own."""
    uv, home = shutil.which("uv"), CACHE / "moto"
    if uv is None:
        pytest.skip("uv is needed to install the object store")
    if not (home / "bin" / "moto_server").exists():
        subprocess.run([uv, "venv", "-q", str(home)], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", str(home / "bin/python"), "moto[server]"], check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with (tmp_path_factory.mktemp("moto") / "log").open("wb") as log:
        process = subprocess.Popen([str(home / "bin" / "moto_server"), "-p", str(port)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{url}/moto-api/", timeout=5).close()
                break
            except urllib.error.URLError:
                assert time.monotonic() < deadline
                assert process.poll() is None
        yield url
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def home(settings: Settings) -> Path:
    return settings.home


@pytest.fixture
def make_call() -> MakeCall:
    """A record of one call; keywords change what the tests care about."""

    def make(
        tenant: str = "acme",
        user: str = "ann",
        tool: str = "crm.find",
        kind: str = "ok",
        arguments: Any = None,
        result: Any = None,
        **more: Any,
    ) -> Record:
        server, _, name = tool.partition(".")
        arguments = {"q": "smith"} if arguments is None else arguments
        call = Call(caller=Caller(tenant=tenant, subject=user), tool=tool, arguments=arguments, **more)
        outcome = Outcome(
            kind=kind,  # type: ignore[arg-type]
            call=call.id,
            tool=tool,
            server=server,
            message="" if kind == "ok" else f"it was {kind}",
            latency_us=1500,
            upstream_us=900,
            decision=Decision(allow=kind != "denied", rule="tool_scopes.allow", revision="r1", engine="rego"),
        )
        return records.call(
            call,
            Tool(server=server, name=name, definition_hash="d1"),
            outcome,
            args_redacted=arguments,
            response_redacted={"content": [{"type": "text", "text": "found"}]} if result is None else result,
        )

    return make


@pytest.fixture
def open_log(settings: Settings) -> OpenLog:
    """A log on the state folder of the test; keywords are settings."""

    @asynccontextmanager
    async def opened(*, witness: Any = None, **changes: Any) -> AsyncIterator[AuditLog]:
        changes = {"audit_min_free_bytes": 1, **changes}
        log = await AuditLog.open(settings.replace(**changes), witness=witness)
        try:
            yield log
        finally:
            await log.close()

    return opened


@pytest.fixture
def open_reader(home: Path) -> Iterator[OpenReader]:
    made: list[Reader] = []

    def opened(**options: Any) -> Reader:
        made.append(Reader(home, **options))
        return made[-1]

    yield opened
    for reader in made:
        reader.close()
