"""The pages of `docs/reference/` are those that `docs/generate.py` writes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from workbench import events
from workbench.cli.commands import EXIT_CODE_MEANINGS
from workbench.cli.tools import EXIT_CODES

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
PAGES = ("cli.md", "python.md", "rest.md", "settings.md")


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    return load_generator()


@pytest.mark.parametrize("page", PAGES)
def test_a_reference_page_is_what_is_generated_from_the_code(generator: ModuleType, page: str) -> None:
    committed = (FOLDER / page).read_text(encoding="utf-8")
    assert committed == generator.generated(page), f"docs/reference/{page} is out of date: run `make docs` and commit"


def test_every_page_of_the_folder_is_generated(generator: ModuleType) -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(generator.PAGES) == list(PAGES)


def test_a_setting_without_a_heading_stops_the_generator(generator: ModuleType) -> None:
    with pytest.raises(SystemExit, match="port"):
        generator.everything_once({"one": ["home"]}, ["home", "port"], "setting")
    with pytest.raises(SystemExit, match="home"):
        generator.everything_once({"one": ["home"], "two": ["home"]}, ["home"], "setting")


def test_every_exit_code_of_the_program_has_a_meaning() -> None:
    errors = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    used = {kind.exit_code for kind in errors if issubclass(kind, events.WorkbenchError)} | set(EXIT_CODES.values())
    assert used <= set(EXIT_CODE_MEANINGS)
    assert set(EXIT_CODE_MEANINGS) - used <= {130}
