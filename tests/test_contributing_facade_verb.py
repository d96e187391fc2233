"""The guide to a new verb works in a copy of the package to which its edits were made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.guides import DOCS, Reader, blocks

ROOT = DOCS.parent
PAGE = DOCS / "contributing" / "facade-verb.md"


class Contributor(Reader):
    """Somebody who edits a clone in `folder` and runs it, with one server."""

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "PYTHONPATH": str(self.folder), "WORKBENCH_SERVERS": "crm"}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_verb_of_the_page_answers_embedded_and_attached(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    for part in ("workbench", "servers"):
        shutil.copytree(ROOT / part, clone / part, ignore=shutil.ignore_patterns("__pycache__"))
    contributor = Contributor(clone)
    try:
        for block in blocks(PAGE):
            try:
                contributor.follow(block)
            except Exception as e:
                raise AssertionError(f"{PAGE.name}, line {block.line}: {e}") from e
    finally:
        contributor.stop()


def test_the_page_edits_one_package_for_each_thing_that_users_see() -> None:
    edited = {Path(block.argument).parts[1] for block in blocks(PAGE) if block.action in ("file", "patch")}
    assert edited == {"client", "api", "cli"}
