"""The examples of `docs/testing.md` are tests, and they pass."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.policy.test_policy_document import block, patched
from workbench.policy.rego import rego_engine
from workbench.testing.fixtures import MakeGatewayHarness

DOCUMENT = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.S)
EXAMPLES = [
    (snippet, name) for snippet in SNIPPETS for name in re.findall(r"^(?:async )?def (test_\w+)", snippet, re.M)
]


def test_every_snippet_but_the_one_that_loads_the_fixtures_is_an_example_with_tests() -> None:
    without = [snippet for snippet in SNIPPETS if snippet not in {snippet for snippet, _ in EXAMPLES}]
    assert without == ['pytest_plugins = ["workbench.testing.fixtures"]\n']
    assert len(EXAMPLES) >= 5


@pytest.fixture
def my_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder `my-policy` as `docs/policy.md` has it, where the examples run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-policy").mkdir()
    for name, content in rego_engine.PolicyFiles(None).read().items():
        (tmp_path / "my-policy" / name).write_bytes(content)
    rules = tmp_path / "my-policy" / "tool_scopes.rego"
    rules.write_text(patched(rules.read_text("utf-8"), block("diff")), "utf-8")


@pytest.mark.parametrize(("snippet", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
async def test_the_example_passes(
    snippet: str, name: str, gateway_harness: MakeGatewayHarness, my_policy: None
) -> None:
    names: dict[str, Any] = {}
    exec(compile(snippet, "docs/testing.md", "exec"), names)
    example: Callable[..., Any] = names[name]
    done = example(gateway_harness)
    if inspect.isawaitable(done):
        await done
