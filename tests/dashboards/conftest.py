"""The app's modules are found as Streamlit finds them: in the folder of `app.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import workbench

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "dashboards" / "app.py"

if str(APP.parent) not in sys.path:
    sys.path.insert(0, str(APP.parent))


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[workbench.Workbench]:
    """A real platform inside this process, with four of the sample company's servers; started once."""
    home = tmp_path_factory.mktemp("app") / "home"
    servers = ("crm", "tickets", "payments", "calendar")
    with workbench.open(home=home, attach=False, source="app", servers=servers, provider="planner") as bench:
        yield bench


@pytest.fixture
def screen(platform: workbench.Workbench, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppTest]]:
    """Opens one screen of the app over that platform, as a browser would, and fails when it raises."""
    import streamlit

    monkeypatch.setattr(workbench, "open", lambda **_: platform)
    streamlit.cache_resource.clear()

    def opened(name: str = "home", **query: str | list[str]) -> AppTest:
        app = AppTest.from_file(str(APP), default_timeout=50)
        app.run()
        for key, value in query.items():
            app.query_params[key] = value
        if name != "home" or query:
            app.switch_page(f"screens/{name}.py").run()
        assert not app.exception, app.exception[0].value
        return app

    yield opened
    streamlit.cache_resource.clear()
