"""A call that is begun, and then waited for or cancelled."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import workbench
from workbench.events import MisuseError

REACTOR = Path(__file__).parents[1] / "dashboards" / "reactor.py"


def test_a_call_begun_ends_like_one_that_was_waited_for(wb: workbench.Workbench) -> None:
    call = wb.start_call("crm.search_customers", {"email": "john.smith@acme.com"})
    assert call.wait(30)
    assert call.done
    assert not call.cancelled
    result = call.result()
    assert result is not None
    assert result.data == wb.call("crm.search_customers", email="john.smith@acme.com").data
    call.cancel()
    assert call.result() is not None, "what is over cannot be cancelled"


@pytest.mark.slow
def test_a_cancelled_call_has_no_result_and_the_record_says_so(tmp_path: Path) -> None:
    config = tmp_path / "mcp.json"
    config.write_text(f'{{"mcpServers": {{"reactor": {{"command": "{sys.executable}", "args": ["{REACTOR}"]}}}}}}')
    with workbench.open(home=tmp_path / "home", attach=False, servers=("calendar",), config=config) as wb:
        call = wb.start_call("reactor.reactor_pressure", {})
        assert not call.wait(0.5)
        assert "under way" in repr(call)
        call.cancel()
        assert call.result() is None
        assert call.cancelled
        found: list[str] = []
        while found != ["cancelled"]:  # written after the caller was let go
            found = wb.sql("select outcome from tool_calls where tool = 'reactor_pressure'")["outcome"].tolist()


def test_a_closed_workbench_begins_nothing(tmp_path: Path) -> None:
    with workbench.open(home=tmp_path / "home", attach=False, servers=()) as wb:
        pass
    with pytest.raises(MisuseError, match="closed"):
        wb.start_call("crm.search_customers", {})
