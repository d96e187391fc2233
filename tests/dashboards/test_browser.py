"""The whole platform in a real browser: what a person does, from a click to the record."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import workbench
from workbench.access.app_sessions import AppSessions

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUESTION = (
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, "
    "do they have any open support tickets, and what does their payment history look like?"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser") / "home"


@pytest.fixture(scope="module")
def attached(home: Path) -> Iterator[workbench.Workbench]:
    """A platform with its app, started as a user starts it, and a workbench attached to it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    folder = home.parent
    config = folder / "mcp.json"
    reactor = {"command": sys.executable, "args": [str(Path(__file__).with_name("reactor.py"))]}
    config.write_text(json.dumps({"mcpServers": {"reactor": reactor}}))
    command = [sys.executable, "-m", "workbench", "--home", str(home), "up", "--port", "auto", "--config", str(config)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    log = (folder / "up.log").open("w+")
    process = subprocess.Popen(
        command, stdout=log, stderr=log, env={**os.environ, "WORKBENCH_PROVIDER": "planner", "PYTHONPATH": path}
    )
    try:
        deadline = time.monotonic() + 90
        while not (home / "run.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail((folder / "up.log").read_text())
            time.sleep(0.1)
        with workbench.open(home=home, attach=True, source="app") as bench:
            yield bench
    finally:
        process.terminate()
        process.wait(20)
        log.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


def sign_in(page: Any, home: Path) -> None:
    """Open a link as `workbench app` prints it."""
    assert page.goto(f"/sign-in?token={AppSessions(home).new_link()}").status == 200
    page.wait_for_url(re.compile(r"^[^?]*/$"))


@pytest.fixture
def page(attached: workbench.Workbench, home: Path, chromium: Any) -> Iterator[Any]:
    """A fresh page of the app; the test fails when the app raised anywhere on the way."""
    assert attached.running is not None
    context = chromium.new_context(base_url=attached.running.app_url, viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(45_000)
    found = context.new_page()
    sign_in(found, home)
    yield found
    assert found.get_by_test_id("stException").all_inner_texts() == []
    context.close()


def test_a_tool_is_called_with_the_keyboard(page: Any, attached: workbench.Workbench) -> None:
    page.goto("/tools")
    page.get_by_placeholder("Search by words or meaning").fill("find customers by email")
    page.get_by_role("button", name="crm.search_customers").click()
    page.get_by_role("textbox", name="email").fill("john.smith@acme.com")
    page.keyboard.press("Control+Enter")
    page.get_by_role("tab", name="CLI").click()
    page.get_by_text("workbench call crm.search_customers email=john.smith@acme.com").wait_for()
    assert "args=" in page.url
    found = attached.sql("select outcome, source from tool_calls where tool = 'search_customers'")
    assert found.to_dict("records") == [{"outcome": "ok", "source": "app"}]


def test_a_question_from_home_is_answered_with_its_steps(page: Any, attached: workbench.Workbench) -> None:
    page.goto("/")
    page.get_by_role("button", name=re.compile("^.*Customer john.smith@acme.com")).click()
    page.get_by_text(re.compile(r"\d+ steps in")).click()
    page.get_by_text(re.compile(r"crm\.search_customers · .* ms · ok")).first.wait_for()
    page.wait_for_url("**/ask?*run=*")
    run = attached.recorded_run(re.search(r"run=([\w-]+)", page.url)[1])  # type: ignore[index]
    assert run is not None
    assert run.ok
    assert "subscription renewal failed last week" in run.events[0].question


def test_a_linked_run_opens_in_another_browser(page: Any, attached: workbench.Workbench) -> None:
    run = attached.ask(QUESTION)
    page.goto(f"/ask?run={run.id}")
    page.get_by_text(run.id).wait_for()
    page.get_by_role("link", name="Calls of this run in the audit").first.click()
    page.get_by_test_id("stDataFrame").first.wait_for()
    assert f"run={run.id}" in page.url


def test_a_row_of_the_audit_opens_the_call(page: Any, attached: workbench.Workbench) -> None:
    call = attached.call("crm.count_customers", status="trial").outcome.call
    page.goto("/audit?named=count_customers")
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    page.wait_for_timeout(500)  # the rows are painted on a canvas
    box = table.bounding_box()
    page.mouse.click(box["x"] + 14, box["y"] + 50)
    page.get_by_role("tab", name="Decision").click()
    page.get_by_text("tool_scopes.allow", exact=True).wait_for()
    assert f"call={call}" in page.url
    page.reload()  # the address alone brings it back
    page.get_by_role("tab", name="Decision").click()
    page.get_by_text("tool_scopes.allow", exact=True).wait_for()


def test_going_back_brings_the_tool_before_back(page: Any) -> None:
    page.goto("/tools?tool=crm.get_customer")
    page.get_by_role("heading", name="crm.get_customer").wait_for()
    page.get_by_role("button", name="count_customers").click()
    page.get_by_role("heading", name="crm.count_customers").wait_for()
    page.go_back()
    page.get_by_role("heading", name="crm.get_customer").wait_for()


def test_stop_cancels_the_run_and_its_call(page: Any, attached: workbench.Workbench) -> None:
    page.goto("/ask")
    page.get_by_test_id("stChatInputTextArea").fill("What is the pressure of the reactor?")
    page.keyboard.press("Enter")
    page.get_by_text("reactor.reactor_pressure").first.wait_for()
    page.get_by_test_id("stBaseButton-secondary").filter(has_text="Stop").first.click()
    page.get_by_text(re.compile(r"in .* · cancelled")).wait_for()
    page.get_by_role("button", name=re.compile("^.*Stop")).wait_for(state="detached")
    assert attached.status()["runs"] == []
    found = attached.sql("select outcome from tool_calls where tool = 'reactor_pressure'")
    assert found["outcome"].tolist() == ["cancelled"]


def test_stop_cancels_a_call_that_takes_long(page: Any, attached: workbench.Workbench) -> None:
    page.goto("/tools?tool=reactor.reactor_pressure")
    page.get_by_role("button", name="Run", exact=False).first.click()
    page.get_by_text("reactor.reactor_pressure is running").wait_for()
    page.get_by_test_id("stBaseButton-secondary").filter(has_text="Stop").first.click()
    page.get_by_text("Stopped.").wait_for()
    deadline = time.monotonic() + 10
    query = "select outcome from tool_calls where tool = 'reactor_pressure' order by ts desc limit 1"
    while (found := attached.sql(query)["outcome"].tolist()) != ["cancelled"] and time.monotonic() < deadline:
        pass
    assert found == ["cancelled"]


def test_a_destructive_call_is_approved_where_it_was_made(page: Any, attached: workbench.Workbench) -> None:
    meetings = attached.call("calendar.list_meetings", status="scheduled", limit=1).data["meetings"]
    arguments = json.dumps({"meeting_id": meetings[0]["meeting_id"], "reason": "clash"})
    page.goto(f"/tools?tool=calendar.cancel_meeting&args={arguments}")
    page.get_by_role("button", name="Run", exact=False).first.click()
    page.get_by_role("button", name="Decide now").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("calendar.cancel_meeting").wait_for()
    dialog.get_by_role("button", name="Approve and run").click()
    dialog.wait_for(state="detached")
    page.get_by_text("cancelled: clash").first.wait_for()
    assert attached.approvals() == []


def test_a_killed_server_is_seen_on_home(page: Any, attached: workbench.Workbench) -> None:
    page.goto("/")
    card = page.locator(".st-key-server-files")
    card.get_by_text("● ready").wait_for()
    os.kill(next(s.pid for s in attached.servers() if s.id == "files"), 9)
    card.get_by_text("1 restart").wait_for()
    card.get_by_text("● ready").wait_for()


def test_the_app_waits_for_a_platform_and_notices_when_it_goes(chromium: Any, tmp_path: Path) -> None:
    environment = {**os.environ, "WORKBENCH_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    app = subprocess.Popen(
        [sys.executable, "-m", "workbench.serve.app_server", "--port", str(port)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    up: subprocess.Popen[bytes] | None = None
    context = chromium.new_context(base_url=f"http://127.0.0.1:{port}")
    context.set_default_timeout(45_000)
    page = context.new_page()
    try:
        wait_for(lambda: reachable(port))
        sign_in(page, tmp_path / "home")
        page.goto("/audit")
        page.get_by_text("The platform is not running").wait_for()
        page.get_by_text("workbench up").first.wait_for()
        command = [sys.executable, "-m", "workbench", "up", "--port", "auto", "--no-app", "--servers", "crm"]
        up = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        page.get_by_text("No calls here").wait_for()  # the same page goes on by itself
        up.terminate()
        up.wait(20)
        page.get_by_text("The platform is not running").wait_for()
        assert page.get_by_test_id("stException").all_inner_texts() == []
    finally:
        context.close()
        for process in (up, app):
            if process is not None:
                process.terminate()
                process.wait(20)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come up within a minute"
        time.sleep(0.1)


def reachable(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_every_screen_fits_a_phone(chromium: Any, attached: workbench.Workbench, home: Path) -> None:
    assert attached.running is not None
    context = chromium.new_context(base_url=attached.running.app_url, viewport={"width": 390, "height": 844})
    page = context.new_page()
    sign_in(page, home)
    for path in ("/", "/tools?tool=crm.search_customers", "/ask", "/audit", "/audit?view=SQL", "/approvals"):
        page.goto(path)
        page.get_by_role("heading", level=1).first.wait_for()
        page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')")
        main = page.get_by_test_id("stMain").or_(page.get_by_test_id("stAppScrollToBottomContainer")).first
        wide = main.evaluate("element => element.scrollWidth")
        assert wide <= 390, path
    context.close()


def test_nothing_is_fetched_from_elsewhere(chromium: Any, attached: workbench.Workbench, home: Path) -> None:
    assert attached.running is not None
    context = chromium.new_context(base_url=attached.running.app_url)
    page = context.new_page()
    asked: list[str] = []
    sign_in(page, home)
    page.on("request", lambda request: asked.append(request.url))
    for path in ("/", "/tools?tool=crm.search_customers", "/ask", "/audit"):
        page.goto(path)
        page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_timeout(1000)
    own = (attached.running.app_url, "data:", "blob:")
    assert [url for url in asked if not url.startswith(own)] == []
    context.close()
