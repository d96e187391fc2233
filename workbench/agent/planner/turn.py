"""The planner's turn: calls that are possible and useful now, or the answer."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from workbench.agent.planner.answer.compose import answer
from workbench.agent.planner.followups import about_person, same_row, told_already, waits
from workbench.agent.planner.further_calls import NeedProgress, PlannedCall
from workbench.agent.planner.language.question_parser import understand
from workbench.agent.planner.question_plan import MAX_CALLS, QuestionPlan
from workbench.agent.planner.tables.joins import joined
from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall
from workbench.events import canonical

MAX_CONCURRENT = 4
"""Calls asked for in one turn."""


def next_turn(
    text: str, shapes: Sequence[ToolProfile], steps: Sequence[FinishedCall], today: date, earlier: tuple[str, ...] = ()
) -> tuple[list[PlannedCall], str]:
    """The calls of this turn, or no calls and the answer.

    Args:
        text: the question.
        shapes: the tools on offer.
        steps: calls finished so far, oldest first.
        today: the day that relative dates count from.
        earlier: previous questions of the same conversation.
    """
    question = understand(text, today, earlier)
    plan = QuestionPlan(question, shapes, steps)
    findings: list[NeedProgress] = []
    both = joined(plan, question)
    if both is not None:
        findings.append(both)
    for need in question.needs if both is None else ():
        before = findings[-1] if findings else None
        if told_already(need, before) or waits(need, before):
            continue
        findings.append(same_row(need, before) or plan.pursue(about_person(need, before) or need))
    calls: dict[tuple[str, bytes], PlannedCall] = {}
    for finding in findings:
        for call in finding.calls:
            calls.setdefault((call.shape.tool.qualified, canonical(call.arguments)), call)
    if calls and len(steps) < MAX_CALLS:
        return list(calls.values())[:MAX_CONCURRENT], ""
    return [], answer(question, findings, len(steps))
