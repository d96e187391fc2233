"""How objects look in a terminal and in a notebook: pure functions from the vocabulary to text.

HTML is plain and escaped, with inline styles and no script, so that it also shows in a saved notebook that nobody has
trusted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from workbench.display_text import shortened, terminal_text
from workbench.events import (
    JSON,
    AnyRunEvent,
    ApprovalWaiting,
    Outcome,
    RunDone,
    RunStarted,
    Tool,
    ToolAsked,
    ToolDone,
    Usage,
    counted,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from workbench.registry import ServerState

_MUTED = "color:#777"
_CELL = "padding:2px 12px 2px 0;text-align:left;vertical-align:top"
_MARK = {"ok": "✓", "approval_required": "…", "cancelled": "–"}
_COLOUR = dict.fromkeys(("ok", "ready"), "green") | dict.fromkeys(
    ("starting", "disabled", "approval_required", "cancelled"), "yellow"
)


def mark(kind: str) -> str:
    """One character for how something ended."""
    return _MARK.get(kind, "✗")


def milliseconds(us: int) -> str:
    """A duration for a person: `0.4 ms`, `18 ms`, `2.1 s`."""
    if us >= 1_000_000:
        return f"{us / 1e6:.1f} s"
    return f"{us / 1e3:.0f} ms" if us >= 10_000 else f"{us / 1e3:.1f} ms"


def arguments_line(arguments: JSON, width: int = 100) -> str:
    """`key=value` pairs on one line, cut to `width`."""
    line = ", ".join(f"{k}={json.dumps(v, ensure_ascii=False, default=str)}" for k, v in arguments.items())
    return shortened(line, width)


def usage_line(usage: Usage) -> str:
    """Tokens and cost, or nothing when none were used."""
    if not usage.input_tokens and not usage.output_tokens:
        return "no tokens"
    cost = f" · ${usage.cost_usd:.4f}" if usage.cost_usd else ""
    return f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out{cost}"


def pretty(value: Any, limit: int = 4000) -> str:
    """A value as text: strings as they are, everything else as indented JSON, cut to `limit` characters."""
    written = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    text = terminal_text(written)
    return text if len(text) <= limit else text[:limit] + f"\n… {len(text) - limit:,} more characters"


# --- terminal ----------------------------------------------------------------

WIDTH = 160
"""Columns of a table that is no terminal's."""


