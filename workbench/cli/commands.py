"""Which commands there are, and the module of each; what each exit code means."""

from __future__ import annotations

import importlib
from typing import Any

import click

from workbench.events import WorkbenchError

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
