"""What `Workbench` needs of a platform, wherever that runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from workbench.agent import ProviderStatus
from workbench.events import JSON, AnyRunEvent, Outcome, Tool
from workbench.platform.changed_definitions import ChangedDefinition
from workbench.platform.run_file import RunningPlatform
from workbench.policy import Approval
from workbench.policy.approvals.standing_approvals import StandingApproval, StandingTerms
from workbench.registry import ConfigurationRemarks, ReloadResult, ServerState, VaryingAcceptance


class Backend(Protocol):
    """The asynchronous verbs of a platform, each declared once.

    `EmbeddedBackend` answers them in this process, `AttachedBackend` over the management API; mypy compares both with
    this class. `Workbench` has a blocking method for each, which says what it does.
    """

    @property
    def where(self) -> str:
        """Where the platform is, for people."""
        ...

    @property
    def running(self) -> RunningPlatform | None:
        """Addresses and token of a platform in another process; None when it lives in this one."""
        ...

    async def status(self) -> JSON: ...

    async def servers(self) -> list[ServerState]: ...

    async def configuration(self) -> ConfigurationRemarks: ...

    async def tools(self, q: str = "", limit: int = 50, profile: str = "") -> list[Tool]: ...

    async def profiles(self) -> JSON: ...

    async def call(self, tool: str, arguments: JSON, timeout_s: float | None = None, profile: str = "") -> Outcome: ...

    async def restart(self, server: str) -> ServerState: ...

    async def reload_servers(self) -> ReloadResult: ...

    async def changed_definitions(self) -> list[ChangedDefinition]: ...

    async def accept_definition(self, tool: str, hash: str, varying: bool = False) -> None: ...

    async def varying_acceptances(self) -> list[VaryingAcceptance]: ...

    async def revoke_varying(self, tool: str) -> None: ...

    def ask(
        self, question: str, *, provider: str | None = None, model: str | None = None, history: Sequence[JSON] = (),
        profile: str = "",
    ) -> AsyncIterator[AnyRunEvent]: ...  # fmt: skip

    async def cancel(self, run: str) -> bool: ...

    async def providers(self) -> list[ProviderStatus]: ...

    async def approvals(self) -> list[Approval]: ...

    async def decide(
        self,
        approval: str,
        approve: bool,
        note: str = "",
        arguments: JSON | None = None,
        args_hash: str = "",
        standing: StandingTerms | None = None,
    ) -> Approval: ...

    async def standing_approvals(self) -> list[StandingApproval]: ...

    async def revoke_standing(self, id: str) -> StandingApproval: ...

    async def record_load(self, run: JSON, requests: Sequence[JSON]) -> None: ...

    async def close(self) -> None: ...
