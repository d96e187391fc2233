"""What the small model reads: tools in a line each, results in a few lines, one small decision at a time."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.agent.embedded.choices import ToolOffer
from workbench.agent.planner.answer.render_rows import is_trouble, of_trouble
from workbench.agent.planner.language.figures import label, salient, shown
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion
from workbench.agent.planner.tables.local_query import ordered
from workbench.agent.planner.tables.query_parser import read
from workbench.agent.planner.tables.table_columns import columns_of, match
from workbench.agent.planner.tools.tool_records import FinishedCall
from workbench.events import JSON, canonical

NEXT = "no_more_calls"
RECORDS = 5
"""Lines of a result that are quoted under a part of the answer."""
RESULT_CHARACTERS = 500
"""Of one result while tools are being called; the answer is written from more."""


SYSTEM = (
    "You find facts by calling tools, one call at a time. Never invent ids or values. Reply with JSON: "
    '{"tool": name, "arguments": {...}}. When the results answer the part asked about, reply '
    f'{{"tool": "{NEXT}", "arguments": {{}}}}.'
)


def _tool(offer: ToolOffer) -> str:
    """A tool in a line: its arguments with the values they may take now."""
    given = [f"{name}{_shown_values(schema)}" for name, schema in offer.schema["properties"].items()]
    return f"- {offer.shape.tool.qualified}({', '.join(given)}): {_first(offer.shape.tool.description)}"


def _shown_values(schema: JSON) -> str:
    values = schema.get("enum")
    return "=" + "|".join(str(v) for v in values[:6]) if values and len(values) <= 16 else ""


def _first(description: str) -> str:
    text = " ".join(description.split())
    return text if len(text) <= 100 else text[:97] + "…"


def opening(question: ParsedQuestion) -> str:
    """The question, with the dates that its words stand for."""
    when = "; ".join(f"“{p.text}” is {p.shown()}" for n in question.needs for p in n.periods)
    return f"Today is {question.today}. {'Dates: ' + when + '. ' if when else ''}Question: {question.text}"


def asking(need: Need, offers: Sequence[ToolOffer], may_stop: bool, hint: str = "") -> str:
    """The decision of this turn. `hint`: arguments that a reading of the words suggests; the model may take others."""
    lines = "\n".join(_tool(o) for o in offers)
    stop = f"\n- {NEXT}(): the results above already say it" if may_stop else ""
    suggested = f"\nA reading of the words suggests: {hint}" if hint else ""
    return f"Tools that can be called now:\n{lines}{stop}{suggested}\nWhich one finds this: “{need.text}”?"


def decision_schema(offers: Sequence[ToolOffer], may_stop: bool) -> JSON:
    """The JSON schema that the reply must fit: one branch per tool."""
    branches: list[JSON] = [
        {
            "type": "object",
            "properties": {"tool": {"const": o.shape.tool.qualified}, "arguments": o.schema},
            "required": ["tool", "arguments"],
            "additionalProperties": False,
        }
        for o in offers
    ]
    if may_stop:
        branches.append(
            {
                "type": "object",
                "properties": {
                    "tool": {"const": NEXT},
                    "arguments": {"type": "object", "properties": {}, "additionalProperties": False},
                },
                "required": ["tool", "arguments"],
                "additionalProperties": False,
            }
        )
    return {"anyOf": branches} if len(branches) > 1 else branches[0]


def call_text(step: FinishedCall) -> str:
    """A finished call as the model's own reply."""
    return f'{{"tool": "{step.tool}", "arguments": {canonical(step.arguments).decode()}}}'


