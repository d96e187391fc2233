"""`workbench ask`: a question, its steps as they happen, the answer."""

from __future__ import annotations

import sys

import click

from workbench.cli.context import as_json, console, opened, print_json, program
from workbench.events import ApprovalWaiting, RunDone, RunStarted, ToolAsked, ToolDone
from workbench.provider_table import provider_names

_EXIT = {"answered": 0, "cancelled": 130, "limit": 1, "failed": 4}


@click.command()
@click.argument("question", nargs=-1, required=True)
@click.option("--provider", help=f"One of {', '.join(provider_names())}. Default: the best that is ready.")
@click.option("--model", help="Model of that provider.")
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False), help="Serve this folder of tables for the question."
)
@click.option("--config", type=click.Path(exists=True, dir_okay=False), help="An mcp.json with further servers.")
@click.option("--profile", default="", help="Answer with the tools of this profile alone.")
@as_json
@click.pass_context
def ask(
    ctx: click.Context,
    question: tuple[str, ...],
    provider: str | None,
    model: str | None,
    data: str | None,
    config: str | None,
    profile: str,
    as_json: bool,
) -> None:
    """Ask a question; an agent answers it with the tools you may call.

    Steps go to standard error, the answer to standard output.
    """
    from rich.markdown import Markdown

    from workbench import show
    from workbench.display_text import terminal_text

    trace, out = console(err=True), console()
    asked: dict[str, ToolAsked] = {}
    with opened(data=data, config=config) as wb:
        events = []
        for event in wb.ask_stream(" ".join(question), provider=provider, model=model, profile=profile):
            events.append(event)
            if as_json:
                continue
            if isinstance(event, RunStarted):
                trace.print(show.started_line(event))
            elif isinstance(event, ToolAsked):
                asked[event.step] = event
            elif isinstance(event, ToolDone):
                trace.print(show.step_line(asked.get(event.step), event))
            elif isinstance(event, ApprovalWaiting):
                how = f"{program()} approvals approve {event.approval}"
                trace.print(f"  … {event.tool} waits for somebody who may approve it: {how}", markup=False)
    done = next((e for e in reversed(events) if isinstance(e, RunDone)), None)
    if as_json:
        print_json(
            {"answer": done.answer if done else "", "status": done.status if done else "failed", "events": events}
        )
    elif done is not None:
        if done.answer:
            trace.print()
            answer = terminal_text(done.answer)
            out.print(Markdown(answer, hyperlinks=False) if sys.stdout.isatty() else answer, markup=False)
            trace.print()
        trace.print(show.done_line(done))
    ctx.exit(_EXIT[done.status] if done else 1)
