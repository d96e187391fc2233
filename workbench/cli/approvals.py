"""`workbench approvals`: calls that wait for a human."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import orjson

from workbench.cli.context import as_json, opened, print_json
from workbench.events import MisuseError


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def approvals(ctx: click.Context, as_json: bool) -> None:
    """List the calls that wait for a person's decision; approve or deny one."""
    if ctx.invoked_subcommand is not None:
        return
    with opened(alone={"servers": ()}) as wb:
        waiting = wb.approvals()
    if as_json:
        print_json(waiting)
        return
    for approval in waiting:
        click.echo(f"{click.style(approval.id, bold=True)}  {approval.tool}  asked by {approval.subject}")
        click.echo(f"    {orjson.dumps(approval.arguments).decode()}")
        if approval.params:
            click.echo(f"    and beside its arguments: {orjson.dumps(approval.params).decode()}")
        if approval.edited_by:
            click.echo(f"    changed by {approval.edited_by}; their hash is {approval.args_hash}")
        if approval.approvers > 1:
            agreed = ", ".join(vote.by for vote in approval.votes) or "nobody yet"
            click.echo(f"    {len(approval.votes)} of {approval.approvers} have agreed: {agreed}")
        if approval.roles:
            click.echo(f"    decided by {' or '.join(approval.roles)}")
    if not waiting:
        click.echo("Nothing waits. Destructive tools ask here before they run.", err=True)


@approvals.command()
@click.argument("approval")
@click.option("--note", default="", help="Why; kept on the record.")
@click.option("--arguments", help="Approve the call with these arguments instead: a JSON object, or @FILE with one.")
@click.option(
    "--hash", "args_hash", default="", help="Hash of the arguments that you looked at; required when they were changed."
)
@click.option("--uses", type=click.IntRange(1), help="Let its caller repeat it this many times without asking.")
@click.option("--minutes", type=click.FloatRange(1), help="Let its caller repeat it for this long without asking.")
@click.option(
    "--allow", multiple=True, metavar="POINTER=PATTERN",
    help="With those: other arguments too, e.g. /amount=0..100, /path=/tmp/*, /status=open|closed.",
)  # fmt: skip
def approve(
    approval: str,
    note: str,
    arguments: str | None,
    args_hash: str,
    uses: int | None,
    minutes: float | None,
    allow: tuple[str, ...],
) -> None:
    """Approve exactly this call: its caller may make it once, within 15 minutes.

    With --uses or --minutes its caller may repeat it without asking again (see the setting standing_approvals).
    """
    changed = None if arguments is None else _object(arguments)
    terms = _terms(uses, minutes, allow)
    # the servers are needed to hold changed arguments against the tool
    with opened(alone={"servers": ()} if changed is None and terms is None else None) as wb:
        decided = wb.approve(approval, note=note, arguments=changed, args_hash=args_hash, standing=terms)
    if decided.status == "pending":
        click.echo(f"{len(decided.votes)} of {decided.approvers} have agreed to {decided.tool}.")
    else:
        click.echo(f"{decided.tool} approved.")


def _terms(uses: int | None, minutes: float | None, allow: tuple[str, ...]) -> dict[str, Any] | None:
    if uses is None and minutes is None:
        if allow:
            raise MisuseError("--allow says what may be repeated, but not how often.", hint="Add --uses or --minutes.")
        return None
    return {"uses": uses or 0, "seconds": (minutes or 0) * 60, "patterns": dict(map(_pattern, allow))}


def _pattern(given: str) -> tuple[str, dict[str, Any]]:
    pointer, equals, text = given.partition("=")
    if not equals or not text:
        raise MisuseError(f"--allow {given!r} cannot be read.", hint="Expected POINTER=PATTERN, e.g. /amount=0..100.")
    low, dots, high = text.partition("..")
    if dots:
        try:
            return pointer, {"range": [_value(low, number=True), _value(high, number=True)]}
        except ValueError:
            pass
    if text.endswith("*"):
        return pointer, {"prefix": text[:-1]}
    return pointer, {"enum": [_value(each) for each in text.split("|")]}


def _value(text: str, *, number: bool = False) -> Any:
    """A number, true, false, null, or a text; JSON text in quotes is that text."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = text
    if number and (isinstance(found, bool) or not isinstance(found, int | float)):
        raise ValueError(text)
    return found


@approvals.command()
@as_json
def standing(as_json: bool) -> None:
    """List calls that may be repeated without asking, with the uses and the time that are left."""
    with opened(alone={"servers": ()}) as wb:
        found = wb.standing_approvals()
    if as_json:
        print_json(found)
        return
    for each in found:
        click.echo(f"{click.style(each.id, bold=True)}  {each.tool}  by {each.subject}, given by {each.by}")
        click.echo(f"    {orjson.dumps(each.arguments).decode()}")
        for pointer, pattern in each.patterns.items():
            click.echo(f"    {pointer}: {orjson.dumps(pattern).decode()}")
        if each.status == "pending":
            click.echo(f"    {len(each.votes)} of {each.approvers} have agreed")
        else:
            click.echo(f"    {each.left} of {each.uses} uses left, until {_time(each.until_us)}")
    if not found:
        click.echo("Nothing may be repeated without asking.", err=True)


@approvals.command()
@click.argument("standing_approval")
def revoke(standing_approval: str) -> None:
    """Revoke a standing approval at once."""
    with opened(alone={"servers": ()}) as wb:
        ended = wb.revoke_standing_approval(standing_approval)
    click.echo(f"{ended.subject} asks again before {ended.tool}.")


def _time(us: int) -> str:
    return f"{datetime.fromtimestamp(us / 1e6):%Y-%m-%d %H:%M:%S}"


def _object(given: str) -> dict[str, Any]:
    try:
        text = Path(given[1:]).read_bytes() if given.startswith("@") else given
        found = orjson.loads(text)
    except (OSError, orjson.JSONDecodeError) as e:
        raise MisuseError(f"--arguments cannot be read: {e}.", hint="Give a JSON object, or @FILE with one.") from e
    if not isinstance(found, dict):
        raise MisuseError("--arguments is no JSON object.", hint='Expected {"name": value, …}.')
    return found


@approvals.command()
@click.argument("approval")
@click.option("--note", default="", help="Why; kept on the record.")
def deny(approval: str, note: str) -> None:
    """Deny this call."""
    with opened(alone={"servers": ()}) as wb:
        decided = wb.deny(approval, note=note)
    click.echo(f"{decided.tool} denied.")