def plain(shown: RenderableType) -> str:
    """What a terminal would show, as text without colours."""
    from io import StringIO

    from rich.console import Console

    width = shutil.get_terminal_size((WIDTH, 0)).columns
    console = Console(file=StringIO(), width=width, color_system=None, highlight=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def brief(text: str, width: int) -> str:
    """The first line of `text`, cut after a word to at most `width` characters."""
    line = text.split("\n", 1)[0]
    if len(line) <= width:
        return line
    kept = line[: width - 2]
    return (kept.rsplit(" ", 1)[0] if " " in kept else kept).rstrip(" ,;:") + " …"


def servers_table(servers: Sequence[ServerState]) -> RenderableType:
    """Servers and their health."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    shown = ("server", "status", "tools", "era", "transport", "pid", "health", "breaker", "restarts", "last error")
    for column in shown:
        table.add_column(column, style="bold" if column == "server" else None, overflow="fold")
    for s in servers:
        colour = _COLOUR.get(s.status, "red")
        table.add_row(
            s.id, f"[{colour}]{s.status}[/]", str(s.tools), s.era, s.transport, str(s.pid or ""),
            milliseconds(s.health_us) if s.health_us else "", s.breaker, str(s.restarts or ""),
            Text(terminal_text(brief(s.last_error, 600 if s.status in ("disabled", "invalid") else 120))),
        )  # fmt: skip
        for r in s.replicas:
            status = "draining" if r.draining else r.status
            table.add_row(
                f"  replica {r.number}", f"[{_COLOUR.get(r.status, 'red')}]{status}[/]", "", "", "", str(r.pid or ""),
                "", r.breaker, str(r.restarts or ""), Text(terminal_text(brief(r.last_error, 120))),
            )  # fmt: skip
    return table


def tools_table(tools: Sequence[Tool]) -> RenderableType:
    """Tools with their parameters; required ones are marked with a star."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("tool", "arguments (* required)", "what it does"):
        table.add_column(column, style="bold" if column == "tool" else None, overflow="fold")
    for tool in tools:
        cells = (tool.qualified, parameters(tool), first_sentence(tool.description))
        table.add_row(*(Text(terminal_text(cell)) for cell in cells))
    return table


def questions_table(questions: Sequence[Any]) -> RenderableType:
    """Saved questions to the record, with the defaults of their parameters."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("question", "parameters", "what it answers"):
        table.add_column(column, style="bold" if column == "question" else None, overflow="fold")
    for q in questions:
        table.add_row(Text(q.name), Text(defaults(q.parameters)), Text(q.description))
    return table


def defaults(parameters: JSON) -> str:
    """Parameters of a saved question and their defaults."""
    return ", ".join(f"{name}={value!r}" for name, value in parameters.items())


def parameters(tool: Tool) -> str:
    """Names of a tool's parameters, required ones first and starred."""
    properties = tool.input_schema.get("properties") or {}
    required = [n for n in tool.input_schema.get("required") or [] if n in properties]
    return ", ".join([f"{n}*" for n in required] + [n for n in properties if n not in required])


def first_sentence(text: str) -> str:
    """The first sentence or line of a description."""
    line = text.strip().split("\n", 1)[0]
    return line.split(". ", 1)[0].rstrip(".") if line else ""


def outcome_panel(tool: str, arguments: JSON, outcome: Outcome) -> RenderableType:
    """One call: a header line, then the answer or the reason there is none."""
    from rich.console import Group
    from rich.text import Text

    colour = _COLOUR.get(outcome.kind, "red")
    header = Text.assemble(
        (f"{mark(outcome.kind)} {terminal_text(tool)}", f"bold {colour}"),
        (f"  {outcome.kind} · {milliseconds(outcome.latency_us)}", "dim"),
    )
    body = terminal_text(outcome.message) if outcome.message else pretty(outcome.data)
    return Group(header, Text(body or "(ran, returned nothing)"))


def step_line(asked: ToolAsked | None, done: ToolDone) -> RenderableType:
    """One finished step of a run on one line."""
    from rich.text import Text

    kind = done.outcome.kind
    return Text.assemble(
        (f"  {mark(kind)} ", _COLOUR.get(kind, "red")),
        (terminal_text(done.tool), "bold"),
        (f"({terminal_text(arguments_line(asked.arguments)) if asked else ''})", ""),
        (f"  {milliseconds(done.outcome.latency_us)}", "dim"),
        (f"  {kind}: {terminal_text(done.outcome.message)}" if not done.outcome.ok else "", "red"),
    )


def started_line(started: RunStarted) -> RenderableType:
    """Who answers, and why."""
    from rich.text import Text

    who = started.provider if not started.model else f"{started.provider} · {started.model}"
    why = f"  {terminal_text(started.why)} · {counted(started.tools, 'tool')}"
    return Text.assemble((terminal_text(who), "bold"), (why, "dim"))


def done_line(done: RunDone) -> RenderableType:
    """What the run cost, and how it ended when it ended early."""
    from rich.text import Text

    early = "" if done.status == "answered" else f"{done.status}: {terminal_text(done.message)}\n"
    return Text.assemble(
        (early, "red"),
        (
            f"{counted(done.calls, 'call')} · {counted(done.turns, 'turn')} · {milliseconds(done.elapsed_us)} · "
            f"{usage_line(done.usage)}",
            "dim",
        ),
        (f" · run {done.run}", "dim"),
    )


def run_tree(events: Sequence[AnyRunEvent]) -> RenderableType:
    """A whole run: who answered, each step, the answer."""
    from rich.console import Group
    from rich.markdown import Markdown

    lines: list[RenderableType] = []
    asked: dict[str, ToolAsked] = {}
    for event in events:
        if isinstance(event, RunStarted):
            lines.append(started_line(event))
        elif isinstance(event, ToolAsked):
            asked[event.step] = event
        elif isinstance(event, ToolDone):
            lines.append(step_line(asked.get(event.step), event))
        elif isinstance(event, RunDone):
            lines += ["", Markdown(terminal_text(event.answer), hyperlinks=False), "", done_line(event)]
    return Group(*lines)


# --- notebook ----------------------------------------------------------------


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th style="{_CELL}">{escape(h)}</th>' for h in header)
    body = "".join("<tr>" + "".join(f'<td style="{_CELL}">{c}</td>' for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _details(summary: str, value: Any) -> str:
    return (
        f"<details><summary>{summary}</summary>"
        f'<pre style="white-space:pre-wrap;max-height:24em;overflow:auto">{escape(pretty(value))}</pre></details>'
    )


def _coloured(text: str) -> str:
    colour = {"green": "#2a7d3f", "yellow": "#9a6b00"}.get(_COLOUR.get(text, ""), "#b3261e")
    return f'<span style="color:{colour}">{escape(text)}</span>'


def servers_html(servers: Sequence[ServerState]) -> str:
    """Servers and their health."""
    rows = [
        [f"<b>{escape(s.id)}</b>", _coloured(s.status), str(s.tools), *map(escape, (s.era, s.transport, s.last_error))]
        for s in servers
    ]
    return _table(["server", "status", "tools", "era", "transport", "last error"], rows)


def tools_html(tools: Sequence[Tool]) -> str:
    """Tools with their parameters; the full description folds out."""
    rows = [
        [
            f"<b>{escape(t.qualified)}</b>",
            escape(parameters(t)),
            _details(escape(first_sentence(t.description)), t.definition),
        ]
        for t in tools
    ]
    return _table(["tool", "arguments (* required)", "what it does"], rows)


def questions_html(questions: Sequence[Any]) -> str:
    """Saved questions to the record; the statement folds out."""
    rows = [
        [f"<b>{escape(q.name)}</b>", escape(defaults(q.parameters)), escape(q.description) + _details("SQL", q.sql)]
        for q in questions
    ]
    return _table(["question", "parameters", "what it answers"], rows)


def outcome_html(tool: str, arguments: JSON, outcome: Outcome) -> str:
    """One call with its arguments and answer."""
    head = (
        f"<div>{_coloured(outcome.kind)} <b>{escape(tool)}</b> "
        f'<span style="{_MUTED}">{milliseconds(outcome.latency_us)}</span></div>'
    )
    body = f"<div>{escape(outcome.message)}</div>" if outcome.message else ""
    answer = outcome.data
    if answer is None:
        return head + body + ("" if body else f'<div style="{_MUTED}">ran, returned nothing</div>')
    return (
        head
        + body
        + _details("arguments", arguments)
        + _details("result", answer).replace("<details>", "<details open>")
    )


def run_html(events: Sequence[AnyRunEvent]) -> str:
    """A readable trace: who answered and why, each step, the answer, what it cost."""
    parts: list[str] = []
    asked: dict[str, ToolAsked] = {}
    for event in events:
        if isinstance(event, RunStarted):
            who = escape(event.provider + (f" · {event.model}" if event.model else ""))
            parts.append(f"<div><b>{escape(event.question)}</b></div>")
            parts.append(f'<div style="{_MUTED}">{who} — {escape(event.why)}</div>')
        elif isinstance(event, ToolAsked):
            asked[event.step] = event
        elif isinstance(event, ApprovalWaiting):
            parts.append(f"<div>waited for approval {escape(event.approval)} of {escape(event.tool)}</div>")
        elif isinstance(event, ToolDone):
            ask = asked.get(event.step)
            line = (
                f"{_coloured(mark(event.outcome.kind) + ' ' + event.outcome.kind)} <code>{escape(event.tool)}"
                f"({escape(arguments_line(ask.arguments if ask else {}))})</code> "
                f'<span style="{_MUTED}">{milliseconds(event.outcome.latency_us)}</span>'
            )
            parts.append(_details(line, event.outcome.message or event.outcome.data))
        elif isinstance(event, RunDone):
            early = (
                "" if event.status == "answered" else f"<div>{_coloured(event.status)}: {escape(event.message)}</div>"
            )
            parts.append(f'<div style="white-space:pre-wrap;margin:.6em 0">{escape(event.answer)}</div>{early}')
            cost = " · ".join(
                (
                    counted(event.calls, "call"),
                    counted(event.turns, "turn"),
                    milliseconds(event.elapsed_us),
                    usage_line(event.usage),
                )
            )
            parts.append(f'<div style="{_MUTED}">{escape(cost)} · run {escape(event.run)}</div>')
    return "".join(parts)
