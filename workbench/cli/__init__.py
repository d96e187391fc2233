"""The command line. Results go to standard output, progress to standard error; `--json` on every read."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from workbench.events import WorkbenchError
from workbench.version import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    # name: (module, one line for --help); modules are imported only when their command runs
    "up": ("up", "Start servers, gateway and app; Ctrl-C stops all of it."),
    "app": ("app", "A link that signs one browser in to the app."),
    "add": ("add", "Keep servers of a client, a file, a URL or a package, and run them at every start."),
    "remove": ("add", "Forget servers that were added."),
    "status": ("status", "What runs, and the next three useful commands."),
    "ask": ("ask", "Ask a question; every step is shown as it happens."),
    "tools": ("tools", "List tools, or search them by words and meaning."),
    "call": ("tools", "Call one tool: workbench call crm.search_customers query=smith."),
    "servers": ("tools", "List servers and their health; restart one, reload all; changed definitions."),
    "profiles": ("profiles", "Named selections of servers and tools, each with an endpoint of its own."),
    "sql": ("record", "Query everything that happened with DuckDB SQL."),
    "questions": ("record", "Saved, named questions to the record."),
    "connect": ("connect", "Bridge an MCP client that only speaks stdio to the running gateway."),
    "audit": ("audit", "Verify the record, prove a call of it, keep it only as long as it should be."),
    "export": ("export", "Tables of the record as CSV, Parquet or JSON lines."),
    "approvals": ("approvals", "Calls that wait for a human: list, approve, deny."),
    "access": ("access", "Keys, and why someone may or may not call a tool."),
    "policy": ("policy", "Test the rules, explain a recorded decision, write the rules out."),
    "model": ("model", "Who can answer questions; `pull` brings the embedded language model."),
    "load": ("load", "Run Locust against the gateway; figures land in the record."),
    "rotate": ("rotate", "Every key that the platform owns, its age and purpose; replace one, some or all."),
    "backup": ("backup", "The state folder in one archive, tried and verified; also while a platform runs."),
    "restore": ("backup", "Make a state folder from a backup, verified before it is put into place."),
    "doctor": ("doctor", "What is wrong, with a hint, and the settings with their sources."),
}

EXIT_CODE_MEANINGS: dict[int, str] = {
    0: "Done.",
    1: "Something is wrong that has no code of its own: a check failed, or output could not be written.",
    2: "Wrong usage, arguments or settings, or there is no such tool.",
    3: "Not authenticated.",
    4: "The platform, a server or a provider does not answer, or not in time.",
    5: "The tool reported an error.",
    6: "The record cannot be written, so nothing was answered.",
    7: "Refused by policy or by a limit, or waiting for an approval.",
    130: "Interrupted or cancelled.",
}
"""What each exit code means, for every command."""


class WorkbenchGroup(click.Group):
    """Commands that are imported when they run, and a did-you-mean for those that do not exist."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"workbench.cli.{COMMANDS[name][0]}")
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors name other commands as they are typed here."""
        try:
            return super().invoke(ctx)
        except WorkbenchError as e:
            from workbench.cli.context import typed

            e.args = (typed(str(e.args[0])), *e.args[1:])
            e.hint = typed(e.hint)
            raise

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as e:
            from workbench.suggestions import close_names

            close = close_names(args[0], COMMANDS)
            if not close or "Did you mean" in e.format_message():
                raise
            raise click.UsageError(f"{e.format_message()} Did you mean {' or '.join(close)}?", ctx) from e


@click.group(cls=WorkbenchGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", type=click.Path(file_okay=False), help="State folder. Default: WORKBENCH_HOME or .workbench")
@click.version_option(__version__, message="%(version)s")
@click.pass_context
def cli(ctx: click.Context, home: str | None) -> None:
    """Launch MCP servers, govern every call, ask an agent, query the record."""
    ctx.obj = {"home": home}
    if ctx.invoked_subcommand is None:
        ctx.invoke(cli.get_command(ctx, "status"))  # type: ignore[arg-type]


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse arguments that are no UTF-8: they could neither be sent nor recorded as they are."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise click.UsageError(f"{argument!r} is not valid UTF-8.") from None


def main() -> None:
    """Entry point: errors that a user can mend are one line with a hint; everything else is a traceback."""
    if sys.stdout is None:  # closed by whoever started us
        sys.exit("There is no standard output to write to.")
    try:
        _check_text(sys.argv[1:])
        code = cli.main(standalone_mode=False, prog_name="workbench")
        sys.stdout.flush()
    except click.ClickException as e:
        e.show()
        code = e.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        code = 130
    except WorkbenchError as e:
        click.secho(str(e.args[0]), fg="red", err=True)
        if e.hint:
            click.echo(e.hint, err=True)
        code = e.exit_code
    except BrokenPipeError:
        # The reader of our output went away, as in `workbench tools | head`: nothing may be flushed into its pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 0
    except OSError as e:
        if e.errno not in (errno.ENOSPC, errno.EBADF, errno.EIO):
            raise
        sys.stderr.write(f"The output cannot be written: {e.strerror}.\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
