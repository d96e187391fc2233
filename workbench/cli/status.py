"""Bare `workbench`: what runs here, and what one would do next."""

from __future__ import annotations

import click

from workbench.cli.context import as_json, console, print_json, program


@click.command()
@as_json
def status(as_json: bool = False) -> None:
    """Show what runs, and three useful next commands."""
    import workbench
    from workbench.config import Settings
    from workbench.platform.run_file import find_running

    home = click.get_current_context().obj.get("home")
    settings = Settings.load(home=home)
    running = None if settings.url else find_running(settings.home)
    if running is None and not settings.url:
        if as_json:
            print_json({"running": False, "home": settings.home})
            return
        click.echo(f"MCP Workbench {workbench.__version__}: nothing runs on {settings.home}.")
        _next("up", 'ask "Which five products brought in the most revenue?"', "doctor")
        return
    with workbench.open(home=home, attach=True, source="cli") as wb:
        if as_json:
            print_json({"running": True, **wb.status()})
            return
        if running is None:
            click.echo(f"MCP Workbench {wb.status()['version']} runs at {settings.url}.")
        else:
            app = f", app {running.app_url}" if running.app_url else ""
            click.echo(f"MCP Workbench {running.version} runs at {running.url} (process {running.pid}){app}")
            if running.app_url:
                click.echo(f"Sign in to the app with a link of: {program()} app")
        if problem := wb.status().get("control", {}).get("problem"):
            click.secho(problem, fg="red")
        console().print(wb.servers())
        waiting = wb.approvals()
    if waiting:
        click.secho(f"{len(waiting)} call(s) wait for approval.", fg="yellow")
        _next("approvals", f"approvals approve {waiting[0].id}", "questions")
    else:
        _next("tools invoice", 'ask "Which invoices are overdue?"', "sql")


def _next(*commands: str) -> None:
    click.echo("\nNext:")
    for command in commands:
        click.echo(f"  {program()} {command}")
