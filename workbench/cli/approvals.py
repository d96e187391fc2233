"""`workbench approvals`: calls that wait for a human."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from workbench.cli.opening import as_json, opened, print_json
from workbench.events import Misuse


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def approvals(ctx: click.Context, as_json: bool) -> None:
    """Calls that wait for a human: list, approve, deny."""
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
@click.option("--arguments", help="What shall run instead: a JSON object, or @FILE with one.")
@click.option("--hash", "args_hash", default="", help="Hash of the arguments you looked at; needed once changed.")
def approve(approval: str, note: str, arguments: str | None, args_hash: str) -> None:
    """Let exactly this call happen, once, within 15 minutes; or one with other arguments."""
    changed = None if arguments is None else _object(arguments)
    # the servers are needed to hold changed arguments against the tool
    with opened(alone={"servers": ()} if changed is None else None) as wb:
        decided = wb.approve(approval, note=note, arguments=changed, args_hash=args_hash)
    if decided.status == "pending":
        click.echo(f"{len(decided.votes)} of {decided.approvers} have agreed to {decided.tool}.")
    else:
        click.echo(f"{decided.tool} approved.")


def _object(given: str) -> dict[str, Any]:
    try:
        text = Path(given[1:]).read_bytes() if given.startswith("@") else given
        found = orjson.loads(text)
    except (OSError, orjson.JSONDecodeError) as e:
        raise Misuse(f"--arguments cannot be read: {e}.", hint="Give a JSON object, or @FILE with one.") from e
    if not isinstance(found, dict):
        raise Misuse("--arguments is no JSON object.", hint='Expected {"name": value, …}.')
    return found


@approvals.command()
@click.argument("approval")
@click.option("--note", default="", help="Why; kept on the record.")
def deny(approval: str, note: str) -> None:
    """Refuse this call."""
    with opened(alone={"servers": ()}) as wb:
        decided = wb.deny(approval, note=note)
    click.echo(f"{decided.tool} denied.")
