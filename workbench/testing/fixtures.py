"""Fixtures for pytest. Load them with `pytest_plugins = ["workbench.testing.fixtures"]` in the topmost `conftest.py`.

No entry point of the package loads them: pytest would import them in every project beside which the workbench is
installed. They need no plugin for coroutines, and work with each of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench.policy.redaction import recognizers
from workbench.testing.gateway_harness import GatewayHarness

MakeGatewayHarness = Callable[..., GatewayHarness]
"""Takes what `GatewayHarness` takes."""


@pytest.fixture(scope="session")
def workbench_recognizers() -> None:
    """The recognisers of personal data, loaded once (about a second), where no test's time runs and no filter of a
    test turns a warning of their import into an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = recognizers.shared()
        found.warm().join()
    assert found.ready, found.problem


@pytest.fixture
def gateway_harness(workbench_recognizers: None, tmp_path: Path) -> MakeGatewayHarness:
    """Makes a `GatewayHarness` whose state folder is in the test's `tmp_path`: one, or several over the same state.

    Example:
        async def test_it(gateway_harness):
            async with gateway_harness({"calc": [add]}) as gateway:
                assert (await gateway.call("calc.add", {"a": 1, "b": 2})).data == {"result": 3}
    """

    def make(servers: Any = None, **options: Any) -> GatewayHarness:
        if options.get("base") is None:
            options.setdefault("home", tmp_path / "workbench")
        return GatewayHarness(servers, **options)

    return make
