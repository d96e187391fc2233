"""The guide to a new screen works in a copy of the app to which its edits were made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import workbench
from tests.guides import DOCS, Block, Reader, blocks

PAGE = DOCS / "contributing" / "screen.md"
EDITS = [block for block in blocks(PAGE) if block.action in ("file", "patch")]
[TEST] = [block for block in blocks(PAGE) if block.language == "python" and not block.action]


@pytest.fixture
def app(tmp_path: Path, screen: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the app with the edits of the page; `screen` opens it."""
    shutil.copytree(DOCS.parent / "dashboards", tmp_path / "dashboards")
    contributor = Reader(tmp_path)
    for block in EDITS:
        contributor.follow(block)
    copied = tmp_path / "dashboards" / "app.py"
    monkeypatch.setitem(screen.__globals__, "APP", copied)
    return copied


def written(block: Block, **names: Any) -> Callable[..., None]:
    """The test function of the page."""
    before = set(names)
    exec(compile(block.text, PAGE.name, "exec"), names)
    [found] = [names[name] for name in set(names) - before if name.startswith("test_")]
    test: Callable[..., None] = found
    return test


def test_the_page_edits_two_files() -> None:
    assert [block.argument for block in EDITS] == ["dashboards/screens/slowest.py", "dashboards/app.py"]


@pytest.mark.slow
def test_the_screen_of_the_page_opens_and_passes_its_own_test(
    app: Path, screen: Callable[..., AppTest], platform: workbench.Workbench
) -> None:
    test = written(TEST, Callable=Callable, AppTest=AppTest, workbench=workbench)
    test(screen, platform)
    opened = screen("slowest")
    assert [title.value for title in opened.title] == ["Slowest tools"]
    assert opened.number_input[0].value == 24
