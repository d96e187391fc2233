"""What real servers are run against: files, a repository, a page, a browser, databases."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from tests import postgres
from tests.interop.node_tools import CACHE, CHROMIUM, Node
from tests.servers.test_tables_files import workbook
from tests.waiting import soon

PAGE: Final = "<!doctype html><title>The cellar door</title><h1>The cellar door</h1><p>It is green.</p>"
_FERRETDB: Final = "github.com/FerretDB/FerretDB@v1.24.2"

_GO_FOLDERS: Final = os.pathsep.join(("/usr/local/go/bin", "/usr/lib/go/bin", "/opt/go/bin", "/opt/homebrew/bin"))
"""Where Go is installed; a shell that reads no profile has none of it on its PATH."""


@contextmanager
def surroundings(folder: Path) -> Iterator[dict[str, str]]:
    """Name → value of everything that this machine provides; a MariaDB that it lacks is an address without one."""
    folder.mkdir(parents=True)
    (folder / "note.txt").write_text("the cellar door is green\n")
    (folder / "page.html").write_text(PAGE)
    with ExitStack() as stack:
        found = {
            "FOLDER": str(folder),
            "REPOSITORY": str(_repository(folder / "repository")),
            "WORKBOOK": str(_workbook(folder / "doors.xlsx")),
            "KUBECONFIG": str(_kubeconfig(folder / "kubeconfig")),
            "PAGE": stack.enter_context(_page()),
            "POSTGRES": _with_host(stack.enter_context(postgres.server())),
        }
        if CHROMIUM is not None:
            found["CHROMIUM"] = CHROMIUM
        running = stack.enter_context(_mariadb(folder))
        found["MYSQL_PORT"] = str(running or 1)
        found |= _expected("MYSQL", bool(running), r"\b42\b", "ECONNREFUSED|connect")
        if running := stack.enter_context(_ferretdb(folder)):
            found["MONGODB"] = f"mongodb://127.0.0.1:{running}/"
        yield found


def node_on_path(folder: Path, node: Node) -> Path:
    """A folder with `node`, `npm` and `npx`, as an installation of Node has it."""
    folder.mkdir(parents=True)
    (folder / "node").symlink_to(node.program)
    for name in ("npm", "npx"):
        (folder / name).symlink_to(node.npm.with_name(f"{name}-cli.js"))
    return folder


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _expected(name: str, runs: bool, answer: str, refusal: str) -> dict[str, str]:
    return {f"{name}_ANSWERS": answer if runs else "", f"{name}_REFUSES": "" if runs else refusal}


def _with_host(url: str) -> str:
    """The URL of a server on a socket, with a host as parsers of web addresses want one."""
    return url.replace("@/", "@localhost/")


def _repository(folder: Path) -> Path:
    folder.mkdir()
    (folder / "door.txt").write_text("green\n")
    person = ("-c", "user.name=Ada Example", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
    for command in (("init", "-q"), ("add", "."), (*person, "commit", "-q", "-m", "Paint the cellar door")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    return folder


def _workbook(path: Path) -> Path:
    workbook(path, {"Doors": [["door", "colour"], ["cellar", "green"]]})
    return path


def _kubeconfig(path: Path) -> Path:
    path.write_text(
        "apiVersion: v1\nkind: Config\ncurrent-context: none\n"
        "clusters: [{name: none, cluster: {server: 'http://127.0.0.1:1'}}]\n"
        "contexts: [{name: none, context: {cluster: none, user: none}}]\nusers: [{name: none, user: {}}]\n"
    )
    return path


class _Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PAGE.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on stderr."""


@contextmanager
def _page() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@contextmanager
def _mariadb(folder: Path) -> Iterator[int]:
    """The port of a MariaDB with an empty database `test`; 0 where it is not installed."""
    if not (program := _found("mariadbd")) or not (install := _found("mariadb-install-db")):
        yield 0
        return
    data = folder / "mariadb"
    user = "--user=root" if os.geteuid() == 0 else "--skip-name-resolve"
    options = ["--no-defaults", f"--datadir={data}", user]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([install, *options, "--auth-root-authentication-method=normal"], check=True, **quiet)
    port = free_port()
    socket_file = f"--socket={data}/s"
    where = ["--bind-address=127.0.0.1", f"--port={port}", socket_file, "--skip-grant-tables", "--skip-networking=0"]
    with _daemon([program, *options, *where], port):
        yield port


@contextmanager
def _ferretdb(folder: Path) -> Iterator[int]:
    """The port of a FerretDB, which speaks as a MongoDB does; 0 where there is none and no Go to build it."""
    if not (program := _ferretdb_program()):
        yield 0
        return
    state = folder / "ferretdb"
    state.mkdir()
    port = free_port()
    options = [
        f"--listen-addr=127.0.0.1:{port}",
        "--handler=sqlite",
        f"--sqlite-url=file:{state}/",
        f"--state-dir={state}",
        "--telemetry=disable",
        "--debug-addr=-",
    ]
    with _daemon([program, *options], port):
        yield port


def _ferretdb_program() -> str:
    """The path of FerretDB: installed, kept from an earlier run, or built now; "" when none of that works."""
    kept = CACHE / "go"
    if found := _found("ferretdb") or shutil.which("ferretdb", path=str(kept)):
        return found
    if not (go := shutil.which("go") or shutil.which("go", path=_GO_FOLDERS)):
        return ""
    kept.mkdir(parents=True, exist_ok=True)
    fetched = subprocess.run([go, "mod", "download", "-json", _FERRETDB], capture_output=True)
    if fetched.returncode:
        return ""
    with tempfile.TemporaryDirectory() as copied:
        source = Path(shutil.copytree(json.loads(fetched.stdout)["Dir"], Path(copied) / "source"))
        for folder in (source, source / "build/version"):
            folder.chmod(0o755)
        # its release writes the version into a file, without which it does not start
        (source / "build/version/version.txt").unlink(missing_ok=True)
        (source / "build/version/version.txt").write_text(_FERRETDB.partition("@")[2])
        command = [go, "build", "-buildvcs=false", "-tags=ferretdb_no_postgresql", "-o", str(kept), "./cmd/ferretdb"]
        built = subprocess.run(command, cwd=source, capture_output=True)
    return str(kept / "ferretdb") if built.returncode == 0 else ""


def _found(name: str) -> str:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin") or ""


@contextmanager
def _daemon(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        assert process.poll() is None, f"{command[0]} ended with {process.returncode}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        soon(listens, seconds=60)
        yield
    finally:
        process.kill()  # what it keeps is thrown away
        process.wait()
