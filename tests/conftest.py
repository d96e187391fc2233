"""What every test shares: one event-loop backend, and a state folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.config import Settings, prepare_home
from workbench.policy import recognisers


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def presidio() -> None:
    """Loaded once and before all tests: pytest swaps the filters of warnings while a thread would import it."""
    found = recognisers.shared()
    found.warm().join()
    assert found.ready, found.problem


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a fresh state folder; nothing of the machine's environment leaks in."""
    loaded = Settings.load(env={}, cwd=tmp_path, home=tmp_path / "home", port="auto", app_port="auto")
    prepare_home(loaded.home)
    return loaded
