"""`workbench tools`, `workbench call` and `workbench servers`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from workbench.cli.context import SECONDS, as_json, console, opened, print_json, program, typed
from workbench.display_text import terminal_text
from workbench.events import JSON, Caller, MisuseError, OutcomeKind, UnreachableError, WorkbenchError, counted

if TYPE_CHECKING:
    from workbench.client import Workbench
    from workbench.platform.changed_definitions import ChangedDefinition

EXIT_CODES: dict[OutcomeKind, int] = {
    "ok": 0, "tool_error": 5, "invalid": 2, "not_found": 2, "denied": 7, "approval_required": 7, "throttled": 7,
    "timeout": 4, "unavailable": 4, "cancelled": 130, "failed": 4,
}  # fmt: skip


@click.command()
@click.argument("words", nargs=-1)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="Most matches of a search.")
@click.option("--profile", default="", help="Only the tools of this profile.")
@as_json
def tools(words: tuple[str, ...], limit: int, profile: str, as_json: bool) -> None:
    """List the tools you may call, or search them by words and meaning."""
    missing: list[str] = []
    with opened() as wb:
        found = wb.tools(" ".join(words), limit=limit, profile=profile)
        if not (words or profile or as_json):
            missing = _not_listed(wb)
    from workbench.registry.definitions.poisoning_signals import of_definition

    signals = {t.qualified: signs for t in found if (signs := of_definition(t.definition))}
    if as_json:
        print_json([{**t.to_dict(), "signals": signals.get(t.qualified, [])} for t in found])
        return
    console().print(found)
    for name, signs in signals.items():
        for sign in signs:
            text = f"{name}: {sign.kind.replace('_', ' ')} ({sign.where}): {sign.excerpt!r}"
            click.secho(f"A sign to look at, no proof - {text}", fg="yellow", err=True)
    for found_tool in found:
        for note in found_tool.notes:
            click.secho(f"To look at - {found_tool.qualified}: {note}", fg="yellow", err=True)
        for repair in found_tool.repairs if found_tool.qualified == " ".join(words) else ():
            given, read_as = terminal_text(repair["given"]), terminal_text(repair["read_as"])
            click.secho(
                f"Read otherwise - {terminal_text(repair['where'])}: {given} as: {read_as}", fg="yellow", err=True
            )
    repaired = [t.qualified for t in found if t.repairs and t.qualified != " ".join(words)]
    if repaired:
        named = ", ".join(map(terminal_text, repaired[:5])) + (f" and {len(repaired) - 5} more" if repaired[5:] else "")
        how = f"{program()} tools NAME says how"
        click.secho(f"Definitions read otherwise than they are written: {named}; {how}.", fg="yellow", err=True)
    for line in missing:
        click.secho(line, fg="yellow", err=True)


def _not_listed(wb: Workbench) -> list[str]:
    """Why tools are not in the list that somebody may look for: of servers that are not ready, or quarantined."""
    from workbench.client.attached import MissingScopeError

    try:
        states, held = wb.servers(), wb.changed_definitions()
    except MissingScopeError:  # a caller of tools alone is told of tools alone
        return []
    lines = [
        f"Not listed - {state.id} is {state.status}: {terminal_text(state.last_error.split(chr(10), 1)[0])}"
        for state in states
        if state.status not in ("ready", "disabled")
    ]
    lines += [f"Not listed - {terminal_text(each.tool)} is quarantined: {terminal_text(each.reason)}" for each in held]
    return [*lines, f"{program()} servers says more."] if lines else []


@click.command()
@click.argument("tool")
@click.argument("arguments", nargs=-1)
@click.option("--args", "document", help="All arguments as one JSON object; - reads standard input.")
@click.option("--timeout", type=SECONDS, help="Seconds to wait.")
@click.option("--profile", default="", help="Call the tool through this profile, which must contain it.")
@as_json
@click.pass_context
def call(
    ctx: click.Context,
    tool: str,
    arguments: tuple[str, ...],
    document: str | None,
    timeout: float | None,
    profile: str,
    as_json: bool,
) -> None:
    """Call one tool. key=value gives text (numbers and booleans where the schema says so), key:=value gives JSON.

    \b
    workbench call crm.search_customers query=smith limit=5
    workbench call files.read_file path=handbook.md
    workbench call payments.list_invoices --args '{"customer_id": "C-00017"}'
    """
    with opened() as wb:
        schema = next((t.input_schema for t in wb.tools() if t.qualified == tool), {})
        result = wb.call_with(tool, parse_arguments(arguments, document, schema), timeout=timeout, profile=profile)
        approval = str(result.outcome.details.get("approval") or "")
        decides = bool(approval) and _may_decide(wb, approval)
    if as_json:
        print_json(result.outcome)
    else:
        console().print(result)
        if approval:
            how = f"`workbench approvals approve {approval}`"
            who = (
                "Approve it with" if decides else "Somebody else, who has the scope approvals:decide, approves it with"
            )
            click.echo(typed(f"{who} {how}; then make the same call again."), err=True)
    ctx.exit(EXIT_CODES[result.outcome.kind])


def _may_decide(wb: Workbench, approval: str) -> bool:
    """Whether whoever runs this command may decide the call that waits, here."""
    from workbench.policy.approvals.approval import check_decider

    try:
        me = msgspec.convert(wb.status()["caller"], Caller)
        waiting = next((each for each in wb.approvals() if each.id == approval), None)
        if waiting is not None:
            check_decider(waiting, me, "cli")
    except WorkbenchError:  # it may not even see what waits
        return False
    return waiting is not None


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def servers(ctx: click.Context, as_json: bool) -> None:
    """List servers and their health."""
    if ctx.invoked_subcommand is not None:
        return
    with opened() as wb:
        found, remarks = wb.servers(), wb.configuration()
    if as_json:
        print_json(found)
    else:
        console().print(found)
        for state in found:
            if state.last_error:
                click.secho(
                    f"{state.id} {state.condition}: {typed(terminal_text(state.last_error))}", fg="yellow", err=True
                )
            for notice in state.notices:
                click.secho(f"{state.id}: {typed(terminal_text(notice))}", dim=True, err=True)
        for text in remarks.problems:
            click.secho(typed(terminal_text(text)), fg="red", err=True)
        for text in remarks.notices:
            click.secho(typed(terminal_text(text)), dim=True, err=True)


@servers.command()
@click.argument("server")
def restart(server: str) -> None:
    """Restart a server of the running platform. Exit code 4 when it is not ready after that."""
    with opened(attach=True) as wb:
        state = wb.restart(server)
    if state.status == "ready":
        click.echo(f"{server} was restarted and is ready: {counted(state.tools, 'tool')}.")
        return
    why = f": {terminal_text(state.last_error)}" if state.last_error else "."
    raise UnreachableError(f"{server} was restarted and {state.condition}{typed(why)}")


@servers.command()
@as_json
def reload(as_json: bool) -> None:
    """Have the running platform read its configuration again: it starts new servers and ends removed ones."""
    from workbench.cli.add import tell_reloaded

    with opened(attach=True) as wb:
        done, states = wb.reload_servers(), wb.servers()
    if as_json:
        print_json(done)
        return
    if done == type(done)():
        click.echo("All servers are as their configuration says.", err=True)
    tell_reloaded(done, states, [state.id for state in states if state.status == "invalid"])


@servers.command()
@as_json
def changes(as_json: bool) -> None:
    """Show quarantined tools: why each is, and how its definition differs from the accepted one."""
    with opened() as wb:
        found = wb.changed_definitions()
    if as_json:
        print_json(found)
        return
    for each in found:
        _show_change(each)
        accept = f"{program()} servers accept {each.tool} --hash {each.hash}"
        click.echo(f"Accept with: {accept}", err=True)
        if each.varying:
            click.echo(f"Once for all, with what varies: {accept} --varying", err=True)
    if not found:
        click.echo("All definitions are those first seen or accepted since.", err=True)


@servers.command()
@click.argument("tool")
@click.option(
    "--hash",
    "seen",
    default="",
    help="Hash of the definition that you looked at; without it, the definition is shown and you are asked.",
)
@click.option("--varying", is_flag=True, help="Also accept later versions that differ only in what is shown to vary.")
def accept(tool: str, seen: str, varying: bool) -> None:
    """Accept the changed definition of a tool, so that it can be called again."""
    with opened() as wb:
        if not seen:
            change = next((each for each in wb.changed_definitions() if each.tool == tool), None)
            if change is not None:
                _show_change(change)
                click.confirm("Accept this, and whatever fits the template?" if varying else "Accept this?", abort=True)
                seen = change.hash
        wb.accept_definition(tool, seen, varying=varying)
    click.echo(f"{tool} accepted{', with what varies' if varying else ''}.")


@servers.command()
@as_json
def varying(as_json: bool) -> None:
    """List definitions that were accepted with --varying."""
    with opened() as wb:
        found = wb.varying_acceptances()
    if as_json:
        print_json(found)
        return
    for each in found:
        when = datetime.fromtimestamp(each.accepted_us / 1e6, UTC)
        click.secho(terminal_text(each.tool), bold=True)
        click.echo(f"Accepted by {terminal_text(each.accepted_by)} on {when:%Y-%m-%d %H:%M} UTC.")
        for place in each.varying:
            click.echo(f"What varies in {terminal_text(place['where'])}: {terminal_text(place['template'])}")
        click.echo(f"End it with: {program()} servers revoke {terminal_text(each.tool)}", err=True)
    if not found:
        click.echo("No definition was accepted with what varies in it.", err=True)


@servers.command()
@click.argument("tool")
def revoke(tool: str) -> None:
    """Revoke an acceptance with --varying: the tool is quarantined unless its definition is the one accepted last."""
    with opened() as wb:
        wb.revoke_varying_acceptance(tool)
        held = any(each.tool == tool for each in wb.changed_definitions())
    how = f" It is quarantined now; {program()} servers changes shows it." if held else ""
    click.echo(f"What varies in {tool} is no longer accepted.{how}")


def _show_change(change: ChangedDefinition) -> None:
    click.secho(terminal_text(change.tool), bold=True)
    click.echo(terminal_text(change.reason))
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in terminal_text(change.diff).splitlines():
        click.secho(line, fg=colours.get(line[:1]))
    for each in change.varying:
        click.echo(f"What varies in {terminal_text(each['where'])}: {terminal_text(each['template'])}")
    if change.not_varying:
        click.echo(f"It cannot be accepted once for all: {terminal_text(change.not_varying)}")


def parse_arguments(pairs: tuple[str, ...], document: str | None, schema: JSON) -> JSON:
    """Arguments from the command line.

    Args:
        pairs: `key=text` or `key:=json`.
        document: a whole JSON object, `-` for standard input; pairs win over it.
        schema: the tool's input schema; text becomes a number, a boolean or a list where only that fits.

    Raises:
        MisuseError: a pair without `=`, or JSON that does not parse.
    """
    found: JSON = {}
    if document is not None:
        text = sys.stdin.read() if document == "-" else document
        given: object = _json(text, "--args")
        if not isinstance(given, dict):
            kind = type(given).__name__
            raise MisuseError(f"--args is a JSON {kind}.", hint='Expected an object, e.g. \'{"query": "smith"}\'.')
        found = given
    named: set[str] = set()
    for pair in pairs:
        key, separator, value = pair.partition("=")
        name = key.removesuffix(":")
        if name in named:
            raise MisuseError(
                f"{name!r} was given twice.", hint='Give it once; a list is written name:=\'["a", "b"]\'.'
            )
        named.add(name)
        if not separator or key in ("", ":"):
            raise MisuseError(f"{pair!r} is no argument.", hint="Write key=text or key:=json, e.g. limit:=5.")
        if key.endswith(":"):
            found[key[:-1]] = _json(value, key[:-1])
        else:
            found[key] = _fitting(value, (schema.get("properties") or {}).get(key) or {})
    return found


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        raise MisuseError(f"{where} is not JSON: {e}.", hint="Given: " + text[:200]) from e


def _fitting(text: str, schema: JSON) -> Any:
    """`text` as the schema wants it, when it does not want text and the text reads so; else the text as it is."""
    branches = schema.get("anyOf") or schema.get("oneOf") or [schema]
    kinds = {k for b in branches for k in (b.get("type") if isinstance(b.get("type"), list) else [b.get("type")])}
    if "string" in kinds or not kinds & {"integer", "number", "boolean", "array", "object", "null"}:
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text.split(",") if "array" in kinds else text
    return [value] if "array" in kinds and not isinstance(value, list) else value
