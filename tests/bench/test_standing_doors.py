"""Standing approvals over REST, the façade, the command line and the app: given with a yes, listed, revoked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import workbench
from workbench.cli import cli
from workbench.events import MisuseError

TOOL = "calendar.cancel_meeting"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("standing") / "home"


@pytest.fixture(scope="module")
def wb(home: Path) -> Iterator[workbench.Workbench]:
    with workbench.open(
        home=home, attach=False, source="app", servers=("calendar",), standing_approvals=True, standing_approval_uses=9
    ) as opened:
        yield opened


@pytest.fixture
def meetings(wb: workbench.Workbench) -> Iterator[list[str]]:
    """Meetings that nobody has cancelled; nothing is left waiting for the next test."""
    found = wb.call("calendar.list_meetings", status="scheduled", limit=50).data["meetings"]
    yield [each["meeting_id"] for each in found]
    for each in wb.approvals():
        wb.deny(each.id)
    for each in wb.standing_approvals():
        wb.revoke_standing_approval(each.id)


def ask(wb: workbench.Workbench, meeting: str, reason: str = "clash") -> Any:
    return wb.call_with(TOOL, {"meeting_id": meeting, "reason": reason})


def test_one_yes_lets_several_meetings_be_cancelled(wb: workbench.Workbench, meetings: list[str]) -> None:
    waiting = ask(wb, meetings[0]).outcome.details["approval"]
    wb.approve(waiting, standing={"uses": 2, "patterns": {"/meeting_id": {"enum": meetings[:3]}}})
    (given,) = wb.standing_approvals()
    assert (given.tool, given.left, given.status, given.approval) == (TOOL, 2, "active", waiting)
    assert [ask(wb, meeting).ok for meeting in meetings[:3]] == [True, True, True]
    assert ask(wb, meetings[3]).kind == "approval_required"
    assert wb.standing_approvals() == []
    query = "select event from approvals where approval_id = $id order by ts, event_id"
    assert wb.sql(query, {"id": given.id})["event"].tolist() == ["standing_given", "standing_used", "standing_used"]


def test_it_is_revoked_at_once(wb: workbench.Workbench, meetings: list[str]) -> None:
    wb.approve(ask(wb, meetings[0]).outcome.details["approval"], standing={"seconds": 600})
    (given,) = wb.standing_approvals()
    assert given.left == 9
    assert ask(wb, meetings[0]).ok
    assert wb.revoke_standing_approval(given.id).status == "revoked"
    assert ask(wb, meetings[0]).kind == "approval_required"
    with pytest.raises(MisuseError, match="in force"):
        wb.revoke_standing_approval(given.id)


@pytest.mark.parametrize(
    "terms",
    [
        {}, {"uses": 10}, {"seconds": 5}, {"uses": 1, "patterns": {"/nothing": {"enum": [1]}}}, {"uses": "many"},
        {"uses": 1, "patterns": {"/reason": {"prefix": "other"}}},
    ],
    ids=str,
)  # fmt: skip
def test_terms_that_cannot_be_meant_decide_nothing(wb: workbench.Workbench, meetings: list[str], terms: Any) -> None:
    waiting = ask(wb, meetings[0]).outcome.details["approval"]
    with pytest.raises(MisuseError) as refused:
        wb.approve(waiting, standing=terms)
    assert refused.value.hint
    assert [each.id for each in wb.approvals()] == [waiting]
    assert wb.standing_approvals() == []


def test_edited_arguments_are_what_may_be_repeated(wb: workbench.Workbench, meetings: list[str]) -> None:
    waiting = ask(wb, meetings[0], "first").outcome.details["approval"]
    instead = {"meeting_id": meetings[1], "reason": "second"}
    wb.approve(waiting, arguments=instead, standing={"uses": 1})
    assert ask(wb, meetings[0], "first").ok
    assert ask(wb, meetings[0], "first").kind == "approval_required"
    assert ask(wb, meetings[1], "second").kind == "tool_error", "it runs: the meeting is cancelled already"


def test_without_the_setting_it_is_refused(tmp_path: Path) -> None:
    with workbench.open(home=tmp_path / "home", attach=False, source="app", servers=("calendar",)) as wb:
        meeting = wb.call("calendar.list_meetings", status="scheduled", limit=1).data["meetings"][0]["meeting_id"]
        waiting = ask(wb, meeting).outcome.details["approval"]
        with pytest.raises(MisuseError, match="switched off"):
            wb.approve(waiting, standing={"uses": 1})
        assert [each.id for each in wb.approvals()] == [waiting]


@pytest.fixture
def command(wb: workbench.Workbench, monkeypatch: pytest.MonkeyPatch) -> Any:
    from contextlib import nullcontext

    monkeypatch.setattr("workbench.cli.approvals.opened", lambda **_: nullcontext(wb))

    def run(*options: str) -> Result:
        return CliRunner().invoke(cli, ["approvals", *options], standalone_mode=False)

    return run


def test_the_command_line_gives_lists_and_revokes(wb: workbench.Workbench, meetings: list[str], command: Any) -> None:
    waiting = ask(wb, meetings[0]).outcome.details["approval"]
    allow = f"/meeting_id={meetings[0]}|{meetings[1]}"
    given = command("approve", waiting, "--uses", "3", "--minutes", "10", "--allow", allow, "--allow", "/reason=cl*")
    assert given.exception is None, given.exception
    (listed,) = json.loads(command("standing", "--json").stdout)
    patterns = {"/meeting_id": {"enum": meetings[:2]}, "/reason": {"prefix": "cl"}}
    assert (listed["uses"], listed["seconds"], listed["patterns"]) == (3, 600, patterns)
    told = command("standing").stdout
    assert "3 of 3 uses left, until " in told
    assert ask(wb, meetings[0]).ok
    assert ask(wb, meetings[1], "closed").ok
    assert "asks again" in command("revoke", listed["id"]).stdout
    assert "Nothing may be repeated" in command("standing").output


@pytest.mark.parametrize(
    "options",
    [("--allow", "/a=1"), *(("--uses", "1", "--allow", given) for given in ("/a", "/a=", "=1"))],
)
def test_the_command_line_says_what_it_cannot_read(command: Any, options: tuple[str, ...]) -> None:
    failed = command("approve", "apr_x", *options).exception
    assert isinstance(failed, MisuseError)
    assert failed.hint


def test_ranges_and_values_of_the_command_line() -> None:
    from workbench.cli.approvals import _pattern

    assert _pattern("/amount=0..99.5") == ("/amount", {"range": [0, 99.5]})
    assert _pattern('/n=1|true|null|"1"|a') == ("/n", {"enum": [1, True, None, "1", "a"]})
    assert _pattern("/path=/tmp/*") == ("/path", {"prefix": "/tmp/"})
    assert _pattern("/v=a..b") == ("/v", {"enum": ["a..b"]})


def test_a_no_lets_nothing_be_repeated(wb: workbench.Workbench, meetings: list[str]) -> None:
    from workbench.policy.approvals.standing_approvals import StandingTerms

    waiting = ask(wb, meetings[0]).outcome.details["approval"]
    with pytest.raises(MisuseError, match="A no"):
        wb._loop.run(wb._backend.decide, waiting, False, "", None, "", StandingTerms(uses=1))
