"""The command line. Results go to standard output, progress to standard error; `--json` on every read."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import click

from workbench.cli.commands import WorkbenchGroup
from workbench.events import WorkbenchError
from workbench.version import __version__


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
