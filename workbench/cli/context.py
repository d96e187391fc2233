"""What every command does first: open the workbench, and decide how to print."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from workbench.events import MisuseError

if TYPE_CHECKING:
    from rich.console import Console

    from workbench.client import Workbench
    from workbench.config import Settings

F = TypeVar("F", bound=Callable[..., Any])


class Seconds(click.FloatRange):
    """A number of seconds above zero."""

    name = "seconds"

    def __init__(self) -> None:
        super().__init__(min=0, min_open=True)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is not a number of seconds.", param, ctx)
        return found


SECONDS = Seconds()


def as_json(command: F) -> F:
    """The `--json` flag."""
    return click.option("as_json", "--json", is_flag=True, help="Print JSON.")(command)


def program() -> str:
    """How to call this program from the same shell, on the same state folder.

    Its name when that is found on the PATH, else its path; with `--home` when that was given.
    """
    context = click.get_current_context(silent=True)
    home = context.obj.get("home") if context and context.obj else None
    return _path() + (f" --home {shlex.quote(home)}" if home else "")


def typed(text: str) -> str:
    """`text` with the commands in it as they are typed in this shell, on this state folder (see `program`)."""
    return text.replace("`workbench ", f"`{program()} ")


def _path() -> str:
    ours = Path(sys.executable).parent / "workbench"
    found = shutil.which("workbench")
    if found is not None and Path(found).resolve() == ours.resolve():
        return "workbench"
    if not ours.exists():
        return "python -m workbench"
    near = os.path.relpath(ours)
    return str(ours) if near.startswith("..") else near


def progress(message: str) -> None:
    """A line for a person who waits; never mixed with results."""
    click.secho(typed(message), err=True, dim=True)


@contextlib.contextmanager
def opened(*, alone: Mapping[str, Any] | None = None, **given: Any) -> Iterator[Workbench]:
    """The workbench of this state folder: attached when a platform runs, else embedded until the command ends.

    Args:
        alone: settings that only an embedded one gets, e.g. `{"servers": ()}` for what needs no server.
        given: settings that a running platform has to have, or an embedded one is started beside it.
    """
    import workbench
    from workbench.config import Settings
    from workbench.platform.run_file import find_running

    home = click.get_current_context().obj.get("home")
    settings = Settings.load(home=home)
    if not settings.url and find_running(settings.home) is None:
        given |= alone or {}
        if sys.stderr.isatty() and not alone:
            progress("No platform runs: starting servers for this command. `workbench up` keeps them running.")
    with workbench.open(home=home, source="cli", **given) as wb:
        yield wb


def local_settings(what: str) -> Settings:
    """The settings of the state folder of this command, which must be on this machine.

    Args:
        what: what needs the files, as the subject of a sentence.

    Raises:
        MisuseError: the setting `url` names a platform elsewhere, so that this folder is not the one that is meant.
    """
    from workbench.config import Settings

    settings = Settings.load(home=click.get_current_context().obj.get("home"))
    if settings.url:
        raise MisuseError(
            f"{what} needs the state folder, and the setting url names a platform elsewhere ({settings.url}).",
            hint="Do it on that machine, or give --home for a folder on this one.",
        )
    return settings


def console(*, err: bool = False) -> Console:
    """Standard output (or error) for tables and traces."""
    from rich.console import Console

    stream = sys.stderr if err else sys.stdout
    return Console(stderr=err, highlight=False, width=None if stream.isatty() else 160)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(msgspec.to_builtins(value), ensure_ascii=False, indent=2, default=str))
