"""The conversation as planner and embedded model read it: the last question, and the calls made for it."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.agent.planner.tools.tool_profile import ToolProfile
from workbench.agent.planner.tools.tool_records import FinishedCall, step
from workbench.agent.provider import AssistantMessage, Message, ToolResults, UserMessage
from workbench.events import canonical


def last_question(conversation: Sequence[Message]) -> tuple[str, tuple[str, ...]]:
    """The question to answer and the ones before it, oldest first."""
    asked = [m.text for m in conversation if isinstance(m, UserMessage)]
    return (asked[-1], tuple(asked[:-1])) if asked else ("", ())


def finished_steps(conversation: Sequence[Message], shapes: Sequence[ToolProfile]) -> list[FinishedCall]:
    """The finished calls since the last question, each once."""
    asked = [n for n, m in enumerate(conversation) if isinstance(m, UserMessage)]
    messages = conversation[asked[-1] :] if asked else []
    by_name = {s.name: s for s in shapes} | {s.tool.qualified: s for s in shapes}
    found: dict[tuple[str, bytes], FinishedCall] = {}
    requests = {r.id: r for m in messages if isinstance(m, AssistantMessage) for r in m.requests}
    for message in messages:
        for result in message.results if isinstance(message, ToolResults) else ():
            known = by_name.get(result.name) or by_name.get(result.tool)
            request = requests.get(result.id)
            arguments = request.arguments if request else result.arguments
            name = known.tool.qualified if known else result.tool or result.name
            data = result.outcome.data if result.ok else None
            done = step(
                known, name, arguments, result.ok, data, result.outcome.message or result.text[:300], len(found)
            )
            found.setdefault((name, canonical(arguments)), done)
    return list(found.values())
