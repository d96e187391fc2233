"""`workbench up`: one command, the whole platform, in the foreground."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from workbench.cli.context import program, progress, typed
from workbench.config import LOOPBACK

if TYPE_CHECKING:
    from workbench.config import Settings
    from workbench.platform.platform import Platform
    from workbench.platform.run_file import RunningPlatform
    from workbench.registry import ServerState


@click.command()
@click.option("--port", help="Port of MCP endpoint and management API, or auto.")
@click.option("--app-port", help="Port of the app, or auto. With --port auto it is chosen too.")
@click.option("--host", help="Address the gateway binds to; anything wider than loopback needs authentication.")
@click.option(
    "--data", type=click.Path(path_type=Path), help="Serve this folder of CSV, Parquet and JSON files as tables."
)
@click.option("--config", "mcp_config", type=click.Path(path_type=Path), help="Also run the servers of this mcp.json.")
@click.option("--knowledge", multiple=True, type=click.Path(path_type=Path), help="A folder of documents to search.")
@click.option("--servers", help="Which bundled servers to launch, separated by commas; '' for none.")
@click.option("--tls-port", help="Port of a further listener with TLS, or auto.")
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate of that listener, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Private key of that certificate, PEM.")
@click.option(
    "--client-ca",
    "tls_client_ca",
    type=click.Path(path_type=Path),
    help="CA certificates for clients: each must present an X.509-SVID.",
)
@click.option("--app/--no-app", default=None, help="Whether to start the Streamlit app.")
def up(port: str | None, app_port: str | None, servers: str | None, **given: Any) -> None:
    """Start servers, gateway and app; Ctrl-C stops all of it."""
    from workbench.config import Settings

    if port == "auto" and app_port is None:
        app_port = "auto"
    given["knowledge"] = given["knowledge"] or None
    context = click.get_current_context()
    settings = Settings.load(
        home=context.obj.get("home"), port=port, app_port=app_port, servers=_names(servers), **given,
        options={"home": "--home", **{str(p.name): p.opts[-1] for p in context.command.params}},
    )  # fmt: skip
    if sys.stdin.isatty() and sys.stderr.isatty():
        ask_inputs(settings)
    _run(settings)


def ask_inputs(settings: Settings) -> None:
    """Ask for what configured servers need of a person and no secret has, and keep it for as long as this runs.

    An empty answer leaves the server out.
    """
    from workbench.display_text import terminal_text
    from workbench.registry import foreign_servers
    from workbench.secrets import SecretResolver

    for id, asked in foreign_servers(settings).inputs.items():
        hidden = bool(asked.get("password"))
        options = asked.get("options")
        texts = (
            [str(o.get("value") if isinstance(o, dict) else o) for o in options] if isinstance(options, list) else []
        )
        said = terminal_text(str(asked.get("description") or id))[:200]
        answer = click.prompt(
            f"{said} ({', '.join(texts)})" if texts else said,
            default="", show_default=False, hide_input=hidden, err=True,
        )  # fmt: skip
        if answer:
            SecretResolver.of(settings).supply(id, str(answer), hidden=hidden)


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(n.strip() for n in text.split(",") if n.strip())


def _run(settings: Settings) -> None:
    from workbench.api import build_app
    from workbench.serve.serve import serve

    began = time.monotonic()

    def ready(running: RunningPlatform, platform: Platform) -> None:
        _banner(running, platform, time.monotonic() - began)

    runner = asyncio.Runner(loop_factory=_new_loop())
    with runner:
        runner.run(serve(settings, build_app, progress=progress, ready=ready))


def _new_loop() -> Any:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _offer(platform: Platform) -> None:
    """Name the configurations of clients that are on this machine, as long as no foreign server was chosen."""
    from workbench.cli.add import offers

    if platform.settings.mcp_config is not None or any(s.kind in ("command", "url") for s in platform.servers()):
        return
    if found := list(offers()):
        click.echo("Servers of your clients, found on this machine and not started:")
        for line in found:
            click.echo(f"  {line}")
        click.echo()


def _report(states: Sequence[ServerState], problems: Sequence[str], notices: Sequence[str]) -> None:
    """Say of every server that is not ready why, and what was changed or not used of the configurations."""
    from workbench.display_text import terminal_text

    for state in states:
        if state.status == "starting":
            how = f": {typed(terminal_text(state.last_error))}" if state.last_error else ""
            click.secho(f"  {state.id} is still starting{how}", fg="yellow", err=True)
        elif state.status == "disabled":
            click.secho(f"  {state.id} is disabled: {typed(terminal_text(state.last_error))}", fg="yellow", err=True)
        elif state.status != "ready":
            click.secho(f"  {state.id} {state.condition}: {typed(terminal_text(state.last_error))}", fg="red", err=True)
    for text in problems:
        click.secho(f"  {typed(terminal_text(text))}", fg="red", err=True)
    for text in notices:
        click.secho(f"  {typed(terminal_text(text))}", dim=True, err=True)
    for state in states:
        for text in state.notices:
            held = "quarantined" in text
            click.secho(
                f"  {state.id}: {typed(terminal_text(text))}", fg="yellow" if held else None, dim=not held, err=True
            )


def _banner(running: RunningPlatform, platform: Platform, seconds: float) -> None:
    from workbench.client.example_questions import examples

    states = platform.servers()
    ready = [s for s in states if s.status == "ready"]
    tools = sum(s.tools for s in ready)
    wanted = [s for s in states if s.status != "disabled"]
    click.echo(f"\nMCP Workbench is up: {len(ready)} of {len(wanted)} servers, {tools} tools, {seconds:.1f} s.\n")
    if running.app_url:
        from workbench.cli.app import new_link

        link = new_link(running, platform.settings.home)
        click.echo(f"  app             {click.style(link, bold=True)}")
        click.echo(f"                  signs one browser in, once, within 10 minutes; another link: {program()} app")
        if platform.settings.host not in LOOPBACK:
            click.echo("                  on this machine only: whoever is signed in to the app acts as the owner")
    click.echo(f"  MCP endpoint    {click.style(running.mcp_url, bold=True)}")
    if platform.settings.tls_port:
        click.echo(f"  with TLS        https://{platform.settings.tls_host}:{platform.settings.tls_port}/mcp")
    click.echo(f"  management API  {click.style(running.url + '/docs', bold=True)}")
    click.echo(f"  bearer token    {running.token}\n")
    env_file = platform.agent.env_file
    if env_file is not None and env_file.summary():
        click.secho(f"  provider keys   {env_file.summary()}", fg="yellow" if env_file.problem else None)
    _report(states, platform.registry.problems, platform.registry.notices)
    _offer(platform)
    questions = examples(states)
    if questions:
        click.echo("Ask something, in the app or in another terminal:")
    for question in questions:
        click.echo(f'  {program()} ask "{question}"')
    click.echo("\nCtrl-C stops all of it.")
