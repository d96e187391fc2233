"""Who gets into the app, in a real browser: with a link, once, and nobody from another page."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.waiting import soon

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
STREAMLIT_PATHS = ("/", "/tools", "/_stcore/health", "/_stcore/host-config", "/_stcore/agent/mcp", "/media/a.csv")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], port: int, home: Path, log: Path) -> Iterator[str]:
    """A process that listens on `port`; what it prints goes to `log`."""
    environment = {**os.environ, "WORKBENCH_HOME": str(home), "PYTHONPATH": str(ROOT)}
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", *command], env=environment, stdout=file, stderr=file)
        try:
            soon(lambda: process.poll() is None and reachable(port), 60)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The app alone, without a platform; and where it prints its link."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    folder, port = tmp_path_factory.mktemp("sign-in"), free_port()
    log = folder / "app.log"
    command = ["workbench.serve.app_server", "--port", str(port)]
    with running(command, port, folder / "home", log) as origin:
        soon(lambda: "sign-in?token=" in log.read_text())
        yield origin, folder


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def new_link(app: tuple[str, Path]) -> str:
    from workbench.access.app_sessions import AppSessions

    return f"{app[0]}/sign-in?token={AppSessions(app[1] / 'home').new_link()}"


def test_the_link_that_is_printed_opens_the_app_and_works_once(app: tuple[str, Path], chromium: Any) -> None:
    link = re.search(r"http://\S+", (app[1] / "app.log").read_text())[0]  # type: ignore[index]
    first, second = chromium.new_context(), chromium.new_context()
    page = first.new_page()
    page.goto(link)
    page.get_by_text("The platform is not running").wait_for()
    (cookie,) = [c for c in first.cookies() if c["name"].startswith("workbench_app_")]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/")
    other = second.new_page()
    assert other.goto(link).status == 401
    assert other.goto(app[0]).status == 401
    first.close()
    second.close()


def test_without_a_session_a_browser_loads_nothing_of_it(app: tuple[str, Path], chromium: Any) -> None:
    context = chromium.new_context()
    page = context.new_page()
    answers: list[int] = []
    page.on("response", lambda response: answers.append(response.status))
    for path in STREAMLIT_PATHS:
        page.goto(app[0] + path)
    assert set(answers) == {401}
    assert "workbench app" in page.inner_text("body")
    context.close()


def test_a_page_of_another_origin_cannot_use_the_session(app: tuple[str, Path], chromium: Any) -> None:
    """Another port of the same host is the same site: the cookie is sent, so the origin has to be looked at."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = chromium.new_context()
    page = context.new_page()
    page.goto(new_link(app))
    page.get_by_text("The platform is not running").wait_for()
    try:
        page.goto(f"http://127.0.0.1:{server.server_port}/")
        opened = page.evaluate(
            """address => new Promise(done => {
                const socket = new WebSocket(address, ["streamlit"])
                socket.onopen = () => done("opened")
                socket.onclose = () => done("closed")
            })""",
            app[0].replace("http", "ws") + "/_stcore/stream",
        )
        loaded = page.evaluate(
            """address => new Promise(done => {
                const script = document.createElement("script")
                script.onload = () => done("loaded")
                script.onerror = () => done("refused")
                script.src = address
                document.head.append(script)
            })""",
            app[0] + "/_stcore/host-config",
        )
        framed = page.evaluate(
            """address => new Promise(done => {
                const frame = document.createElement("iframe")
                frame.onload = () => { try { done(frame.contentDocument ? "blank" : "refused") } catch { done("?") } }
                frame.src = address
                document.body.append(frame)
            })""",
            app[0],
        )
    finally:
        server.shutdown()
        server.server_close()
        context.close()
    assert (opened, loaded, framed) == ("closed", "refused", "refused")


def test_streamlit_that_is_started_without_the_guard_shows_nothing(tmp_path: Path, chromium: Any) -> None:
    port = free_port()
    command = [
        "streamlit", "run", str(ROOT / "dashboards" / "app.py"), "--server.headless=true",
        "--server.address=127.0.0.1", f"--server.port={port}",
    ]  # fmt: skip
    with running(command, port, tmp_path / "home", tmp_path / "app.log") as origin:
        context = chromium.new_context()
        page = context.new_page()
        page.goto(origin)
        page.get_by_text("Nobody is signed in").wait_for()
        assert "not running" not in page.inner_text("body")
        context.close()


def test_the_refusal_needs_no_browser(app: tuple[str, Path]) -> None:
    for path in STREAMLIT_PATHS:
        assert httpx2.get(app[0] + path).status_code == 401
    assert httpx2.get(app[0] + "/", headers={"Host": "evil.example"}).status_code == 421
