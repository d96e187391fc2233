"""The consent page in a real browser: its policy lets the answer through, and nothing else."""

from __future__ import annotations

import asyncio
import shutil
import socket
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from workbench.access import Access
from workbench.access.oauth import AuthorizationServer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


async def test_a_person_agrees_in_a_browser_and_the_answer_reaches_the_client(settings: Any, serve: Any) -> None:
    playwright_api = pytest.importorskip("playwright.async_api")
    bound = socket.create_server(("127.0.0.1", 0))
    access = Access(settings.replace(port=str(bound.getsockname()[1]), oauth_server=True))
    answered: asyncio.Queue[dict[str, list[str]]] = asyncio.Queue()

    async def callback(request: Request) -> Response:
        await answered.put(parse_qs(request.url.query))
        return HTMLResponse("<h1>Done</h1>")

    async def nothing(*_: Any) -> None:
        return None

    server = AuthorizationServer(access, scopes=lambda: ["crm:read", "crm:write"], record=nothing)
    client_app = Starlette(routes=[Route("/callback", callback)])
    async with serve(server, bound) as url, serve(client_app) as client_url, playwright_api.async_playwright() as p:
        back = f"{client_url}/callback"
        client, _ = access.issuer.clients.add(
            "<i>Desk</i> app", tenant="local", now_us=1, confidential=False, redirect_uris=(back,)
        )
        query = {
            "response_type": "code", "client_id": client.id, "redirect_uri": back, "state": "s&1",
            "scope": "crm:read crm:write", "code_challenge": "x" * 43, "code_challenge_method": "S256",
        }  # fmt: skip
        browser = await p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        page = await browser.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        await page.goto(f"{url}/oauth/authorize?{urlencode(query)}")
        assert await page.locator("h1").inner_text() == "Let <i>Desk</i> app in?"
        await page.get_by_label("Your key of this workbench").fill("mk_wrong")
        await page.get_by_role("button", name="Allow").click()
        assert "no valid key" in await page.get_by_role("alert").inner_text()
        await page.get_by_label("crm:write").uncheck()
        await page.get_by_label("Your key of this workbench").fill(access.create_key("ann", roles=("manager",))[1])
        await page.get_by_role("button", name="Allow").click()
        await page.wait_for_url(f"{client_url}/**")
        async with asyncio.timeout(10):
            answer = await answered.get()
        assert (answer["state"], answer["iss"]) == (["s&1"], [url])
        [grant] = access.issuer.grants.all()
        assert (grant.subject, grant.scopes) == ("ann", ("crm:read",))
        assert not [line for line in told if "form-action" in line]
        async with page.expect_console_message(lambda message: "frame-ancestors" in message.text, timeout=10_000):
            await page.set_content(f'<iframe src="{url}/oauth/authorize?{urlencode(query)}"></iframe>')
        await browser.close()
    access.close()
