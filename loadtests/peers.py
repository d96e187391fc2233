"""Other gateways, installed and started for a comparison: each in a folder of its own in the user's cache.

None is a requirement of anything here. One that is not installed, cannot be, or does not answer has a reason, which
stands in its row instead of a figure. They run in their fastest documented form for this client: stateless and plain
JSON where they have that, without limits of their own; authentication as they come.

docker/mcp-gateway is built from the Go module proxy. Where one of its modules cannot be had, a binary that was built
elsewhere serves as well, as `docker-mcp` in the folder of the others.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from loadtests.bench_gateway import Target

CACHE = Path.home() / ".cache" / "mcp-workbench" / "peers"
ARGUMENTS = {"a": 1, "b": 2}
STARTING = 90.0
"""Seconds until a gateway has to answer its first call."""

FASTMCP = """
import sys
from fastmcp.server import create_proxy
create_proxy(sys.argv[1]).run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), stateless_http=True,
                              json_response=True, show_banner=False, log_level="ERROR")
"""
LITELLM = """
mcp_servers:
  bare: {{url: "{url}", transport: http}}
general_settings: {{master_key: sk-bench}}
"""
DOCKER = "github.com/docker/mcp-gateway"
DOCKER_VERSION = "v0.43.3"
CATALOG = """
name: bench
registry:
  bare:
    type: remote
    title: bare
    description: bare
    remote: {{url: "{url}", transport_type: streamable-http}}
"""


class Unavailable(Exception):
    """The gateway cannot be measured here, and why."""


class Peer(NamedTuple):
    """One other gateway: how it is installed, and how it is started before the server at a URL."""

    name: str
    installed: Callable[[], bool]
    install: Callable[[], None]
    start: Callable[[str, Path], contextlib.AbstractContextManager[Target]]


def available(peer: Peer, *, install: bool) -> None:
    """Make sure that it is installed.

    Raises:
        Unavailable: it is not, or cannot be.
    """
    if peer.installed():
        return
    if not install:
        raise Unavailable("not installed; `python -m loadtests.bench_peers --install` does that")
    print(f"Installing {peer.name} …", file=sys.stderr)
    CACHE.mkdir(parents=True, exist_ok=True)
    peer.install()


@contextlib.contextmanager
def running(*command: str, cwd: Path, env: dict[str, str] | None = None) -> Iterator[int]:
    """A program that ends with the block; its process id."""
    with (cwd / "peer.log").open("w") as log:
        child = subprocess.Popen(command, cwd=cwd, env={**os.environ, **(env or {})}, stdout=log, stderr=log)
    try:
        yield child.pid
    finally:
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(15)
        child.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def post(port: int, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes]:
    """The status and the body of one POST; 0 when nothing answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return 0, b""
    finally:
        connection.close()


def until(ready: Callable[[], bool], log: Path) -> None:
    """Wait for a gateway.

    Raises:
        Unavailable: it does not come; with the last line of its log.
    """
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(0.5)
    lines = [line for line in (log / "peer.log").read_text(errors="replace").splitlines() if line.strip()]
    raise Unavailable(f"does not answer: {lines[-1][:120] if lines else 'it says nothing'}")


def run(*command: str, **more: Any) -> None:
    """Run one step of an installation.

    Raises:
        Unavailable: it failed; with its last line.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise Unavailable(f"cannot be installed here: {lines[-1].strip()[:160] if lines else command[0]}")


# --- those in Python


def environment(package: str) -> tuple[Callable[[], bool], Callable[[], None], Path]:
    """Whether a package is installed in a virtual environment of its own, how that is made, and its programs."""
    folder = CACHE / package.partition("[")[0]

    def install() -> None:
        run(sys.executable, "-m", "venv", "--clear", str(folder))
        run(str(folder / "bin" / "python"), "-m", "pip", "install", "-q", package)
        (folder / "installed").touch()

    return (folder / "installed").exists, install, folder / "bin"


def fastmcp() -> Peer:
    """FastMCP's documented default proxy."""
    installed, install, programs = environment("fastmcp")

    @contextlib.contextmanager
    def start(url: str, folder: Path) -> Iterator[Target]:
        port = free_port()
        (folder / "proxy.py").write_text(FASTMCP, encoding="utf-8")
        with running(str(programs / "python"), "proxy.py", url, str(port), cwd=folder) as pid:
            yield Target(port, (pid,), "add", ARGUMENTS, legacy=True)

    return Peer("FastMCP proxy", installed, install, start)


