"""What the tests of policy share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workbench.config import Settings
from workbench.events import Caller, Tool
from workbench.policy import Policy

MakeTool = Callable[..., Tool]


@pytest.fixture
def policy(settings: Settings) -> Iterator[Policy]:
    opened = Policy(settings)
    yield opened
    opened.close()


@pytest.fixture
def owner() -> Caller:
    return Caller(tenant="acme", subject="ann", roles=("owner",), scopes=frozenset({"*"}))


@pytest.fixture
def employee() -> Caller:
    return Caller(tenant="acme", subject="bob", roles=("employee",), scopes=frozenset({"crm:read", "tickets:*"}))


@pytest.fixture
def find() -> Tool:
    """A harmless tool."""
    return Tool(
        server="crm",
        name="find",
        scopes=("crm:read",),
        annotations={"readOnlyHint": True},
        definition={"name": "find", "_meta": {"workbench/pii": {"email": "email", "contact_line": "phone"}}},
        definition_hash="d1",
    )


@pytest.fixture
def delete() -> Tool:
    """A destructive one."""
    return Tool(
        server="crm",
        name="delete",
        scopes=("crm:read",),
        annotations={"destructiveHint": True},
        definition={"name": "delete"},
        definition_hash="d2",
    )


@pytest.fixture(scope="session")
def opa_binary() -> str:
    """`opa` on PATH, else built with Go and kept in the cache folder of the user."""
    if found := shutil.which("opa"):
        return found
    cached = Path.home() / ".cache" / "mcp-workbench-tests" / "opa"
    if not cached.exists():
        go = shutil.which("go")
        if go is None:
            pytest.skip("neither opa nor go is installed")
        cached.parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            [go, "install", "github.com/open-policy-agent/opa@v1.22.0"],
            env={**os.environ, "GOBIN": str(cached.parent), "CGO_ENABLED": "0"},
            capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"opa cannot be built: {done.stderr[-300:]}")
    return str(cached)
