"""The agent: questions in, run events out; every tool call through the gateway."""

from __future__ import annotations

from workbench.agent.agent import Agent
from workbench.agent.provider import (
    AssistantMessage,
    Message,
    Part,
    Provider,
    ProviderError,
    ProviderStatus,
    SystemMessage,
    TextPart,
    ToolRequest,
    ToolResult,
    ToolResults,
    ToolSpec,
    TurnEnd,
    UserMessage,
)
from workbench.agent.toolbox import RecordEvent, Toolbox, WaitForApproval

__all__ = [
    "Agent",
    "AssistantMessage",
    "Message",
    "Part",
    "Provider",
    "ProviderError",
    "ProviderStatus",
    "RecordEvent",
    "SystemMessage",
    "TextPart",
    "ToolRequest",
    "ToolResult",
    "ToolResults",
    "ToolSpec",
    "Toolbox",
    "TurnEnd",
    "UserMessage",
    "WaitForApproval",
]
