"""The lexical planner: answers questions by rules, with no language model.

It finds things named in the question, takes the question apart, ranks tools by words and static embeddings, fills
arguments from the schemas, chains tools by what they return and need, and reports the rows that came back. It is
deterministic and says of itself that it is no language model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date

from workbench.agent.planner.planner_conversation import finished_steps, last_question
from workbench.agent.planner.tools.tool_profile import shape
from workbench.agent.planner.turn import next_turn
from workbench.agent.provider import Message, Part, ProviderStatus, TextPart, ToolRequest, ToolSpec, TurnEnd
from workbench.config import Settings

__all__ = ["Planner", "build", "status"]


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
        question, earlier = last_question(conversation)
        shapes = [shape(t.tool, t.name, t.schema) for t in tools]
        steps = finished_steps(conversation, shapes)
        calls, text = next_turn(question, shapes, steps, self._today(), earlier)
        if not calls:
            return [TextPart(text=text), TurnEnd(stop="answered")]
        asking = [
            ToolRequest(id=f"step-{len(steps) + n}", name=c.shape.name, arguments=c.arguments, why=c.why)
            for n, c in enumerate(calls, 1)
        ]
        return [*asking, TurnEnd(stop="calls")]


def build(settings: Settings) -> Planner:
    """The planner; it has no settings."""
    return Planner()


def status(settings: Settings) -> ProviderStatus:
    """Always ready."""
    return ProviderStatus(
        name=Planner.name,
        ready=True,
        model=Planner.model,
        why="always there: rules over words and schemas, no language model",
        is_llm=False,
    )
