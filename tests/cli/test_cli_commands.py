"""The command line against a platform that runs: results on standard output, progress apart, exit codes by class."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.platforms import up
from workbench.cli import cli
from workbench.config import open_control
from workbench.events import MisuseError, WorkbenchError
from workbench.platform.run_file import RunningPlatform

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningPlatform, Path]]:
    home = tmp_path_factory.mktemp("cli") / "home"
    with up(home, "--servers", "crm,tickets,payments") as (running, _):
        yield running, home


@pytest.fixture
def run(platform: tuple[RunningPlatform, Path]) -> Command:
    return command_line(platform[1])


def command_line(home: Path) -> Command:
    """Runs `workbench ARGS` in this process; errors that `main` would print are raised."""

    def command(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, ["--home", str(home), *arguments], input=stdin, standalone_mode=False)
        if isinstance(result.exception, WorkbenchError):
            raise result.exception
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return command


def code(result: Result) -> int:
    return result.return_value if isinstance(result.return_value, int) else result.exit_code


def test_bare_workbench_shows_what_runs_and_three_commands(
    run: Command, platform: tuple[RunningPlatform, Path]
) -> None:
    out = run().stdout
    assert platform[0].url in out
    assert "crm" in out
    assert len(out.split("Next:")[1].strip().splitlines()) == 3


def test_status_names_no_app_where_none_runs(run: Command) -> None:
    first = run("status").stdout.splitlines()[0]
    assert "runs at http://" in first
    assert first.endswith(")"), first


def test_status_as_json(run: Command) -> None:
    found = json.loads(run("status", "--json").stdout)
    assert found["running"] is True
    assert found["servers"] == {"crm": "ready", "tickets": "ready", "payments": "ready"}


def test_tools_are_searched(run: Command) -> None:
    found = json.loads(run("tools", "find customer", "--limit", "2", "--json").stdout)
    assert found[0]["server"] == "crm"
    assert "crm.search_customers" in run("tools", "customer").stdout


def test_a_call_prints_the_result(run: Command) -> None:
    result = run("call", "crm.search_customers", "query=john.smith@acme.com", "limit=2", "--json")
    assert code(result) == 0
    outcome = json.loads(result.stdout)
    assert outcome["result"]["structuredContent"]["customers"][0]["email"] == "john.smith@acme.com"


@pytest.mark.parametrize(
    ("arguments", "expected", "said"),
    [
        (("crm.serch_customers",), 2, "crm.search_customers"),
        (("crm.get_customer",), 2, "customer_id"),
        (("crm.search_customers", "limit:=[]"), 2, "limit"),
        (("crm.get_customer", "customer_id=C-99999"), 5, "C-99999"),
    ],
)
def test_failures_have_codes_by_class(run: Command, arguments: tuple[str, ...], expected: int, said: str) -> None:
    result = run("call", *arguments)
    assert code(result) == expected
    assert said in result.stdout


def test_arguments_come_from_standard_input(run: Command) -> None:
    result = run("call", "crm.search_customers", "--args", "-", "--json", stdin='{"query": "smith", "limit": 1}')
    assert len(json.loads(result.stdout)["result"]["structuredContent"]["customers"]) == 1


def test_a_question_prints_steps_and_answer_apart(run: Command) -> None:
    result = run("ask", "--provider", "planner", "What", "is the account status of john.smith@acme.com?")
    assert code(result) == 0
    assert "past" in result.stdout.lower()
    assert "crm.search_customers" in result.stderr
    assert "crm.search_customers(" not in result.stdout


def test_a_question_as_json_has_every_event(run: Command) -> None:
    found = json.loads(run("ask", "--json", "--provider", "planner", "How many tickets are open by priority?").stdout)
    assert found["status"] == "answered"
    assert found["events"][0]["event"] == "RunStarted"


def test_an_unknown_provider_is_refused(run: Command) -> None:
    with pytest.raises(MisuseError, match="skynet"):
        run("ask", "--provider", "skynet", "anything")


def test_servers_are_listed_and_restarted(run: Command) -> None:
    assert {s["id"] for s in json.loads(run("servers", "--json").stdout)} == {"crm", "tickets", "payments"}
    assert "tickets was restarted and is ready" in run("servers", "restart", "tickets").stdout


def test_sql_prints_rows_csv_and_json(run: Command) -> None:
    run("call", "crm.search_customers", "query=smith")
    query = "select server, tool, outcome from tool_calls where tool = 'search_customers' limit 1"
    assert json.loads(run("sql", query, "--json").stdout) == [
        {"server": "crm", "tool": "search_customers", "outcome": "ok"}
    ]
    assert "search_customers" in run("sql", query).stdout
    assert "tool_calls" in run("sql").stdout


@pytest.mark.parametrize("statement", ["drop table tool_calls", "select 1; select 2", "select * from nothing", "selec"])
def test_sql_that_is_no_question_is_refused(run: Command, statement: str) -> None:
    with pytest.raises(MisuseError):
        run("sql", statement)


def test_saved_questions_are_listed_and_run(run: Command) -> None:
    names = [q["name"] for q in json.loads(run("questions", "--json").stdout)]
    assert "slowest_tools" in names
    run("questions", "slowest_tools")
    with pytest.raises(MisuseError, match="Saved are"):
        run("questions", "nothing")
    with pytest.raises(MisuseError, match="Expected"):
        run("questions", "slowest_tools", "colour=red")


def test_the_record_verifies(run: Command) -> None:
    result = run("audit", "verify")
    assert code(result) == 0
    assert "erified" in result.stdout
    assert json.loads(run("audit", "verify", "--deep", "--json").stdout)


def test_keys_are_made_listed_and_revoked(run: Command) -> None:
    made = json.loads(run("access", "create", "bob", "--role", "employee", "--days", "1", "--json").stdout)
    assert made["secret"].startswith("mk_")
    assert "employee" in run("access", "keys").stdout
    assert made["secret"] not in run("access", "keys", "--json").stdout
    run("access", "revoke", made["key"]["id"])
    listed = {k["id"]: k for k in json.loads(run("access", "keys", "--json").stdout)}
    assert listed[made["key"]["id"]]["revoked_us"]


def test_a_list_of_keys_says_how_narrow_and_until_when(run: Command, platform: tuple[RunningPlatform, Path]) -> None:
    made = ("access", "create", "eve", "--role", "manager", "--scope", "crm:read", "--rate", "7", "--note", "desk")
    id = json.loads(run(*made, "--days", "0.5", "--json").stdout)["key"]["id"]
    line = next(line for line in run("access", "keys").stdout.splitlines() if line.startswith(id))
    assert all(
        said in line for said in ("active", "local/eve", "scopes crm:read", "7 calls a minute", "until 20", "desk")
    )
    with contextlib.closing(open_control(platform[1])) as control:
        control.execute("update api_keys set expires_us = 1 where id = ?", (id,))
    assert "expired" in next(line for line in run("access", "keys").stdout.splitlines() if line.startswith(id))


def test_permissions_are_explained(run: Command) -> None:
    assert code(run("access", "explain", "crm.search_customers", "--as", "employee")) == 0
    refused = run("access", "explain", "payments.refund_payment", "--as", "employee")
    assert code(refused) == 7
    assert "payments:write" in refused.stdout
    assert refused.stdout.startswith("no, by tool_scopes.missing_scopes"), "a role is no key"
    with pytest.raises(MisuseError, match="emperor"):
        run("access", "explain", "crm.search_customers", "--as", "emperor")
    assert "owner" in run("access", "roles").stdout


def test_permissions_of_a_person_are_those_of_their_keys(run: Command) -> None:
    with pytest.raises(MisuseError, match="no role, key or holder"):
        run("access", "explain", "crm.search_customers", "--as", "zoe")
    narrow = ("access", "create", "zoe", "--role", "manager", "--scope", "tickets:read", "--json")
    id = json.loads(run(*narrow).stdout)["key"]["id"]
    for who in ("zoe", id):
        refused = run("access", "explain", "crm.search_customers", "--as", who)
        assert code(refused) == 7
        assert f"key {id} of zoe: no" in refused.stdout
        assert "the credential is narrower" in refused.stdout
    run("access", "create", "zoe", "--role", "employee", "--scope", "crm:read")
    run("access", "create", "zoe", "--role", "employee")
    both = run("access", "explain", "crm.search_customers", "--as", "zoe")
    assert code(both) == 0
    assert both.stdout.count("of zoe: ") == 3
    run("access", "revoke", id)
    with pytest.raises(MisuseError, match="usable any more"):
        run("access", "explain", "crm.search_customers", "--as", id)


def test_a_destructive_call_waits_for_a_human_and_then_happens_once(run: Command) -> None:
    call = ("call", "tickets.close_ticket", "ticket_id=T-00001", "reason=duplicate")
    first = run(*call, "--json")
    assert code(first) == 7
    approval = json.loads(first.stdout)["details"]["approval"]
    assert approval in run("approvals").stdout
    assert "approved" in run("approvals", "approve", approval, "--note", "seen").stdout
    again = run(*call)
    assert code(again) in (0, 5), again.stdout  # allowed now; the tool itself may find the ticket closed already
    assert code(run(*call)) == 7  # an approval is used once
    events = json.loads(run("sql", "select event from approvals order by ts", "--json").stdout)
    assert "approved" in {e["event"] for e in events}


def test_a_denied_call_stays_denied(run: Command) -> None:
    call = ("call", "tickets.close_ticket", "ticket_id=T-00002", "reason=spam", "--json")
    approval = json.loads(run(*call).stdout)["details"]["approval"]
    assert "denied" in run("approvals", "deny", approval).stdout
    assert json.loads(run("approvals", "--json").stdout) == [] or approval not in run("approvals").stdout


def test_doctor_shows_every_setting_and_every_check(run: Command) -> None:
    found = json.loads(run("doctor", "--json").stdout)
    assert {s["name"] for s in found["settings"]} >= {"home", "port", "audit_mode"}
    assert {c["name"] for c in found["checks"]} >= {"record", "policy", "answers", "ports"}
    assert not [c for c in found["checks"] if c["verdict"] == "problem"], found["checks"]
    assert "from" in run("doctor").stdout


def test_models_are_listed_with_the_reason(run: Command) -> None:
    found = {s["name"]: s for s in json.loads(run("model", "--json").stdout)}
    assert found["planner"]["ready"] is True
    assert found["openai"]["ready"] is False
    assert "OPENAI_API_KEY" in found["openai"]["why"]


def test_a_load_run_lands_in_the_record_and_no_limit_of_a_client_ends_it(tmp_path: Path) -> None:
    with up(tmp_path / "home", "--servers", "crm,tickets,payments", env={"WORKBENCH_RATE_PER_MINUTE": "10"}):
        assert_a_load_run_is_recorded(command_line(tmp_path / "home"))


def assert_a_load_run_is_recorded(run: Command) -> None:
    summary = json.loads(run("load", "--users", "4", "--seconds", "4", "--profile", "one", "--json").stdout)
    assert summary["failures"] == 0
    assert summary["requests"] > 10  # what others may do in a minute
    key = next(k for k in json.loads(run("access", "keys", "--json").stdout) if k["subject"] == "load")
    assert key["revoked_us"] is not None
    rows = json.loads(run("sql", "select count(*) as n from load_requests", "--json").stdout)
    assert rows[0]["n"] >= summary["requests"]
    joined = "select count(*) as n from load_requests l join tool_calls c on l.trace_id = c.trace_id"
    assert json.loads(run("sql", joined, "--json").stdout)[0]["n"] >= summary["requests"]


def test_an_unknown_command_gets_a_did_you_mean(run: Command) -> None:
    import click

    with pytest.raises(click.UsageError, match="Did you mean tools"):
        run("toolz")
