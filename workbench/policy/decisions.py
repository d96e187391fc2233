"""One decision function: may this call happen, and what does it oblige the gateway to?

`Policy.decide` asks the engine that `engines.engine_table` chooses, and never raises. Whatever is undefined, late,
malformed or broken is a denial that says which rule spoke. Limits, approvals and redaction are those of every engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import msgspec

from workbench.config import Settings
from workbench.control import open_store
from workbench.events import JSON, Call, Caller, Decision, MisuseError, Tool
from workbench.policy.approvals.approval import ApprovalRequirement
from workbench.policy.approvals.approvals import Approvals
from workbench.policy.approvals.standing_approvals import StandingApprovals
from workbench.policy.decision_engine import DecisionEngine, EngineError, denied
from workbench.policy.engines.embedded_engine import EmbeddedEngine
from workbench.policy.engines.engine_table import open_engine
from workbench.policy.limits.budgets import BudgetLedger, BudgetLimits
from workbench.policy.limits.rate_limits import RateLimits
from workbench.policy.redaction.redactor import Redactor
from workbench.policy.rego import rego_engine
from workbench.policy.rego.engine_answer import approvers_input
from workbench.policy.rego.loaded_rules import LoadedRules
from workbench.secrets import SecretResolver

_log = logging.getLogger(__name__)


class Policy:
    """The rules of one workbench, with its rate limits, redactor and approvals.

    Args:
        settings: `policy` names a folder whose files replace the shipped ones of the same name; `policy_engine` and
            `opa_url` choose who decides.

    Raises:
        MisuseError: the policy does not load, or the engine cannot be opened. Then nothing starts.
    """

    def __init__(self, settings: Settings) -> None:
        self.rules = LoadedRules(settings.policy)
        """The rule files here. Budgets and what is withheld come from them, whoever decides calls."""
        try:
            self.engine: DecisionEngine = open_engine(settings, self.rules)
        except BaseException:
            self.rules.close()
            raise
        """Who decides calls."""
        self.limits = _limits(settings, self.quota)
        with contextlib.closing(open_store(settings)):  # gateways that share it agree on keys before one is read
            self.spending = BudgetLedger(settings, self._budget)
            self.redactor = Redactor(settings.home)
            self.approvals = Approvals(settings, self.redactor)
            self.standing = StandingApprovals(settings, self.redactor)
        self._by_rules = EmbeddedEngine(settings, self.rules)
        self.warm()

    @property
    def withheld(self) -> tuple[str, ...]:
        """The columns that the rules here withhold from those who may not see personal data."""
        return self.rules.withheld

    @property
    def revision(self) -> str:
        """Version of the rules in force: the engine's where it has one of its own, else of the rule files here."""
        return self.engine.revision or self.rules.revision

    @property
    def problem(self) -> str:
        """Why the files as they are now are not in force, or engine or Redis last failed; empty when all is well."""
        return self.rules.problem or self.engine.problem or self.limits.problem

    def warm(self) -> None:
        """Load the recognisers of personal data in the background; until then suspicious text is withheld whole."""
        self.redactor.warm()

    def reload(self) -> None:
        """Put the rule files as they are now in force; see `LoadedRules.reload`."""
        self.rules.reload()

    def close(self) -> None:
        """Stop watching the files and close the database."""
        self.rules.close()
        self.approvals.close()
        self.standing.close()
        self.spending.close()

    async def probe(self) -> str:
        """What keeps this policy from deciding, engine and Redis asked; empty when nothing."""
        found = self.rules.problem or await self.engine.probe() or await self.limits.probe()
        await self.disconnect()
        return found

    async def disconnect(self) -> None:
        """Close the connections of the engine and to Redis; deciding again opens new ones."""
        await self.engine.close()
        await self.limits.disconnect()
        await self.spending.disconnect()

    # --- deciding --------------------------------------------------------------------------------

    def decide(self, call: Call, tool: Tool, *, approved: bool = False) -> Decision | Coroutine[Any, Any, Decision]:
        """Whether `call` may run `tool` now: the decision, or where the engine has to be waited for, a coroutine of it.

        Neither this nor the coroutine ever raises.

        Args:
            call: the call; its `tool` must be the qualified name of `tool`.
            approved: True when a live human approval of exactly this call was consumed; anything else counts as no.

        Returns:
            The decision. Where `approval` is set, `allow` is True only with `approved`.
        """
        started = time.perf_counter_ns()
        engine = self.engine
        try:
            found = engine.decide(call, tool)
            if not isinstance(found, Decision):
                return self._decide_later(engine, found, call, tool, approved is True, started)
            return _finished(engine, _checked(found, call, tool, approved is True), started)
        except Exception as e:  # noqa: BLE001 - whatever breaks here is a denial, never an exception and never a yes
            return _undecided(engine, e, started)

    async def decide_async(self, call: Call, tool: Tool, *, approved: bool = False) -> Decision:
        """`decide`, awaited where that is needed."""
        found = self.decide(call, tool, approved=approved)
        return found if isinstance(found, Decision) else await found

    async def _decide_later(
        self, engine: DecisionEngine, found: Awaitable[Decision], call: Call, tool: Tool, approved: bool, started: int
    ) -> Decision:
        try:
            async with asyncio.timeout(engine.timeout):
                answer = await found
            return _finished(engine, _checked(answer, call, tool, approved), started)
        except Exception as e:  # noqa: BLE001 - as in `decide`
            return _undecided(engine, e, started)

    def decide_by_rules(self, call: Call, tool: Tool, *, approved: bool = False, usage: JSON | None = None) -> Decision:
        """What the rule files here say of `call`, whoever decides calls. Never raises.

        Args:
            usage: `{"calls_last_minute": n}` of this tenant on this tool, this call not counted, to hold against the
                quota; None leaves quotas out.
        """
        started = time.perf_counter_ns()
        engine = self._by_rules
        try:
            decision = _checked(engine.decide(call, tool), call, tool, approved is True)
            if usage is not None and (decision.allow or decision.approval):
                decision = self._within_quota(decision, call, usage)
            return _finished(engine, decision, started)
        except Exception as e:  # noqa: BLE001 - as in `decide`
            return _undecided(engine, e, started)

    def visible(self, caller: Caller, tool: Tool) -> bool:
        """Whether `caller` sees `tool` in lists: the rules of a call, a needed approval put aside.

        Where the engine needs it, `prefetch` has to be awaited before; nothing is visible until then.
        """
        try:
            return self.engine.visible(caller, tool) is True
        except Exception:  # noqa: BLE001 - what cannot be decided is not shown
            return False

    @property
    def needs_prefetch(self) -> bool:
        """Whether `prefetch` has to be awaited before anything is listed."""
        return self.engine.needs_prefetch

    async def prefetch(self, caller: Caller, tools: Sequence[Tool]) -> None:
        """Have the engine asked about all of `tools`. What it does not answer is not visible."""
        try:
            await self.engine.prefetch(caller, tools)
        except Exception as e:  # noqa: BLE001 - what cannot be decided is not shown
            _log.warning("Policy engine %s cannot say which tools are visible: %s.", self.engine.name, _plain(e))

    def visibility_version(self, caller: Caller) -> str:
        """What a list for `caller` is made by; another one whenever it may have changed."""
        return self.engine.visibility_version(caller)

    async def needed(self, call: Call, tool: Tool) -> ApprovalRequirement:
        """Whose yes a call needs that needs a human's.

        Raises:
            MisuseError: the rules give no usable answer, so nobody can be asked.
        """
        try:
            async with asyncio.timeout(self.engine.timeout):
                found = await self.engine.approvers(call, tool)
            if found is None:
                answer = self.rules.ask(rego_engine.APPROVERS, approvers_input(call.caller, tool))
                found = ApprovalRequirement(approvers=answer["approvers"], roles=tuple(answer["roles"]))
            if found.approvers < 1 or any(type(role) is not str for role in found.roles):
                raise EngineError("approvers or roles are not as agreed")
        except Exception as e:
            raise MisuseError(f"Whose approval {tool.qualified} needs cannot be found out: {_plain(e)}.") from e
        return found

    def quota(self, tenant: str, tool: str) -> int:
        """Calls per minute that `tenant` may make to the tool of this qualified name; 0 means no quota.

        Raises:
            EngineError: nobody gives an answer.
        """
        found = self.engine.quota(tenant, tool)
        return self.rules.quota(tenant, tool) if found is None else found

    def _budget(self, caller: Caller) -> BudgetLimits:
        """What the rules here let somebody use, whoever decides calls."""
        asked = {"tenant": caller.tenant, "subject": caller.subject, "roles": list(caller.roles)}
        return BudgetLimits(**self.rules.ask(rego_engine.BUDGETS, asked))

    def _within_quota(self, decision: Decision, call: Call, usage: JSON) -> Decision:
        """`decision`, or a denial where `tenant_quota.rego` says that the quota is used up."""
        asked = {"tenant": call.caller.tenant, "tool": call.tool, "used": usage["calls_last_minute"]}
        if type(asked["used"]) is not int or asked["used"] < 0:
            return denied("default_deny", "The usage to hold against the quota is not a number.")
        answer = self.rules.ask(rego_engine.TENANT_QUOTA, asked)
        if answer["allow"] is True:
            return decision
        return denied(
            f"tenant_quota.{answer['rule']}",
            f"Tenant {call.caller.tenant} has used its {answer['per_minute']} calls per minute of {call.tool}.",
        )


