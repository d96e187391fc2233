"""`workbench profiles`: named selections of servers and tools, each with an endpoint of its own."""

from __future__ import annotations

import click

from workbench.cli.context import as_json, console, opened, print_json, typed


@click.command()
@as_json
@click.pass_context
def profiles(ctx: click.Context, as_json: bool) -> None:
    """List the profiles with their endpoints. Exit code 1 when something is wrong with their file.

    They are written in `profiles.toml`, here or in the state folder:

    \b
    [support]
    title = "Support desk"
    instructions = "Look people up before you open a ticket."
    servers = ["crm", "tickets"]
    without = ["tickets.delete_*"]
    """
    with opened() as wb:
        found = wb.profiles()
        running = wb.running
    if as_json:
        print_json(found)
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False)
        for column in ("profile", "tools", "endpoint", "what it is"):
            table.add_column(column, justify="right" if column == "tools" else "left", overflow="fold")
        for profile in found["profiles"]:
            words = " - ".join(text for text in (profile["title"], profile["description"]) if text)
            endpoint = (running.url if running is not None else "") + profile["path"]
            table.add_row(Text(profile["name"], "bold"), str(len(profile["tools"])), endpoint, Text(words))
        if found["profiles"]:
            console().print(table)
        else:
            click.echo(typed("There are no profiles. `workbench profiles --help` shows how one is written."))
        for problem in found["problems"]:
            click.secho(problem, fg="yellow", err=True)
    ctx.exit(1 if found["problems"] else 0)
