"""Approvals at the doors: changing arguments, several people, what is shown to whom, what is on the record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from workbench.cli import cli
from workbench.events import MisuseError
from workbench.platform.platform import Platform

ASKED = {"payment_id": "Y-000001", "reason": "ann.lee@example.com asked"}


@pytest.fixture
def people(platform: Platform) -> dict[str, str]:
    roles = {"asker": "manager", "bob": "manager", "cat": "admin"}
    return {name: platform.access.create_key(name, roles=[role])[1] for name, role in roles.items()}


@pytest.fixture
def waiting(api: Any, people: dict[str, str]) -> dict[str, Any]:
    """A refund that waits for a human."""
    refund = {"tool": "payments.refund_payment", "arguments": ASKED}
    answer = api("POST", "/api/platform/call", token=people["asker"], json=refund).json()
    assert answer["kind"] == "approval_required", answer
    found = api("GET", "/api/platform/approvals", token=people["bob"]).json()["approvals"]
    return next(each for each in found if each["id"] == answer["details"]["approval"])


def decide(api: Any, token: str, id: str, **body: Any) -> Any:
    return api("POST", f"/api/platform/approvals/{id}", token=token, json={"approve": True, **body})


def events(api: Any, id: str) -> list[tuple[str, dict[str, Any]]]:
    sql = "select event, details from approvals where approval_id = $id order by ts, event_id"
    rows = api("POST", "/api/platform/sql", json={"sql": sql, "parameters": {"id": id}}).json()["rows"]
    return [
        (row["event"], json.loads(row["details"]) if isinstance(row["details"], str) else row["details"])
        for row in rows
    ]


def test_who_decides_and_may_see_personal_data_sees_the_arguments_and_nobody_else_does(
    api: Any, platform: Platform, waiting: dict[str, Any]
) -> None:
    assert waiting["arguments"] == ASKED
    _, key = platform.access.create_key("max", roles=["manager"], scopes=["approvals:decide"])
    found = api("GET", "/api/platform/approvals", token=key).json()["approvals"]
    shown = next(each for each in found if each["id"] == waiting["id"])
    assert "ann.lee@example.com" not in json.dumps(shown)


@pytest.mark.parametrize("nearly", ["yes", "true", 1, "on", None, [True]])
def test_only_true_itself_is_a_yes(api: Any, people: dict[str, str], waiting: dict[str, Any], nearly: Any) -> None:
    assert decide(api, people["bob"], waiting["id"], approve=nearly).status_code == 422
    found = api("GET", "/api/platform/approvals", token=people["bob"]).json()["approvals"]
    assert waiting["id"] in {each["id"] for each in found}


def test_arguments_are_changed_and_agreed_to_over_rest_and_all_of_it_is_on_the_record(
    api: Any, people: dict[str, str], waiting: dict[str, Any]
) -> None:
    instead = {**ASKED, "reason": "a complaint"}
    decided = decide(api, people["bob"], waiting["id"], arguments=instead, note="no names, please").json()
    assert (decided["status"], decided["edited_by"], decided["asked_hash"]) == ("approved", "bob", waiting["args_hash"])
    refund = {"tool": "payments.refund_payment", "arguments": ASKED}
    done = api("POST", "/api/platform/call", token=people["asker"], json=refund).json()
    assert done["details"]["edited"]["arguments"] == instead
    steps = events(api, waiting["id"])
    assert [event for event, _ in steps] == ["requested", "edited", "approved", "used"]
    edited = steps[1][1]
    assert (edited["asked_hash"], edited["edited_by"]) == (waiting["args_hash"], "bob")
    assert edited["args_hash"] != waiting["args_hash"]
    assert edited["arguments"] == instead


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({}, "payment_id"), ({"payment_id": 5, "reason": "x"}, "payment_id"), ({**ASKED, "more": 1}, "more")],
)
def test_arguments_that_do_not_fit_the_tool_change_nothing(
    api: Any, people: dict[str, str], waiting: dict[str, Any], arguments: Any, said: str
) -> None:
    answer = decide(api, people["bob"], waiting["id"], arguments=arguments)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
    found = api("GET", "/api/platform/approvals", token=people["bob"]).json()["approvals"]
    assert next(each for each in found if each["id"] == waiting["id"]) == waiting


def test_whoever_asked_may_neither_agree_nor_change(api: Any, people: dict[str, str], waiting: dict[str, Any]) -> None:
    for body in ({}, {"arguments": {**ASKED, "reason": "other"}}):
        answer = decide(api, people["asker"], waiting["id"], **body)
        assert answer.status_code == 400
        assert "made this call" in answer.json()["error"]["message"]
    assert decide(api, people["bob"], waiting["id"], args_hash="0" * 64).status_code == 400, "other arguments were seen"
    assert decide(api, people["bob"], waiting["id"], args_hash=waiting["args_hash"]).status_code == 200


def test_a_verdict_that_is_late_repeated_or_of_another_tenant_changes_nothing(
    api: Any, platform: Platform, people: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, asked = platform.policy.approvals, {**ASKED, "reason": "to be denied"}
    refund = {"tool": "payments.refund_payment", "arguments": asked}
    id = api("POST", "/api/platform/call", token=people["asker"], json=refund).json()["details"]["approval"]
    _, eve = platform.access.create_key("eve", roles=["owner"], tenant="globex")
    foreign, nothing = decide(api, eve, id), decide(api, eve, "apr_" + "x" * 22)
    assert (foreign.status_code, foreign.text.replace(id, "")) == (400, nothing.text.replace("apr_" + "x" * 22, ""))
    clock = desk._clock
    with monkeypatch.context() as later:
        later.setattr(desk, "_clock", lambda: clock() + 16 * 60 * 1_000_000)
        for approve in (True, False):
            assert decide(api, people["bob"], id, approve=approve).status_code == 400
    assert decide(api, people["bob"], id, approve=False).status_code == 200
    for token in (people["bob"], people["cat"]):
        for body in ({}, {"approve": False}, {"arguments": {**asked, "reason": "other"}}):
            assert decide(api, token, id, **body).status_code == 400
    found = desk.get(id)
    assert found is not None
    assert (found.status, found.decided_by) == ("denied", "bob")
    assert [event for event, _ in events(api, id)] == ["requested", "denied"]


def test_an_approval_is_used_once_and_by_the_call_that_was_approved(api: Any, people: dict[str, str]) -> None:
    def refund(token: str, reason: str = "to be used once") -> Any:
        body = {"tool": "payments.refund_payment", "arguments": {**ASKED, "reason": reason}}
        return api("POST", "/api/platform/call", token=token, json=body).json()

    id = refund(people["asker"])["details"]["approval"]
    assert decide(api, people["bob"], id).status_code == 200
    assert refund(people["asker"], "another reason")["kind"] == "approval_required"
    assert refund(people["cat"])["kind"] == "approval_required"
    assert refund(people["asker"])["kind"] in ("ok", "tool_error")
    assert refund(people["asker"])["kind"] == "approval_required"
    used = [event for event, _ in events(api, id)]
    assert used == ["requested", "approved", "used"]


def test_the_command_line_changes_arguments_of_a_file_or_a_text(tmp_path: Path) -> None:
    home, runner = tmp_path / "home", CliRunner(env={"WORKBENCH_SERVERS": "payments"})

    def run(*words: str) -> Any:
        return runner.invoke(cli, ["--home", str(home), *words])

    asked = run("call", "payments.refund_payment", "--json", "payment_id=Y-000001", "reason=wrong")
    id = json.loads(asked.stdout)["details"]["approval"]
    for given, said in (("{", "cannot be read"), ("[1]", "no JSON object"), ("@/nowhere", "cannot be read")):
        refused = run("approvals", "approve", id, "--arguments", given)
        assert isinstance(refused.exception, MisuseError)
        assert said in str(refused.exception)
    (tmp_path / "instead.json").write_text('{"payment_id": "Y-000002", "reason": "wrong"}')
    done = run("approvals", "approve", id, "--arguments", f"@{tmp_path / 'instead.json'}")
    assert (done.exit_code, done.stdout) == (0, "payments.refund_payment approved.\n"), done.output
    ran = run("call", "payments.refund_payment", "--json", "payment_id=Y-000001", "reason=wrong")
    assert json.loads(ran.stdout)["details"]["edited"]["arguments"]["payment_id"] == "Y-000002"
