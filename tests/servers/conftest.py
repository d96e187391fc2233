"""The servers live beside the package, not in it: make them importable, and talk to them in process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def ask() -> Ask:
    """`await ask(server, "tool", argument=...)` gives the structured content, or the text of the error."""
    from mcp import Client

    async def call(server: Any, tool: str, **arguments: Any) -> Any:
        async with Client(server) as client:
            result = await client.call_tool(tool, arguments)
        if result.is_error:
            return "".join(block.text for block in result.content)
        return result.structured_content

    return call


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A server's module with an empty state folder of its own: what a test writes, no other test sees."""

    def load(name: str) -> Any:
        from servers.company import Company

        module = importlib.import_module(f"servers.{name}.server")
        monkeypatch.setattr(module, "sample", Company(*module.sample.tables[1:], state=tmp_path / "state"))
        return module

    return load
