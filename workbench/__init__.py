"""MCP Workbench: launch MCP servers, govern every call, ask an agent, query the record.

The public names are `open`, the types of everything that the façade returns or yields, and the errors to catch. Each is
imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.version import __version__

if TYPE_CHECKING:
    from workbench.agent.provider import ProviderStatus
    from workbench.audit import SavedQuestion, Verification
    from workbench.client.data_frame import Frame
    from workbench.client.pending_call import PendingCall
    from workbench.client.results import Result, Run, SavedQuestions, Servers, Tools
    from workbench.client.workbench import Workbench, open
    from workbench.events import (
        AnyRunEvent,
        ApprovalWaiting,
        Call,
        Caller,
        Decision,
        MisuseError,
        NotRecordedError,
        Outcome,
        RunDone,
        RunStarted,
        TextDelta,
        Tool,
        ToolAsked,
        ToolDone,
        TurnDone,
        UnauthenticatedError,
        UnreachableError,
        Usage,
        WorkbenchError,
    )
    from workbench.platform.changed_definitions import ChangedDefinition
    from workbench.platform.run_file import RunningPlatform
    from workbench.policy.approvals.approval import Approval
    from workbench.policy.approvals.standing_approvals import StandingApproval
    from workbench.registry import ConfigurationRemarks, ReloadResult, ServerState, VaryingAcceptance

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
    "MisuseError": "events",
    "NotRecordedError": "events",
    "Outcome": "events",
    "PendingCall": "client.pending_call",
    "ProviderStatus": "agent.provider",
    "SavedQuestion": "audit",
    "SavedQuestions": "client.results",
    "ReloadResult": "registry",
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
    "UnauthenticatedError": "events",
    "UnreachableError": "events",
    "Usage": "events",
    "VaryingAcceptance": "registry",
    "Verification": "audit",
    "Workbench": "client.workbench",
    "WorkbenchError": "events",
    "open": "client.workbench",
}
"""The module of each public name, below `workbench`."""

_RENAMED = {
    "Misuse": "MisuseError",
    "Unauthenticated": "UnauthenticatedError",
    "Unreachable": "UnreachableError",
    "NotRecorded": "NotRecordedError",
    "Question": "SavedQuestion",
    "Questions": "SavedQuestions",
    "Reloaded": "ReloadResult",
}
"""Names of 0.1.0; they are understood with a `DeprecationWarning`."""

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
    "MisuseError",
    "NotRecordedError",
    "Outcome",
    "PendingCall",
    "ProviderStatus",
    "ReloadResult",
    "Result",
    "Run",
    "RunDone",
    "RunStarted",
    "RunningPlatform",
    "SavedQuestion",
    "SavedQuestions",
    "ServerState",
    "Servers",
    "StandingApproval",
    "TextDelta",
    "Tool",
    "ToolAsked",
    "ToolDone",
    "Tools",
    "TurnDone",
    "UnauthenticatedError",
    "UnreachableError",
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
    if name in _RENAMED:
        import warnings

        warnings.warn(f"workbench.{name} is now workbench.{_RENAMED[name]}.", DeprecationWarning, stacklevel=2)
        name = _RENAMED[name]
    if name in _MODULES:
        from importlib import import_module

        return getattr(import_module(f"workbench.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'workbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
