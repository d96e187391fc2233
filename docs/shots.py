"""The pictures of the README, made by a real browser from a real platform: `python docs/shots.py`.

Starts a platform on a temporary state folder with free ports, makes a few calls, opens the screens in Chromium, and
writes `docs/images/<screen>-<light|dark>.png`, reduced to a palette so that each stays small.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import workbench  # noqa: E402
from workbench.access.app_sessions import AppSessions  # noqa: E402

WIDTH, HEIGHT, SCALE = 1280, 900, 1.5
LARGEST = 200_000
"""Bytes that one picture may have."""
QUESTION = (
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, "
    "do they have any open support tickets, and what does their payment history look like?"
)


@contextmanager
def platform(home: Path) -> Iterator[workbench.Workbench]:
    """A platform of its own, answered by the planner so that every run of this script asks the same thing alike."""
    environment = {
        **os.environ, "WORKBENCH_PROVIDER": "planner",
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    with (home.parent / "up.log").open("wb") as log:
        command = [sys.executable, "-m", "workbench", "--home", str(home), "up", "--port", "auto"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            deadline = time.monotonic() + 120
            while not (home / "run.json").exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit("The platform did not start:\n" + (home.parent / "up.log").read_text())
                time.sleep(0.2)
            with workbench.open(home=home, attach=True, source="app") as bench:
                yield bench
        finally:
            process.terminate()
            process.wait(20)


def make_history(bench: workbench.Workbench) -> str:
    """Calls and a run, so that the screens have something to show; the id of the run."""
    run = bench.ask(QUESTION)
    bench.ask("How many support tickets are open, by priority?")
    bench.call("analytics.revenue", group_by="category")
    bench.call("crm.get_customer")  # no argument: shows what a refusal looks like
    bench.call("knowledge.search_documents", query="refunds")
    bench.call("payments.failed_payments", limit=5)
    for query in ("smith", "acme", "garcia"):
        bench.call("crm.search_customers", query=query)
    return run.id


def settle(page: Any) -> None:
    """Until the script has run and everything is painted."""
    page.get_by_role("heading", level=1).first.wait_for()
    page.wait_for_function("!document.querySelector('[data-testid=stStatusWidget]')")
    page.evaluate("document.fonts.ready")
    page.wait_for_timeout(900)


def show_home(page: Any, run: str) -> None:
    page.goto("/")
    page.locator(".st-key-server-files").wait_for()
    page.get_by_text("health").nth(7).wait_for()


def show_tools(page: Any, run: str) -> None:
    page.goto('/tools?tool=crm.search_customers&args={"query":"acme","limit":5}')
    page.get_by_role("button", name="Run Shortcut").click()
    page.get_by_role("tab", name="Raw").wait_for()


def show_ask(page: Any, run: str) -> None:
    """Asked anew, not reopened: the record keeps the question without the address of the customer."""
    page.goto("/")
    page.get_by_role("button", name=QUESTION[:40]).click()
    steps = page.get_by_text("steps in")
    steps.click()
    page.get_by_text("· ok").first.wait_for()
    settle(page)
    page.evaluate("document.querySelectorAll('*').forEach(e => { if (e.scrollTop) e.scrollTop = 0 })")


def show_audit(page: Any, run: str) -> None:
    page.goto("/audit")
    table = page.get_by_test_id("stDataFrame").first
    table.wait_for()
    settle(page)
    box = table.bounding_box()
    page.mouse.click(box["x"] + 14, box["y"] + 50)
    page.get_by_role("tab", name="Decision").wait_for()
    page.mouse.move(5, 5)


SCREENS: dict[str, Callable[[Any, str], None]] = {
    "home": show_home,
    "tools": show_tools,
    "ask": show_ask,
    "audit": show_audit,
}


def save(png: bytes, path: Path) -> None:
    """Write a picture with as many colours as fit `LARGEST`."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    for colours in (128, 64, 32, 16):
        buffer = io.BytesIO()
        picture.quantize(colours, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    path.write_bytes(buffer.getvalue())
    print(f"{path.relative_to(ROOT)}  {buffer.tell() / 1000:.0f} kB, {colours} colours")


def main() -> None:
    """Make all pictures, or those of the screens that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("screens", nargs="*", choices=[[], *SCREENS], help="which; default all")
    chosen = parser.parse_args().screens or list(SCREENS)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("No Chromium is installed. On Debian: apt-get install --no-install-recommends chromium")
    from playwright.sync_api import sync_playwright

    images = ROOT / "docs" / "images"
    images.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, platform(home := Path(folder) / "home") as bench:
        assert bench.running is not None
        run = make_history(bench)
        with sync_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            for name in chosen:
                for scheme in ("light", "dark"):
                    context = browser.new_context(
                        base_url=bench.running.app_url, viewport={"width": WIDTH, "height": HEIGHT},
                        color_scheme=scheme, device_scale_factor=SCALE, locale="en-GB", timezone_id="UTC",
                        reduced_motion="reduce",
                    )  # fmt: skip
                    page = context.new_page()
                    page.goto(f"/sign-in?token={AppSessions(home).new_link()}")
                    page.get_by_role("heading", level=1).first.wait_for()
                    SCREENS[name](page, run)
                    settle(page)
                    save(page.screenshot(), images / f"{name}-{scheme}.png")
                    context.close()
            browser.close()


if __name__ == "__main__":
    main()
