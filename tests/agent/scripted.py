"""A provider that says what a test tells it to; it is no language model and claims to be none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from workbench.agent import Message, Part, TextPart, ToolRequest, ToolSpec, TurnEnd
from workbench.agent.provider_choice import Choice
from workbench.events import Usage


def calls(*requests: tuple[str, dict[str, Any]], text: str = "", usage: Usage | None = None) -> list[Part]:
    """A turn that asks for tools."""
    said: list[Part] = [TextPart(text=text)] if text else []
    asked = [ToolRequest(id=str(n), name=name, arguments=arguments) for n, (name, arguments) in enumerate(requests)]
    return [*said, *asked, TurnEnd(usage=usage or Usage(), stop="calls")]


def answer(text: str, **end: Any) -> list[Part]:
    """A turn that answers."""
    return [TextPart(text=text), TurnEnd(stop="answered", **end)]


class Scripted:
    """Plays turns one after the other. An exception in a turn is raised; an event is waited for."""

    name = "scripted"
    model = "script"

    def __init__(self, *turns: list[Any], is_llm: bool = True, wants_all_tools: bool = False) -> None:
        self.turns = list(turns)
        self.is_llm = is_llm
        self.wants_all_tools = wants_all_tools
        self.conversations: list[Sequence[Message]] = []
        self.offered: list[list[str]] = []
        self.limits: list[int] = []
        self.closed = 0

    async def turn(
        self, conversation: Sequence[Message], tools: Sequence[ToolSpec], *, max_output_tokens: int, timeout: float
    ) -> AsyncIterator[Part]:
        self.conversations.append(conversation)
        self.offered.append([spec.name for spec in tools])
        self.limits.append(max_output_tokens)
        for part in self.turns.pop(0):
            if isinstance(part, BaseException):
                raise part
            if isinstance(part, asyncio.Event):
                await part.wait()
            else:
                yield part

    async def close(self) -> None:
        self.closed += 1


class OneProvider:
    """Stands where the chooser stands: this provider and no other."""

    def __init__(self, provider: Scripted) -> None:
        self.provider = provider

    async def choose(self, provider: str | None = None, model: str | None = None) -> Choice:
        return Choice(provider=self.provider, why="the test says so", close_after=True)

    async def close(self) -> None:
        return
