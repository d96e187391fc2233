"""One decision function: may this call happen, and what does it oblige the gateway to?

`decide` asks the engine in this process, `decide_async` a real OPA where one is configured. Neither ever raises.
Whatever is undefined, late, malformed or broken is a denial that says which rule spoke. In this process, the part that
depends only on caller and tool is cached; size, approval and usage are looked at on every call.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import orjson

from workbench.config import Settings
from workbench.control import open_store
from workbench.events import JSON, Call, Caller, Decision, Misuse, Tool
from workbench.policy.approvals.approval import Needed
from workbench.policy.approvals.approvals import Approvals
from workbench.policy.approvals.standing_approvals import StandingApprovals
from workbench.policy.limits.budgets import Limits, Spending
from workbench.policy.limits.rate_limits import RateLimits
from workbench.policy.redaction.field_names import PERSONAL
from workbench.policy.redaction.redactor import Redactor
from workbench.policy.rego import rego_engine
from workbench.policy.rego.engine_answer import Verdict, denied, document, plain, verdict
from workbench.policy.rego.opa_client import NAME as OPA
from workbench.policy.rego.opa_client import Opa, OpaFailed
from workbench.policy.rego.opa_visibility_cache import Foreseen
from workbench.secrets import Secrets

_CACHE_ENTRIES = 8192
_MAY = ("tool_scopes.allow", "tool_scopes.approval")
_WATCH_SECONDS = 1.0
_QUOTA_SECONDS = 1.0
"""How long a quota that OPA gave is remembered."""


class _Rules:
    """One revision of the rules with the answers it has given; replaced as a whole, so that no answer outlives it."""

    def __init__(self, rego: rego_engine.RegoPolicy, fingerprint: object) -> None:
        self.rego = rego
        self.fingerprint = fingerprint
        self.static: dict[Any, Verdict] = {}
        self.quotas: dict[tuple[str, str], int] = {}


class Policy:
    """The rules of one workbench, with its rate limits, redactor and approvals.

    Args:
        settings: `policy` names a folder whose files replace the shipped ones of the same name.

    Raises:
        Misuse: the policy does not load. There is no older one to fall back to, so nothing starts.
    """

    def __init__(self, settings: Settings) -> None:
        self._files = rego_engine.Files(settings.policy)
        self._rules = self._load()
        self.opa = (
            Opa(settings.opa_url, Secrets.of(settings).environment().get("WORKBENCH_OPA_TOKEN", ""))
            if settings.opa_url
            else None
        )
        """Who decides instead of the embedded engine; None where the embedded one does."""
        self.foreseen = Foreseen(self.opa) if self.opa is not None else None
        self._quotas: dict[tuple[str, str], tuple[float, int]] = {}
        self._reloading = threading.Lock()
        self._problem = ""
        self.limits = _limits(settings, self.quota)
        with contextlib.closing(open_store(settings)):  # gateways that share it agree on keys before one is read
            self.spending = Spending(settings, self._budget)
            self.redactor = Redactor(settings.home)
            self.approvals = Approvals(settings, self.redactor)
            self.standing = StandingApprovals(settings, self.redactor)
        self.warm()
        self._closed = threading.Event()
        if settings.policy is not None:
            threading.Thread(
                target=_watch, args=(weakref.ref(self), self._closed), name="policy-watch", daemon=True
            ).start()

    @property
    def embedded(self) -> bool:
        """Whether the engine in this process decides, so that `decide` is what to call."""
        return self.opa is None

    @property
    def withheld(self) -> tuple[str, ...]:
        """The columns that the rules here withhold from those who may not see personal data."""
        section = self._rules.rego.data.get("workbench", {})
        names = section.get("pii", {}).get("columns") if isinstance(section, dict) else None
        return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) and names else PERSONAL

    @property
    def revision(self) -> str:
        """Hash of the embedded rules in force."""
        return self._rules.rego.revision

    @property
    def problem(self) -> str:
        """Why the files as they are now are not in force, or why OPA or Redis last failed; empty when all is well."""
        return self._problem or (self.opa.problem if self.opa else "") or self.limits.problem

    def warm(self) -> None:
        """Load the recognisers of personal data in the background; until then suspicious text is withheld whole."""
        self.redactor.warm()

    def close(self) -> None:
        """Stop watching the files and close the database."""
        self._closed.set()
        self.approvals.close()
        self.standing.close()
        self.spending.close()

    async def probe(self) -> str:
        """What keeps this policy from deciding, OPA and Redis asked where they are configured; empty when nothing."""
        found = self._problem or (await self.opa.probe() if self.opa else "") or await self.limits.probe()
        await self.disconnect()
        return found

    async def disconnect(self) -> None:
        """Close the connections to OPA and Redis; deciding again opens new ones."""
        if self.opa is not None:
            await self.opa.close()
        await self.limits.disconnect()
        await self.spending.disconnect()

    # --- deciding --------------------------------------------------------------------------------

    def decide(self, call: Call, tool: Tool, *, approved: bool = False, usage: JSON | None = None) -> Decision:
        """Whether `call` may run `tool` now. Never raises.

        Args:
            call: the call; its `tool` must be the qualified name of `tool`.
            approved: True when a live human approval of exactly this call was consumed; anything else counts as no.
            usage: `{"calls_last_minute": n}` of this tenant on this tool, this call not counted, to hold against the
                quota; None where `limits` keeps the count.

        Returns:
            The decision. Where `approval` is set, `allow` is True only with `approved`.
        """
        started = time.perf_counter_ns()
        rules = self._rules
        try:
            decision = self._decide(rules, call, tool, approved is True, usage)
        except Exception as e:  # noqa: BLE001 - whatever breaks here is a denial, never an exception and never a yes
            decision = denied(rules.rego.revision, "default_deny", f"The policy could not decide: {plain(e)}.")
        return msgspec.structs.replace(decision, elapsed_us=(time.perf_counter_ns() - started) // 1000)

    async def decide_async(self, call: Call, tool: Tool, *, approved: bool = False) -> Decision:
        """`decide` by OPA where one is configured, else by the embedded engine. Never raises.

        Nothing that OPA said is remembered, except the quotas for a second. No answer is a denial.
        """
        if self.opa is None:
            return self.decide(call, tool, approved=approved)
        started = time.perf_counter_ns()
        try:
            quota = {"tenant": call.caller.tenant, "tool": tool.qualified, "used": 0}
            asked = [self.opa.ask(rego_engine.TOOL_SCOPES, document(call.caller, tool))]
            key = (call.caller.tenant, tool.qualified)
            if time.monotonic() >= self._quotas.get(key, (0.0, 0))[0]:
                asked.append(self.opa.ask(rego_engine.TENANT_QUOTA, quota))
            (answer, revision), *rest = await asyncio.gather(*asked)
            if rest:
                if len(self._quotas) >= _CACHE_ENTRIES:
                    self._quotas.clear()
                self._quotas[key] = (time.monotonic() + _QUOTA_SECONDS, rest[0][0]["per_minute"])
            found = verdict(answer, call.caller, tool, revision=revision, by=OPA)
            decision = self._permitted(found, call, tool, approved is True)
        except Exception as e:  # noqa: BLE001 - whatever breaks here is a denial, never an exception and never a yes
            rule = f"opa.{e.kind}" if isinstance(e, OpaFailed) else "default_deny"
            decision = denied("", rule, f"The policy could not decide: {plain(e)}.", OPA)
        return msgspec.structs.replace(decision, elapsed_us=(time.perf_counter_ns() - started) // 1000)

    def visible(self, caller: Caller, tool: Tool) -> bool:
        """Whether `caller` sees `tool` in lists: the rules of a call, a needed approval put aside.

        Where OPA decides, this is what it said when `foresee` last asked it; nothing before.
        """
        if self.foreseen is not None:
            return self.foreseen.visible(caller, tool)
        try:
            return self._static(self._rules, caller, tool).decision.allow is True
        except Exception:  # noqa: BLE001 - what cannot be decided is not shown
            return False

    async def foresee(self, caller: Caller, tools: Sequence[Tool]) -> None:
        """To be awaited before a list is made for `caller`: asks OPA about all of `tools`, where one decides."""
        if self.foreseen is not None:
            await self.foreseen.ask(caller, tools)

    def edition(self, caller: Caller) -> str:
        """What a list for `caller` is made by; another one whenever it may have changed."""
        return self.revision if self.foreseen is None else f"{OPA}-{self.foreseen.number(caller)}"

    async def needed(self, call: Call, tool: Tool) -> Needed:
        """Whose yes a call needs that needs a human's.

        Raises:
            Misuse: the rules give no usable answer, so nobody can be asked.
        """
        asked = {"tenant": call.caller.tenant, "subject": call.caller.subject, "server": tool.server}
        asked["tool"] = tool.qualified
        try:
            if self.opa is None:
                answer = self._rules.rego.ask(rego_engine.APPROVERS, asked)
            else:
                answer, _ = await self.opa.ask(rego_engine.APPROVERS, asked)
            if answer["approvers"] < 1 or any(type(role) is not str for role in answer["roles"]):
                raise rego_engine.BrokenPolicyError("approvers or roles are not as agreed")
        except rego_engine.BrokenPolicyError as e:
            raise Misuse(f"Whose approval {tool.qualified} needs cannot be found out: {e}.") from e
        return Needed(approvers=answer["approvers"], roles=tuple(answer["roles"]))

    def quota(self, tenant: str, tool: str) -> int:
        """Calls per minute that `tenant` may make to the tool of this qualified name; 0 means no quota.

        Raises:
            Broken: the rules give no answer.
        """
        if self.opa is not None:
            if (tenant, tool) not in self._quotas:
                raise rego_engine.BrokenPolicyError("OPA has given no quota")
            return self._quotas[tenant, tool][1]
        rules = self._rules
        found = rules.quotas.get((tenant, tool))
        if found is None:
            answer = rules.rego.ask(rego_engine.TENANT_QUOTA, {"tenant": tenant, "tool": tool, "used": 0})
            if len(rules.quotas) >= _CACHE_ENTRIES:
                rules.quotas.clear()
            found = rules.quotas[tenant, tool] = answer["per_minute"]
        return found

    def _budget(self, caller: Caller) -> Limits:
        """What the rules here let somebody use, whoever decides calls."""
        asked = {"tenant": caller.tenant, "subject": caller.subject, "roles": list(caller.roles)}
        return Limits(**self._rules.rego.ask(rego_engine.BUDGETS, asked))

    def _decide(self, rules: _Rules, call: Call, tool: Tool, approved: bool, usage: JSON | None) -> Decision:
        static = self._static(rules, call.caller, tool)
        decision = self._permitted(static, call, tool, approved)
        if usage is None or static.decision.allow is not True or decision.rule not in _MAY:
            return decision
        asked = {"tenant": call.caller.tenant, "tool": call.tool, "used": usage["calls_last_minute"]}
        if type(asked["used"]) is not int or asked["used"] < 0:
            return denied(decision.revision, "default_deny", "The usage to hold against the quota is no number.")
        answer = rules.rego.ask(rego_engine.TENANT_QUOTA, asked)
        if answer["allow"] is not True:
            return denied(
                decision.revision,
                f"tenant_quota.{answer['rule']}",
                f"Tenant {call.caller.tenant} has used its {answer['per_minute']} calls per minute of {call.tool}.",
            )
        return decision

    def _permitted(self, static: Verdict, call: Call, tool: Tool, approved: bool) -> Decision:
        """What `static` means for this very call."""
        decision = static.decision
        if decision.allow is not True:
            return decision
        if call.tool != f"{tool.server}.{tool.name}":
            reason = "The call names another tool than the one to be run."
            return denied(decision.revision, "default_deny", reason, decision.engine)
        if static.max_arguments_bytes:
            size = len(orjson.dumps(call.arguments))
            if size > static.max_arguments_bytes:
                return denied(
                    decision.revision,
                    "tool_scopes.arguments_bytes",
                    f"The arguments have {size} bytes; {call.tool} takes at most {static.max_arguments_bytes}.",
                    decision.engine,
                )
        # last, so that nobody is asked about a call that cannot run anyway
        return decision if approved else static.unapproved

    def _static(self, rules: _Rules, caller: Caller, tool: Tool) -> Verdict:
        key = (
            id(tool),
            tool.definition_hash,
            caller.tenant,
            caller.subject,
            caller.roles,
            caller.scopes,
            caller.method,
        )
        found = rules.static.get(key)
        if found is None or found.tool is not tool:
            answer = rules.rego.ask(rego_engine.TOOL_SCOPES, document(caller, tool))
            found = verdict(answer, caller, tool, revision=rules.rego.revision, by=rego_engine.NAME)
            if len(rules.static) >= _CACHE_ENTRIES:
                rules.static.clear()
            rules.static[key] = found
        return found

    # --- keeping up with the files ---------------------------------------------------------------

    def reload(self) -> None:
        """Put the files as they are now in force, all at once.

        Raises:
            Misuse: they do not load. The rules before stay in force and `problem` says why.
        """
        with self._reloading:
            try:
                self._rules = self._load()
            except Misuse as e:
                self._problem = f"The changed policy is not in force, revision {self.revision} still is. {e}"
                raise
            self._problem = ""

    def _load(self) -> _Rules:
        fingerprint = self._files.fingerprint()
        return _Rules(rego_engine.RegoPolicy(self._files.read(), self._files.where), fingerprint)


def _watch(policy: weakref.ref[Policy], closed: threading.Event) -> None:
    """Reload when a file changed; ends with the policy. Off the path of calls, once a second."""
    tried: object = None
    while not closed.wait(_WATCH_SECONDS):
        current = policy()
        if current is None:
            return
        try:
            seen = current._files.fingerprint()
            if seen == current._rules.fingerprint:
                current._problem = ""
            elif seen != tried:
                tried = seen
                current.reload()
        except (Misuse, OSError) as e:
            current._problem = current._problem or f"Revision {current.revision} stays in force. {e}"
        del current


def _limits(settings: Settings, quota: Callable[[str, str], int]) -> RateLimits:
    """The counters: of this process, or shared through Redis."""
    if not settings.redis_url:
        return RateLimits(settings.rate_per_minute, quota)
    from workbench.policy.limits.redis_limits import SharedLimits

    return SharedLimits(
        settings.rate_per_minute,
        quota,
        url=Secrets.of(settings).read(settings.redis_url),
        when_down=settings.redis_down,
    )
