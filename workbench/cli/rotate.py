"""`workbench rotate`: the keys that the platform owns, listed and replaced."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import click

from workbench.cli.context import as_json, local_settings, print_json
from workbench.events import MisuseError, now_us

_DAY_US = 86_400_000_000


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--all", "everything", is_flag=True, help="Replace every key that is there and needs no preparation.")
@click.option("--prepare", is_flag=True, help="Only make the next key: it is accepted from now on, and not used yet.")
@click.option("--now", is_flag=True, help="For a key that leaked: unprepared, and nothing of the old key is accepted.")
@as_json
def rotate(names: tuple[str, ...], everything: bool, prepare: bool, now: bool, as_json: bool) -> None:
    """List every key that the platform owns, or replace the named ones.

    No platform may run on the state folder. Each replacement is on the record.
    """
    from workbench.access.local_user import user_name
    from workbench.platform.key_rotation import KEYS, key_states
    from workbench.platform.key_rotation import rotate as replace

    settings = local_settings("`workbench rotate`")
    if names and everything:
        raise MisuseError("Names and --all exclude each other.", hint="Give the one or the other.")
    if not names and not everything:
        if prepare or now:
            option = "--prepare" if prepare else "--now"
            raise MisuseError(
                f"{option} needs the name of a key.", hint=f"Expected one of {', '.join(KEYS)}, or --all."
            )
        states = key_states(settings)
        if as_json:
            print_json(states)
            return
        for state in states:
            more = [f"{state.previous} earlier still count or are kept to read"] if state.previous else []
            more += ["the next one is prepared"] if state.prepared else []
            click.echo(f"{click.style(state.name, bold=True)}  {_age(state.made_us)}{''.join(f'; {m}' for m in more)}")
            click.echo(f"  {state.file}: {state.purpose}")
            click.echo(f"  when rotated: {state.effect}")
        return
    wanted = list(dict.fromkeys(names))
    if everything:
        prepared = {state.name for state in key_states(settings) if state.prepared}
        wanted = [
            name
            for name, key in KEYS.items()
            if (key.ring if prepare else now or not key.needs_next or name in prepared)
        ]
    done = asyncio.run(replace(settings, wanted, prepare=prepare, now=now, by=user_name()))
    if as_json:
        print_json(done)
        return
    for each in done:
        click.echo(f"{click.style(each.name, bold=True)}  {each.done}")
        for note in each.notes:
            click.echo(f"  {note}")


def _age(made_us: int | None) -> str:
    if made_us is None:
        return "none yet"
    days = (now_us() - made_us) // _DAY_US
    made = datetime.fromtimestamp(made_us / 1e6, UTC)
    return f"of {made:%Y-%m-%d}, {days} {'day' if days == 1 else 'days'} old"
