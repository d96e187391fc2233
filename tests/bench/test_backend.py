"""Both backends of the façade have every verb of `Backend`, with its signature."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from mypy import api as mypy

from workbench.client.attached import AttachedBackend
from workbench.client.backend import Backend
from workbench.client.embedded import EmbeddedBackend

CLIENT = Path(__file__).parents[2] / "workbench" / "client"
VERBS = [name for name in vars(Backend) if not name.startswith("_") and inspect.isfunction(getattr(Backend, name))]


@pytest.mark.parametrize("backend", [AttachedBackend, EmbeddedBackend])
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_one_signature_wherever_the_platform_runs(verb: str, backend: type) -> None:
    assert inspect.signature(getattr(backend, verb)) == inspect.signature(getattr(Backend, verb))


def checked(folder: Path, **changed: str) -> str:
    """What mypy says of the backends and their assignment to `Backend` when these modules have other text."""
    changes = []
    for name, text in changed.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
        changes += ["--shadow-file", str(CLIENT / f"{name}.py"), str(folder / f"{name}.py")]
    files = [str(CLIENT / f"{name}.py") for name in ("backend", "attached", "embedded", "workbench")]
    # the four files alone, so that this takes seconds; what they import is checked with the whole package
    options = ["--follow-imports=skip", "--no-incremental", "--config-file=", "--no-error-summary"]
    return mypy.run([*options, *changes, *files])[0]


def without(module: str, pattern: str) -> str:
    text, found = re.subn(pattern, "", (CLIENT / f"{module}.py").read_text(encoding="utf-8"), flags=re.M)
    assert found == 1
    return text


@pytest.mark.parametrize(
    ("module", "verb", "backend"),
    [
        ("attached", r"^    restart = .*\n", "AttachedBackend"),
        ("embedded", r"^    async def restart\(.*\n.*\n", "EmbeddedBackend"),
    ],
)
def test_mypy_notices_a_verb_that_one_backend_lacks(module: str, verb: str, backend: str, tmp_path: Path) -> None:
    said = checked(tmp_path, **{module: without(module, verb)})
    assert re.search(rf'"{backend}" is missing following "Backend" protocol member:\n.* restart\n', said)


def test_mypy_finds_every_verb_in_both_backends(tmp_path: Path) -> None:
    assert "Backend" not in checked(tmp_path)
