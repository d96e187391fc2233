"""Things for which two conditions hold in two lists: `which customers have an open ticket and an overdue invoice`."""

from __future__ import annotations

import re

from workbench.agent.planner.further_calls import NeedProgress
from workbench.agent.planner.language.figures import salient, shown
from workbench.agent.planner.language.lexicon import alike, split
from workbench.agent.planner.language.question_parser import Need, ParsedQuestion, understand
from workbench.agent.planner.question_plan import QuestionPlan
from workbench.agent.planner.tools.fill_arguments import fill
from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall
from workbench.events import JSON

MAX_SHOWN = 20
_BOTH = re.compile(
    r"^\s*(?:which|what|list|show|find|how many)\s+(?:me\s+)?(?:(?:all|the|our|of)\s+)*(?P<head>[^,.?]+?)\s+"
    r"(?:that\s+|who\s+)?(?:have|has|with|having|got)\s+(?:both\s+)?(?P<first>[^,.?]+?)\s+and\s+(?:also\s+)?"
    r"(?P<second>[^,.?]+?)\s*[?.]?\s*$",
    re.I,
)


def joined(plan: QuestionPlan, question: ParsedQuestion) -> NeedProgress | None:
    """The things of one kind that stand in two lists, or the calls for the lists; None for any other question."""
    said = _BOTH.match(question.text)
    if said is None:
        return None
    head, first, second = (_need(said[g], question) for g in ("head", "first", "second"))
    if head is None or first is None or second is None or not head.words:
        return None
    thing = next((w for w in reversed(head.words)), "")
    finding = NeedProgress(
        Need(text=question.text.strip(), kind="ask", words=()), note="the lists are too long to be read whole"
    )
    lists: list[FinishedCall] = []
    key = ""
    for need, own in ((head, True), (first, False), (second, False)):
        chosen = _lister(plan, need, thing, own=own)
        if chosen is None:
            return None
        shape, arguments, key = chosen
        if own and not set(arguments) - {p.name for p in shape.takes("limit")}:
            continue  # all there are: the conditions say which
        past = plan.further.past(shape, arguments)
        if past is None:
            finding.call_first(shape, arguments, f"lists {need.text.strip()}")
            continue
        if not past.ok:
            return None
        lists.append(plan.further.paged(shape, arguments, past, finding))
    if finding.calls:
        return finding
    finding.steps = lists
    finding.told = _told(lists, key)
    return finding


def _need(text: str, question: ParsedQuestion) -> Need | None:
    needs = understand(text, question.today).needs
    return needs[0] if len(needs) == 1 else None


def _lister(plan: QuestionPlan, need: Need, thing: str, *, own: bool) -> tuple[ToolProfile, JSON, str] | None:
    """The tool that lists what a condition is about, each row with the id of the thing, narrowed as the words say."""
    about = understand(need.text, plan.question.today)
    for _, shape in plan.ranking.ranked(need):
        keys = [k for k in shape.returns if k.lower().endswith("_id") and alike(thing, split(k)[0]) >= 1]
        if (
            shape.required
            or not keys
            or not shape.takes("offset")
            or any(alike(thing, n) >= 1 for n in shape.nouns) != own
        ):
            continue
        noun = need.words[-1]
        if not own and not any(alike(noun, n) >= 1 for n in shape.nouns):
            continue
        filled = fill(shape, need, about, [])
        narrowing = {p.name for p in shape.takes("choice", "flag", "country", "name", "query", "start", "end")}
        given = {k: v for k, v in filled.arguments.items() if k in narrowing}
        # `ticket` or `invoice` may be spelt like a choice of another parameter: the words before it narrow
        if any(e not in filled.used for e in need.entities) or (not own and len(need.words) > 1 and not given):
            continue
        limit = next((p for p in shape.takes("limit") if isinstance(p.schema.get("maximum"), int)), None)
        return shape, {**given, **({limit.name: limit.schema["maximum"]} if limit else {})}, keys[0]
    return None


def _told(lists: list[FinishedCall], key: str) -> str:
    """Who stands in all lists; says so when a list was not read to its end."""
    things = {str(r.fields.get(key)): r.fields for r in lists[0].rows}
    for found in lists[1:]:
        held = {str(r.fields.get(key)) for r in found.rows}
        things = {k: v for k, v in things.items() if k in held}
    unread = [f"{len(s.rows)} of {s.total} of {s.tool}" for s in lists if s.total is not None and s.total > len(s.rows)]
    columns = salient(list(things.values()), [], 5) if things else []
    lines = [
        "- " + " · ".join(shown(v[c], c) for c in columns if v.get(c) not in (None, ""))
        for v in list(things.values())[:MAX_SHOWN]
    ]
    if len(things) > MAX_SHOWN:
        lines.append(f"- … and {len(things) - MAX_SHOWN} more")
    limits = f" (not checked for all: read {'; '.join(unread)})" if unread else ""
    compared = ", ".join(f"{len(s.rows)} from {s.tool}" for s in lists)
    return "\n".join([f"{len(things) or 'none'}{limits}, by comparing {compared}{':' if lines else '.'}", *lines])
