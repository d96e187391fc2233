"""The inbox of the app lets a call be repeated, shows what is left, and ends it."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import workbench
from tests.dashboards.test_decisions import texts

pytestmark = pytest.mark.slow


def test_a_call_may_be_repeated_until_somebody_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit

    with workbench.open(
        home=tmp_path / "home", attach=False, source="app", servers=("calendar",), standing_approvals=True
    ) as bench:
        found = bench.call("calendar.list_meetings", status="scheduled", limit=5).data["meetings"]
        meetings = [each["meeting_id"] for each in found]
        asked = bench.call_with("calendar.cancel_meeting", {"meeting_id": meetings[0], "reason": "clash"})
        waiting = asked.outcome.details["approval"]
        monkeypatch.setattr(workbench, "open", lambda **_: bench)
        streamlit.cache_resource.clear()
        app = AppTest.from_file(str(Path(__file__).resolve().parents[2] / "dashboards" / "app.py"), default_timeout=50)
        app.run()
        app.switch_page("screens/approvals.py").run()
        app.number_input(key=f"uses.{waiting}").set_value(3)
        patterns = '{"/meeting_id": {"enum": ["' + '", "'.join(meetings[:3]) + '"]}}'
        app.text_area(key=f"patterns.{waiting}").set_value(patterns)
        app.button(key=f"repeat.{waiting}").click().run()
        assert not app.exception
        (given,) = bench.standing_approvals()
        assert (given.uses, given.seconds) == (3, 3600)
        assert bench.call_with("calendar.cancel_meeting", {"meeting_id": meetings[0], "reason": "clash"}).ok
        assert bench.call_with("calendar.cancel_meeting", {"meeting_id": meetings[1], "reason": "clash"}).ok
        app.run()
        assert "2 of 3 calls left" in texts(app)
        app.button(key=f"revoke.{given.id}").click().run()
        assert not app.exception
        assert bench.standing_approvals() == []
        again = bench.call_with("calendar.cancel_meeting", {"meeting_id": meetings[2], "reason": "clash"})
        assert again.kind == "approval_required"
        streamlit.cache_resource.clear()