def result_text(
    step: FinishedCall, limit: int = RESULT_CHARACTERS, question: ParsedQuestion | None = None, need: Need | None = None
) -> str:
    """A result in few words: its figures, and its rows with the columns that matter.

    Args:
        step: the finished call.
        limit: most characters.
        question: rows of trouble come first where the question is about trouble.
        need: rows are sorted where the part asks for most or least.
    """
    if not step.ok:
        return f"Failed: {step.message[:300]}"
    if step.empty:
        return "Nothing found."
    if not step.rows:
        return str(step.data)[:limit]
    lines: list[str] = []
    total = step.total
    if step.listed and total is not None:
        lines.append(
            f"{total} match in all; the first {len(step.rows)} of them:"
            if total > len(step.rows)
            else f"{total} match:"
        )
    beside = [] if step.head is not None else [(k, v) for k, v in step.scalars.items() if v not in (None, "", total)]
    if beside:
        lines.append("; ".join(f"{label(k)} {shown(v, k)}" for k, v in beside))
    # of an extreme only the first few: more rows only lead a small model astray
    most = 12 if need is None or need.order not in ("desc", "asc") else need.top or 3
    for kind in _kinds(step):
        if need is not None and question is not None and len(kind) > 1:
            kind = _arranged(kind, question, need)
        columns = list(kind[0])[:20] if len(kind) == 1 or len(kind[0]) <= 5 else salient(kind, [], 7)
        for row in kind[:most]:
            cells = [f"{label(k)} {shown(row[k], k)}" for k in columns if row.get(k) not in (None, "", [])]
            lines.append("- " + "; ".join(cells)[:400])
        if len(kind) > most:
            lines.append(f"- … {len(kind) - most} more rows")
    text = "\n".join(lines)
    return text if len(text) <= limit else text[:limit].rsplit("\n", 1)[0] + "\n- …"


def _arranged(rows: list[JSON], question: ParsedQuestion, need: Need) -> list[JSON]:
    """Rows in the order that matters: a model of this size finds no maximum in a list."""
    if need.order not in ("desc", "asc"):
        return sorted(rows, key=lambda r: not any(map(is_trouble, r.values()))) if of_trouble(question) else rows
    numbers = [c for c in columns_of(rows) if c.type == "number" and not c.identifies]
    wanted = read(need, numbers, ()).order
    named = match(need.words, numbers)
    key = wanted or (named[0][0].name if named else numbers[0].name if numbers else "")
    return ordered(rows, key, need.order == "desc") if key else rows


def _kinds(step: FinishedCall) -> list[list[JSON]]:
    """Rows grouped by their columns: an object and the list it holds are shown differently."""
    groups: dict[frozenset[str], list[JSON]] = {}
    for row in step.rows:
        groups.setdefault(frozenset(row.fields), []).append(row.fields)
    return list(groups.values())[:3]


def answering(question: ParsedQuestion, need: Need, steps: Sequence[FinishedCall]) -> list[JSON]:
    """The messages from which one part is answered: its results only, no tools. A small model strays in a long text."""
    last = len(steps) - 1
    blocks = "\n\n".join(
        f"{s.tool}:\n{result_text(s, 1400 if n == last else 500, question, need)}" for n, s in enumerate(steps)
    )
    told = " ".join(n.text for n in question.needs if n.kind == "tell")
    relative = any(p.relative for n in question.needs for p in n.periods)
    today = f"Today is {question.today}. " if relative else ""
    about = f" ({', '.join(e.value for e in need.inherited)})" if need.inherited else ""
    return [
        {
            "role": "system",
            "content": "Answer in at most three sentences, from the results alone. State ids, names, statuses, dates "
            "and amounts that matter exactly as they stand there. If the results do not say it, say so. Plain text.",
        },
        {
            "role": "user",
            "content": f"Results:\n{blocks or 'none'}\n\n{today}{told}\nAnswer only this: {need.text}{about}",
        },
    ]


def records(question: ParsedQuestion, need: Need, steps: Sequence[FinishedCall]) -> str:
    """What a part of the answer rests on, quoted from the last result: a small model drops ids and dates."""
    found = next((s for s in reversed(steps) if s.ok and not s.empty), None)
    if found is None:
        return ""
    lines = result_text(found, 900, question, need).splitlines()[:RECORDS]
    return "".join(f"\n> {line.removeprefix('- ')}" for line in lines) + f"\n> ({found.tool})"
