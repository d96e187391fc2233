"""What every test shares: one event-loop backend, and a state folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.config import Settings, prepare_home


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a fresh state folder; nothing of the machine's environment leaks in."""
    loaded = Settings.load(env={}, cwd=tmp_path, home=tmp_path / "home", port="auto", app_port="auto")
    prepare_home(loaded.home)
    return loaded
