"""Every block of the tutorials and how-to guides works as it is written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.guides import DOCS, PAGES, Block, Reader, blocks
from workbench.registry.configuration.mcp_json import read_configuration

MOST_NOT_RUN = 12
"""Blocks of all pages that need something which is not on every machine."""


def page_id(page: Path) -> str:
    return f"{page.parent.name}/{page.stem}"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_reader_who_follows_the_page_gets_what_it_shows(page: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder)
    try:
        for block in blocks(page):
            try:
                reader.follow(block)
            except Exception as e:
                raise AssertionError(f"{page.name}, line {block.line}: {e}") from e
    finally:
        reader.stop()


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    reasons = [block.argument.removeprefix("run: ") for page in PAGES for block in blocks(page) if block.skipped]
    assert all(len(reason) > 5 for reason in reasons)
    assert len(reasons) <= MOST_NOT_RUN


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_every_page_has_blocks_and_lines_that_read_on_a_screen(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert blocks(page)
    assert [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")] == []


def test_the_index_leads_to_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(index.parent / link).resolve() for link in re.findall(r"\]\(([^)#:]+)\)", index.read_text("utf-8"))}
    pages = {page.resolve() for page in DOCS.rglob("*.md") if page.parent.name != "contributing"}
    assert pages - {index.resolve()} <= linked
    assert (DOCS / "contributing" / "README.md").resolve() in linked
    assert "](docs/README.md)" in (DOCS.parent / "README.md").read_text(encoding="utf-8")


CLIENT_FILES = [block for block in blocks(DOCS / "how-to" / "connect-a-client.md") if block.language == "json"]


@pytest.mark.parametrize("block", CLIENT_FILES, ids=lambda block: block.argument)
def test_each_client_configuration_is_read_as_one_server(block: Block, tmp_path: Path) -> None:
    path = tmp_path / Path(block.argument).name
    path.write_text(block.text, encoding="utf-8")
    found = read_configuration(path, env={"GATEWAY_KEY": "mk_1"}, has_secret=lambda name: True, taken=())
    assert [server.title for server in found.servers] == ["workbench"]
    assert not found.excluded
    assert not found.problems
