"""`workbench app`: a link that signs one browser in to the app of the platform that runs here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from workbench.cli.context import as_json, print_json

if TYPE_CHECKING:
    from workbench.platform.run_file import RunningPlatform


def new_link(running: RunningPlatform, home: Path) -> str:
    """The address with which one browser signs in, once."""
    from workbench.access.app_sessions import AppSessions

    return f"{running.app_url}/sign-in?token={AppSessions(home).new_link()}"


@click.command()
@click.option("--open", "opened", is_flag=True, help="Also open it in the browser.")
@click.option("--sign-out", is_flag=True, help="Instead, sign every browser out and revoke every link.")
@as_json
def app(opened: bool, sign_out: bool, as_json: bool = False) -> None:
    """Print a link that signs one browser in to the app. It works once, within ten minutes."""
    from workbench.access.app_sessions import LINK_LIFETIME_S, AppSessions
    from workbench.config import Settings
    from workbench.events import MisuseError
    from workbench.platform.run_file import find_running

    settings = Settings.load(home=click.get_current_context().obj.get("home"))
    if settings.url:
        raise MisuseError(
            f"The app of {settings.url} runs on another machine.",
            hint="Run `workbench app` there, and open the link through a tunnel: ssh -L 8501:127.0.0.1:8501 HOST.",
        )
    if sign_out:
        AppSessions(settings.home).clear()
        if as_json:
            print_json({"signed_out": True})
        else:
            click.echo("Every browser is signed out.")
        return
    running = find_running(settings.home)
    if running is None or not running.app_url:
        what = "No platform runs" if running is None else "The platform was started without its app"
        raise MisuseError(f"{what} on {settings.home}.", hint="Start it with `workbench up`.")
    link = new_link(running, settings.home)
    if as_json:
        print_json({"url": link, "seconds": LINK_LIFETIME_S})
    else:
        click.echo(link)
    if opened:
        click.launch(link)
