"""The tools that the provider of a run may request: all of few, and of many those that the search finds."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.agent.provider import AssistantMessage, Message, ToolSpec, UserMessage
from workbench.agent.tool_steps import SEARCH
from workbench.agent.toolbox import Toolbox
from workbench.agent.wire_tool_names import NameMap
from workbench.events import Caller, Tool

OFFERED_WHOLE = 40
"""Up to so many tools are all offered; of more, those that the search finds for the question."""
OFFERED_FOUND = 20


class OfferedTools:
    """What is offered in one run. It only grows: a provider may request again what it has seen.

    Args:
        toolbox: lists and searches the tools.
        caller: whoever asks; only tools that are visible to them are offered.
    """

    def __init__(self, toolbox: Toolbox, caller: Caller) -> None:
        self._toolbox = toolbox
        self._caller = caller
        self.visible = toolbox.tools(caller)
        self.names = NameMap(self.visible, reserved=(SEARCH,))
        self._specs: dict[str, ToolSpec] = {}

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """What is offered now, in the order in which it was added."""
        return tuple(self._specs.values())

    def add(self, tools: Sequence[Tool]) -> None:
        """Offer `tools`, those that are not visible excepted."""
        for tool in tools:
            if self.names.find(tool.qualified):
                spec = self.names.spec(tool)
                self._specs.setdefault(spec.name, spec)

    def add_for(self, question: str, conversation: Sequence[Message], *, everything: bool) -> None:
        """Offer what `question` may need.

        Args:
            conversation: what came before; tools that it used are offered again.
            everything: offer every visible tool, however many.
        """
        if everything or len(self.visible) <= OFFERED_WHOLE:
            self.add(self.visible)
            return
        # "And his tickets?" only finds its tools together with what was asked before.
        asked = [message.text for message in conversation if isinstance(message, UserMessage)]
        used = [
            spec.tool
            for message in conversation
            if isinstance(message, AssistantMessage)
            for request in message.requests
            if (spec := self.names.find(request.name))
        ]
        query = "\n".join([*asked[-2:], question])
        found = self._toolbox.search(self._caller, query, limit=OFFERED_FOUND)
        self.add([SEARCH, *used, *(tool for tool, _ in found)])
