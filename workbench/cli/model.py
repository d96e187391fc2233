"""`workbench model`: the language model that answers without a key."""

from __future__ import annotations

import click

from workbench.cli.context import as_json, print_json, progress


@click.group(invoke_without_command=True)
@as_json
@click.pass_context
def model(ctx: click.Context, as_json: bool) -> None:
    """List the providers that can answer questions, and why each is ready or not."""
    if ctx.invoked_subcommand is not None:
        return
    from workbench.agent.provider_choice import Chooser
    from workbench.config import Settings

    found = Chooser(Settings.load(home=ctx.obj.get("home"))).statuses()
    if as_json:
        print_json(found)
        return
    for status in found:
        name = click.style(f"{status.name:<12}", bold=True, fg="green" if status.ready else None)
        click.echo(f"{name} {status.model:<32} {status.why}")


@model.command()
def pull() -> None:
    """Download and check the embedded language model (about 1.1 GB), with progress; can be interrupted and resumed."""
    from workbench.agent.embedded import pull as fetch
    from workbench.config import Settings

    settings = Settings.load(home=click.get_current_context().obj.get("home"))
    path = fetch(settings, progress)
    click.echo(f"{path}")
