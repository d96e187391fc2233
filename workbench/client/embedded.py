"""A workbench whose platform lives in this very process; the caller is the local user."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from workbench.agent import ProviderStatus
from workbench.events import JSON, AnyRunEvent, Call, Outcome, Source, Tool
from workbench.platform import changed_definitions as definitions
from workbench.platform import profile_listing as profiles
from workbench.platform import standing_approval_admin
from workbench.platform.changed_definitions import ChangedDefinition
from workbench.platform.platform import Platform
from workbench.policy import Approval
from workbench.policy.approvals.standing_approvals import StandingApproval, StandingTerms
from workbench.registry import ConfigurationRemarks, ReloadResult, ServerState, VaryingAcceptance


class EmbeddedBackend:
    """The verbs of `Backend`, without a wire between."""

    def __init__(self, platform: Platform, source: Source) -> None:
        self.platform = platform
        self.caller = platform.access.local_caller()
        self.source = source
        self.where = "embedded in this process"
        self.running = None

    async def status(self) -> JSON:
        return self.platform.status(self.caller)

    async def servers(self) -> list[ServerState]:
        return self.platform.servers(self.caller)

    async def configuration(self) -> ConfigurationRemarks:
        return self.platform.configuration(self.caller)

    async def tools(self, q: str = "", limit: int = 50, profile: str = "") -> list[Tool]:
        await self.platform.gateway.judge(self.caller)
        return self.platform.tools(self.caller, q, limit, profile)

    async def profiles(self) -> JSON:
        await self.platform.gateway.judge(self.caller)
        return profiles.listed(self.platform.gateway, self.caller)

    async def call(self, tool: str, arguments: JSON, timeout_s: float | None = None, profile: str = "") -> Outcome:
        call = Call(
            caller=self.caller, tool=tool, arguments=arguments, source=self.source, timeout_s=timeout_s, profile=profile
        )
        return await self.platform.call(call)

    async def ask(
        self, question: str, *, provider: str | None = None, model: str | None = None, history: Sequence[JSON] = (),
        profile: str = "",
    ) -> AsyncIterator[AnyRunEvent]:  # fmt: skip
        events = self.platform.ask(
            question, self.caller, provider=provider, model=model, history=history, source=self.source, profile=profile
        )
        async with aclosing(events) as stream:  # type: ignore[type-var]
            async for event in stream:
                yield event

    async def cancel(self, run: str) -> bool:
        return self.platform.cancel(run, self.caller)

    async def providers(self) -> list[ProviderStatus]:
        return self.platform.providers()

    async def approvals(self) -> list[Approval]:
        return await self.platform.approvals(self.caller)

    async def decide(
        self,
        approval: str,
        approve: bool,
        note: str = "",
        arguments: JSON | None = None,
        args_hash: str = "",
        standing: StandingTerms | None = None,
    ) -> Approval:
        return await self.platform.decide(
            approval, approve, self.caller, via=self.source, note=note, arguments=arguments, seen=args_hash,
            standing=standing,
        )  # fmt: skip

    async def standing_approvals(self) -> list[StandingApproval]:
        return await standing_approval_admin.active(self.platform, self.caller)

    async def revoke_standing(self, id: str) -> StandingApproval:
        return await standing_approval_admin.revoke(self.platform, id, self.caller)

    async def restart(self, server: str) -> ServerState:
        return await self.platform.restart(server, self.caller)

    async def reload_servers(self) -> ReloadResult:
        return await self.platform.reload(self.caller)

    async def changed_definitions(self) -> list[ChangedDefinition]:
        return await definitions.changed(self.platform, self.caller)

    async def accept_definition(self, tool: str, hash: str, varying: bool = False) -> None:
        await definitions.accept(self.platform, tool, hash, self.caller, varying=varying)

    async def varying_acceptances(self) -> list[VaryingAcceptance]:
        return await definitions.varying(self.platform, self.caller)

    async def revoke_varying(self, tool: str) -> None:
        await definitions.revoke_varying(self.platform, tool, self.caller)

    async def record_load(self, run: JSON, requests: Sequence[JSON]) -> None:
        await self.platform.record_load(run, requests, self.caller)

    async def close(self) -> None:
        await self.platform.close()
