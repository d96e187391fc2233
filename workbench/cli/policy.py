"""`workbench policy`: test the rules, explain a recorded decision, write the rules out."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from workbench.cli.context import as_json, opened, print_json
from workbench.events import MisuseError

if TYPE_CHECKING:
    from workbench.config import Settings
    from workbench.policy.rego.explain import PolicyExplanation


def _settings() -> Settings:
    from workbench.config import Settings

    return Settings.load(home=click.get_current_context().obj.get("home"))


@click.group()
def policy() -> None:
    """Export the rules, test them, and explain a recorded decision."""


@policy.command()
@click.option("--opa", "executable", type=click.Path(exists=True, dir_okay=False), help="The `opa` to run Rego tests.")
@as_json
@click.pass_context
def test(ctx: click.Context, executable: str | None, as_json: bool) -> None:
    """Run the cases (*.cases.json) and, where `opa` is installed, the Rego tests (*_test.rego) of the policy in force.

    Exit code 1 when one fails, or when there is none.
    """
    from workbench.policy.rego import rego_engine
    from workbench.policy.rego.policy_tests import run_cases, run_rego_tests

    files = rego_engine.PolicyFiles(_settings().policy)
    rego = rego_engine.RegoPolicy(files.read(), files.where)
    executable = executable or shutil.which("opa")
    results = run_cases(files, rego.ask)
    not_run = [] if executable else sorted(files.read_tests(rego_engine.REGO_TESTS))
    if executable:
        results += run_rego_tests(files, executable)
    failed = [r for r in results if not r.passed]
    if as_json:
        passed = len(results) - len(failed)
        print_json({"revision": rego.revision, "passed": passed, "results": results, "not_run": not_run})
    else:
        for result in results:
            mark = click.style("ok  ", fg="green") if result.passed else click.style("FAIL", fg="red")
            click.echo(f"{mark} {result.file}: {result.name}{f' - {result.message}' if result.message else ''}")
        if not_run:
            click.echo(f"Not run, because they need the program `opa`: {', '.join(not_run)}", err=True)
        click.echo(f"{len(results) - len(failed)} of {len(results)} passed, revision {rego.revision}", err=True)
    ctx.exit(1 if failed or not results else 0)


@policy.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def export(folder: Path) -> None:
    """Write the rules in force into FOLDER, e.g. for an OPA: opa run --server FOLDER."""
    from workbench.policy.rego import rego_engine

    found = rego_engine.PolicyFiles(_settings().policy).read()
    folder.mkdir(parents=True, exist_ok=True)
    there = sorted(name for name in found if (folder / name).exists())
    if there:
        raise MisuseError(f"{folder} already holds {', '.join(there)}.", hint="Name an empty folder.")
    for name, content in found.items():
        (folder / name).write_bytes(content)
        click.echo(str(folder / name))


@policy.command()
@click.argument("call")
@as_json
def explain(call: str, as_json: bool) -> None:
    """Explain, rule by rule, why the recorded CALL was allowed or denied. CALL is the id in its outcome."""
    from workbench.access import Access
    from workbench.policy import Policy
    from workbench.policy.rego.explain import explain as explained

    with opened() as wb:
        rows = wb.sql("select * from tool_calls where request_id = $id or event_id = $id", {"id": call}).arrow()
        if not rows.num_rows:
            raise MisuseError(
                f"No recorded call has the id {call!r}.",
                hint='`workbench sql "select ts, request_id, tool, policy_rule from decisions order by ts desc"`',
            )
        row = rows.to_pylist()[-1]
        told = wb.sql("select judged from decisions where event_id = $id", {"id": row["event_id"]}).arrow().to_pylist()
        row["data"] = {"judged": orjson.loads(told[0]["judged"])} if told and told[0]["judged"] else None
        minute = (
            "select count(*) as n from tool_calls where tenant = $tenant and qualified = $tool and outcome in "
            "('ok', 'tool_error') and ts < $ts and ts >= $ts - interval 1 minute"
        )
        asked: dict[str, Any] = {"tenant": row["tenant"], "tool": row["qualified"], "ts": row["ts"]}
        used = int(wb.sql(minute, asked).arrow().to_pylist()[0]["n"])
        tool = next((t for t in wb.tools() if t.qualified == row["qualified"]), None)
        settings = wb.settings
    access, rules = Access(settings), Policy(settings)
    try:
        found = explained(rules, row, access.holder(str(row["credential"])), tool, used=used)
    finally:
        access.close()
        rules.close()
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: PolicyExplanation) -> None:
    recorded = found.recorded
    click.echo(
        f"{recorded['decision'] or 'not decided'} by {recorded['rule']} ({recorded['engine']}, revision "
        f"{recorded['revision']}){': ' + recorded['reason'] if recorded['reason'] else ''}"
    )
    marks = {True: click.style("yes ", fg="green"), False: click.style("no  ", fg="red"), None: "?   "}
    for step in found.steps:
        click.echo(f"  {marks[step.holds]}{step.rule}: {step.finding}")
    now = found.now
    verdict = "allow" if now.allow else "approval" if now.approval else "deny"
    click.echo(f"Asked again now: {verdict} by {now.rule}{': ' + now.reason if now.reason else ''}")
    for caveat in found.caveats:
        click.secho(f"  {caveat}", dim=True)
