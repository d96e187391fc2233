"""A remote Open Policy Agent as the engine. Only quotas and lists that it gave are remembered, for seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from workbench.config import Settings
from workbench.events import Call, Caller, Decision, Tool
from workbench.policy.approvals.approval import ApprovalRequirement
from workbench.policy.decision_engine import DecisionEngine, EngineError
from workbench.policy.rego import rego_engine
from workbench.policy.rego.engine_answer import approvers_input, document, verdict, within_size
from workbench.policy.rego.loaded_rules import LoadedRules
from workbench.policy.rego.opa_client import NAME, OpaClient
from workbench.policy.rego.opa_visibility_cache import OpaVisibilityCache
from workbench.secrets import SecretResolver

_MAX_QUOTAS = 8192
_QUOTA_TIMEOUT_S = 1.0
"""How long a quota that OPA gave is remembered."""


class OpaEngine(DecisionEngine):
    """Decides by asking an OPA.

    Args:
        settings: `opa_url`; the token is in the environment variable `WORKBENCH_OPA_TOKEN`.
        rules: not looked at; OPA has its own.

    Raises:
        MisuseError: `opa_url` is not an http(s) URL, or holds a password.
    """

    name = NAME
    needs_prefetch = True

    def __init__(self, settings: Settings, rules: LoadedRules) -> None:
        self.client = OpaClient(
            settings.opa_url, SecretResolver.of(settings).environment().get("WORKBENCH_OPA_TOKEN", "")
        )
        self.lists = OpaVisibilityCache(self.client)
        self.url = settings.opa_url
        self.description = f"OPA at {settings.opa_url}"
        self._quotas: dict[tuple[str, str], tuple[float, int]] = {}

    async def decide(self, call: Call, tool: Tool) -> Decision:
        key = (call.caller.tenant, tool.qualified)
        asked = [self.client.ask(rego_engine.TOOL_SCOPES, document(call.caller, tool))]
        if time.monotonic() >= self._quotas.get(key, (0.0, 0))[0]:
            quota = {"tenant": call.caller.tenant, "tool": tool.qualified, "used": 0}
            asked.append(self.client.ask(rego_engine.TENANT_QUOTA, quota))
        (answer, revision), *rest = await asyncio.gather(*asked)
        if rest:
            if len(self._quotas) >= _MAX_QUOTAS:
                self._quotas.clear()
            self._quotas[key] = (time.monotonic() + _QUOTA_TIMEOUT_S, rest[0][0]["per_minute"])
        return within_size(verdict(answer, call.caller, tool, revision=revision, engine=NAME), call)

    def visible(self, caller: Caller, tool: Tool) -> bool:
        return self.lists.visible(caller, tool)

    async def prefetch(self, caller: Caller, tools: Sequence[Tool]) -> None:
        await self.lists.prefetch(caller, tools)

    def visibility_version(self, caller: Caller) -> str:
        return f"{NAME}-{self.lists.version(caller)}"

    def quota(self, tenant: str, tool: str) -> int:
        if (tenant, tool) not in self._quotas:
            raise EngineError("OPA has given no quota")
        return self._quotas[tenant, tool][1]

    async def approvers(self, call: Call, tool: Tool) -> ApprovalRequirement:
        answer, _ = await self.client.ask(rego_engine.APPROVERS, approvers_input(call.caller, tool))
        return ApprovalRequirement(approvers=answer["approvers"], roles=tuple(answer["roles"]))

    @property
    def problem(self) -> str:
        return self.client.problem

    async def probe(self) -> str:
        return await self.client.probe()

    async def close(self) -> None:
        await self.client.close()
