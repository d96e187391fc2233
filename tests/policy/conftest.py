"""What the tests of policy share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from workbench.config import Settings
from workbench.events import Caller, Tool
from workbench.policy import Policy, recognisers

MakeTool = Callable[..., Tool]


@pytest.fixture
def policy(settings: Settings) -> Iterator[Policy]:
    opened = Policy(settings)
    yield opened
    opened.close()


@pytest.fixture(scope="session", autouse=True)
def loaded() -> None:
    """Presidio, loaded once and before all tests: pytest swaps the filters of warnings while a thread imports."""
    found = recognisers.shared()
    found.warm().join()
    assert found.ready, found.problem


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
