"""What a workbench says after it was closed, and of a statement that is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import workbench
from workbench.client import Workbench
from workbench.events import MisuseError

USES: dict[str, Callable[[Workbench], Any]] = {
    "call": lambda wb: wb.call("crm.search_customers", query="x"),
    "tools": lambda wb: wb.tools(),
    "servers": lambda wb: wb.servers(),
    "status": lambda wb: wb.status(),
    "ask": lambda wb: wb.ask("How many customers are there?"),
    "sql": lambda wb: wb.sql("select 1"),
    "verify": lambda wb: wb.verify(),
    "approvals": lambda wb: wb.approvals(),
    "recorded_run": lambda wb: wb.recorded_run("x"),
}


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    opened = workbench.open(home=tmp_path_factory.mktemp("closed") / "home", servers=(), attach=False)
    opened.close()
    opened.close()  # twice is fine
    return opened


@pytest.mark.parametrize("use", USES)
def test_a_closed_workbench_says_so(closed: Workbench, use: str) -> None:
    with pytest.raises(MisuseError, match="This workbench is closed"):
        USES[use](closed)


@pytest.mark.parametrize("query", [None, 5, b"select 1"])
def test_a_statement_that_is_no_text_is_misuse(wb: Workbench, query: Any) -> None:
    with pytest.raises(MisuseError, match="Expected SQL as text"):
        wb.sql(query)


def test_the_state_folder_of_a_closed_one_can_be_opened_again(tmp_path: Path) -> None:
    for _ in range(2):
        with workbench.open(home=tmp_path / "home", servers=(), attach=False) as wb:
            assert wb.servers() == []