def litellm() -> Peer:
    """The proxy of LiteLLM, without a database."""
    installed, install, programs = environment("litellm[proxy]")

    @contextlib.contextmanager
    def start(url: str, folder: Path) -> Iterator[Target]:
        port = free_port()
        (folder / "litellm.yaml").write_text(LITELLM.format(url=url), encoding="utf-8")
        command = (str(programs / "litellm"), "--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port))
        with running(*command, cwd=folder) as pid:
            yield Target(port, (pid,), "bare-add", ARGUMENTS, "sk-bench", legacy=True)

    return Peer("LiteLLM", installed, install, start)


def contextforge() -> Peer:
    """ContextForge on SQLite with one worker, its rate limit off."""
    installed, install, programs = environment("mcp-contextforge-gateway")

    @contextlib.contextmanager
    def start(url: str, folder: Path) -> Iterator[Target]:
        port, key = free_port(), secrets.token_urlsafe(40)
        env = {
            "DATABASE_URL": "sqlite:///./mcp.db", "JWT_SECRET_KEY": key,
            "AUTH_ENCRYPTION_SECRET": secrets.token_urlsafe(40), "PLATFORM_ADMIN_EMAIL": "admin@example.com",
            "PLATFORM_ADMIN_PASSWORD": secrets.token_urlsafe(16) + "-A1!", "LOG_LEVEL": "ERROR",
            "BASIC_AUTH_PASSWORD": secrets.token_urlsafe(16), "ADMIN_REQUIRE_PASSWORD_CHANGE_ON_BOOTSTRAP": "false",
            "SSRF_ALLOW_LOCALHOST": "true", "SSRF_ALLOW_PRIVATE_NETWORKS": "true", "RATE_LIMITING_ENABLED": "false",
        }  # fmt: skip
        maker = (str(programs / "python"), "-m", "mcpgateway.utils.create_jwt_token", "--username", "admin@example.com")
        with running(
            str(programs / "mcpgateway"), "--host", "127.0.0.1", "--port", str(port), cwd=folder, env=env
        ) as pid:
            made = subprocess.run(
                [*maker, "--admin", "--exp", "600", "--secret", key],
                cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False,
            )  # fmt: skip
            token = made.stdout.strip().rpartition("\n")[2]
            about = {"name": "bare", "url": url, "transport": "STREAMABLEHTTP"}
            login = {"authorization": f"Bearer {token}"}
            until(lambda: post(port, "/gateways", about, login)[0] in (200, 201), folder)
            yield Target(port, (pid,), "bare-add", ARGUMENTS, token, legacy=True)

    return Peer("ContextForge", installed, install, start)


# --- the one in Go


def docker() -> Peer:
    """docker/mcp-gateway before a remote server: with sessions, for it has nothing else, and its bearer token."""
    program = CACHE / "docker-mcp"

    def install() -> None:
        go = shutil.which("go")
        if go is None:
            raise Unavailable("cannot be installed here: there is no Go")
        source = CACHE / "docker-mcp-gateway"
        env = {**os.environ, "GOPATH": str(CACHE / "go"), "GOFLAGS": "-modcacherw -buildvcs=false"}
        # not `go install`: the module replaces another one, which that does not allow
        run(go, "mod", "download", f"{DOCKER}@{DOCKER_VERSION}", env=env)
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(CACHE / "go" / "pkg" / "mod" / f"{DOCKER}@{DOCKER_VERSION}", source)
        run(go, "build", "-o", str(program), "./cmd/docker-mcp", cwd=source, env=env)

    @contextlib.contextmanager
    def start(url: str, folder: Path) -> Iterator[Target]:
        port, token = free_port(), secrets.token_hex(25)
        catalogs = folder / ".docker" / "mcp" / "catalogs"
        catalogs.mkdir(parents=True)
        (catalogs / "bench.yaml").write_text(CATALOG.format(url=url), encoding="utf-8")
        env = {
            "HOME": str(folder), "MCP_GATEWAY_AUTH_TOKEN": token, "DOCKER_MCP_IN_CONTAINER": "1",
            "DOCKER_MCP_ALLOW_INSECURE_REMOTE_URLS": "1",
        }  # fmt: skip
        command = (
            str(program), "gateway", "run", "--catalog", "bench.yaml", "--servers", "bare", "--static",
            "--transport", "streaming", "--host", "127.0.0.1", "--port", str(port),
        )  # fmt: skip
        with running(*command, cwd=folder, env=env) as pid:
            yield Target(port, (pid,), "add", ARGUMENTS, token, legacy=True, sessions=True)

    return Peer("docker/mcp-gateway", program.exists, install, start)


PEERS = (fastmcp, litellm, contextforge, docker)
