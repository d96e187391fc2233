"""One real workbench for all tests of the façade and its doors: two servers, its own state folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.sample_company import sample_workbench
from workbench.client import Workbench
from workbench.client.embedded import EmbeddedBackend
from workbench.platform.platform import Platform


@pytest.fixture(scope="session")
def wb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    home = tmp_path_factory.mktemp("bench") / "home"
    # all tests come from one address, and many show wrong credentials
    with sample_workbench(home, "crm", "tickets", "payments", failed_credentials_per_minute=1_000_000) as opened:
        yield opened


@pytest.fixture(scope="session")
def platform(wb: Workbench) -> Platform:
    assert isinstance(wb._backend, EmbeddedBackend)
    return wb._backend.platform


Api = Callable[..., httpx2.Response]


@pytest.fixture(scope="session")
def api(wb: Workbench, platform: Platform) -> Api:
    """A request to the whole ASGI application, as the local user unless `token` says otherwise."""
    from workbench.api import build_app

    app = build_app(platform)

    def request(method: str, path: str, *, token: str | None = "", **kw: Any) -> httpx2.Response:
        async def send() -> httpx2.Response:
            transport = httpx2.ASGITransport(app=app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8800") as client:
                headers = kw.pop("headers", {})
                if token is not None:
                    headers = {"Authorization": f"Bearer {token or platform.access.local_key()}", **headers}
                return await client.request(method, path, headers=headers, **kw)

        return wb._loop.portal.call(send)

    return request
