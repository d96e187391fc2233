"""The lexical planner: answers questions by rules, with no language model.

It finds things named in the question, takes the question apart, ranks tools by words and static embeddings, fills
arguments from the schemas, chains tools by what they return and need, and reports the rows that came back. It is
deterministic and says of itself that it is no language model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date

from workbench.agent.planner.planning import next_turn
from workbench.agent.planner.records import Step, step
from workbench.agent.planner.shapes import Shape, shape
from workbench.agent.provider import (
    AssistantMessage,
    Message,
    Part,
    TextPart,
    ToolRequest,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.events import canonical

__all__ = ["Planner"]


class Planner:
    """A `Provider` that is no language model."""

    name = "planner"
    model = "lexical-planner"
    is_llm = False
    wants_all_tools = True

    def __init__(self, today: Callable[[], date] = date.today) -> None:
        """Args:
        today: the day that relative dates count from.
        """
        self._today = today

    async def turn(
        self,
        conversation: Sequence[Message],
        tools: Sequence[ToolSpec],
        *,
        max_output_tokens: int,
        timeout: float,
    ) -> AsyncIterator[Part]:
        """The next calls, or the answer. See `Provider.turn`."""
        import asyncio

        # Ranking and reading large results takes tens of milliseconds; the loop of the gateway must not wait for that.
        parts = await asyncio.to_thread(self.decide, conversation, tools)
        for part in parts:
            yield part

    def decide(self, conversation: Sequence[Message], tools: Sequence[ToolSpec]) -> list[Part]:
        """What `turn` yields, as a pure function of its arguments and of today."""
        asked = [n for n, m in enumerate(conversation) if isinstance(m, UserMessage)]
        if not asked:
            return [TextPart(text="There is no question."), TurnEnd(stop="answered")]
        last = asked[-1]
        question = conversation[last]
        assert isinstance(question, UserMessage)
        earlier = tuple(m.text for m in conversation[:last] if isinstance(m, UserMessage))
        shapes = [shape(t.tool, t.name, t.schema) for t in tools]
        steps = _steps(conversation[last:], shapes, tools)
        calls, text = next_turn(question.text, shapes, steps, self._today(), earlier)
        if not calls:
            return [TextPart(text=text), TurnEnd(stop="answered")]
        asking = [
            ToolRequest(id=f"step-{len(steps) + n}", name=c.shape.name, arguments=c.arguments, why=c.why)
            for n, c in enumerate(calls, 1)
        ]
        return [*asking, TurnEnd(stop="calls")]


def _steps(messages: Sequence[Message], shapes: Sequence[Shape], tools: Sequence[ToolSpec]) -> list[Step]:
    """The finished calls since the question."""
    by_name = {s.name: s for s in shapes} | {s.tool.qualified: s for s in shapes}
    found: dict[tuple[str, bytes], Step] = {}
    requests = {r.id: r for m in messages if isinstance(m, AssistantMessage) for r in m.requests}
    for message in messages:
        for result in message.results if isinstance(message, ToolResults) else ():
            known = by_name.get(result.name) or by_name.get(result.tool)
            request = requests.get(result.id)
            arguments = request.arguments if request else result.arguments
            name = known.tool.qualified if known else result.tool or result.name
            data = result.outcome.data if result.ok else None
            done = step(known, name, arguments, result.ok, data, result.outcome.message or result.text[:300], len(found))
            found.setdefault((name, canonical(arguments)), done)
    return list(found.values())
