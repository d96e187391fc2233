"""`workbench approvals`: calls that wait for a human."""

from __future__ import annotations

import click

from workbench.cli.opening import as_json, opened, print_json


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def approvals(ctx: click.Context, as_json: bool) -> None:
    """Calls that wait for a human: list, approve, deny."""
    if ctx.invoked_subcommand is not None:
        return
    with opened(servers=()) as wb:
        waiting = wb.approvals()
    if as_json:
        print_json(waiting)
        return
    for approval in waiting:
        click.echo(f"{click.style(approval.id, bold=True)}  {approval.tool}  asked by {approval.subject}")
        click.echo(f"    {approval.arguments}")
    if not waiting:
        click.echo("Nothing waits. Destructive tools ask here before they run.", err=True)


@approvals.command()
@click.argument("approval")
@click.option("--note", default="", help="Why; kept on the record.")
def approve(approval: str, note: str) -> None:
    """Let exactly this call happen, once, within 15 minutes."""
    with opened(servers=()) as wb:
        decided = wb.approve(approval, note=note)
    click.echo(f"{decided.tool} approved.")


@approvals.command()
@click.argument("approval")
@click.option("--note", default="", help="Why; kept on the record.")
def deny(approval: str, note: str) -> None:
    """Refuse this call."""
    with opened(servers=()) as wb:
        decided = wb.deny(approval, note=note)
    click.echo(f"{decided.tool} denied.")
