"""MCP Workbench: launch MCP servers, govern every call, ask an agent, query the record.

The public names are `open`, the types of everything that the façade returns or yields, and the errors to catch. Each is
imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.version import __version__

if TYPE_CHECKING:
    from workbench.agent.provider import ProviderStatus
    from workbench.audit import Question, Verification
    from workbench.client.data_frame import Frame
    from workbench.client.pending_call import PendingCall
    from workbench.client.results import Questions, Result, Run, Servers, Tools
    from workbench.client.workbench import Workbench, open
    from workbench.events import (
        AnyRunEvent,
        ApprovalWaiting,
        Call,
        Caller,
        Decision,
        Misuse,
        NotRecorded,
        Outcome,
        RunDone,
        RunStarted,
        TextDelta,
        Tool,
        ToolAsked,
        ToolDone,
        TurnDone,
        Unauthenticated,
        Unreachable,
        Usage,
        WorkbenchError,
    )
    from workbench.platform.changed_definitions import ChangedDefinition
    from workbench.platform.run_file import RunningPlatform
    from workbench.policy.approvals.approval import Approval
    from workbench.policy.approvals.standing_approvals import StandingApproval
    from workbench.registry import ConfigurationRemarks, Reloaded, ServerState, VaryingAcceptance

_MODULES = {
    "AnyRunEvent": "events",
    "Approval": "policy.approvals.approval",
    "ApprovalWaiting": "events",
    "Call": "events",
    "Caller": "events",
    "ChangedDefinition": "platform.changed_definitions",
    "ConfigurationRemarks": "registry",
    "Decision": "events",
    "Frame": "client.data_frame",
    "Misuse": "events",
    "NotRecorded": "events",
    "Outcome": "events",
    "PendingCall": "client.pending_call",
    "ProviderStatus": "agent.provider",
    "Question": "audit",
    "Questions": "client.results",
    "Reloaded": "registry",
    "Result": "client.results",
    "Run": "client.results",
    "RunDone": "events",
    "RunStarted": "events",
    "RunningPlatform": "platform.run_file",
    "ServerState": "registry",
    "Servers": "client.results",
    "StandingApproval": "policy.approvals.standing_approvals",
    "TextDelta": "events",
    "Tool": "events",
    "ToolAsked": "events",
    "ToolDone": "events",
    "Tools": "client.results",
    "TurnDone": "events",
    "Unauthenticated": "events",
    "Unreachable": "events",
    "Usage": "events",
    "VaryingAcceptance": "registry",
    "Verification": "audit",
    "Workbench": "client.workbench",
    "WorkbenchError": "events",
    "open": "client.workbench",
}
"""The module of each public name, below `workbench`."""

__all__ = [
    "AnyRunEvent",
    "Approval",
    "ApprovalWaiting",
    "Call",
    "Caller",
    "ChangedDefinition",
    "ConfigurationRemarks",
    "Decision",
    "Frame",
    "Misuse",
    "NotRecorded",
    "Outcome",
    "PendingCall",
    "ProviderStatus",
    "Question",
    "Questions",
    "Reloaded",
    "Result",
    "Run",
    "RunDone",
    "RunStarted",
    "RunningPlatform",
    "ServerState",
    "Servers",
    "StandingApproval",
    "TextDelta",
    "Tool",
    "ToolAsked",
    "ToolDone",
    "Tools",
    "TurnDone",
    "Unauthenticated",
    "Unreachable",
    "Usage",
    "VaryingAcceptance",
    "Verification",
    "Workbench",
    "WorkbenchError",
    "__version__",
    "open",
]


def __getattr__(name: str) -> Any:
    # The façade pulls in the event loop and the rooms; importing the package must stay instant.
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"workbench.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
