"""Each screen over a real platform: what it shows when there is something, nothing, or a fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import workbench

pytestmark = pytest.mark.slow

Open = Callable[..., AppTest]

APP = Path(__file__).resolve().parents[2] / "dashboards" / "app.py"
QUESTION = (
    "Customer john.smith@acme.com says their subscription renewal failed last week. What is their account status, "
    "do they have any open support tickets, and what does their payment history look like?"
)


def texts(app: AppTest) -> str:
    """Everything that a person reads on the screen, in one text."""
    shown: list[Any] = [*app.title, *app.subheader, *app.markdown, *app.caption, *app.html]
    shown += [*app.info, *app.warning, *app.error, *app.success, *app.code]
    return "\n".join(str(e.value) for e in shown).replace("\\", "")


def button(app: AppTest, label: str) -> Any:
    found = [b for b in app.button if b.label.replace("\\", "").strip("*") == label]
    assert found, f"no button {label!r} among {[b.label for b in app.button]}"
    return found[0]


def field(app: AppTest, label: str) -> Any:
    widgets = [*app.text_input, *app.number_input, *app.selectbox, *app.text_area]
    return next(w for w in widgets if w.label.replace("\\", "").removesuffix(" :red[*]") == label)


# --- home ------------------------------


def test_home_shows_every_server_with_its_health(screen: Open, platform: workbench.Workbench) -> None:
    shown = texts(screen())
    for state in platform.servers():
        assert state.title in shown
    assert "4 of 4 servers ready" in shown
    assert shown.count(":green[●] ready") == 4


def test_home_says_the_window_of_each_figure(screen: Open) -> None:
    labels = [m.label for m in screen().metric]
    assert labels == ["Calls, last hour", "Errors, last hour", "Denied, last hour", "p95, last hour"]


def test_a_server_is_restarted_from_its_card(screen: Open, platform: workbench.Workbench) -> None:
    before = next(s for s in platform.servers() if s.id == "calendar").pid
    app = screen()
    app.button(key="restart.calendar").click().run()
    assert not app.exception
    after = next(s for s in platform.servers() if s.id == "calendar")
    assert after.pid != before
    assert [t.value for t in app.toast] == ["calendar restarts."]


# --- tools ------------------------------


def test_without_a_tool_the_list_is_shown_and_the_rest_says_what_to_do(screen: Open) -> None:
    app = screen("tools")
    assert "Choose a tool" in texts(app)
    assert {"search_customers", "list_invoices"} <= {b.label.replace("\\", "") for b in app.button}


def test_search_finds_by_words_and_says_when_nothing_fits(screen: Open) -> None:
    app = screen("tools", q="invoices of a customer")
    assert any("invoice" in b.label for b in app.button)
    assert "found, best first" in texts(app)


def test_a_tool_is_run_through_its_form(screen: Open, platform: workbench.Workbench) -> None:
    app = screen("tools", tool="crm.search_customers")
    field(app, "email").set_value("john.smith@acme.com")
    button(app, "Run").click()
    app.run()
    assert not app.exception
    assert "ok" in texts(app)
    assert json.loads(app.query_params["args"]) == {"email": "john.smith@acme.com"}
    rows = app.dataframe[0].value
    assert list(rows["email"]) == ["john.smith@acme.com"]
    assert "wb.call('crm.search_customers'" in texts(app)
    assert "workbench call crm.search_customers email=john.smith@acme.com" in texts(app)


def test_a_link_fills_the_form_with_its_arguments(screen: Open) -> None:
    app = screen("tools", tool="crm.search_customers", args='{"query":"smith","limit":3}')
    assert field(app, "query").value == "smith"
    assert field(app, "limit").value == 3


def test_changing_to_json_and_back_keeps_what_was_entered(screen: Open) -> None:
    app = screen("tools", tool="crm.search_customers")
    field(app, "query").set_value("acme")
    button(app, "Edit as JSON").click()
    app.run()
    assert json.loads(field(app, "Arguments as JSON").value) == {"query": "acme"}
    field(app, "Arguments as JSON").set_value('{"query": "acme", "limit": 7, "odd": [1, {"a": null}]}')
    button(app, "Edit as form").click()
    app.run()
    assert field(app, "limit").value == 7
    assert json.loads(field(app, "odd (JSON)").value) == [1, {"a": None}]


def test_broken_json_is_explained_and_nothing_is_sent(screen: Open, platform: workbench.Workbench) -> None:
    app = screen("tools", tool="crm.search_customers")
    button(app, "Edit as JSON").click()
    app.run()
    field(app, "Arguments as JSON").set_value('{"query": ')
    before = len(platform.sql("select 1 from tool_calls"))
    button(app, "Run").click()
    app.run()
    assert "not JSON" in texts(app)
    assert len(platform.sql("select 1 from tool_calls")) == before


def test_arguments_against_the_schema_name_the_path(screen: Open) -> None:
    app = screen("tools", tool="crm.get_customer")
    button(app, "Run").click()
    app.run()
    assert not app.exception
    assert "invalid arguments" in texts(app)
    assert "customer_id" in app.warning[0].value.replace("\\", "")


def test_history_lists_calls_and_puts_their_arguments_back(screen: Open, platform: workbench.Workbench) -> None:
    platform.call("crm.count_customers", status="churned")
    app = screen("tools", tool="crm.count_customers")
    assert "churned" in texts(app)
    button(app, "Use").click()
    app.run()
    assert not app.exception
    chosen = field(app, "status")
    assert chosen.options[chosen.value] == "churned"
    button(app, "Run again").click()
    app.run()
    assert not app.exception
    assert len(platform.sql("select 1 from tool_calls where tool = 'count_customers'")) == 2


def test_a_tool_that_is_not_there_is_said_so(screen: Open) -> None:
    assert "There is no tool" in screen("tools", tool="crm.nothing").warning[0].proto.title.replace("\\", "")


# --- approvals ------------------------------


def destructive(platform: workbench.Workbench) -> Any:
    meetings = platform.call("calendar.list_meetings", limit=5).data["meetings"]
    return platform.call_with("calendar.cancel_meeting", {"meeting_id": meetings[0]["meeting_id"], "reason": "clash"})


def test_an_empty_inbox_says_what_will_appear(screen: Open) -> None:
    assert "Nothing waits for you" in texts(screen("approvals"))


def test_a_waiting_call_is_shown_and_can_be_denied(screen: Open, platform: workbench.Workbench) -> None:
    asked = destructive(platform)
    assert asked.kind == "approval_required"
    app = screen("approvals")
    (waiting,) = platform.approvals()
    assert "calendar.cancel_meeting" in texts(app)
    assert "denied by itself in" in texts(app)
    assert app.json
    app.text_input(key=f"note.{waiting.id}").set_value("not today")
    app.button(key=f"deny.{waiting.id}").click().run()
    assert not app.exception
    assert platform.approvals() == []
    assert "Nothing waits for you" in texts(app)


# --- ask ------------------------------


def test_ask_starts_with_questions_to_try(screen: Open) -> None:
    shown = texts(screen("ask"))
    assert "Ask about what your servers know" in shown
    assert "every answer says who gave it" in shown


def test_a_provider_that_is_no_language_model_says_so(screen: Open) -> None:
    assert "not a language model" in texts(screen("ask", provider="planner"))


def test_a_question_is_answered_with_steps_and_a_link(screen: Open) -> None:
    app = screen("ask")
    app.chat_input[0].set_value(QUESTION).run()
    assert not app.exception
    shown = texts(app)
    assert "past_due" in shown or "past due" in shown
    assert "no tokens" in shown
    assert app.query_params["run"] in shown
    steps = [s.label.replace("\\", "") for s in app.status]
    assert any("crm." in label and "ms" in label for label in steps)


def test_a_conversation_keeps_its_steps_when_the_page_is_drawn_again(screen: Open) -> None:
    app = screen("ask")
    app.chat_input[0].set_value(QUESTION).run()
    steps = [s.label for s in app.status]
    assert len(steps) > 1
    app.run()
    assert not app.exception
    assert [s.label for s in app.status] == steps
    assert isinstance(app.session_state["turns"][0]["events"][-1], workbench.RunDone)


def test_a_finished_run_is_reopened_from_the_record(screen: Open, platform: workbench.Workbench) -> None:
    run = platform.ask("How many support tickets are open, by priority?")
    app = screen("ask", run=run.id)
    shown = texts(app)
    assert "How many support tickets are open, by priority?" in shown
    assert run.id in shown
    assert any("tickets." in s.label for s in app.status)


def test_an_unknown_run_is_said_so(screen: Open) -> None:
    assert "No finished run" in screen("ask", run="01a0-nope").warning[0].proto.title


def test_a_provider_that_is_not_ready_says_why_and_takes_no_question(screen: Open) -> None:
    app = screen("ask", provider="openai")
    assert "OPENAI_API_KEY" in texts(app)
    assert app.chat_input[0].disabled


# --- audit ------------------------------


def test_the_audit_lists_calls_and_narrows_by_the_address(screen: Open, platform: workbench.Workbench) -> None:
    platform.call("crm.search_customers", query="smith")
    platform.call("crm.get_customer")
    app = screen("audit", outcome=["invalid"], server=["crm"])
    assert set(app.dataframe[0].value["outcome"]) == {"invalid"}
    assert app.metric[0].label == "Calls, last 24 hours"
    assert int(app.metric[0].value) == len(app.dataframe[0].value)


def test_a_linked_call_is_shown_with_its_decision_and_trace(screen: Open, platform: workbench.Workbench) -> None:
    result = platform.call("crm.search_customers", query="smith")
    app = screen("audit", call=result.outcome.call)
    shown = texts(app)
    assert "crm.search_customers" in shown
    assert "allow" in shown
    assert result.outcome.call in shown
    assert "UTC" in shown


def test_no_calls_in_the_window_says_what_to_do(screen: Open) -> None:
    assert "No calls here" in texts(screen("audit", named="no such tool"))


def test_the_filters_become_a_statement(screen: Open) -> None:
    app = screen("audit", server=["crm"])
    button(app, "View as SQL").click()
    app.run()
    assert not app.exception
    statement = app.text_area(key="sql_text").value
    assert "server in ('crm')" in statement
    button(app, "Run").click()
    app.run()
    assert not app.exception
    assert set(app.dataframe[0].value["tool"].str.split(".").str[0]) == {"crm"}


@pytest.mark.parametrize(
    "statement",
    [
        "select * from nowhere",
        "drop table tool_calls",
        "select 1; select 2",
        "",
        "select * from read_csv('/etc/passwd')",
    ],
)
def test_a_statement_that_is_refused_is_explained(screen: Open, statement: str) -> None:
    app = screen("audit", view="SQL")
    app.text_area(key="sql_text").set_value(statement)
    button(app, "Run").click()
    app.run()
    assert not app.exception
    assert app.error[0].proto.title == "The statement was not run to its end"


def test_every_saved_question_runs(screen: Open, platform: workbench.Workbench) -> None:
    app = screen("audit", view="SQL")
    for question in platform.questions():
        app.selectbox(key="question_name").set_value(question.name).run()
        button(app, "Run").click()
        app.run()
        assert not app.exception
        assert not app.error, (question.name, [c.value for c in app.code])


def test_the_record_is_verified_and_the_result_is_shown(screen: Open) -> None:
    app = screen("audit", view="Integrity")
    button(app, "Verify the record").click()
    app.run()
    assert not app.exception
    assert app.success


# --- no platform ------------------------------


def test_without_a_platform_the_app_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    import streamlit

    monkeypatch.setenv("WORKBENCH_HOME", str(tmp_path / "nothing"))
    streamlit.cache_resource.clear()
    app = AppTest.from_file(str(APP), default_timeout=30).run()
    assert not app.exception
    assert "The platform is not running" in texts(app)
    assert "workbench up" in texts(app)