def _checked(decision: Decision, call: Call, tool: Tool, approved: bool) -> Decision:
    """What an engine's decision means for this very call, with what an engine may have overlooked."""
    if decision.allow is not True:
        wrong = decision.allow or decision.approval
        return msgspec.structs.replace(decision, allow=False, approval=False) if wrong else decision
    if call.tool != f"{tool.server}.{tool.name}":
        return denied("default_deny", "The call names another tool than the one to be run.")
    if approved or not decision.approval:
        return decision
    # last, so that nobody is asked about a call that cannot run anyway
    return msgspec.structs.replace(
        decision,
        allow=False,
        rule=f"{decision.rule.partition('.')[0]}.approval",
        reason=f"{tool.qualified} may destroy something; a human has to approve this very call first.",
    )


def _finished(engine: DecisionEngine, decision: Decision, started: int) -> Decision:
    """`decision` as it is recorded: with the engine that really gave it, and the time it took."""
    if decision.engine == engine.name and decision.revision:
        return msgspec.structs.replace(decision, elapsed_us=(time.perf_counter_ns() - started) // 1000)
    return msgspec.structs.replace(
        decision,
        engine=engine.name,
        revision=decision.revision or engine.revision,
        elapsed_us=(time.perf_counter_ns() - started) // 1000,
    )


def _undecided(engine: DecisionEngine, error: Exception, started: int) -> Decision:
    """The denial for an engine that gave no decision."""
    kind = error.kind if isinstance(error, EngineError) else "timeout" if isinstance(error, TimeoutError) else ""
    revision = ""
    with contextlib.suppress(Exception):  # it may be the very thing that is broken
        revision = engine.revision
    return Decision(
        allow=False,
        rule=f"{engine.name}.{kind}" if kind else "default_deny",
        reason=f"The policy could not decide: {_plain(error)}.",
        revision=revision,
        engine=engine.name,
        elapsed_us=(time.perf_counter_ns() - started) // 1000,
    )


def _plain(error: Exception) -> str:
    """The error without values of the call in it: our own sentences, else only its type."""
    if isinstance(error, TimeoutError):
        return "there was no answer in time"
    return str(error) if isinstance(error, EngineError) else type(error).__name__


def _limits(settings: Settings, quota: Callable[[str, str], int]) -> RateLimits:
    """The counters: of this process, or shared through Redis."""
    if not settings.redis_url:
        return RateLimits(settings.rate_per_minute, quota)
    from workbench.policy.limits.redis_limits import SharedLimits

    return SharedLimits(
        settings.rate_per_minute,
        quota,
        url=SecretResolver.of(settings).read(settings.redis_url),
        when_down=settings.redis_down,
    )
