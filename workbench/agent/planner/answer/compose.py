"""The answer in words: for each part of the question, what the tools really returned.

Every number and name in it stands in a result, or was computed from rows that did; a part that found nothing says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from workbench.agent.planner.answer.passages import quoted
from workbench.agent.planner.answer.render_rows import RowRenderer, arguments_of
from workbench.agent.planner.further_calls import NeedProgress
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion

SIGN = "— Put together by the lexical planner, which is not a language model, from {n} tool call{s}."


def answer(question: ParsedQuestion, findings: Sequence[NeedProgress], calls: int) -> str:
    """All parts, in the order of the question; the told parts after the asked ones."""
    parts: list[str] = []
    said: set[str] = set()
    for finding in sorted(findings, key=lambda f: f.need.kind == "tell"):
        text = _part(question, finding)
        if text and text not in said:
            said.add(text)
            parts.append(text)
    if not parts:
        parts.append(
            "I found nothing in the question that a tool here could look up. "
            "Name a thing (an id, an email, a table) and what you want to know of it."
        )
    parts.append(SIGN.format(n=calls, s="" if calls == 1 else "s"))
    return "\n\n".join(parts)


def _part(question: ParsedQuestion, finding: NeedProgress) -> str:
    need = finding.need
    head = _heading(need)
    if not finding.steps:
        if need.kind == "tell":
            return ""
        return f"**{head}**: not found; {finding.note or 'no tool fits'}."
    step = finding.steps[-1]
    if finding.told:
        return f"**{head}**: {finding.told}"
    if finding.passages:
        return f"**{head}**: {quoted(need, finding.passages)}"
    if finding.share:
        part, whole = finding.share
        return f"**{head}**: {100 * part / whole:.1f} % ({part} of {whole}){arguments_of(step)}."
    if isinstance(step.data, str) and not step.rows:
        body = step.data.strip() or "the tool answered with nothing"
        return f"**{head}**:\n{body if len(body) < 3000 else body[:3000] + '…'}"
    rows = [r.fields for r in step.rows]
    beside = f"\n({finding.namesakes}.)" if finding.namesakes else ""
    if step.empty or not rows:
        return f"**{head}**: none found{arguments_of(step)}.{beside}"
    return RowRenderer(question, finding, step).text(head) + beside


def _heading(need: Need) -> str:
    text = re.sub(r"[\s,;]+(?:and|or|also|then)$", "", need.text.strip(" .?,;:"))
    if (
        need.kind == "ask"
        and not need.analytic
        and need.words
        and not need.entities
        and not need.periods
        and len(need.words) <= 5
    ):
        text = " ".join(need.words)
    return text[:1].upper() + text[1:] if len(text) <= 90 else text[:87] + "…"
